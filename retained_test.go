package fantail_test

import (
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestRetainedMessageIsSetReplacedAndCleared(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		pub := s.device(t, "pub", nil)
		live := s.device(t, "live", nil).to("k/#", 1)
		pub.keep("k/a", "one")
		pub.keep("k/a", "two")
		for _, want := range []string{"one", "two"} {
			if p := live.take(); p.Retain || string(p.Payload) != want { // [MQTT-3.3.1-9]
				t.Errorf("live: %q with RETAIN %v, want %q without", p.Payload, p.Retain, want)
			}
		}
		sub := s.device(t, "sub", nil).to("k/#", 0)
		if p := sub.message(); !p.Retain || string(p.Payload) != "two" || p.QoS != 0 { // [MQTT-3.3.1-8]
			t.Errorf("retained: %q with RETAIN %v and QoS %d", p.Payload, p.Retain, p.QoS)
		}
		if n := s.figure(t, "retained_messages"); n != 1 {
			t.Errorf("%v messages are retained, want 1", n)
		}
		pub.keep("k/a", "") // [MQTT-3.3.1-6]
		if p := sub.message(); p.Retain || len(p.Payload) > 0 {
			t.Errorf("clearing arrived as %q with RETAIN %v", p.Payload, p.Retain)
		}
		s.device(t, "late", nil).to("k/#", 1).quiet()
		if n := s.figure(t, "retained_messages"); n != 0 {
			t.Errorf("%v messages are retained, want none", n)
		}
		if n := s.figure(t, "retained_bytes"); n != 0 {
			t.Errorf("%v bytes are retained, want none", n)
		}
	})
}

func TestRetainAsPublishedKeepsTheFlag(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil)
		sub.subscribe(packet.Subscription{Filter: "k", QoS: 1, RetainAsPublished: true})
		s.device(t, "pub", nil).keep("k", "v")
		if p := sub.take(); !p.Retain { // [MQTT-3.3.1-13]
			t.Error("RETAIN was not kept")
		}
	})
}

func TestRetainHandling(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.device(t, "pub", nil).keep("k", "v")
		sub := s.device(t, "sub", nil)
		for i, c := range []struct {
			handling byte
			comes    bool
		}{{2, false}, {1, false}, {0, true}, {0, true}, {1, false}, {2, false}} { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
			sub.subscribe(packet.Subscription{Filter: "k", RetainHandling: c.handling})
			if c.comes {
				sub.hears("v")
			}
			sub.quiet()
			if t.Failed() {
				t.Fatalf("step %d", i)
			}
		}
		sub.unsubscribe("k")
		sub.subscribe(packet.Subscription{Filter: "k", RetainHandling: 1}) // new again
		sub.hears("v")
	})
}

func TestRetainedMessageExpiresWithoutASubscriber(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		pub := s.device(t, "pub", nil)
		pub.publish(packet.Publish{Topic: []byte("k/short"), Payload: []byte("x"), QoS: 1, Retain: true, Expiry: 1, HasExpiry: true})
		pub.publish(packet.Publish{Topic: []byte("k/long"), Payload: []byte("y"), QoS: 1, Retain: true, Expiry: 1000, HasExpiry: true})
		s.reaches(t, `messages_dropped_total{reason="retained_expired"}`, 1)
		if n := s.figure(t, "retained_messages"); n != 1 {
			t.Errorf("%v messages are retained, want 1", n)
		}
		p := s.device(t, "sub", nil).to("k/#", 0).message()
		if string(p.Payload) != "y" || !p.HasExpiry || p.Expiry > 1000 || p.Expiry < 990 { // [MQTT-3.3.2-6]
			t.Errorf("%q came with an expiry of %d (%v)", p.Payload, p.Expiry, p.HasExpiry)
		}
	})
}

// walkable is how many messages the walks below have to bring.
const walkable = 5000

func TestAWalkReachesASlowReader(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.fill(t, walkable, "v")
		for _, qos := range []byte{0, 1, 2} {
			sub := s.device(t, fmt.Sprint("sub", qos), func(c *packet.Connect) { c.ReceiveMaximum = 3 })
			sub.to("many/+/#", qos)
			sub.walk(qos, 3, walkable)
			sub.quiet()
		}
		for _, reason := range []string{"slow_client", "queue_full"} {
			if n := s.figure(t, `messages_dropped_total{reason="`+reason+`"}`); n != 0 {
				t.Errorf("%v messages were dropped as %s", n, reason)
			}
		}
	})
}

