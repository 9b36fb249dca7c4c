package broker

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// Tick is one round of work: it belongs to one goroutine at a time. Between
// Begin and End it gathers what is to be flushed.
type Tick struct {
	b       *Broker
	now     int64
	work    session.Work
	packet  packet.Publish
	connect Connect
	draft   message.Draft
	sub     packet.Suback
	dirty   []*Client
	crowd   crowd // those that only messages for many made dirty
	wide    bool  // the present message is for many
	effort  int
	spare   [][]byte
	broad   [][]byte // the large ones, for clients that get much
	spared  int      // bytes of all those
	records []byte   // for encoding
	logged  int      // batches of records appended in this tick
	queued  int64    // bytes that joined queues in this tick, less those that left, and were not added yet
	memory  int64    // the same of their memory
	bounds
	held  []held
	freed []held // for reuse
	later []func(*Tick)

	plans    map[string]*plan
	allPlans []*plan             // first those of plans, then some to be used again
	last     *plan               // the one used last
	planned  int                 // what plans cost
	passing  plan                // of a topic that is not kept
	sights   [][sightSlot]uint32 // marks of topics that came lately
	grants   grants
	rows     []route.Row
	found    []retained
	past     past // whoever published one of them
	parking  parking
	parked   []parked // by the present message
	stats    counts
	given    []session.Part // what the connection is being given
	parts    [][]byte       // the same
	rnd      *rand.Rand
}

// held is an acknowledgement that waits until its records are safe, or, with
// seq, a message of the client's that waits until its own are.
type held struct {
	c    *Client
	seq  uint64
	link Link
	t    packet.Type
	ack  packet.Ack
	sub  *packet.Suback // of SUBACK and UNSUBACK

	parked []parked // deliveries that wait behind the answer
}

// parked is a message that waits until an answer is out.
type parked struct {
	c   *Client
	seq uint64
}

const (
	maxPlans   = 1 << 14
	sightSlots = 1 << 10 // of so many topics each that came lately
	sightSlot  = 8
	maxPlanned = 1 << 17   // targets of all plans: about 8 MiB
	maxSpared  = 32 << 20  // bytes of buffers that are kept while there is work: a fan-out needs as many as it has targets
	calmSpared = 2 << 20   // and while there is none
	leastSpare = 512       // what a new buffer has
	spareSize  = 512 << 10 // a larger buffer is not kept
	broadSize  = 4 << 10   // from here on a buffer is large
	broadFor   = 8         // writes for which a client that got so much at once is thought to do so again

	maxUncounted = 64 << 10 // bytes that joined queues, of which other ticks do not know
)

