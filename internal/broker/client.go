package broker

import (
	"hash/maphash"
	"sync"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/message"
)

// Client is a session with its place in the broker and, while connected, its
// connection. A session that ends takes its Client with it: the next session
// of the same client id is another Client.
//
// There may be a million that are idle: what only a busy one has hangs at busy,
// and the order of the fields leaves no gaps. What a delivery needs stands
// together: most often none of it is in the processor's cache.
type Client struct {
	mu sync.Mutex // guards the rest but for what does not change; held for memory work only

	insider bool // it is in the process; does not change
	dirty   bool // some tick has promised to flush out
	writing bool // a tick is writing to link, and takes along what comes
	blocked bool // link could not take all; Writable will come
	drained bool // Writable came while writing
	gone    bool // the session has ended
	late    bool // it has, but the log still has it: its messages are being handed over
	broad   byte // > 0: it was written much at once, lately

	link    Link   // nil while the client is away
	out     []byte // encoded, waiting for the end of a tick
	busy    *busy  // nil: nothing of it; an insider's does not change
	session session.Session

	ID        string // does not change
	will      *will
	handle    route.Handle // does not change
	wildcards uint32       // subscriptions with a wildcard
}

// busy is what a client has only while there is something to do for it. Its
// lock guards it, if nothing else is said.
type busy struct {
	walks   []*walk // retained messages on their way
	counted int     // of the queue's bytes, in those of all sessions
	memory  int     // and of its memory
	pending int     // of the encoded bytes, in those of all clients
	unsent  int     // of pending: what the connection has taken over and not sent
	backlog backlog
	held    int      // acknowledgements held back until their records are safe
	ending  int      // those of held that end a message of this connection
	waiting *waiting // for session expiry or a will delay
	rivals  *rivals  // takeovers of the client id; what is in it is guarded by the shard's lock
	inside  *insider
	who     *Info   // of the last connection, while there is none and somebody may ask
	limits  *Limits // that hold for the client; nil: those of everybody
	pace    *pacer  // nil: it gets as much as there is
	doubted bool    // it may not be allowed to receive what waits: that is asked about
}

// more is the client's busy part, made if there is none. The caller holds c.mu.
func (c *Client) more() *busy {
	if c.busy == nil {
		c.busy = &busy{}
	}
	return c.busy
}

// trim gives the busy part back if there is nothing in it. The caller holds
// c.mu.
func (c *Client) trim() {
	if m := c.busy; m != nil && len(m.walks) == 0 && m.counted == 0 && m.memory == 0 && m.pending == 0 && m.backlog.empty() && m.held == 0 && m.waiting == nil && m.who == nil && m.rivals == nil && m.inside == nil && m.limits == nil && m.pace == nil && !m.doubted {
		c.busy = nil
	}
}

// The parts of busy, as they are without one. The caller holds c.mu.

func (c *Client) walks() []*walk {
	if c.busy == nil {
		return nil
	}
	return c.busy.walks
}

func (c *Client) counted() int {
	if c.busy == nil {
		return 0
	}
	return c.busy.counted
}

func (c *Client) inMemory() int {
	if c.busy == nil {
		return 0
	}
	return c.busy.memory
}

func (c *Client) held() int {
	if c.busy == nil {
		return 0
	}
	return c.busy.held
}

func (c *Client) ending() int {
	if c.busy == nil {
		return 0
	}
	return c.busy.ending
}

func (c *Client) waiting() *waiting {
	if c.busy == nil {
		return nil
	}
	return c.busy.waiting
}

func (c *Client) rivals() *rivals {
	if c.busy == nil {
		return nil
	}
	return c.busy.rivals
}

// will is the message that a client leaves.
type will struct {
	message *message.Message // its Arrived is set when it is published
	delay   uint32           // seconds
}

// waiting is an absent client's place on the wheel.
type waiting struct {
	entry  wheel.Entry
	b      *Broker
	c      *Client
	willAt int64 // unix milliseconds; 0: no will, or published
	endAt  int64 // 0: the session does not expire
}

func (w *waiting) next() int64 {
	if w.willAt > 0 && (w.endAt == 0 || w.willAt < w.endAt) {
		return w.willAt
	}
	return w.endAt
}

const shardCount = 64

// shard is a part of the registry of client ids. Its lock comes before those
// of its clients.
type shard struct {
	mu      sync.Mutex
	clients set
	late    map[string]*Client // sessions that have ended and whose messages are being handed over
}

func (b *Broker) shard(id string) *shard {
	return &b.shards[b.hash(id)%shardCount]
}

// find is the client of an id, or nil. The caller holds the shard's lock.
func (b *Broker) find(s *shard, id string) *Client {
	for h := range s.clients.candidates(b.tag(id)) {
		if c := b.table.resolve(h); c != nil && c.ID == id {
			return c
		}
	}
	return nil
}

