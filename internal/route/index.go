// Package route finds the subscribers of a message, and the retained messages
// of a subscriber. It reads no clock, does no I/O and starts no goroutine.
//
// # Subscriptions
//
// Index holds filters in two parts. A filter without wildcards is an entry of
// one hash table under its whole text, so the common case of a million
// devices each listening to its own topic costs one look-up per message. The
// filters with wildcards stand in a trie by level, whose walk ends as soon as
// no filter leads on. Both parts consist of pages of plain numbers: the texts
// lie in blocks of bytes, the only row of a filter in its entry, several rows
// in a block of rows. So a million filters take 55 to 75 bytes each and the
// garbage collector has nothing to trace. What is unsubscribed goes to free
// lists and is used again; the hash tables grow and shrink in small steps, so
// no change takes longer because there are many filters.
//
// Some sets of filters make any structure slow: {a,+} repeated over sixteen
// levels is 65,536 filters that all have to be tried for a/a/…/a. Match takes
// the number of nodes it may visit and says whether it got to the end.
//
// A caller keeps the rows that Match found for a topic and asks Holds whether
// they are valid still, which takes no lock and next to no time while others
// subscribe to something else.
//
// # Retained messages
//
// Retained holds the values of topics in a hash table by name, and the names
// once more in order. In that order a slash comes before everything else, so
// whatever begins with the same levels stands together: a walk by a filter
// looks at a name, works out the next name that could match, and jumps there.
// Its whole state is the place it got to, a string. That is why it survives
// any change to the store between two steps.
package route

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/fantail-mqtt/fantail/topic"
)

// Index maps filters to subscribers. Any number of goroutines may use it.
type Index struct {
	changes generations // atomics

	mu     sync.RWMutex // guards the rest
	exact  exacts
	wild   trie
	rows   rows
	groups groups
	size   int
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	seed := maphash.MakeSeed()
	return &Index{
		changes: generations{seed: seed},
		exact:   newExacts(seed),
		wild:    newTrie(seed),
		rows:    newRows(),
		groups:  newGroups(seed),
	}
}

// Len is the number of subscriptions.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.size
}

// Groups is the number of groups of shared subscriptions.
func (x *Index) Groups() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.groups.slot)
}

// Subscribe adds a subscription, or replaces the options of the one that the
// same subscriber has for the same filter, and reports which [MQTT-3.8.4-3].
// It keeps no part of f.
func (x *Index) Subscribe(f topic.Filter, to Handle, o Options) (existed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o.Local = f.Kind == topic.Local
	row := Row{To: to, Options: o}
	if f.IsShared() {
		row.Group = x.groups.join(f.Group, f.Path)
	}
	existed = x.rows.put(x.place(f.Path), row)
	if !existed {
		x.size++
		if row.Group != 0 {
			x.groups.add(row.Group)
		}
	}
	x.changes.changed(f.Path)
	return existed
}

// Unsubscribe removes a subscription and reports whether there was one.
func (x *Index) Unsubscribe(f topic.Filter, to Handle) (existed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := rowKey{to: to, local: f.Kind == topic.Local}
	if f.IsShared() {
		if k.group = x.groups.find(f.Group, f.Path); k.group == 0 {
			return false
		}
	}
	if !x.remove(f.Path, k) {
		return false
	}
	x.size--
	if k.group != 0 {
		x.groups.leave(k.group)
	}
	x.changes.changed(f.Path)
	return true
}

// remove takes a row away, and its filter if that was the last row.
func (x *Index) remove(path string, k rowKey) bool {
	if topic.Wildcard(path) {
		n, below, ok := x.wild.find(path)
		if !ok || !x.rows.remove(x.wild.cell(n, below), k) {
			return false
		}
		x.wild.prune(n)
		return true
	}
	c := x.exact.find(path)
	if c == nil || !x.rows.remove(c, k) {
		return false
	}
	if c.empty() {
		x.exact.remove(path)
	}
	return true
}

// lookup is where the rows of a filter lie, nil if nobody subscribes to it.
func (x *Index) lookup(path string) *cell {
	if topic.Wildcard(path) {
		n, below, ok := x.wild.find(path)
		if !ok {
			return nil
		}
		return x.wild.cell(n, below)
	}
	return x.exact.find(path)
}

// place is where the rows of a filter lie, made if it is new.
func (x *Index) place(path string) *cell {
	if topic.Wildcard(path) {
		return x.wild.cell(x.wild.make(path))
	}
	return x.exact.make(path)
}

// Match appends to rows the subscriptions whose filter matches name, a valid
// topic name: those that are not shared first, in no particular order, then
// group by group the members of the groups, by handle. A subscriber appears
// once for each of its subscriptions that match. Match visits at most budget
// nodes of the wildcard filters, and complete says that this was enough; if
// not, the exact filters and the literal branches are what it does have.
//
// With room in rows it allocates nothing.
func (x *Index) Match(name string, budget int, rows []Row) (out []Row, complete bool) {
	if name == "" {
		return rows, true
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	w := walk{trie: &x.wild, rows: &x.rows, name: name, out: rows, left: max(budget, 0)}
	if c := x.exact.find(name); c != nil {
		w.out = w.rows.appendTo(w.out, *c)
	}
	if !x.wild.empty() {
		w.from(0, 0, 0)
	}
	sortShared(w.out[len(rows):])
	return w.out, !w.cut
}

// sortShared puts shared rows behind the others, ordered.
func sortShared(rows []Row) {
	first := slices.IndexFunc(rows, func(r Row) bool { return r.Group != 0 })
	if first < 0 {
		return
	}
	plain := first
	for i := first; i < len(rows); i++ {
		if rows[i].Group == 0 {
			rows[plain], rows[i] = rows[i], rows[plain]
			plain++
		}
	}
	slices.SortFunc(rows[plain:], func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.To, b.To))
	})
}

// Mark is the present, for Holds. Ask for it before Match.
func (x *Index) Mark(name []byte) Mark { return x.changes.mark(name) }

// Holds reports whether the rows that Match found for name after m are valid
// still: no subscription has come, gone or changed that could touch them. It
// moves m on, so that it does not look at the same changes twice.
func (x *Index) Holds(m *Mark, name []byte) bool { return x.changes.holds(m, name) }

// GroupName is the share name and the filter of a group, both empty if its
// last member has left. The name of the $queue/ group is empty.
func (x *Index) GroupName(g Group) (name, filter string) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.groups.name(g)
}

// Members appends to rows the members of a group by handle: whom a message
// can go to instead when the member it went to has left.
func (x *Index) Members(g Group, rows []Row) []Row {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, path := x.groups.name(g)
	if path == "" {
		return rows
	}
	all := x.rows.appendTo(rows, *x.lookup(path))
	members := slices.DeleteFunc(all[len(rows):], func(r Row) bool { return r.Group != g })
	sortShared(members)
	return all[:len(rows)+len(members)]
}
