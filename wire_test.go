package fantail_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// wire is a client of which the test sees every packet.
type wire struct {
	t      *testing.T
	server *server
	conn   net.Conn
	v      packet.Version
	in     []byte // not taken apart yet
	lastID uint16
}

// dial connects to the first listener.
func (s *server) dial(t *testing.T) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", s.mqtt[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &wire{t: t, server: s, conn: conn, v: packet.V5}
}

// device is a connected client of 5.0 with a new session; change may be nil.
func (s *server) device(t *testing.T, id string, change func(*packet.Connect)) *wire {
	t.Helper()
	w, _ := s.connect(t, id, func(c *packet.Connect) {
		c.CleanStart = true
		if change != nil {
			change(c)
		}
	})
	return w
}

// old is a connected client of 3.1.1 with a new session.
func (s *server) old(t *testing.T, id string) *wire {
	t.Helper()
	return s.device(t, id, func(c *packet.Connect) { c.Version = packet.V311 })
}

// connect is a connected client; change may be nil.
func (s *server) connect(t *testing.T, id string, change func(*packet.Connect)) (*wire, packet.Connack) {
	t.Helper()
	w := s.dial(t)
	a := w.hello(id, change)
	if a.Code != packet.Success {
		t.Fatalf("CONNACK: %v", a.Code)
	}
	return w, a
}

// hello sends a CONNECT and returns the CONNACK.
func (w *wire) hello(id string, change func(*packet.Connect)) packet.Connack {
	w.t.Helper()
	c := packet.Connect{Version: packet.V5, ClientID: id}
	if change != nil {
		change(&c)
	}
	w.v = c.Version
	w.send(packet.AppendConnect(nil, &c))
	return w.connack()
}

func (w *wire) connack() packet.Connack {
	w.t.Helper()
	a, err := packet.ParseConnack(w.expect(packet.CONNACK).Body, w.v)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := w.conn.Write(b); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// read returns the next packet, or io.EOF after a clean end.
func (w *wire) read() (packet.Frame, error) {
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		f, n, err := packet.Split(w.in, packet.MaxLength)
		if err != nil {
			return f, err
		}
		if n > 0 {
			w.in = w.in[n:]
			return f, nil
		}
		b := make([]byte, 64<<10)
		n, err = w.conn.Read(b)
		w.in = append(slices.Clip(w.in), b[:n]...)
		if n > 0 {
			continue
		}
		if len(w.in) > 0 && errors.Is(err, io.EOF) {
			return f, io.ErrUnexpectedEOF
		}
		return f, err
	}
}

func (w *wire) next() packet.Frame {
	w.t.Helper()
	f, err := w.read()
	if err != nil {
		w.t.Fatalf("read: %v", err)
	}
	return f
}

func (w *wire) expect(typ packet.Type) packet.Frame {
	w.t.Helper()
	f := w.next()
	if f.Type != typ {
		w.t.Fatalf("%v % x came, want %v", f.Type, f.Body, typ)
	}
	return f
}

// ended wants the end of the stream, with nothing before it.
func (w *wire) ended() {
	w.t.Helper()
	if f, err := w.read(); !errors.Is(err, io.EOF) {
		w.t.Fatalf("%v % x, %v came, want the end of the stream", f.Type, f.Body, err)
	}
}

// sentAway wants a DISCONNECT and then the end of the stream.
func (w *wire) sentAway(code packet.Code) packet.Disconnect {
	w.t.Helper()
	d, err := packet.ParseDisconnect(w.expect(packet.DISCONNECT).Body, w.v, packet.FromServer)
	if err != nil {
		w.t.Fatal(err)
	}
	if d.Code != code {
		w.t.Fatalf("DISCONNECT: %v %q, want %v", d.Code, d.Reason, code)
	}
	w.ended()
	return d
}

// quiet wants that nothing has come: the answer to a PINGREQ is next.
func (w *wire) quiet() {
	w.t.Helper()
	w.send(packet.AppendPingreq(nil))
	w.expect(packet.PINGRESP)
}

func (w *wire) id() uint16 {
	w.lastID++
	return w.lastID
}

// subscribe sends a SUBSCRIBE and returns the codes.
func (w *wire) subscribe(filters ...packet.Subscription) []packet.Code {
	w.t.Helper()
	return w.subscribeAs(0, filters...)
}

// subscribeAs subscribes with a subscription identifier.
func (w *wire) subscribeAs(id uint32, filters ...packet.Subscription) []packet.Code {
	w.t.Helper()
	s := packet.Subscribe{ID: w.id(), SubscriptionID: id, Filters: filters}
	w.send(packet.AppendSubscribe(nil, &s, w.v))
	a, err := packet.ParseSuback(packet.SUBACK, w.expect(packet.SUBACK).Body, w.v)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.ID != s.ID {
		w.t.Fatalf("SUBACK of %d, want %d", a.ID, s.ID)
	}
	return a.Codes
}

