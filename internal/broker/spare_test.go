package broker

import (
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// Large messages for many take much memory in each tick. It is used again while
// there is work, and given back when there is none.
func TestBuffersOfLargeMessagesAreUsedAgain(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	for i := range 100 {
		c, link := s.connect(fmt.Sprint("sub", i))
		s.subscribe(t, c, link, "large")
	}
	p := packet.Publish{Topic: []byte("large"), Payload: make([]byte, 8<<10)}
	publish := func() {
		s.t.Begin()
		for range 10 {
			if err := s.b.Publish(s.t, s.pub, s.link, &p); err != nil {
				t.Fatal(err)
			}
		}
		s.t.End()
	}
	for range 10 { // until all buffers have grown
		publish()
	}
	if n := testing.AllocsPerRun(10, publish); n != 0 {
		t.Errorf("%v allocations in a tick", n)
	}
	if s.t.spared < 100*10*8<<10 {
		t.Errorf("%d bytes are kept: the test has tested something else", s.t.spared)
	}
	if s.t.Calm(); s.t.spared > calmSpared {
		t.Errorf("%d bytes are kept while nothing happens", s.t.spared)
	}
}

// What waits for a client that does not read is counted by the memory it is in. A
// large buffer that is used again, with a small message in it, would take the place
// of many.
func TestALittleForWhoDoesNotReadWaitsInASmallBuffer(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	link := newLink("sub", packet.V5)
	s.t.Begin()
	s.b.Admit(0)
	sub, _ := s.b.Connect(s.t, link, &Connect{Info: link.info, Terms: session.Terms{Version: packet.V5}})
	if err := s.b.Subscribe(s.t, sub, link, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "a"}}}); err != nil {
		t.Fatal(err)
	}
	s.t.End()
	publish := func(size int) (pending int64) {
		s.t.Begin()
		if err := s.b.Publish(s.t, s.pub, s.link, &packet.Publish{Topic: []byte("a"), Payload: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
		s.t.End()
		pending, _ = s.b.Held()
		return pending
	}
	publish(32 << 10) // the buffer of that comes back
	link.full = true
	before := publish(4 << 10) // the connection takes no more
	if n := publish(4<<10) - before; before == 0 || n < 4<<10 || n > 8<<10 {
		t.Errorf("4 KiB more are counted as %d bytes, after %d", n, before)
	}
}
