package load

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestFlow(t *testing.T) {
	cases := map[string]struct {
		arrive  []uint64
		want    []verdict
		sent    uint64
		missing uint64
	}{
		"all in order":                     {[]uint64{0, 1, 2}, []verdict{inOrder, inOrder, inOrder}, 3, 0},
		"the end is missing":               {[]uint64{0, 1}, []verdict{inOrder, inOrder}, 5, 3},
		"nothing came":                     {nil, nil, 4, 4},
		"one is lost":                      {[]uint64{0, 2}, []verdict{inOrder, early}, 3, 1},
		"two change places":                {[]uint64{1, 0, 2}, []verdict{early, late, inOrder}, 3, 0},
		"one comes twice":                  {[]uint64{0, 0, 1}, []verdict{inOrder, again, inOrder}, 2, 0},
		"a late one comes twice":           {[]uint64{2, 1, 1}, []verdict{early, late, again}, 3, 1},
		"a hole is filled from its middle": {[]uint64{4, 2, 1, 3, 0}, []verdict{early, late, late, late, late}, 5, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var f flow
			var got []verdict
			for _, seq := range c.arrive {
				got = append(got, f.take(seq))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("verdicts %v, want %v", got, c.want)
			}
			if n := f.missing(c.sent); n != c.missing {
				t.Errorf("missing %d, want %d", n, c.missing)
			}
		})
	}
}

// A flow must agree with remembering every number for ever.
func TestFlowAgreesWithMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const sent = 24
		arrivals := rapid.SliceOf(rapid.Uint64Range(0, sent-1)).Draw(t, "arrivals")
		var f flow
		seen := map[uint64]bool{}
		next := uint64(0)
		for _, seq := range arrivals {
			want := inOrder
			switch {
			case seen[seq]:
				want = again
			case seq > next:
				want = early
			case seq < next:
				want = late
			}
			if got := f.take(seq); got != want {
				t.Fatalf("%v: take(%d) = %d, want %d", arrivals, seq, got, want)
			}
			seen[seq] = true
			next = max(next, seq+1)
		}
		if got := f.missing(sent); got != uint64(sent-len(seen)) {
			t.Fatalf("%v: missing %d, want %d", arrivals, got, sent-len(seen))
		}
	})
}
