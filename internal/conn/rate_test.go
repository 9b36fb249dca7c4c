package conn

import (
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// publishes are n messages; those of QoS 1 have identifiers from 1 on.
func publishes(n int, qos byte, v packet.Version) (b []byte) {
	for i := range n {
		b = packet.AppendPublish(b, &packet.Publish{Topic: []byte("a"), Payload: make([]byte, 50), QoS: qos, ID: uint16(i + 1)}, v)
	}
	return b
}

func withRate(r limit.Rate) func(*Options) {
	return func(o *Options) {
		o.Limits.Messages = r
		o.ReceiveMaximum = 1000
		o.Broker.SetLimits(broker.Limits{
			Limits: session.Limits{
				ReceiveMaximum: 1000, TopicAliasMaximum: 10, InFlight: 10, QueueMessages: 100, QueueBytes: 1 << 20, PendingBytes: 64 << 10,
			},
			TopicLevels: 10, Subscriptions: 100, WildcardSubscriptions: 10, MatchNodes: 1000, QueuedBytes: 1 << 20,
		})
	}
}

// acks takes what comes until a while has passed without anything.
func (p *peer) acks(rest time.Duration) (codes map[packet.Code]int, away packet.Code, ended bool) {
	codes = map[packet.Code]int{}
	for {
		select {
		case g, ok := <-p.packets:
			switch {
			case !ok:
				return codes, away, true
			case g.Type == packet.PUBACK:
				a, _ := packet.ParseAck(g.Type, g.Body, packet.V5)
				codes[a.Code]++
			case g.Type == packet.DISCONNECT:
				d, _ := packet.ParseDisconnect(g.Body, packet.V5, packet.FromServer)
				away = d.Code
			}
		case <-time.After(rest):
			return codes, away, false
		}
	}
}

// Whoever has no more than a burst on its way is slowed, for as long as it likes.
func TestASteadyClientIsOnlySlowed(t *testing.T) {
	timed(t, withRate(10), func(t *testing.T, w *world) {
		p := w.dial(t)
		if a := p.connect("a", nil); a.ReceiveMaximum != 10 {
			t.Errorf("receive maximum %d, want a burst", a.ReceiveMaximum)
		}
		start := time.Now()
		const n = 600
		p.send(publishes(10, 1, packet.V5))
		for i := range n {
			a, err := packet.ParseAck(packet.PUBACK, p.expect(packet.PUBACK).Body, packet.V5)
			if err != nil || a.Code.Failed() {
				t.Fatalf("message %d: %v, %v", i, a.Code, err)
			}
			if i < n-10 { // at once another in its place
				p.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), QoS: 1, ID: a.ID}, packet.V5))
			}
		}
		about(t, "600 messages at 10 a second", time.Since(start), 58*time.Second)
		p.conn.Close()
	})
}

// First a client is slowed, then it hears 0x97, then it is disconnected.
func TestAClientThatKeepsMoreThanABurstOnItsWay(t *testing.T) {
	timed(t, withRate(10), func(t *testing.T, w *world) {
		p := w.dial(t)
		p.connect("a", func(c *packet.Connect) { c.KeepAlive = 3 }) // which does not end it: it is we who do not read
		start := time.Now()
		go func() { // ends with the connection
			for {
				if _, err := p.conn.Write(publishes(200, 1, packet.V5)); err != nil {
					return
				}
			}
		}()
		var refused time.Duration
		good := 0
		for {
			g, ok := <-p.packets
			if !ok {
				t.Fatal("the end came without a DISCONNECT")
			}
			if g.Type == packet.DISCONNECT {
				d, _ := packet.ParseDisconnect(g.Body, packet.V5, packet.FromServer)
				if d.Code != packet.MessageRateTooHigh {
					t.Errorf("DISCONNECT: %v", d.Code)
				}
				break
			}
			a, _ := packet.ParseAck(g.Type, g.Body, packet.V5)
			if first := a.Code == packet.QuotaExceeded && refused == 0; first || good == 0 {
				_, why := w.server.Rates(&broker.Info{ClientID: "a"}, 1, false) // as it is explained
				if first != (why != nil) || first && (AdviceOf(why).Reason != "rate_in" || AdviceOf(why).Refusal.Code != a.Code) {
					t.Errorf("%v is explained by %v", a.Code, why)
				}
			}
			if a.Code == packet.QuotaExceeded && refused == 0 {
				refused = time.Since(start)
			}
			if !a.Code.Failed() {
				good++
			}
		}
		about(t, "the first refusal", refused, leniency*time.Millisecond)
		about(t, "the end", time.Since(start), 2*leniency*time.Millisecond)
		if good < 80 || good > 130 {
			t.Errorf("%d messages were taken in, want about 100", good)
		}
		p.conn.Close()
		if n := w.broker.Stats().Closed.Counts()["message_rate_too_high"]; n != 1 {
			t.Errorf("%d closed for their rate", n)
		}
	})
}

// One of 3.1.1 cannot hear 0x97: it is slowed, and then disconnected.
func TestAFloodOf311(t *testing.T) {
	timed(t, withRate(10), func(t *testing.T, w *world) {
		p := w.dial(t)
		p.connect("a", func(c *packet.Connect) { c.Version, c.CleanStart = packet.V311, true })
		start := time.Now()
		go func() { // ends with the connection
			for {
				if _, err := p.conn.Write(publishes(200, 0, packet.V311)); err != nil {
					return
				}
			}
		}()
		about(t, "the end", p.ended().Sub(start), 2*leniency*time.Millisecond)
		if n := w.broker.Stats().PublishReceived[0].Load(); n < 80 || n > 130 {
			t.Errorf("%d messages were taken in, want about 100", n)
		}
	})
}

// A burst after a rest is no offence.
func TestABurstNowAndThen(t *testing.T) {
	timed(t, withRate(10), func(t *testing.T, w *world) {
		p := w.dial(t)
		p.connect("a", nil)
		for range 20 {
			p.send(publishes(25, 1, packet.V5))
			codes, _, ended := p.acks(10 * time.Second)
			if codes[packet.QuotaExceeded] > 0 || codes[packet.NoMatchingSubscribers] != 25 || ended {
				t.Fatalf("%v", codes)
			}
		}
		p.conn.Close()
	})
}
