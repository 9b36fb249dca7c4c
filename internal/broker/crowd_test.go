package broker

import (
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// What is for one client does not wait until a message for many has been written,
// wherever it comes.
func TestACrowdHoldsNobodyUp(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	var many []*link
	for i := range 2*crowdSlice + 10 {
		l, _ := join(b, fmt.Sprint("many-", i), "all")
		many = append(many, l)
	}
	one, _ := join(b, "one", "one")
	pub, c := join(b, "pub")
	tick := b.NewTick()
	publish := func(topic string) {
		tick.Begin()
		if err := b.Publish(tick, c, pub, &packet.Publish{Topic: []byte(topic)}); err != nil {
			t.Fatal(err)
		}
	}
	got := func() (n int) {
		for _, l := range many {
			n += len(l.frames())
		}
		return n
	}

	publish("all")
	publish("one")
	if !tick.EndSome(true) || got() != 0 || len(one.frames()) != 1 {
		t.Error("held: it is not the message for one alone that was written")
	}
	publish("one")
	if !tick.EndSome(false) || got() != crowdSlice || len(one.frames()) != 1 {
		t.Error("a tick's end did not write to a slice of the many, and to the one")
	}
	publish("all") // some wait for the first one still
	tick.End()
	if n := got(); n != 2*len(many)-crowdSlice {
		t.Errorf("%d messages came behind the slice, want %d", n, 2*len(many)-crowdSlice)
	}
	if tick.EndSome(false) {
		t.Error("something is left behind the end")
	}
}

func TestCrowdStaysSmall(t *testing.T) {
	var q crowd
	clients := [3]*Client{{}, {}, {}}
	for i := range 1000 {
		q.put(clients[i%3])
		if i > 0 && q.take() != clients[(i-1)%3] {
			t.Fatalf("%d: not the one that waited longest", i)
		}
	}
	if q.len() != 1 || cap(q.list) > 8 {
		t.Errorf("%d wait, in room for %d", q.len(), cap(q.list))
	}
}
