package route

import (
	"slices"
	"sort"
	"strings"
)

// runMost is the length at which a run splits in two: short enough that an
// insertion moves little, long enough that a million names are a few thousand
// runs.
const runMost = 512

// ordered keeps the numbers of names in the order of the names: a list of
// runs, each a short sorted list. It asks nameOf for the text.
type ordered struct {
	runs []run
}

type run struct {
	low string // not after the names of the run; a copy, to hold on to no message
	ids []uint32
}

// spot is a place in an ordered list; it is past the end if its run is.
type spot struct{ run, i int }

// seek is the place of the first name that is not before key.
func seek[K ~string | ~[]byte](o *ordered, key K, nameOf func(uint32) string) spot {
	r := sort.Search(len(o.runs), func(i int) bool { return before(key, o.runs[i].low) })
	if r == 0 {
		return spot{}
	}
	return o.settle(spot{r - 1, seekIn(o.runs[r-1].ids, key, nameOf)})
}

func seekIn[K ~string | ~[]byte](ids []uint32, key K, nameOf func(uint32) string) int {
	return sort.Search(len(ids), func(i int) bool { return !before(nameOf(ids[i]), key) })
}

// settle moves a place behind the last name of a run to the next run.
func (o *ordered) settle(s spot) spot {
	if s.run < len(o.runs) && s.i >= len(o.runs[s.run].ids) {
		return spot{s.run + 1, 0}
	}
	return s
}

// forward is seek for a key that comes after the name at s: most jumps of a
// walk are short.
func forward[K ~string | ~[]byte](o *ordered, s spot, key K, nameOf func(uint32) string) spot {
	ids := o.runs[s.run].ids
	if s.i+1 < len(ids) && !before(nameOf(ids[s.i+1]), key) {
		return spot{s.run, s.i + 1}
	}
	if before(nameOf(ids[len(ids)-1]), key) {
		return seek(o, key, nameOf)
	}
	return spot{s.run, s.i + 1 + seekIn(ids[s.i+1:], key, nameOf)}
}

// at is the number at a place, 0 past the end.
func (o *ordered) at(s spot) uint32 {
	if s.run >= len(o.runs) {
		return 0
	}
	return o.runs[s.run].ids[s.i]
}

// insert adds a name that is not in the list.
func (o *ordered) insert(id uint32, nameOf func(uint32) string) {
	name := nameOf(id)
	if len(o.runs) == 0 {
		o.runs = append(o.runs, run{})
	}
	r := max(0, sort.Search(len(o.runs), func(i int) bool { return before(name, o.runs[i].low) })-1)
	one := &o.runs[r]
	one.ids = slices.Insert(one.ids, seekIn(one.ids, name, nameOf), id)
	if before(name, one.low) || len(one.ids) == 1 {
		one.low = strings.Clone(name)
	}
	if len(one.ids) < runMost {
		return
	}
	half := len(one.ids) / 2
	upper := append(make([]uint32, 0, runMost), one.ids[half:]...)
	one.ids = append(make([]uint32, 0, runMost), one.ids[:half]...)
	o.runs = slices.Insert(o.runs, r+1, run{low: strings.Clone(nameOf(upper[0])), ids: upper})
}

// remove takes a name out of the list, before its number is given back.
func (o *ordered) remove(id uint32, nameOf func(uint32) string) {
	s := seek(o, nameOf(id), nameOf)
	one := &o.runs[s.run]
	one.ids = slices.Delete(one.ids, s.i, s.i+1)
	if len(one.ids) == 0 {
		o.runs = slices.Delete(o.runs, s.run, s.run+1)
		return
	}
	if len(one.ids) < runMost/8 {
		o.merge(s.run)
	}
}

// merge joins a run that has become short to a neighbour with room.
func (o *ordered) merge(r int) {
	for _, left := range []int{r - 1, r} {
		if left < 0 || left+1 >= len(o.runs) {
			continue
		}
		a, b := &o.runs[left], &o.runs[left+1]
		if len(a.ids)+len(b.ids) > runMost*3/4 {
			continue
		}
		a.ids = append(a.ids, b.ids...)
		o.runs = slices.Delete(o.runs, left+1, left+2)
		return
	}
}