// to subscribes to one filter, which has to be granted.
func (w *wire) to(filter string, qos byte) *wire {
	w.t.Helper()
	if codes := w.subscribe(packet.Subscription{Filter: filter, QoS: qos}); codes[0] != packet.Code(qos) {
		w.t.Fatalf("SUBACK: %v", codes)
	}
	return w
}

func (w *wire) unsubscribe(filters ...string) []packet.Code {
	w.t.Helper()
	w.send(packet.AppendUnsubscribe(nil, &packet.Unsubscribe{ID: w.id(), Filters: filters}, w.v))
	f := w.expect(packet.UNSUBACK)
	if w.v < packet.V5 {
		return nil
	}
	a, err := packet.ParseSuback(packet.UNSUBACK, f.Body, w.v)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.Codes
}

// publish publishes and, with QoS 1 and 2, takes the answers in; nothing else
// may come meanwhile. It returns the code of PUBACK or PUBREC.
func (w *wire) publish(p packet.Publish) packet.Code {
	w.t.Helper()
	if p.QoS > 0 {
		p.ID = w.id()
	}
	w.send(packet.AppendPublish(nil, &p, w.v))
	switch p.QoS {
	case 0:
		return packet.Success
	case 1:
		return w.ack(packet.PUBACK, p.ID)
	}
	code := w.ack(packet.PUBREC, p.ID)
	if !code.Failed() {
		w.answer(packet.PUBREL, p.ID)
		w.ack(packet.PUBCOMP, p.ID)
	}
	return code
}

// say publishes a text with QoS 1, so that it has been routed on return.
func (w *wire) say(topic, text string) packet.Code {
	w.t.Helper()
	return w.publish(packet.Publish{Topic: []byte(topic), Payload: []byte(text), QoS: 1})
}

// keep publishes a retained message with QoS 1.
func (w *wire) keep(topic, text string) packet.Code {
	w.t.Helper()
	return w.publish(packet.Publish{Topic: []byte(topic), Payload: []byte(text), QoS: 1, Retain: true})
}

// ack wants an acknowledgement.
func (w *wire) ack(typ packet.Type, id uint16) packet.Code {
	w.t.Helper()
	a, err := packet.ParseAck(typ, w.expect(typ).Body, w.v)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.ID != id {
		w.t.Fatalf("%v of %d, want %d", typ, a.ID, id)
	}
	return a.Code
}

func (w *wire) answer(typ packet.Type, id uint16) {
	w.t.Helper()
	w.send(packet.AppendAck(nil, typ, &packet.Ack{ID: id}, w.v, 0))
}

// message takes the next PUBLISH in, without acknowledging it.
func (w *wire) message() packet.Publish {
	w.t.Helper()
	return w.parse(w.expect(packet.PUBLISH))
}

func (w *wire) parse(f packet.Frame) (p packet.Publish) {
	w.t.Helper()
	if err := packet.ParsePublish(&p, f.Flags, f.Body, w.v, packet.FromServer); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// take takes the next PUBLISH in and acknowledges it.
func (w *wire) take() packet.Publish {
	w.t.Helper()
	p := w.message()
	switch p.QoS {
	case 1:
		w.answer(packet.PUBACK, p.ID)
	case 2:
		w.answer(packet.PUBREC, p.ID)
		w.ack(packet.PUBREL, p.ID)
		w.answer(packet.PUBCOMP, p.ID)
	}
	return p
}

// hears wants these payloads next, and nothing more.
func (w *wire) hears(texts ...string) {
	w.t.Helper()
	for _, text := range texts {
		if p := w.take(); string(p.Payload) != text {
			w.t.Fatalf("%q came on %s, want %q", p.Payload, p.Topic, text)
		}
	}
	w.quiet()
}

// bye sends a DISCONNECT and waits for the end.
func (w *wire) bye(d packet.Disconnect) {
	w.t.Helper()
	w.send(packet.AppendDisconnect(nil, &d, w.v, 0))
	w.ended()
	w.conn.Close()
}

// lose ends the connection without a DISCONNECT, and waits until the broker
// has noticed.
func (w *wire) lose() {
	w.t.Helper()
	const connected = "clients_connected"
	before := w.server.figure(w.t, connected)
	w.conn.Close()
	eventually(w.t, func() bool { return w.server.figure(w.t, connected) < before }, func() any { return before })
}

// nextPublish is the next PUBLISH; exchanges of earlier ones go on meanwhile.
func (w *wire) nextPublish() packet.Publish {
	w.t.Helper()
	for {
		f := w.next()
		if f.Type == packet.PUBLISH {
			return w.parse(f)
		}
		a, err := packet.ParseAck(packet.PUBREL, f.Body, w.v)
		if err != nil || f.Type != packet.PUBREL {
			w.t.Fatalf("%v % x came", f.Type, f.Body)
		}
		w.answer(packet.PUBCOMP, a.ID)
	}
}
