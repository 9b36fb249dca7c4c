package route

import (
	"bytes"
	"hash/maphash"
)

// groups numbers the groups of shared subscriptions. A group is a share name
// together with a filter: the same name on another filter is another group.
// Numbers are not used again, so a late redispatch to a group that has gone
// cannot reach a new one.
type groups struct {
	seed  maphash.Seed
	names texts
	table table[group]
	slot  map[Group]uint32 // entry of each group
	last  Group
}

type group struct {
	name    text // "<share name>/<filter>"; share names hold no slash
	members uint32
	id      Group
}

func newGroups(seed maphash.Seed) groups {
	return groups{seed: seed, names: newTexts(), slot: map[Group]uint32{}}
}

func (g *groups) hash(name, path string) uint32 {
	return uint32(mix(maphash.String(g.seed, name), maphash.String(g.seed, path)))
}

// find is the number of a group, 0 if it has no members.
func (g *groups) find(name, path string) Group {
	for e := g.table.first(g.hash(name, path)); e != 0; e = g.table.after(e) {
		if v := g.table.get(e); g.is(v.name, name, path) {
			return v.id
		}
	}
	return 0
}

func (g *groups) is(t text, name, path string) bool {
	have := g.names.get(t)
	return len(have) == len(name)+1+len(path) && have[len(name)] == '/' &&
		string(have[:len(name)]) == name && string(have[len(name)+1:]) == path
}

// join is the number of a group, made on first use. The caller counts members
// with add and leave.
func (g *groups) join(name, path string) Group {
	if id := g.find(name, path); id != 0 {
		return id
	}
	for g.last++; g.last == 0 || g.slot[g.last] != 0; g.last++ { // four thousand million groups later
	}
	e := g.table.add(g.hash(name, path))
	*g.table.get(e) = group{name: g.names.put(name+"/", path), id: g.last}
	g.slot[g.last] = e
	return g.last
}

func (g *groups) add(id Group) { g.table.get(g.slot[id]).members++ }

// leave takes a member away and forgets a group that has none left.
func (g *groups) leave(id Group) {
	e := g.slot[id]
	v := g.table.get(e)
	v.members--
	if v.members > 0 {
		return
	}
	g.names.drop(v.name)
	g.table.remove(e)
	delete(g.slot, id)
}

// name is the share name and the filter of a group, empty if it has gone.
func (g *groups) name(id Group) (name, path string) {
	e := g.slot[id]
	if e == 0 {
		return "", ""
	}
	share, filter, _ := bytes.Cut(g.names.get(g.table.get(e).name), []byte{'/'})
	return string(share), string(filter)
}

// mix joins two hashes so that every bit of both counts.
func mix(a, b uint64) uint64 {
	h := a ^ b*0x9E3779B97F4A7C15
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	return h ^ h>>29
}
