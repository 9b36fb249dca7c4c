package broker

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/route"
)

// A set does what a map does, also where tags fall together and at its edge.
func TestSetIsAMap(t *testing.T) {
	for _, tags := range []uint32{1, 5, 1000, 1 << 31} {
		rnd := rand.New(rand.NewPCG(1, uint64(tags)))
		var s set
		model := map[route.Handle]uint32{}
		tag := func() uint32 {
			if n := rnd.Uint32N(tags); rnd.IntN(2) == 0 {
				return n
			}
			return ^rnd.Uint32N(tags) // the last slots, from which probing goes on at the first
		}
		for i := range 20_000 {
			growing := i/2000%2 == 0
			if len(model) == 0 || growing == (rnd.IntN(4) > 0) {
				h := route.Handle(i)
				model[h] = tag()
				s.add(model[h], h)
			} else {
				for h, tag := range model {
					s.remove(tag, h)
					delete(model, h)
					break
				}
			}
			if i%97 == 0 {
				same(t, &s, model)
			}
		}
		for h, tag := range model {
			s.remove(tag, h)
			s.remove(tag, h) // it is not there any more
		}
		if s.len() != 0 || len(s.slots) > fewest {
			t.Errorf("%d are left in %d slots", s.len(), len(s.slots))
		}
	}
}

func same(t *testing.T, s *set, model map[route.Handle]uint32) {
	t.Helper()
	if s.len() != len(model) {
		t.Fatalf("%d in the set, want %d", s.len(), len(model))
	}
	n := 0
	for h := range s.all {
		if _, ok := model[h]; !ok {
			t.Fatalf("%d is in the set", h)
		}
		n++
	}
	if n != len(model) {
		t.Fatalf("%d yielded, want %d", n, len(model))
	}
	for h, tag := range model {
		if !slices.Contains(slices.Collect(s.candidates(tag)), h) {
			t.Fatalf("%d is not found", h)
		}
	}
}
