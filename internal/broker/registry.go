package broker

import (
	"log/slog"
	"sync/atomic"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// Connect is an accepted CONNECT: who it is has been checked.
type Connect struct {
	Info       Info
	CleanStart bool
	Terms      session.Terms
	Will       *packet.Will
	Connack    packet.Connack // what to answer; Connect fills in the session
	Limits     *Limits        // that hold for the client; nil: those of everybody
}

// Admit counts one more connected client, for a Connect that has to follow. It
// says no if there are as many as most already; 0 is no bound.
func (b *Broker) Admit(most int64) bool {
	now := b.stats.Connected.Load()
	for most == 0 || now < most {
		if b.stats.Connected.CompareAndSwap(now, now+1) {
			raise(&b.stats.MaxClients, now+1)
			return true
		}
		now = b.stats.Connected.Load()
	}
	return false
}

// raise makes v at least n.
func raise(v *atomic.Int64, n int64) {
	for old := v.Load(); n > old && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// Connect opens a connection on the client's session, or on a new one, and
// answers with CONNACK. A connection that has the client id is ended
// [MQTT-3.1.4-3]. The error is a [*Claimed], and leaves all as it was before
// Admit.
func (b *Broker) Connect(t *Tick, link Link, r *Connect) (*Client, error) {
	b.o.Log.Enter() // a will is gone from the log when it is published, and not before
	defer b.o.Log.Leave()
	id := r.Info.ClientID
	s := b.shard(id)
	s.mu.Lock()
	old := b.find(s, id)
	var left leaving
	c := old
	if old != nil {
		old.mu.Lock()
		if err := b.claim(old, &r.Info); err != nil {
			old.mu.Unlock()
			s.mu.Unlock()
			b.stats.Connected.Add(-1)
			return nil, err
		}
		left = b.displace(t, old, r)
		if !left.ended {
			b.begin(t, old, link, r, true)
		}
		old.mu.Unlock()
	}
	if old == nil || left.ended {
		if r.Terms.Expiry > 0 {
			b.cutShort(t, s, id)
			left.from = 0
		}
		if old != nil {
			b.strike(s, old)
		}
		c = &Client{ID: id}
		if left.rivals != nil {
			c.more().rivals = left.rivals
		}
		b.table.add(c)
		c.mu.Lock()
		b.begin(t, c, link, r, false)
		c.mu.Unlock()
		b.enlist(s, c)
		b.stats.Sessions.Add(1)
	}
	s.mu.Unlock()
	b.finishLeaving(t, old, &left)
	if left.link != nil {
		b.takenOver(c, left.link.Info(), &r.Info)
		why := packet.Refuse(packet.SessionTakenOver, "another connection took the client id over")
		left.link.Kick(left.out, why)
		b.announceEnd(t, left.link, why.Error())
	}
	if c == old && !b.free(link, 0) { // the rules may be others by now, and so may its rights
		b.reassess(t, c)
	}
	b.announce(t, &r.Info, "connected", "")
	return c, nil
}

// begin starts a connection. The caller holds c.mu; the CONNACK is the first
// thing in the client's pending bytes [MQTT-3.2.0-1].
func (b *Broker) begin(t *Tick, c *Client, link Link, r *Connect, resumed bool) {
	link.Join(c)
	c.link = link
	c.takePending()
	c.writing, c.blocked, c.drained, c.dirty = false, false, false, false
	b.holds(c)
	if m := c.busy; m != nil {
		m.ending, m.who = 0, nil
		b.stopWaiting(c)
		c.trim()
	}
	b.setOwn(c, r.Limits)
	t.take(c)
	r.Connack.SessionPresent = resumed // [MQTT-3.2.2-3]
	t.work.Out = packet.AppendConnack(t.work.Out, &r.Connack, r.Terms.Version, r.Terms.MaximumPacket)
	wasDurable := resumed && c.session.Durable()
	c.session.Begin(r.Terms)
	switch {
	case c.session.Durable():
		t.log(record.AppendSessionOpened(t.records[:0], c.ID, record.Opened{
			At: t.now, Expiry: r.Terms.Expiry, Version: r.Terms.Version, UserName: r.Info.Owner(),
		}))
	case wasDurable: // it will end with this connection
		t.log(record.AppendSessionEnded(t.records[:0], c.ID))
	}
	c.will = nil
	if w := r.Will; w != nil {
		c.will = &will{message: willMessage(w), delay: w.Delay}
		if c.session.Durable() {
			t.log(record.AppendWillArmed(t.records[:0], c.ID, record.Will{Message: c.will.message, Delay: w.Delay}))
		}
	}
	if resumed {
		t.doubt(c)
	}
	t.drain(c)
	t.settle(c)
	t.put(c)
}

func willMessage(w *packet.Will) *message.Message {
	return &message.Message{
		Topic: w.Topic, Payload: append([]byte(nil), w.Payload...), Forward: append([]byte(nil), w.Forward...),
		Expiry: w.Expiry, HasExpiry: w.HasExpiry, QoS: w.QoS, Retain: w.Retain,
	}
}

// leaving is what a connection or a session leaves to be done once no lock is
// held.
type leaving struct {
	ended  bool   // the session, not only the connection
	link   Link   // a connection to be ended
	out    []byte // its pending bytes
	will   *message.Message
	who    *Info          // whose will it is
	shared []session.Item // messages for other members of their group
	from   uint64         // from here on there are more of them in the store; 0: none
	rivals *rivals
}

// displace ends what the client id has so far, in favour of a new connection.
// The caller holds the shard's lock and c.mu.
func (b *Broker) displace(t *Tick, c *Client, r *Connect) leaving {
	left := leaving{link: c.link, out: c.takePending(), who: c.who(), rivals: c.rivals()}
	c.stopWalks()
	c.link = nil // the old connection's loop may still be inside a walk
	b.holds(c)
	if left.link != nil {
		b.stats.Connected.Add(-1)
		c.session.End(&t.work)
	}
	if !r.CleanStart && c.session.Outlives() {
		if c.will != nil && left.link != nil && c.will.delay == 0 {
			left.will = c.takeWill(t)
		} else if c.will != nil { // the delay is not over [MQTT-3.1.3-9]
			c.dropWill(t)
		}
		return left
	}
	b.end(t, c, &left)
	return left
}

// Ending says how a connection ends.
type Ending struct {
	Reason    string  // in words, for presence
	DropWill  bool    // DISCONNECT with code 0 [MQTT-3.14.4-3]
	NewExpiry *uint32 // from a DISCONNECT
}

// Disconnect ends a connection, unless another one has taken its client id
// over by now. It returns what was waiting to be written.
func (b *Broker) Disconnect(t *Tick, c *Client, link Link, e Ending) (pending []byte) {
	b.o.Log.Enter() // as in Connect
	defer b.o.Log.Leave()
	s := b.shard(c.ID)
	s.mu.Lock()
	c.mu.Lock()
	if c.link != link {
		c.mu.Unlock()
		s.mu.Unlock()
		return nil
	}
	b.stats.Connected.Add(-1)
	pending = c.takePending()
	c.stopWalks()
	b.remember(c, link.Info())
	c.link = nil
	b.holds(c)
	c.session.End(&t.work)
	t.recount(c)
	wasDurable := c.session.Durable()
	if e.NewExpiry != nil {
		c.session.Expiry = *e.NewExpiry
	}
	if e.DropWill && c.will != nil {
		c.dropWillOf(t, wasDurable)
	}
	left := leaving{who: c.who()}
	if c.session.Outlives() {
		left.will = b.away(t, c)
	} else {
		b.endRecorded(t, c, &left, wasDurable)
		b.strike(s, c)
	}
	c.mu.Unlock()
	s.mu.Unlock()
	b.finishLeaving(t, c, &left)
	b.announceEnd(t, link, e.Reason)
	return pending
}

// away arms an absent client's expiry and will delay. It returns the will if
// it is due now. The caller holds c.mu.
func (b *Broker) away(t *Tick, c *Client) (due *message.Message) {
	t.closed(c, t.now)
	return b.absent(t, c, t.now, 0)
}

// closed records that a client went at unix milliseconds, and what may have
// reached it without anybody's knowing. The caller holds c.mu.
func (t *Tick) closed(c *Client, at int64) {
	t.log(record.AppendSessionClosed(t.records[:0], c.ID, at, c.session.Expiry, c.session.Doubt()))
}

// absent arms what is due to a client that went at unix milliseconds, and whose
// will is due at willAt, if that is known. The caller holds c.mu.
func (b *Broker) absent(t *Tick, c *Client, went, willAt int64) (due *message.Message) {
	w := &waiting{b: b, c: c}
	if c.session.Expiry != session.Never {
		w.endAt = went + int64(c.session.Expiry)*1000
	}
	switch {
	case c.will == nil:
	case c.will.delay == 0:
		due = c.takeWill(t)
	case willAt > 0:
		w.willAt = willAt
	default:
		w.willAt = went + int64(c.will.delay)*1000
		t.log(record.AppendWillArmed(t.records[:0], c.ID, record.Will{Message: c.will.message, Delay: c.will.delay, FireAt: w.willAt}))
	}
	if next := w.next(); next > 0 {
		c.more().waiting = w
		b.o.Wheel.Set(w, next)
	}
	return due
}

// Timer implements wheel.Owner.
func (w *waiting) Timer() *wheel.Entry { return &w.entry }

// Due implements wheel.Owner: the will delay or the session's life is over.
func (w *waiting) Due(now int64) (next int64) {
	w.b.do(func(t *Tick) { next = w.b.due(t, w, now) })
	return next
}

func (b *Broker) due(t *Tick, w *waiting, now int64) (next int64) {
	b.o.Log.Enter() // as in Connect
	defer b.o.Log.Leave()
	c := w.c
	s := b.shard(c.ID)
	s.mu.Lock()
	c.mu.Lock()
	left := leaving{who: c.who()}
	if c.waiting() == w {
		switch {
		case w.endAt > 0 && now >= w.endAt:
			c.busy.waiting = nil
			b.end(t, c, &left)
			b.strike(s, c)
			b.stats.Expired.Add(1)
		case w.willAt > 0 && now >= w.willAt:
			w.willAt = 0
			left.will = c.takeWill(t)
			next = w.endAt
		default:
			next = w.next()
		}
	}
	c.mu.Unlock()
	s.mu.Unlock()
	b.finishLeaving(t, c, &left)
	return next
}

// end ends the session: its subscriptions go, its will is due, and what it got
// as a member of a shared subscription goes to others. The caller holds the
// shard's lock and c.mu, and takes c out of the shard.
func (b *Broker) end(t *Tick, c *Client, left *leaving) {
	b.endRecorded(t, c, left, c.session.Durable())
}

func (b *Broker) endRecorded(t *Tick, c *Client, left *leaving, durable bool) {
	for sub := range c.session.Subscriptions {
		b.unroute(sub.Filter, c)
	}
	for it := range c.session.Unfinished {
		// A QoS 2 message that was sent may have arrived: it is given to
		// nobody else [MQTT-4.8.2-5].
		if it.Shared != "" && it.Message != nil && (it.QoS == 1 || !it.Tried()) {
			left.shared = append(left.shared, it)
		}
	}
	if durable {
		b.logEnd(t, c, left)
	}
	if c.will != nil {
		left.will = c.will.message
		c.will = nil
	}
	b.stopWaiting(c)
	t.count(c, 0, 0)
	if !c.late {
		c.session = session.Session{} // a plan may remember c until its topic comes again
	}
	c.gone, left.ended = true, true
	b.stats.Sessions.Add(-1)
	b.table.remove(c)
}

// stopWaiting ends what an absent client waits for. The caller holds c.mu.
func (b *Broker) stopWaiting(c *Client) {
	if w := c.waiting(); w != nil {
		b.o.Wheel.Stop(w)
		c.busy.waiting = nil
	}
}

// stopWalks ends all walks. The caller holds c.mu.
func (c *Client) stopWalks() {
	if c.busy != nil {
		c.busy.walks = nil
	}
}

// takeWill takes the will out to be published. The caller holds c.mu.
func (c *Client) takeWill(t *Tick) *message.Message {
	m := c.will.message
	c.dropWill(t)
	return m
}

// dropWill deletes the will. The caller holds c.mu.
func (c *Client) dropWill(t *Tick) { c.dropWillOf(t, c.session.Durable()) }

func (c *Client) dropWillOf(t *Tick, durable bool) {
	c.will = nil
	if durable {
		t.log(record.AppendWillGone(t.records[:0], c.ID))
	}
}

// finishLeaving does what was left, with no lock held.
func (b *Broker) finishLeaving(t *Tick, c *Client, left *leaving) {
	if left.will != nil {
		b.publishWill(t, c, left.who, left.will)
	}
	for i := range left.shared {
		b.redispatch(t, &left.shared[i])
	}
	if left.from > 0 {
		b.handOver(c, left.from)
	}
}

// publishWill publishes a will, if its client still may.
func (b *Broker) publishWill(t *Tick, c *Client, who *Info, m *message.Message) {
	if b.access != nil && who != nil {
		if err := b.access.Access(who, access.Ask{Action: access.Publish, Topic: m.Topic, QoS: m.QoS, Retain: m.Retain}); err != nil {
			t.stats.Dropped[DropNotAuthorized]++
			return
		}
	}
	w := *m
	w.Arrived = t.now
	d := message.From(&w)
	if m.Retain && b.policy != nil && who != nil && !b.policy.Open(who.Grant != nil) {
		d.By = publisher(who)
	}
	defer t.moving()()
	b.route(t, c, &d)
}

// unroute takes a subscription out of the router.
func (b *Broker) unroute(filter string, c *Client) {
	f, err := topic.ParseFilter(filter, 0)
	if err != nil {
		return // it was parsed when it came in
	}
	b.index.Unsubscribe(f, c.handle)
	b.watchSys(f, -1)
}

// rivals remembers takeovers of one client id.
type rivals struct {
	since  int64 // unix milliseconds of the first takeover that counts
	count  int
	warned bool
}

const (
	rivalsWindow = 60_000 // milliseconds
	rivalsLimit  = 4
)

// takenOver logs a takeover; several in a row are two devices that share a
// client id.
func (b *Broker) takenOver(c *Client, from, by *Info) {
	s := b.shard(c.ID) // sessions that follow each other share what is counted
	s.mu.Lock()
	c.mu.Lock()
	r := c.rivals()
	if r == nil || by.ConnectedAt-r.since > rivalsWindow {
		r = &rivals{since: by.ConnectedAt}
		c.more().rivals = r
	}
	c.mu.Unlock()
	r.count++
	warn := r.count >= rivalsLimit && !r.warned
	r.warned = r.warned || warn
	quiet := r.warned && !warn
	count := r.count
	s.mu.Unlock()
	b.stats.Takeovers.Add(1)
	if quiet {
		return
	}
	attrs := []any{slog.String("client", c.ID), slog.String("from", from.Addr.String()), slog.String("by", by.Addr.String())}
	if warn {
		b.o.Logger.Warn("two devices share the client id: give each its own", append(attrs, slog.Int("takeovers", count))...)
		return
	}
	b.o.Logger.Info("client id taken over", attrs...)
}
