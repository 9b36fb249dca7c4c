package broker

import (
	"math"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
)

// Slow clients cost memory: encoded bytes that their connections do not take, and
// messages in their queues. Each has limits of its own, but a thousand of them
// together may have a thousand times as much. So both are counted over all clients,
// and bounded.
//
// Either is shared out (a dynamic threshold, as switches have for their buffers):
// who holds much may hold a part of what is free of three quarters of the bound. So
// the first ones get as much as their own limit says, and each further one leaves
// less to all. The last quarter is for those that hold little: however many clients
// have stopped reading, there is room for others to fall behind for a moment.
//
// A connection that takes all it is given is not held to that: its bytes leave at
// the end of the tick. Nor are queues in the store: where memory has no room those of
// durable sessions go on there, behind what is in memory of each.

const (
	shares = 8    // a client may hold this part of what is free
	little = 4096 // and this part of the bound while it is not reached
)

// portion is how much one client may hold of a bound, of which so much is used.
func portion(most, used int64) int64 {
	n := max(0, most/4*3-used) / shares
	if used < most {
		n = max(n, most/little)
	}
	return n
}

// bounds are what a tick takes from the limits when it begins.
type bounds struct {
	limits  session.Limits // those of the client that is open
	own     session.Limits // the same, if it has some of its own
	pace    session.Pace   // and how much it may be sent
	pending int            // the most encoded bytes of one client
	most    struct{ queued, memory, pending int64 }
	full    bool  // no queue may grow
	share   int64 // the memory that the queue of one client may take
}

// bound brings the limits into force.
func (t *Tick) bound(l *Limits) {
	t.limits, t.pending = l.Limits, l.PendingBytes
	t.work.Limits = &t.limits
	t.most.queued = l.QueuedBytes
	t.most.memory, t.most.pending = orNone(l.QueuedMemory), orNone(l.AllPendingBytes)
	t.look()
}

// orNone is a bound that 0 stands for none of.
func orNone(n int64) int64 {
	if n == 0 {
		return math.MaxInt64
	}
	return n
}

// look looks whether all queues together are full.
func (t *Tick) look() {
	t.full = t.b.queuedBytes.Load()+t.queued >= t.most.queued
	t.share = portion(t.most.memory, t.b.queuedMemory.Load()+t.memory)
}

// allow sets how many encoded bytes may wait for a client. The caller holds c.mu.
func (t *Tick) allow(c *Client) {
	t.limits.PendingBytes = t.pending
	if c.blocked {
		t.limits.PendingBytes = int(min(int64(t.pending), portion(t.most.pending, t.b.pendingBytes.Load())))
	}
	t.work.Limits, t.work.Pace, t.work.May = &t.limits, nil, nil
	if c.busy == nil {
		return
	}
	if c.busy.limits != nil || c.busy.pace != nil {
		t.allowOwn(c)
	}
	if c.busy.doubted {
		t.doubt(c)
	}
}

// mayQueue says to the session whether its queue may grow by a message. The
// caller has opened c.
func (t *Tick) mayQueue(c *Client, d *message.Draft, to *session.Route) {
	t.work.Full = t.full ||
		int64(c.inMemory()) >= t.share && (!t.work.Stores || !c.session.Durable() || min(d.QoS, to.QoS) == 0)
}

// recount counts what waits for a client among what waits for all. The caller
// holds c.mu.
func (t *Tick) recount(c *Client) {
	if bytes, memory := c.session.Waits(); bytes != c.counted() || memory != c.inMemory() {
		t.count(c, bytes, memory)
	}
}

// count counts the bytes of a queue, and its memory, among those of all. The
// caller holds c.mu.
func (t *Tick) count(c *Client, bytes, memory int) {
	if bytes == c.counted() && memory == c.inMemory() {
		return
	}
	m := c.more()
	t.queued += int64(bytes - m.counted)
	t.memory += int64(memory - m.memory)
	m.counted, m.memory = bytes, memory
	if max(t.queued, -t.queued, t.memory, -t.memory) > maxUncounted {
		t.addQueued()
	}
	t.look()
}

// addQueued adds what the tick has counted to the bytes of all queues.
func (t *Tick) addQueued() {
	if t.queued != 0 {
		t.b.queuedBytes.Add(t.queued)
		t.queued = 0
	}
	if t.memory != 0 {
		t.b.queuedMemory.Add(t.memory)
		t.memory = 0
	}
}

// holds counts the encoded bytes that a client's connection does not take: what
// it has been given since it took all, and what is pending behind that. The caller
// holds c.mu.
func (b *Broker) holds(c *Client) {
	n := 0
	switch {
	case c.link == nil || !c.blocked:
		if c.busy == nil {
			return
		}
		c.busy.unsent = 0
	default:
		n = c.more().unsent + c.busy.backlog.room + cap(c.out)
	}
	if n != c.busy.pending {
		b.pendingBytes.Add(int64(n - c.busy.pending))
		c.busy.pending = n
	}
}

// Held is how many encoded bytes connections do not take, and how much memory the
// messages in queues take that are in memory.
func (b *Broker) Held() (pending, queued int64) {
	return b.pendingBytes.Load(), b.queuedMemory.Load()
}
