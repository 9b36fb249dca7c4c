package route

import (
	"hash/maphash"
	"sync"
)

const (
	walkBatch = 32  // values found before the lock is let go to hand them out
	walkHold  = 256 // names looked at before the lock is let go to let others in
)

// Retained keeps a value per topic name, until it expires. Any number of
// goroutines may use it. It never holds its lock while it calls back.
type Retained[V any] struct {
	seed maphash.Seed

	mu     sync.RWMutex // guards the rest
	byName table[kept[V]]
	order  ordered
	expiry expiry
	nameOf func(uint32) string
}

type kept[V any] struct {
	name    string
	v       V
	expires int64  // Unix milliseconds, 0 for never
	place   uint32 // in the heap, plus one; 0 if it never expires
}

func (k *kept[V]) live(now int64) bool { return k.expires == 0 || now < k.expires }

// found is a name and its value on their way to a callback.
type found[V any] struct {
	name string
	v    V
}

// NewRetained makes an empty store.
func NewRetained[V any]() *Retained[V] {
	r := &Retained[V]{seed: maphash.MakeSeed()}
	r.nameOf = func(id uint32) string { return r.byName.get(id).name }
	r.expiry.placeOf = func(id uint32) *uint32 { return &r.byName.get(id).place }
	return r
}

// Len is the number of names that have a value, expired ones included until
// Expired removes them.
func (r *Retained[V]) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return int(r.byName.n)
}

// Set keeps a value under a valid name until expires, in Unix milliseconds (0:
// for ever), and returns the value it replaces. It keeps name too, so that
// should share memory with the value.
func (r *Retained[V]) Set(name string, v V, expires int64) (old V, had bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.find(name)
	if had = id != 0; had {
		k := r.byName.get(id)
		old = k.v
		k.name = name // equal, but the old one holds on to the old value's memory
	} else {
		id = r.byName.add(r.hash(name))
		r.byName.get(id).name = name
		r.order.insert(id, r.nameOf)
	}
	k := r.byName.get(id)
	k.v, k.expires = v, expires
	r.expiry.set(id, expires)
	return old, had
}

// Get is the value of a name at a time in Unix milliseconds.
func (r *Retained[V]) Get(name string, now int64) (v V, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id := r.find(name)
	if id == 0 || !r.byName.get(id).live(now) {
		return v, false
	}
	return r.byName.get(id).v, true
}

// Delete forgets a name and returns the value it had.
func (r *Retained[V]) Delete(name string) (old V, had bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.find(name)
	if id == 0 {
		return old, false
	}
	return r.remove(id).v, true
}

// Next goes on with a walk: it yields what the filter matches and has not
// expired, in the order of the names, until it has looked at budget names.
// done says that nothing is left. A yield that returns false ends the step;
// the walk goes on behind what it was given.
//
// Whatever changes between two steps, a name that is there from Iterate to
// the end is yielded exactly once, and any other at most once.
func (r *Retained[V]) Next(c *Cursor, budget int, now int64, yield func(name string, v V) bool) (done bool) {
	if budget > 0 && !c.done && c.exact() {
		c.done = true
		if v, ok := r.Get(c.path, now); ok {
			yield(c.path, v)
		}
	}
	var batch [walkBatch]found[V]
	for budget > 0 && !c.done {
		n, looked := r.collect(c, batch[:], min(budget, walkHold), now)
		budget -= looked
		for i, f := range batch[:n] {
			if yield(f.name, f.v) {
				continue
			}
			if i < n-1 {
				c.behind(f.name)
			}
			return c.done
		}
	}
	return c.done
}

// collect fills batch with the next matches of a walk, looking at so many
// names at most.
func (r *Retained[V]) collect(c *Cursor, batch []found[V], most int, now int64) (n, looked int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at := seek(&r.order, c.from, r.nameOf)
	for n < len(batch) && looked < most {
		id := r.order.at(at)
		if id == 0 {
			c.done = true
			break
		}
		looked++
		k := r.byName.get(id)
		if c.pass(k.name) && k.live(now) {
			batch[n] = found[V]{k.name, k.v}
			n++
		}
		if c.done {
			break
		}
		at = forward(&r.order, at, c.from, r.nameOf)
	}
	return n, looked
}

// Expired removes up to budget values whose time has come and hands each out,
// whether or not anyone subscribes. next is the time to call again, 0 if no
// value has an end; it has passed already if the budget ran out.
//
// A value is handed out after it was removed, and may have a successor by
// then: what the caller does about v must not touch that one.
func (r *Retained[V]) Expired(now int64, budget int, yield func(name string, v V)) (next int64) {
	var batch [walkBatch]found[V]
	for {
		n, next := r.reap(batch[:min(len(batch), max(budget, 0))], now)
		for _, f := range batch[:n] {
			yield(f.name, f.v)
		}
		budget -= n
		if budget <= 0 || next == 0 || now < next {
			return next
		}
	}
}

// reap removes expired values into batch and tells the next time.
func (r *Retained[V]) reap(batch []found[V], now int64) (n int, next int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(batch) && len(r.expiry.heap) > 0 && r.expiry.next() <= now {
		batch[n] = r.remove(r.expiry.heap[0].id)
		n++
	}
	return n, r.expiry.next()
}

func (r *Retained[V]) remove(id uint32) found[V] {
	k := r.byName.get(id)
	gone := found[V]{k.name, k.v}
	r.expiry.remove(id)
	r.order.remove(id, r.nameOf)
	r.byName.remove(id)
	return gone
}

func (r *Retained[V]) hash(name string) uint32 { return uint32(maphash.String(r.seed, name)) }

// find is the entry of a name, 0 if there is none.
func (r *Retained[V]) find(name string) uint32 {
	id := r.byName.first(r.hash(name))
	for id != 0 && r.byName.get(id).name != name {
		id = r.byName.after(id)
	}
	return id
}