// NewTick makes a tick for a goroutine that will use it again and again.
func (b *Broker) NewTick() *Tick {
	t := &Tick{b: b, plans: map[string]*plan{}, rnd: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	t.work.Stores = b.store != nil
	return t
}

// Begin starts the tick, unless it has begun.
func (t *Tick) Begin() {
	if t.now == 0 {
		t.now = time.Now().UnixMilli()
		t.work.Now = t.now
		t.bound(t.b.limits.Load())
	}
}

// Packet is where a PUBLISH may be parsed to; it holds until the next one.
func (t *Tick) Packet() *packet.Publish { return &t.packet }

// Connect is where a CONNECT may be put; it holds until the next one.
func (t *Tick) Connect() *Connect { return &t.connect }

// suback is where the answer to a SUBSCRIBE or UNSUBSCRIBE is put together. It
// holds until the next one. Made anew for each it would be garbage between what
// stays, and as large as a connection of an event loop: the collector looks for
// those in twice the memory then.
func (t *Tick) suback(id uint16) *packet.Suback {
	t.sub = packet.Suback{ID: id, Codes: t.sub.Codes[:0]}
	return &t.sub
}

// Now is the time of the tick, in unix milliseconds.
func (t *Tick) Now() int64 { return t.now }

// Stats counts what its owner did for the tick's duration.
func (t *Tick) Stats() *counts { return &t.stats }

// Effort implements loop.Local.
func (t *Tick) Effort() int { return t.effort }

// End writes to every connection that was touched, and releases the
// acknowledgements whose records are safe.
func (t *Tick) End() {
	for more := true; more; {
		more = t.EndSome(false)
	}
}

// EndSome is End, except that of those whom only messages for many have touched it
// writes to some, or to none if they are to be held. So they do not hold up the
// others, and the longer they wait, the more messages share a write.
func (t *Tick) EndSome(hold bool) (more bool) {
	if t.crowd.len() > 0 {
		t.Begin()
	}
	if t.now == 0 {
		return false
	}
	for len(t.later) > 0 {
		f := t.later[0]
		t.later = t.later[1:]
		f(t)
	}
	t.later = nil
	for len(t.held) > 0 {
		t.commit()
	}
	for i := 0; i < len(t.dirty); i++ {
		t.flush(t.dirty[i])
		t.dirty[i] = nil
	}
	t.dirty = t.dirty[:0]
	if !hold {
		for range min(crowdSlice, t.crowd.len()) {
			t.flush(t.crowd.take())
		}
	}
	t.addQueued()
	t.b.stats.add(&t.stats)
	t.b.stats.Ticks.Add(1)
	t.now, t.logged = 0, 0
	t.draft = message.Draft{}
	t.connect = Connect{}
	return t.crowd.len() > 0
}

// commit releases what the tick held back, now or when the log says so.
func (t *Tick) commit() {
	b, batch := t.b, t.held
	t.held = t.freed[:0]
	t.freed = nil
	safe := b.o.Log.After(func(err error) {
		b.do(func(t *Tick) { t.release(batch, err) })
	})
	if safe {
		t.release(batch, nil)
		clear(batch)
		t.freed = batch
	}
}

// release sends acknowledgements whose records are safe, or could not be kept.
func (t *Tick) release(batch []held, err error) {
	for i := range batch {
		h := &batch[i]
		if h.seq > 0 {
			if err == nil { // else it is never safe to send
				t.safe(h.c, h.seq)
			}
			continue
		}
		t.open(h.c)
		m := h.c.more()
		m.held--
		if h.ends() && h.c.link == h.link {
			m.ending--
		}
		t.shut(h.c)
		if err == nil {
			t.send(h)
		}
	}
}

func (t *Tick) appendAck(h *held) {
	terms := &h.c.session.Terms
	if h.sub != nil {
		t.work.Out = packet.AppendSuback(t.work.Out, h.t, h.sub, terms.Version, terms.MaximumPacket)
		return
	}
	t.work.Out = packet.AppendAck(t.work.Out, h.t, &h.ack, terms.Version, terms.MaximumPacket)
}

// answer sends an acknowledgement, or holds it back: behind the records that
// it promises, and behind those held back before it [MQTT-4.6.0-2].
func (t *Tick) answer(h held, durable bool) {
	c := h.c
	t.open(c)
	switch {
	case c.link != h.link:
	case durable || c.held() > 0:
		t.hold(h)
		h.parked = nil
	default:
		t.appendAck(&h)
	}
	t.shut(c)
	t.unpark(&h)
}

// unpark lets go what waited behind an answer that is out.
func (t *Tick) unpark(h *held) {
	for _, p := range h.parked {
		t.safe(p.c, p.seq)
	}
}

// safe lets a session send what waited until its records were safe.
func (t *Tick) safe(c *Client, seq uint64) {
	t.open(c)
	if !c.gone {
		c.session.Safe(&t.work, seq)
		t.countDrained()
	}
	t.shut(c)
}

// hold keeps an acknowledgement until the tick's records are safe. The caller
// holds the client's lock.
func (t *Tick) hold(h held) {
	m := h.c.more()
	m.held++
	if h.ends() && h.c.link == h.link {
		m.ending++
	}
	if h.sub != nil {
		h.sub = &packet.Suback{ID: h.sub.ID, Codes: slices.Clone(h.sub.Codes)}
	}
	t.held = append(t.held, h)
}

// ends says whether the acknowledgement ends a message, so that the client may
// begin another one (5.0, section 4.9).
func (h *held) ends() bool {
	switch h.t {
	case packet.PUBACK, packet.PUBCOMP:
		return true
	case packet.PUBREC:
		return h.ack.Code.Failed()
	default:
		return false
	}
}

// send sends an acknowledgement that nothing holds back any more.
func (t *Tick) send(h *held) {
	t.open(h.c)
	if h.c.link == h.link {
		t.appendAck(h)
	}
	t.shut(h.c)
	t.unpark(h)
}

// flush writes a client's pending bytes. Whoever is writing to a client takes
// along what others append meanwhile.
func (t *Tick) flush(c *Client) {
	c.mu.Lock()
	c.dirty = false
	for c.unwritten() > 0 && c.link != nil && !c.writing && !c.blocked {
		link := c.link
		n := t.gather(c, link.Gathers())
		c.measured(n)
		c.writing, c.drained = true, false
		c.mu.Unlock()
		flushed, kept := link.Write(t.parts)
		t.stats.SentBytes += uint64(n)
		t.stats.Flushes++
		if !kept {
			t.reuse()
		}
		c.mu.Lock()
		if c.link != link { // taken over meanwhile; the new connection has its own state
			t.forget()
			break
		}
		c.writing = false
		if c.blocked = !flushed && !c.drained; c.blocked {
			c.more().unsent = n
		}
		if kept {
			t.lend(c)
		}
		t.b.holds(c)
		if queued, _ := c.session.Queued(); queued > 0 && !c.blocked {
			t.fill(c)
		}
	}
	c.mu.Unlock()
}

// fill sends what had to wait for pending bytes to leave. The caller holds
// c.mu.
func (t *Tick) fill(c *Client) {
	t.take(c)
	t.drain(c)
	t.settle(c)
	t.keep(c)
}

// measured notes how much a client was written at once. The caller holds c.mu.
func (c *Client) measured(n int) {
	switch {
	case n >= broadSize:
		c.broad = broadFor
	case c.broad > 0:
		c.broad--
	}
}

// buffer is an empty one. A large one is not wasted on a client that gets little:
// the next that gets much would have to grow another.
func (t *Tick) buffer(broad bool) []byte {
	from := &t.spare
	if broad && len(t.broad) > 0 {
		from = &t.broad
	}
	n := len(*from)
	if n == 0 {
		return make([]byte, 0, leastSpare)
	}
	b := (*from)[n-1]
	*from = (*from)[:n-1]
	t.spared -= cap(b)
	return b
}

// Calm gives most of the kept buffers back: nothing has happened for a while.
func (t *Tick) Calm() {
	if t.spared > calmSpared {
		t.spare, t.broad, t.spared = nil, nil, 0
	}
}

func (t *Tick) recycle(b []byte) {
	if cap(b) < leastSpare || cap(b) > spareSize || t.spared+cap(b) > maxSpared {
		return
	}
	to := &t.spare
	if cap(b) >= broadSize {
		to = &t.broad
	}
	*to = append(*to, b[:0])
	t.spared += cap(b)
}

// Writable says that the client's connection can take more.
func (b *Broker) Writable(t *Tick, c *Client, link Link) {
	t.open(c)
	if c.link == link {
		if c.writing {
			c.drained = true
		} else {
			c.blocked = false
			t.giveBack(c)
			b.holds(c)
			t.allow(c)
		}
		t.drain(c)
	}
	t.shut(c)
	b.resumeWalks(t, c, link)
}

// Resume goes on with what Link.Again asked for.
func (b *Broker) Resume(t *Tick, c *Client, link Link) {
	t.open(c)
	if c.link == link && !c.blocked {
		t.drain(c)
	}
	t.shut(c)
	b.resumeWalks(t, c, link)
}

// KickAll ends all connections, each with its pending bytes written first.
func (b *Broker) KickAll(why *packet.Refusal) {
	b.KickIf(func(*Info) bool { return true }, why)
}

// KickIf ends those connections that are meant, and returns how many.
func (b *Broker) KickIf(meant func(*Info) bool, why *packet.Refusal) (kicked int) {
	b.each(func(c *Client) {
		if link := c.connection(); link != nil && meant(link.Info()) && b.Kick(c, link, why) {
			kicked++
		}
	})
	return kicked
}

// Kick ends a connection, unless another one has taken its client id over by now.
func (b *Broker) Kick(c *Client, link Link, why *packet.Refusal) (kicked bool) {
	c.mu.Lock()
	if c.link != link {
		c.mu.Unlock()
		return false
	}
	out := c.takePending()
	b.holds(c)
	c.mu.Unlock()
	link.Kick(out, why)
	return true
}

// drain lets the session send what waits. The caller has opened c.
func (t *Tick) drain(c *Client) {
	c.session.Drain(&t.work)
	t.countDrained()
}

// Pending is how many encoded bytes wait until the client reads: while there
// are any, Writable is to come. What merely waits for the end of a tick does
// not count.
func (c *Client) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.blocked {
		return 0
	}
	return c.unwritten()
}

// Received counts packets that came in.
func (t *Tick) Received(packets, bytes int) {
	t.stats.PacketsReceived += uint64(packets)
	t.stats.ReceivedBytes += uint64(bytes)
}

// Ping answers a PINGREQ. A client that pings has nothing else to do: what its
// session does not need now is given back.
func (b *Broker) Ping(t *Tick, c *Client, link Link) error {
	t.open(c)
	defer t.shut(c)
	if c.link != link {
		return ErrTakenOver
	}
	c.session.Trim()
	c.trim()
	t.work.Out = packet.AppendPingresp(t.work.Out)
	return nil
}

// Send sends encoded packets to a client, behind what is pending.
func (b *Broker) Send(t *Tick, c *Client, link Link, packets []byte) {
	t.open(c)
	defer t.shut(c)
	if c.link == link {
		t.work.Out = append(t.work.Out, packets...)
	}
}
