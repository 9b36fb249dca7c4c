package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// join connects a client of 5.0 that subscribes to filters with QoS 1.
func join(b *Broker, id string, filters ...string) (*link, *Client) {
	l := newLink(id, packet.V5)
	t := b.NewTick()
	t.Begin()
	b.Admit(0)
	c, _ := b.Connect(t, l, &Connect{Info: l.info, Terms: session.Terms{Version: packet.V5}})
	for i, f := range filters {
		s := &packet.Subscribe{ID: uint16(i + 1), Filters: []packet.Subscription{{Filter: f, QoS: 1}}}
		if err := b.Subscribe(t, c, l, s); err != nil {
			panic(err)
		}
	}
	t.End()
	l.frames()
	return l, c
}

// A message that found no room behind those of its own tick leaves with them:
// nothing else may come to bring it along.
func TestWhatWasQueuedInATickLeavesWithIt(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	sub, _ := join(b, "sub", "a")
	pub, c := join(b, "pub")
	tick := b.NewTick()
	tick.Begin()
	for range 2 * testLimits().PendingBytes / 100 {
		if err := b.Publish(tick, c, pub, &packet.Publish{Topic: []byte("a"), Payload: make([]byte, 100)}); err != nil {
			t.Fatal(err)
		}
	}
	for id := range uint16(2) {
		if err := b.Publish(tick, c, pub, &packet.Publish{Topic: []byte("a"), QoS: 1, ID: id + 1, Payload: make([]byte, 100)}); err != nil {
			t.Fatal(err)
		}
	}
	tick.End()
	acknowledged := 0
	for _, f := range sub.frames() {
		if f.Flags&6 == 2 {
			acknowledged++
		}
	}
	if acknowledged != 2 {
		t.Errorf("%d of 2 messages with QoS 1 left", acknowledged)
	}
}

// What a connection still sends after it has been taken over does not touch
// the topic aliases of the next one.
func TestATakenOverConnectionSetsNoAlias(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	tick := b.NewTick()
	tick.Begin()
	defer tick.End()
	var links [2]*link
	var c *Client
	for i := range links {
		links[i] = newLink("a", packet.V5)
		b.Admit(0)
		c, _ = b.Connect(tick, links[i], &Connect{Info: links[i].info, Terms: session.Terms{Version: packet.V5, Expiry: 10}})
	}
	err := b.Publish(tick, c, links[0], &packet.Publish{Topic: []byte("x"), Alias: 1})
	if !errors.Is(err, ErrTakenOver) {
		t.Errorf("the old connection: %v", err)
	}
	err = b.Publish(tick, c, links[1], &packet.Publish{Alias: 1})
	var r *packet.Refusal
	if !errors.As(err, &r) || r.Code != packet.ProtocolError {
		t.Errorf("an alias that was never set: %v", err)
	}
}

// What a tick remembers of topics is bounded however many there are, and
// however many clients subscribe to all of them.
func TestPlansAreBounded(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	for i := range 300 {
		join(b, fmt.Sprint("sub", i), "#")
	}
	pub, c := join(b, "pub")
	tick := b.NewTick()
	most := 0
	for i := range 3000 {
		tick.Begin()
		for range 2 { // what came once only is not kept
			if err := b.Publish(tick, c, pub, &packet.Publish{Topic: fmt.Appendf(nil, "t%d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		tick.End()
		targets := 0
		if i%100 == 0 {
			for _, p := range tick.plans {
				targets += len(p.targets)
			}
		}
		most = max(most, targets)
	}
	if most > 200_000 {
		t.Errorf("a tick remembered %d targets", most)
	}
}

func TestPlansOfLongTopicsAreBounded(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	pub, c := join(b, "pub")
	tick := b.NewTick()
	for i := range 2000 {
		tick.Begin()
		topic := fmt.Appendf(nil, "%d%s", i, strings.Repeat("x", 60_000))
		for range 2 {
			if err := b.Publish(tick, c, pub, &packet.Publish{Topic: topic}); err != nil {
				t.Fatal(err)
			}
		}
		tick.End()
	}
	bytes := 0
	for name := range tick.plans {
		bytes += len(name)
	}
	if bytes > 10<<20 {
		t.Errorf("a tick remembered topics of %d bytes", bytes)
	}
}
