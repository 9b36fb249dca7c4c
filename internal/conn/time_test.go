package conn

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// timed runs a test of a world in which time moves only when everybody waits.
func timed(t *testing.T, setup func(*Options), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(setup)
		defer w.close()
		f(t, w)
	})
}

// about says whether an event came at its time, or at most a second late.
func about(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+time.Second {
		t.Errorf("%s after %v, want %v", what, got, want)
	}
}

func TestKeepAliveIsOneAndAHalf(t *testing.T) { // [MQTT-3.1.2-22]
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for _, keepAlive := range []uint16{1, 7, 60, 65_535} {
			timed(t, nil, func(t *testing.T, w *world) {
				p := w.dial(t)
				p.connect("a", func(c *packet.Connect) { c.KeepAlive, c.Version, c.CleanStart = keepAlive, v, true })
				patience := time.Duration(keepAlive) * 1500 * time.Millisecond
				<-time.After(patience - 200*time.Millisecond)
				p.send(packet.AppendPingreq(nil))
				last := p.expect(packet.PINGRESP).at
				if v == packet.V5 {
					g := p.expect(packet.DISCONNECT)
					if d, err := packet.ParseDisconnect(g.Body, v, packet.FromServer); err != nil || d.Code != packet.KeepAliveTimeout {
						t.Errorf("DISCONNECT: %v, %v", d.Code, err)
					}
				}
				about(t, "closed", p.ended().Sub(last), patience)
				if n := w.broker.Stats().Closed.Counts()["keep_alive_timeout"]; n != 1 {
					t.Errorf("%d closed for their keep-alive, want 1", n)
				}
			})
		}
	}
}

func TestKeepAliveOfZeroIsNone(t *testing.T) {
	timed(t, nil, func(t *testing.T, w *world) {
		p := w.dial(t)
		p.connect("a", nil)
		<-time.After(1000 * time.Hour)
		p.send(packet.AppendPingreq(nil))
		p.expect(packet.PINGRESP)
		p.conn.Close()
	})
}

func TestKeepAliveOfTheServer(t *testing.T) { // [MQTT-3.2.2-21]
	timed(t, func(o *Options) { o.Limits.KeepAliveMax = 10 }, func(t *testing.T, w *world) {
		p := w.dial(t)
		if a := p.connect("a", nil); a.ServerKeepAlive != 10 {
			t.Errorf("server keep-alive %d, want 10", a.ServerKeepAlive)
		}
		start := time.Now()
		p.expect(packet.DISCONNECT)
		about(t, "closed", time.Since(start), 15*time.Second)
		p.ended()
	})
}

// never is an Authenticator that does not come to a decision.
type never struct{}

func (never) Authenticate(ctx context.Context, _ *Request) (*access.Grant, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// endless is an authentication that never comes to its end.
type endless struct{}

func (endless) Step([]byte) ([]byte, bool, error) { return []byte("more"), false, nil }

func (endless) UserName() string { return "" }

func (endless) Grant() *access.Grant { return nil }

func TestConnectTimeout(t *testing.T) {
	connect := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "a"})
	prove := packet.Connect{Version: packet.V5, ClientID: "a"}
	prove.AuthMethod, prove.HasAuthMethod = "endless", true
	more := packet.AppendAuth(nil, &packet.Auth{Code: packet.ContinueAuthentication, Method: "endless", HasMethod: true}, 0)
	cases := map[string]struct {
		send    [][]byte // one a second
		decider Authenticator
	}{
		"nothing comes":                         {},
		"half a CONNECT":                        {send: [][]byte{connect[:5]}},
		"a CONNECT that comes byte by byte":     {send: [][]byte{connect[:1], connect[1:2], connect[2:3], connect[3:4]}},
		"nobody decides":                        {send: [][]byte{connect}, decider: never{}},
		"the client does not prove itself":      {send: [][]byte{packet.AppendConnect(nil, &prove)}},
		"the client goes on and on with proofs": {send: [][]byte{packet.AppendConnect(nil, &prove), more, more, more}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			setup := func(o *Options) {
				o.Exchange = func(string, net.Addr) (Exchange, error) { return endless{}, nil }
				if c.decider != nil {
					o.Quick, o.Authenticator = nil, c.decider
				}
			}
			timed(t, setup, func(t *testing.T, w *world) {
				start := time.Now()
				p := w.dial(t)
				for _, b := range c.send {
					<-time.After(time.Second)
					p.send(b)
				}
				for g := range p.packets {
					if g.Type != packet.AUTH {
						t.Errorf("%v came", g.Type)
					}
				}
				about(t, "closed", time.Since(start), 10*time.Second)
				if n := w.broker.Stats().Refused.Counts()["connect_timeout"]; n != 1 {
					t.Errorf("%d timed out, want 1", n)
				}
			})
		})
	}
}

