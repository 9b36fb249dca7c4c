package broker

import (
	"fmt"
	"testing"

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
