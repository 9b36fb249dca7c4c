package load

import (
	"slices"
	"sort"
)

// verdict is what one arrival means for its flow.
type verdict int

const (
	inOrder verdict = iota
	early           // some before it are missing: lost, unless they come later
	late            // one of the missing, behind its successors
	again           // seen before
)

// flow follows the sequence numbers of one publisher at one subscriber.
type flow struct {
	next  uint64
	holes []hole // skipped so far, in order; empty as long as all is well
}

// hole is the half-open range of missing numbers [from, to); it is not empty.
type hole struct{ from, to uint64 }

// take notes the arrival of seq.
func (f *flow) take(seq uint64) verdict {
	if seq == f.next {
		f.next++
		return inOrder
	}
	if seq > f.next {
		f.holes = append(f.holes, hole{f.next, seq})
		f.next = seq + 1
		return early
	}
	if f.fill(seq) {
		return late
	}
	return again
}

// fill takes seq out of the hole it belongs to; false if it is in none.
func (f *flow) fill(seq uint64) bool {
	i := sort.Search(len(f.holes), func(i int) bool { return seq < f.holes[i].to })
	if i == len(f.holes) || seq < f.holes[i].from {
		return false
	}
	h := &f.holes[i]
	switch {
	case h.from == seq && h.to == seq+1:
		f.holes = slices.Delete(f.holes, i, i+1)
	case h.from == seq:
		h.from++
	case h.to == seq+1:
		h.to--
	default:
		tail := hole{seq + 1, h.to}
		h.to = seq
		f.holes = slices.Insert(f.holes, i+1, tail)
	}
	return true
}

// missing is how many of the first sent numbers never came.
func (f *flow) missing(sent uint64) uint64 {
	n := f.skipped()
	if sent > f.next {
		n += sent - f.next
	}
	return n
}

// skipped is how many are missing before the last that came.
func (f *flow) skipped() uint64 {
	var n uint64
	for _, h := range f.holes {
		n += h.to - h.from
	}
	return n
}