// will asks for a will after delay and a session of expiry, both in seconds.
func will(delay, expiry uint32) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.Will = &packet.Will{Topic: "will", Payload: []byte("gone"), QoS: 1, Delay: delay}
		c.SessionExpiry, c.HasSessionExpiry = expiry, true
	}
}

// witness is a client that subscribes to the wills.
func (w *world) witness(t *testing.T) *peer {
	t.Helper()
	p := w.dial(t)
	p.connect("witness", nil)
	p.send(packet.AppendSubscribe(nil, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "will"}}}, packet.V5))
	p.expect(packet.SUBACK)
	return p
}

func TestWillDelayAndSessionExpiry(t *testing.T) {
	cases := map[string]struct {
		delay, expiry uint32
		comes         time.Duration // the will
		ends          time.Duration // the session; 0: never
	}{
		"a delay shorter than the session": {delay: 30, expiry: 100, comes: 30 * time.Second, ends: 100 * time.Second},
		"a delay longer than the session":  {delay: 1000, expiry: 7, comes: 7 * time.Second, ends: 7 * time.Second}, // [MQTT-3.1.3-9]
		"a delay as long as the session":   {delay: 50, expiry: 50, comes: 50 * time.Second, ends: 50 * time.Second},
		"a session without an end":         {delay: 90_000, expiry: 0xFFFF_FFFF, comes: 90_000 * time.Second},
		"a session of a month":             {delay: 1, expiry: 2_592_000, comes: time.Second, ends: 2_592_000 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			timed(t, nil, func(t *testing.T, w *world) {
				witness := w.witness(t)
				p := w.dial(t)
				p.connect("a", will(c.delay, c.expiry))
				start := time.Now()
				p.conn.Close()
				about(t, "the will came", witness.expect(packet.PUBLISH).at.Sub(start), c.comes)
				if c.ends > 0 {
					<-time.After(c.ends - time.Since(start) - time.Second)
					if c.ends > c.comes && w.broker.Stats().Sessions.Load() != 2 {
						t.Error("the session ended early")
					}
					<-time.After(2 * time.Second)
				} else {
					<-time.After(10_000 * time.Hour)
				}
				left := int64(1)
				if c.ends == 0 {
					left = 2
				}
				if n := w.broker.Stats().Sessions.Load(); n != left {
					t.Errorf("%d sessions are left, want %d", n, left)
				}
				witness.conn.Close()
			})
		})
	}
}

func TestReconnectingStopsTheClocks(t *testing.T) {
	timed(t, nil, func(t *testing.T, w *world) {
		witness := w.witness(t)
		for range 5 {
			p := w.dial(t)
			p.connect("a", will(30, 60))
			p.conn.Close()
			<-time.After(29 * time.Second)
		}
		p := w.dial(t)
		a := p.connect("a", will(30, 60))
		if !a.SessionPresent {
			t.Error("the session is not present")
		}
		<-time.After(1000 * time.Second)
		if len(witness.packets) > 0 {
			t.Error("the will came, although the client always came back in time")
		}
		p.conn.Close()
		witness.expect(packet.PUBLISH)
		witness.conn.Close()
	})
}
