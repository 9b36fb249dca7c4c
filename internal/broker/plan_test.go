package broker

import (
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

func TestPublishDoesNotAllocate(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	one, many := topics(1), topics(100)
	more := packet.Publish{Payload: make([]byte, 16)}
	tests := map[string]struct {
		access Access
		names  [][]byte
	}{
		"one topic":                          {nil, one},
		"many topics":                        {nil, many},
		"with an access that can be learned": {&lastingRules{}, many},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s.b.UseAccess(c.access)
			n := testing.AllocsPerRun(10, func() {
				s.t.Begin()
				for _, topic := range c.names {
					more.Topic = topic
					if err := s.b.Publish(s.t, s.pub, s.link, &more); err != nil {
						t.Fatal(err)
					}
				}
				s.t.End()
			})
			if n != 0 {
				t.Errorf("%v allocations for %d messages", n, len(c.names))
			}
		})
	}
}

func TestPlansUseMemoryAgain(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	for range 2 { // the second time in memory that was used before
		for i := range maxPlans + 100 {
			s.refuses(t, s.pub, s.link, fmt.Sprintf("acme/a/%d/temp", i))
		}
	}
	if n := len(s.t.allPlans); n > maxPlans || len(s.t.plans) > n {
		t.Errorf("%d plans in memory, %d in use, want %d at most", n, len(s.t.plans), maxPlans)
	}
	sum := 0
	for _, p := range s.t.allPlans {
		sum += p.cost()
	}
	if sum != s.t.planned {
		t.Errorf("plans are said to cost %d, they do %d", s.t.planned, sum)
	}
	if got := s.b.Stats().PublishSent[0].Load(); got != 2*(maxPlans+100) {
		t.Errorf("%d messages were sent, want %d", got, 2*(maxPlans+100))
	}
}
