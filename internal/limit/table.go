package limit

import "time"

// table has an entry for whoever is counted. Those with something to count stay.
// Of those that are only remembered for their rate there are two generations of
// a bounded size, the older of which is forgotten as a whole.
type table[K comparable] struct {
	most         int
	live         map[K]*entry
	young, older map[K]*entry
}

// entry is what is counted of one address, user or listener.
type entry struct {
	refs        int
	connections int // those that were let in so far
	strangers   int // of all, those that have not said who they are
	connects    Bucket
	messages    Bucket
	bytes       Bucket
	waiting     queue // the strangers, the oldest first
}

func newTable[K comparable](most int) table[K] {
	return table[K]{most: most, live: map[K]*entry{}, young: map[K]*entry{}}
}

// enter is the entry of somebody who comes.
func (t *table[K]) enter(key K) *entry {
	e := t.live[key]
	if e == nil {
		if e = t.young[key]; e != nil {
			delete(t.young, key)
		} else if e = t.older[key]; e != nil {
			delete(t.older, key)
		} else {
			e = &entry{}
		}
		t.live[key] = e
	}
	e.refs++
	return e
}

// look is a copy of the entry of somebody, who does not come. Nobody's is empty.
func (t *table[K]) look(key K) entry {
	for _, m := range []map[K]*entry{t.live, t.young, t.older} {
		if e := m[key]; e != nil {
			return *e
		}
	}
	return entry{}
}

// leave is the end of a connection.
func (t *table[K]) leave(key K, e *entry, now time.Duration) {
	if e.refs--; e.refs > 0 {
		return
	}
	delete(t.live, key)
	if e.connects.Full(now) && e.messages.Full(now) && e.bytes.Full(now) {
		return
	}
	if len(t.young) >= t.most {
		t.older, t.young = t.young, map[K]*entry{}
	}
	t.young[key] = e
}

// size is how many entries there are.
func (t *table[K]) size() int { return len(t.live) + len(t.young) + len(t.older) }