// walk takes in messages on this many topics. It acknowledges as late as the
// receive maximum lets it.
func (w *wire) walk(qos byte, receiveMaximum, topics int) {
	w.t.Helper()
	seen, open := map[string]bool{}, map[uint16]bool{}
	var unanswered []uint16
	for len(seen) < topics || len(open) > 0 {
		f := w.next()
		if f.Type == packet.PUBREL {
			a, err := packet.ParseAck(packet.PUBREL, f.Body, w.v)
			if err != nil {
				w.t.Fatal(err)
			}
			delete(open, a.ID)
			w.answer(packet.PUBCOMP, a.ID)
			continue
		}
		p := w.parse(f)
		seen[string(p.Topic)] = true
		if qos == 0 {
			continue
		}
		open[p.ID] = true
		if unanswered = append(unanswered, p.ID); len(open) > receiveMaximum { // [MQTT-3.3.4-9]
			w.t.Fatalf("%d messages are open, the receive maximum is %d", len(open), receiveMaximum)
		}
		if len(unanswered) < receiveMaximum && len(seen) < topics {
			continue
		}
		for _, id := range unanswered {
			if qos == 1 {
				delete(open, id)
				w.answer(packet.PUBACK, id)
			} else {
				w.answer(packet.PUBREC, id)
			}
		}
		unanswered = unanswered[:0]
	}
}

// fill retains messages on topics many/<i>/x.
func (s *server) fill(t *testing.T, n int, payload string) {
	t.Helper()
	for i := range n {
		err := s.Publish(t.Context(), fantail.Message{Topic: fmt.Sprintf("many/%d/x", i), Payload: []byte(payload), QoS: 2, Retain: true})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAWalkOfLargeMessagesIsComplete(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{PendingBytes: 256 << 10, QueueBytes: 256 << 10}}, nil)
		large := make([]byte, 20<<10)
		s.fill(t, 100, string(large))
		for _, qos := range []byte{0, 1} {
			sub := s.device(t, fmt.Sprint("sub", qos), nil).to("many/#", qos)
			for range 100 {
				if p := sub.take(); len(p.Payload) != len(large) {
					t.Fatalf("%d bytes came", len(p.Payload))
				}
			}
			sub.quiet()
		}
	})
}

func TestUnsubscribeEndsAWalk(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.fill(t, walkable, "v")
		sub := s.device(t, "sub", func(c *packet.Connect) { c.ReceiveMaximum = 1 }).to("many/#", 1)
		first := sub.message()
		if code := sub.unsubscribe("many/#")[0]; code != packet.Success {
			t.Fatalf("UNSUBACK: %v", code)
		}
		// What was queued by then may still come; the rest of the walk may not
		// [MQTT-3.10.4-2].
		came := 1
		for p, more := first, true; more; came++ {
			sub.answer(packet.PUBACK, p.ID)
			sub.send(packet.AppendPingreq(nil))
			f := sub.next()
			if more = f.Type == packet.PUBLISH; more {
				p = sub.parse(f)
				sub.expect(packet.PINGRESP)
			}
			if came > 1000 {
				t.Fatal("the walk goes on")
			}
		}
	})
}

func TestSubscribingAgainSendsAllRetainedAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.fill(t, 1000, "v")
		sub := s.device(t, "sub", nil)
		for id := range uint16(3) { // the walks meet each other
			sub.send(packet.AppendSubscribe(nil, &packet.Subscribe{ID: id + 1, Filters: []packet.Subscription{{Filter: "many/#"}}}, sub.v))
		}
		acks, since := 0, map[string]bool{}
		for acks < 3 || len(since) < 1000 {
			f := sub.next()
			if f.Type == packet.SUBACK {
				acks++
				clear(since) // [MQTT-3.3.1-9] is about each SUBSCRIBE
				continue
			}
			p := sub.parse(f)
			since[string(p.Topic)] = true
		}
	})
}
