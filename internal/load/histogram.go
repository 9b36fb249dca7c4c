package load

import (
	"math/bits"
	"time"
)

const (
	fine    = 6 // sub-buckets per power of two, as a power: 1/64, below 1.6 %
	buckets = (40 - fine) << fine
)

// Histogram counts durations, after the idea of HDR histograms, in buckets that are 1/64 of their value wide:
// exact to 64 ns, and all above nine minutes in the last one. The zero value is
// empty and ready.
type Histogram struct {
	counts [buckets]uint64
	most   time.Duration
}

// Record adds one duration; a negative one counts as none.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucket(d)]++
	h.most = max(h.most, d)
}

// Max is the longest duration recorded, exactly; 0 if there are none.
func (h *Histogram) Max() time.Duration { return h.most }

// Add takes in all that o holds.
func (h *Histogram) Add(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.most = max(h.most, o.most)
}

// Count is the number of durations recorded.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Quantile is the duration that the share q of all recorded ones does not
// exceed, to the width of a bucket; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	want := max(1, uint64(q*float64(total)+0.5))
	var seen uint64
	for i, c := range h.counts {
		seen += c
		if seen >= want {
			return middle(i)
		}
	}
	return middle(buckets - 1)
}

func bucket(d time.Duration) int {
	if d < 0 {
		return 0
	}
	v := uint64(d)
	if v < 1<<fine {
		return int(v)
	}
	shift := bits.Len64(v) - fine - 1
	return min(shift<<fine+int(v>>shift), buckets-1)
}

// middle is the value in the middle of bucket i.
func middle(i int) time.Duration {
	if i < 2<<fine {
		return time.Duration(i)
	}
	shift := i>>fine - 1
	low := uint64(i-shift<<fine) << shift
	return time.Duration(low + 1<<shift/2)
}
