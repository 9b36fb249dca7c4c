package broker

import (
	"sync"

	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// table finds clients by handle. It is divided into rows, which the garbage
// collector passes over quicker than over one large array.
type table struct {
	mu   sync.RWMutex // guards the rest, with the clients of the rows
	rows []*row
	next route.Handle   // the first that was never used
	free []route.Handle // in the order in which they came free
}

// row is some clients with handles in a row. Those that are connected wait
// together on the wheel for their keep-alive: a place there for each would be one
// more pointer to each, in another order than that in which they lie in memory.
// All are asked when the first of them is due, which is as many questions to each
// as if it were asked for itself, or twice those: who sends something in time is
// due a good deal later.
type row struct {
	clients [rowSize]*Client
	table   *table
	entry   wheel.Entry
}

// rowSize makes a row as large as an object may be whose marks the collector has
// at hand.
const rowSize = 61

// resting is how many handles come free before one is used again. Between
// matching a handle and resolving it a loop holds no lock: were it used again at
// once, a client could get a message that it did not subscribe to.
const resting = 1024

func (t *table) add(c *Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) >= resting {
		c.handle = t.free[0]
		t.free = t.free[1:]
	} else {
		c.handle = t.next
		t.next++
	}
	if int(c.handle/rowSize) == len(t.rows) {
		t.rows = append(t.rows, &row{table: t})
	}
	*t.at(c.handle) = c
}

// at is the place of a handle that has been given. The caller holds t.mu.
func (t *table) at(h route.Handle) **Client { return &t.rows[h/rowSize].clients[h%rowSize] }

func (t *table) remove(c *Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*t.at(c.handle) = nil
	t.free = append(t.free, c.handle)
}

// resolve is the client of a handle, or nil if it has gone.
func (t *table) resolve(h route.Handle) *Client {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return *t.at(h)
}

// Watch makes the connection of a client be asked whether it is due, by a time in
// unix milliseconds.
func (b *Broker) Watch(c *Client, by int64) {
	b.table.mu.RLock()
	r := b.table.rows[c.handle/rowSize]
	b.table.mu.RUnlock()
	b.o.Wheel.By(r, by)
}

// Timer implements wheel.Owner.
func (r *row) Timer() *wheel.Entry { return &r.entry }

// Due implements wheel.Owner.
func (r *row) Due(now int64) (next int64) {
	r.table.mu.RLock()
	clients := r.clients
	r.table.mu.RUnlock()
	for _, c := range clients {
		link := c.connection()
		if link == nil {
			continue
		}
		if due := link.Due(now); due > 0 && (next == 0 || due < next) {
			next = due
		}
	}
	return next
}

// connection is the client's, or nil; there may be no client.
func (c *Client) connection() Link {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}
