package broker

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/fantail-mqtt/fantail/packet"
)

// An idle session is as large as it was made to be.
func TestIdleIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Client{}); n > 176 {
		t.Errorf("a Client takes %d bytes: what only a busy one has belongs into busy", n)
	}
}

// Once there are many plans, that of a topic is not kept before it comes again.
func TestPlansOfPassingTopicsAreNotKept(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	sub, _ := join(b, "sub", "#")
	pub, c := join(b, "pub")
	tick := b.NewTick()
	publish := func(topic string) {
		t.Helper()
		tick.Begin()
		if err := b.Publish(tick, c, pub, &packet.Publish{Topic: []byte(topic)}); err != nil {
			t.Fatal(err)
		}
		tick.End()
		if got := sub.frames(); len(got) != 1 || got[0].Type != packet.PUBLISH {
			t.Fatalf("%s: the subscriber got %v", topic, got)
		}
	}
	sub.frames()
	for i := range fewPlans {
		publish(fmt.Sprint("often/", i))
	}
	publish("passing")
	if tick.plans["passing"] != nil || len(tick.plans) != fewPlans {
		t.Errorf("the plan of a topic that came once is kept, of %d", len(tick.plans))
	}
	if tick.passing.targets != nil {
		t.Error("it is remembered behind the tick")
	}
	publish("passing")
	if tick.plans["passing"] == nil {
		t.Error("the plan of a topic that came twice is not kept")
	}
}
