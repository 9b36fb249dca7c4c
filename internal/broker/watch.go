package broker

import (
	"sync"

	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// watches wait on the wheel for the keep-alive of all clients, each for some
// that have handles in a row. A place on the wheel for each client would be one
// more pointer to each, in another order than that in which they lie in memory,
// which made a sixth of what the garbage collector had to do for idle ones.
type watches struct {
	mu   sync.Mutex // guards list
	list []*watch   // by handle / together
}

const together = 64

// watch asks the connections of some clients, all when the first of them is due.
// That is as many questions to each as if it were asked for itself, or twice
// those: who sends something in time is due a good deal later.
type watch struct {
	b     *Broker
	first route.Handle
	entry wheel.Entry
}

// Watch makes the connection of a client be asked whether it is due, by a time in
// unix milliseconds.
func (b *Broker) Watch(c *Client, by int64) { b.o.Wheel.By(b.watches.of(b, c.handle), by) }

// of is the watch that a handle belongs to.
func (l *watches) of(b *Broker, h route.Handle) *watch {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.list); i <= int(h/together); i++ {
		l.list = append(l.list, &watch{b: b, first: route.Handle(i * together)})
	}
	return l.list[h/together]
}

// Timer implements wheel.Owner.
func (w *watch) Timer() *wheel.Entry { return &w.entry }

// Due implements wheel.Owner.
func (w *watch) Due(now int64) (next int64) {
	for h := range route.Handle(together) {
		link := w.b.table.linked(w.first + h)
		if link == nil {
			continue
		}
		if due := link.Due(now); due > 0 && (next == 0 || due < next) {
			next = due
		}
	}
	return next
}

// linked is the connection of a client, or nil.
func (t *table) linked(h route.Handle) Link {
	c := t.resolve(h)
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}
