package route

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync/atomic"
)

const generationSlots = 4096

// generations counts the changes that could touch a name's match. A change to
// an exact filter counts under the filter; to one with wildcards under what
// stands before the first wildcard, two levels of it at most; to one that
// begins with a wildcard for all. A name adds up the counters that concern
// it: counters only grow, so the sum changes when one of them does. Names
// that share a slot by chance are matched again once too often.
type generations struct {
	seed maphash.Seed
	all  atomic.Uint64
	slot [generationSlots]atomic.Uint64
}

func (g *generations) of(prefix []byte) uint64 {
	return g.slot[maphash.Bytes(g.seed, prefix)%generationSlots].Load()
}

// changed counts a change to a filter.
func (g *generations) changed(path string) {
	prefix := stem(path)
	if prefix == "" {
		g.all.Add(1)
		return
	}
	g.slot[maphash.String(g.seed, prefix)%generationSlots].Add(1)
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
