package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// peer is a server that says what a test lets it say.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   []byte
}

// meet dials with opts into a peer, which accepts with ack.
func meet(t *testing.T, opts client.Options, ack packet.Connack) (*client.Client, *peer) {
	t.Helper()
	near, far := net.Pipe()
	opts.URL = "mqtt://peer"
	opts.NetDial = func(context.Context, string, string) (net.Conn, error) { return near, nil }
	p := &peer{t: t, conn: far}
	t.Cleanup(func() { far.Close() })
	accepted := make(chan struct{})
	go func() { // ends with the CONNACK, which Dial waits for
		defer close(accepted)
		p.expect(packet.CONNECT)
		p.say(packet.AppendConnack(nil, &ack, packet.V5, 0))
	}()
	c, err := client.Dial(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	<-accepted
	t.Cleanup(func() { c.Close() })
	return c, p
}

func (p *peer) say(b []byte) {
	if _, err := p.conn.Write(b); err != nil {
		p.t.Errorf("peer: %v", err)
	}
}

// expect reads the next packet, which has to be of type typ.
func (p *peer) expect(typ packet.Type) packet.Frame {
	for {
		f, n, err := packet.Split(p.in, 1<<20)
		if err != nil {
			p.t.Errorf("peer: %v", err)
			return f
		}
		if n > 0 {
			p.in = p.in[n:]
			if f.Type != typ {
				p.t.Errorf("the client sent %v, want %v", f.Type, typ)
			}
			return f
		}
		b := make([]byte, 4096)
		n, err = p.conn.Read(b)
		if err != nil {
			p.t.Errorf("peer waits for %v: %v", typ, err)
			return f
		}
		p.in = append(p.in, b[:n]...)
	}
}

func ended(t *testing.T, c *client.Client) error {
	t.Helper()
	select {
	case <-c.Done():
		return c.Err()
	case <-t.Context().Done():
		t.Fatal("the client has not ended")
		return nil
	}
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := meet(t, client.Options{KeepAlive: time.Minute}, packet.Connack{})
		start := time.Now()
		for i := 1; i <= 2; i++ {
			p.expect(packet.PINGREQ)
			if got := time.Since(start); got != time.Duration(i)*time.Minute {
				t.Errorf("ping %d after %v, want after %d minutes", i, got, i)
			}
			p.say(packet.AppendPingresp(nil))
		}
		p.expect(packet.PINGREQ) // this one has no answer
		if err := ended(t, c); err == nil || errors.Is(err, client.ErrClosed) {
			t.Errorf("Err = %v, want that the server did not answer", err)
		}
		if got := time.Since(start); got != 4*time.Minute {
			t.Errorf("ended after %v, want one keep-alive after the third ping", got)
		}
	})
}

func TestTheServersKeepAliveCounts(t *testing.T) { // [MQTT-3.2.2-21]
	synctest.Test(t, func(t *testing.T) {
		ack := packet.Connack{ConnackProperties: packet.ConnackProperties{HasServerKeepAlive: true, ServerKeepAlive: 5}}
		_, p := meet(t, client.Options{KeepAlive: time.Minute}, ack)
		start := time.Now()
		p.expect(packet.PINGREQ)
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("ping after %v, want the server's 5s", got)
		}
	})
}

func TestTheServersDisconnectIsARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 1)
		c, p := meet(t, client.Options{OnDisconnect: func(err error) { told <- err }}, packet.Connack{})
		p.say(packet.AppendDisconnect(nil, &packet.Disconnect{Code: packet.SessionTakenOver, Reason: "two of you"}, packet.V5, 0))
		var r *packet.Refusal
		if err := ended(t, c); !errors.As(err, &r) || r.Code != packet.SessionTakenOver || r.Why != "two of you" {
			t.Errorf("Err = %v, want session taken over: two of you", err)
		}
		if err := <-told; !errors.As(err, &r) || r.Code != packet.SessionTakenOver {
			t.Errorf("OnDisconnect got %v, want session taken over", err)
		}
		if _, err := c.Publish(t.Context(), &client.Message{Topic: "a"}); !errors.As(err, &r) {
			t.Errorf("Publish = %v, want what ended the connection", err)
		}
	})
}

func TestAMalformedPacketIsAnsweredWithItsCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := meet(t, client.Options{}, packet.Connack{})
		p.say([]byte{0x36, 5, 0, 1, 'a', 0, 1}) // QoS 3
		f := p.expect(packet.DISCONNECT)
		d, err := packet.ParseDisconnect(f.Body, packet.V5, packet.FromClient)
		if err != nil || d.Code != packet.MalformedPacket {
			t.Errorf("DISCONNECT = %+v, %v, want malformed packet", d, err)
		}
		var r *packet.Refusal
		if err := ended(t, c); !errors.As(err, &r) || r.Code != packet.MalformedPacket {
			t.Errorf("Err = %v, want malformed packet", err)
		}
	})
}