// enlist and strike put a client into its shard and take it out. The caller
// holds the shard's lock.
func (b *Broker) enlist(s *shard, c *Client) { s.clients.add(b.tag(c.ID), c.handle) }
func (b *Broker) strike(s *shard, c *Client) { s.clients.remove(b.tag(c.ID), c.handle) }

// tag is the part of a client id's hash that its shard goes by.
func (b *Broker) tag(id string) uint32 { return uint32(b.hash(id) >> 32) }

func (b *Broker) hash(s string) uint64 { return maphash.String(b.seed, s) }

// client is the session of a client id, or nil.
func (b *Broker) client(id string) *Client {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.find(s, id)
}

// each calls f for every client, a shard at a time.
func (b *Broker) each(f func(c *Client)) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		list := make([]*Client, 0, s.clients.len())
		for h := range s.clients.all {
			if c := b.table.resolve(h); c != nil {
				list = append(list, c)
			}
		}
		s.mu.Unlock()
		for _, c := range list {
			f(c)
		}
	}
}

// open locks a client for a step of its session: what the step encodes goes to
// the client's pending bytes.
func (t *Tick) open(c *Client) {
	c.mu.Lock()
	t.take(c)
}

func (t *Tick) take(c *Client) {
	t.allow(c)
	t.work.Out, t.work.Ahead, t.work.Share = c.out, c.ahead(), false
	if t.work.Out == nil {
		t.work.Out = t.buffer(c.broad > 0 && !c.blocked)
	}
}

// shut ends what open began: the changes are appended to the log, and what is
// pending will be flushed at the end of the tick.
func (t *Tick) shut(c *Client) {
	t.settle(c)
	t.put(c)
	c.mu.Unlock()
}

// settle does what a step has left but for its packets. The caller holds c.mu.
func (t *Tick) settle(c *Client) {
	if t.work.Pace != nil {
		t.paced(c)
	}
	if !c.gone {
		t.recount(c)
	}
	if len(t.work.Changes) > 0 {
		t.logChanges(c)
	}
	for _, seq := range t.work.Waits {
		t.held = append(t.held, held{c: c, seq: seq})
	}
	t.work.Waits = t.work.Waits[:0]
	if t.work.Load > 0 {
		t.b.load(c, t.work.Load)
		t.work.Load = 0
	}
}

func (t *Tick) put(c *Client) {
	t.keep(c)
	if c.unwritten() == 0 {
		return
	}
	if c.blocked {
		t.b.holds(c)
	}
	if !c.dirty {
		c.dirty = true
		if t.wide {
			t.crowd.put(c)
		} else {
			t.dirty = append(t.dirty, c)
		}
	}
}

// logChanges appends the changes of a step to the log. The caller holds c.mu.
func (t *Tick) logChanges(c *Client) {
	r := t.records[:0]
	var body *message.Message
	for i := range t.work.Changes {
		ch := &t.work.Changes[i]
		switch ch.Kind {
		case session.Queue: // one at most: a step delivers one message
			body = ch.Item.Message
			r = record.AppendQueued(r, c.ID, record.Queued{
				Seq: ch.Item.Seq, ID: ch.Item.ID, QoS: ch.Item.QoS, Retain: ch.Item.Retain,
				IDs: ch.Item.IDs, Shared: ch.Item.Shared, Message: body,
			})
			t.b.sweepBy(body.ExpiresAt())
		case session.Send:
			r = record.AppendSent(r, c.ID, ch.Item.Seq, ch.Item.ID, ch.Size)
		case session.Release:
			r = record.AppendReleased(r, c.ID, ch.Item.Seq)
		case session.Finish:
			r = record.AppendAcked(r, c.ID, ch.Item.Seq, ch.Size)
		case session.Receive:
			r = record.AppendReceived(r, c.ID, ch.ID)
		case session.Expire:
			r = record.AppendExpired(r, record.Run{
				Client: c.ID, First: ch.Run.First, Last: ch.Run.Last, At: ch.Run.At, Messages: ch.Run.Messages, Bytes: ch.Run.Bytes,
			})
		case session.Complete:
			r = record.AppendCompleted(r, c.ID, ch.ID)
		}
		*ch = session.Change{}
	}
	t.work.Changes = t.work.Changes[:0]
	t.logWith(r, body)
}

// log appends records. Whoever calls it holds the lock of what they change.
func (t *Tick) log(records []byte) { t.logWith(records, nil) }

func (t *Tick) logWith(records []byte, body *message.Message) {
	t.b.o.Log.Append(records, body)
	t.records = records[:0]
	t.logged++
}
