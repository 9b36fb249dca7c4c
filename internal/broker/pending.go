package broker

import "github.com/fantail-mqtt/fantail/internal/session"

// What is encoded for a client goes to Client.out. If much waits, that is not one
// buffer which grows, is copied as often as it doubles, and is garbage at the end:
// a full one joins a backlog, and the next begins. A large message for several is not
// copied at all: the backlogs of all of them have it. A connection that can is given
// these pieces as they are, and gives them back by Broker.Writable.

const (
	fullPart = 64 << 10  // from here on a buffer is full
	maxWrite = 256 << 10 // a write has no more, but for a last part that is larger
	maxParts = 32        // or than so many parts

	// From such payloads on, for so many clients, memory of its own for a message, which
	// the collector has to find, costs less than the copies.
	shareFrom  = 16 << 10
	shareAmong = 16
)

// backlog is what is pending before Client.out.
type backlog struct {
	parts []session.Part
	bytes int      // of parts
	room  int      // and the memory they are in
	lent  [][]byte // buffers that the connection kept
}

func (q *backlog) empty() bool { return len(q.parts) == 0 && len(q.lent) == 0 }

func (q *backlog) push(p session.Part) {
	q.parts = append(q.parts, p)
	q.bytes += len(p.Bytes)
	q.room += room(p)
}

// room is the memory that a part takes; each who shares one counts it.
func room(p session.Part) int {
	if p.Shared {
		return len(p.Bytes)
	}
	return cap(p.Bytes)
}

// ahead is how much is pending before c.out. The caller holds c.mu.
func (c *Client) ahead() int {
	if c.busy == nil {
		return 0
	}
	return c.busy.backlog.bytes
}

// unwritten is how much is pending and not given to the connection. The caller
// holds c.mu.
func (c *Client) unwritten() int { return c.ahead() + len(c.out) }

// takePending takes all that is pending, in one piece, and leaves what the
// connection has to that. The caller holds c.mu.
func (c *Client) takePending() []byte {
	out := c.out
	if c.ahead() > 0 {
		all := make([]byte, 0, c.unwritten())
		for _, p := range c.busy.backlog.parts {
			all = append(all, p.Bytes...)
		}
		out = append(all, out...)
	}
	c.out = nil
	if c.busy != nil {
		c.busy.backlog = backlog{}
	}
	return out
}

// keep makes what steps have encoded pending. The caller holds c.mu.
func (t *Tick) keep(c *Client) {
	out := t.work.Out
	t.work.Out = nil
	for i, p := range t.work.Parts {
		c.more().backlog.push(p)
		t.work.Parts[i] = session.Part{}
	}
	t.work.Parts = t.work.Parts[:0]
	c.out = nil
	switch {
	case len(out) == 0:
		t.recycle(out)
	case len(out) >= fullPart && len(out) >= cap(out)/2:
		c.more().backlog.push(session.Part{Bytes: out})
	default:
		c.out = out
	}
}

// gather takes what is to be written next to t.given and t.parts, one part unless
// many may be, and says how much that is. The caller holds c.mu.
func (t *Tick) gather(c *Client, many bool) (bytes int) {
	if c.ahead() > 0 {
		q := &c.busy.backlog
		for _, p := range q.parts {
			if len(t.given) == maxParts || bytes >= maxWrite || !many && len(t.given) > 0 {
				break
			}
			t.given = append(t.given, p)
			bytes += len(p.Bytes)
			q.room -= room(p)
		}
		q.bytes -= bytes
		q.drop(len(t.given))
	}
	if c.ahead() == 0 && len(c.out) > 0 && len(t.given) < maxParts && bytes < maxWrite && (many || len(t.given) == 0) {
		t.given = append(t.given, session.Part{Bytes: c.out})
		bytes += len(c.out)
		c.out = nil
	}
	for _, p := range t.given {
		t.parts = append(t.parts, p.Bytes)
	}
	return bytes
}

// drop drops the first n parts.
func (q *backlog) drop(n int) {
	left := copy(q.parts, q.parts[n:])
	clear(q.parts[left:])
	q.parts = q.parts[:left]
}

// reuse has the buffers back that a connection was given.
func (t *Tick) reuse() {
	for _, p := range t.given {
		if !p.Shared {
			t.recycle(p.Bytes)
		}
	}
	t.forget()
}

// forget forgets what a connection was given: its memory may be large.
func (t *Tick) forget() {
	clear(t.given)
	clear(t.parts)
	t.given, t.parts = t.given[:0], t.parts[:0]
}

// lend notes what the connection has kept; if that has left by now, the buffers are
// back. The caller holds c.mu.
func (t *Tick) lend(c *Client) {
	if !c.blocked {
		t.reuse()
		return
	}
	m := c.more()
	m.unsent = 0
	for _, p := range t.given {
		m.unsent += room(p)
		if !p.Shared {
			m.backlog.lent = append(m.backlog.lent, p.Bytes)
		}
	}
	t.forget()
}

// giveBack has the buffers back that the connection kept. The caller holds c.mu.
func (t *Tick) giveBack(c *Client) {
	if c.busy == nil {
		return
	}
	for _, b := range c.busy.backlog.lent {
		t.recycle(b)
	}
	c.busy.backlog.lent = nil
}