func TestPublishesWaitForTheWindow(t *testing.T) { // [MQTT-3.3.4-7]
	synctest.Test(t, func(t *testing.T) {
		ack := packet.Connack{ConnackProperties: packet.ConnackProperties{ReceiveMaximum: 1}}
		c, p := meet(t, client.Options{}, ack)
		published := make(chan error, 2)
		for range 2 {
			go func() { // ends with the PUBACK or the connection
				_, err := c.Publish(t.Context(), &client.Message{Topic: "a", QoS: 1})
				published <- err
			}()
		}
		first := publishID(t, p)
		synctest.Wait() // the second has gone as far as it can
		p.conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := p.conn.Read(make([]byte, 100)); err == nil {
			t.Fatalf("%d bytes came before the first was acknowledged", n)
		}
		p.conn.SetReadDeadline(time.Time{})
		p.say(packet.AppendAck(nil, packet.PUBACK, &packet.Ack{ID: first}, packet.V5, 0))
		second := publishID(t, p)
		p.say(packet.AppendAck(nil, packet.PUBACK, &packet.Ack{ID: second, Code: packet.QuotaExceeded}, packet.V5, 0))
		if err := <-published; err != nil {
			t.Errorf("first Publish: %v", err)
		}
		var r *packet.Refusal
		if err := <-published; !errors.As(err, &r) || r.Code != packet.QuotaExceeded {
			t.Errorf("second Publish = %v, want quota exceeded", err)
		}
	})
}

func publishID(t *testing.T, p *peer) uint16 {
	t.Helper()
	f := p.expect(packet.PUBLISH)
	var pub packet.Publish
	if err := packet.ParsePublish(&pub, f.Flags, f.Body, packet.V5, packet.FromClient); err != nil {
		t.Fatal(err)
	}
	return pub.ID
}

func TestAResentQoS2MessageIsDeliveredOnce(t *testing.T) { // [MQTT-4.3.3-10]
	synctest.Test(t, func(t *testing.T) {
		got, arrived := inbox()
		_, p := meet(t, client.Options{OnMessage: got}, packet.Connack{})
		m := &packet.Publish{Topic: []byte("a"), QoS: 2, ID: 7}
		for range 2 {
			p.say(packet.AppendPublish(nil, m, packet.V5))
			p.expect(packet.PUBREC)
			m.Dup = true
		}
		for _, want := range []packet.Code{packet.Success, packet.PacketIdentifierNotFound} {
			p.say(packet.AppendAck(nil, packet.PUBREL, &packet.Ack{ID: 7}, packet.V5, 0))
			f := p.expect(packet.PUBCOMP)
			a, err := packet.ParseAck(f.Type, f.Body, packet.V5)
			if err != nil || a.Code != want {
				t.Errorf("PUBCOMP = %+v, %v, want %v", a, err, want)
			}
		}
		if n := len(arrived); n != 1 {
			t.Errorf("%d messages, want 1", n)
		}
	})
}

func TestAnEndedContextEndsDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		go func() { // reads the CONNECT and says nothing; ends with the pipe
			for b := make([]byte, 100); ; {
				if _, err := far.Read(b); err != nil {
					return
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := client.Dial(ctx, client.Options{URL: "mqtt://peer", NetDial: func(context.Context, string, string) (net.Conn, error) {
			return near, nil
		}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial = %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestAServerOf3AnswersInItsOwnWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		p := &peer{t: t, conn: far}
		go func() { // ends with the CONNACK, which Dial waits for
			p.expect(packet.CONNECT)
			p.say([]byte{0x20, 2, 0, 1})
		}()
		_, err := client.Dial(t.Context(), client.Options{URL: "mqtt://peer", NetDial: func(context.Context, string, string) (net.Conn, error) {
			return near, nil
		}})
		var r *packet.Refusal
		if !errors.As(err, &r) || r.Code != packet.UnsupportedProtocolVersion {
			t.Errorf("Dial = %v, want unsupported protocol version", err)
		}
	})
}

func TestURLs(t *testing.T) {
	dialled := errors.New("dialled")
	for url, want := range map[string]string{
		"localhost":           "tcp localhost:1883",
		"mqtt://h":            "tcp h:1883",
		"tcp://h:1":           "tcp h:1",
		"mqtts://h":           "tcp h:8883",
		"ssl://[::1]":         "tcp [::1]:8883",
		"ws://h":              "tcp h:80",
		"wss://u:p@h/mqtt":    "tcp h:443",
		"unix:///run/mq.sock": "unix /run/mq.sock",
		"http://h":            "",
		"unix://run/mq.sock":  "",
		"mqtt://":             "",
		"mqtt://h:port":       "",
	} {
		got := ""
		_, err := client.Dial(t.Context(), client.Options{URL: url, NetDial: func(_ context.Context, network, address string) (net.Conn, error) {
			got = network + " " + address
			return nil, dialled
		}})
		if got != want || errors.Is(err, dialled) != (want != "") {
			t.Errorf("%s: dialled %q, %v; want %q", url, got, err, want)
		}
	}
}
