package route

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync/atomic"
)

const (
	generationSlots = 4096
	recentChanges   = 128 // looking at more would take as long as matching anew
)

// generations tells whether a change could touch a name's match, in three steps
// that all take no lock. If nothing has changed, nothing is looked at. Else the
// shapes of the filters that have changed since are compared with the name's,
// in a nanosecond or two each: that is what happens while some subscribe to
// this and others publish that. If there were too many changes, or one of them
// looks as if it matched, counters decide.
//
// A change to an exact filter counts under the filter; to one with wildcards
// under what stands before the first wildcard, two levels of it at most; to
// one that begins with a wildcard for all. A name adds up the counters that
// concern it: counters only grow, so the sum changes when one of them does.
// Names that share a slot by chance are matched again once too often.
type generations struct {
	seed   maphash.Seed
	count  atomic.Uint64 // changes; the last to be written
	recent [recentChanges]change
	all    atomic.Uint64
	slot   [generationSlots]atomic.Uint64
}

// change is the shape of the filter that one of the last changes was to.
type change struct {
	number     atomic.Uint64 // of the change
	bits, mask atomic.Uint64
}

// Mark says as of which change what was found for a name is valid.
type Mark struct {
	count uint64 // changes that were looked at
	sum   uint64 // of the counters, at the time of the match
	shape uint64 // of the name
}

// mark is the present.
func (g *generations) mark(name []byte) Mark {
	bits, _ := shape(name)
	return Mark{count: g.count.Load(), sum: g.name(name), shape: bits}
}

// holds reports whether no change since could touch what matches name.
func (g *generations) holds(m *Mark, name []byte) bool {
	count := g.count.Load()
	if count == m.count {
		return true
	}
	if g.passed(m, count) || g.name(name) == m.sum {
		m.count = count
		return true
	}
	return false
}

// passed reports whether the changes up to count are known, and none of them is
// to a filter that looks as if it matched.
func (g *generations) passed(m *Mark, count uint64) bool {
	if count-m.count > recentChanges {
		return false
	}
	for n := m.count + 1; n <= count; n++ {
		c := &g.recent[n%recentChanges]
		bits, mask := c.bits.Load(), c.mask.Load()
		if (bits^m.shape)&mask == 0 || c.number.Load() != n { // written over meanwhile
			return false
		}
	}
	return true
}

// changed counts a change to a filter. One at a time may.
func (g *generations) changed(path string) {
	if prefix := stem(path); prefix == "" {
		g.all.Add(1)
	} else {
		g.slot[maphash.String(g.seed, prefix)%generationSlots].Add(1)
	}
	n := g.count.Load() + 1
	bits, mask := shape(path)
	c := &g.recent[n%recentChanges]
	c.number.Store(0)
	c.bits.Store(bits)
	c.mask.Store(mask)
	c.number.Store(n)
	g.count.Store(n)
}

// shape is a byte for the number of levels and one for each of the first seven,
// none of them 0 if there is such a level. mask covers those that a name has to
// have the same in order to match, if path is a filter.
func shape[T ~string | ~[]byte](path T) (bits, mask uint64) {
	levels, hash, wild, open := uint64(0), uint32(1), false, false
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '/' {
			hash = hash*0x01000193 ^ uint32(path[i])
			wild = wild || path[i] == '+' || path[i] == '#'
			open = path[i] == '#'
			continue
		}
		if levels++; levels < 8 {
			bits |= (uint64(hash*0x9E3779B1>>16)%255 + 1) << (8 * levels)
			if !wild {
				mask |= 0xFF << (8 * levels)
			}
		}
		hash, wild = 1, false
	}
	if !open { // else any number of levels will do
		mask |= 0xFF
	}
	return bits | levels&0xFF, mask
}

func (g *generations) of(prefix []byte) uint64 {
	return g.slot[maphash.Bytes(g.seed, prefix)%generationSlots].Load()
}

// stem is the part of a filter that its changes count under: all of an exact
// filter, else the levels before the first wildcard, at most two.
func stem(path string) string {
	wild := strings.IndexAny(path, "+#")
	switch wild {
	case -1:
		return path
	case 0:
		return ""
	}
	before := path[:wild-1] // without the slash
	first := strings.IndexByte(before, '/')
	if first < 0 {
		return before
	}
	if second := strings.IndexByte(before[first+1:], '/'); second >= 0 {
		return before[:first+1+second]
	}
	return before
}

// name adds up what concerns a name.
func (g *generations) name(name []byte) uint64 {
	sum := g.of(name)
	if len(name) == 0 || name[0] != '$' { // hidden from leading wildcards
		sum += g.all.Load()
	}
	first := bytes.IndexByte(name, '/')
	if first < 0 {
		return sum
	}
	sum += g.of(name[:first])
	second := bytes.IndexByte(name[first+1:], '/')
	if second < 0 {
		return sum
	}
	return sum + g.of(name[:first+1+second])
}
