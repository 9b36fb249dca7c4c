package broker

import (
	"log/slog"
	"sync"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// load asks the store for messages of a session. The caller holds c.mu.
func (b *Broker) load(c *Client, from uint64) {
	connection := c.session.Connection()
	b.store.Load(c.ID, from, b.limits.Load().HeadBytes, func(items []record.Queued, err error) {
		b.do(func(t *Tick) { b.loaded(t, c, connection, items, err) })
	})
}

// loaded hands the session what the store had of its messages.
func (b *Broker) loaded(t *Tick, c *Client, connection uint32, items []record.Queued, err error) {
	if err != nil {
		b.unreadable(c, err)
		return
	}
	list := make([]session.Item, 0, len(items))
	for i := range items {
		q := &items[i]
		list = append(list, session.Item{
			Seq: q.Seq, Message: q.Message, IDs: q.IDs, Shared: q.Shared, QoS: q.QoS, Retain: q.Retain,
		})
	}
	t.open(c)
	if !c.gone {
		c.session.Loaded(&t.work, connection, list)
		t.countDrained()
	}
	t.shut(c)
}

// unreadable ends a connection whose messages cannot be read just now: the next
// one tries again.
func (b *Broker) unreadable(c *Client, err error) {
	b.o.Logger.Error("cannot read the messages of a session", slog.String("client", c.ID), slog.Any("err", err))
	c.mu.Lock()
	link := c.link
	c.mu.Unlock()
	if link != nil {
		link.Kick(nil, packet.Refuse(packet.UnspecifiedError, "the messages of the session cannot be read"))
	}
}

// Oldest is when the oldest queued message came, in unix milliseconds; 0 if none
// is queued. It reads one message of each session that has any.
func (b *Broker) Oldest() int64 {
	var mu sync.Mutex
	oldest := int64(0)
	see := func(m *message.Message) {
		mu.Lock()
		defer mu.Unlock()
		if oldest == 0 || m.Arrived < oldest {
			oldest = m.Arrived
		}
	}
	var reading sync.WaitGroup
	b.each(func(c *Client) {
		c.mu.Lock()
		seq, m, ok := c.session.First()
		c.mu.Unlock()
		switch {
		case !ok:
		case m != nil:
			see(m)
		default:
			reading.Add(1)
			b.store.Load(c.ID, seq, 1, func(items []record.Queued, _ error) {
				defer reading.Done()
				if len(items) > 0 {
					see(items[0].Message)
				}
			})
		}
	})
	reading.Wait()
	return oldest
}

// Crowded is who waits for the log to take more.
type Crowded interface{ Uncrowd() }

// Room returns true if the log takes more. If not, since the disk needs time, it
// calls who.Uncrowd, once and on another goroutine, when it does.
func (b *Broker) Room(who Crowded) bool { return b.store == nil || b.storeRoom(who) }

func (b *Broker) storeRoom(who Crowded) bool {
	if b.store.Room(func() {
		if b.behind.CompareAndSwap(true, false) {
			b.o.Logger.Info("the disk has caught up")
		}
		who.Uncrowd()
	}) {
		return true
	}
	b.stats.Slowed.Add(1)
	if b.behind.CompareAndSwap(false, true) {
		b.o.Logger.Warn("the disk does not keep up: clients are read as fast as it takes what they send")
	}
	return false
}

// failing says why the log keeps nothing new, or nil.
func (b *Broker) failing() error {
	if b.store == nil {
		return nil
	}
	return b.store.Failing()
}

// keeps says whether a message would change durable state.
func (b *Broker) keeps(t *Tick, from *Client, d *message.Draft) bool {
	if d.Retain || d.QoS == 2 && durable(from) {
		return true
	}
	pl := t.plan(d.Name)
	for i := range pl.targets {
		if pl.targets[i].qos > 0 && durable(pl.targets[i].client) {
			return true
		}
	}
	for _, g := range pl.groups {
		for i := range g.members {
			if g.members[i].qos > 0 && durable(g.members[i].client) {
				return true
			}
		}
	}
	return false
}

func durable(c *Client) bool {
	if c == nil || c.insider {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session.Durable()
}

// Recover calls setting for each setting, session for each session and retained
// for each retained message that a store has at start.
type Recover func(setting func(record.Setting) error, session func(*record.Recovered) error, retained func(record.Retained) error) error

// Restore takes in what the store has at start, before any client connects. A
// client that was connected when the process ended has lost its connection now.
func (b *Broker) Restore(from Recover) (err error) {
	b.do(func(t *Tick) {
		var gone []absentee
		setting := func(v record.Setting) error {
			b.settings.mu.Lock()
			defer b.settings.mu.Unlock()
			b.settings.put(v)
			return nil
		}
		session := func(r *record.Recovered) error {
			gone = append(gone, b.restore(r))
			return nil
		}
		retained := func(m record.Retained) error {
			b.retaining.Lock()
			defer b.retaining.Unlock()
			b.keep(m.Message, m.By.Handle())
			return nil
		}
		if err = from(setting, session, retained); err != nil {
			return
		}
		for i := range gone { // wills find all subscriptions there
			b.missed(t, &gone[i])
		}
		b.sweepBy(t.now)
	})
	<-b.settings.tell()
	return err
}

// absentee is a session that a store had.
type absentee struct {
	c        *Client
	closedAt int64  // 0: its client was connected
	doubt    uint64 // as the store has it
	willAt   int64  // 0: not known yet
}

// restore takes in one session.
func (b *Broker) restore(r *record.Recovered) absentee {
	c := &Client{ID: r.Client}
	b.table.add(c)
	c.session.Restore(stored(r))
	for sub := range c.session.Subscriptions {
		f, err := topic.ParseFilter(sub.Filter, 0)
		if err != nil {
			continue // it was parsed when it came in
		}
		if f.Wildcard() {
			c.wildcards++
		}
		b.watchSys(f, 1)
		b.enroute(f, c, &sub)
	}
	if owner := r.UserName; owner != "" {
		c.more().who = &Info{ClientID: c.ID, UserName: owner, Grant: &access.Grant{UserName: owner}, Restored: true}
	}
	a := absentee{c: c, closedAt: r.ClosedAt, doubt: r.Doubt}
	if r.Will != nil {
		c.will = &will{message: r.Will.Message, delay: r.Will.Delay}
		a.willAt = r.Will.FireAt
	}
	s := b.shard(c.ID)
	s.mu.Lock()
	b.enlist(s, c)
	s.mu.Unlock()
	b.stats.Sessions.Add(1)
	if _, bytes := c.session.Queued(); bytes > 0 {
		c.more().counted = bytes
		b.queuedBytes.Add(int64(bytes))
	}
	return a
}

// missed does what the end of the process has kept from being done.
func (b *Broker) missed(t *Tick, a *absentee) {
	b.o.Log.Enter()
	defer b.o.Log.Leave()
	c := a.c
	s := b.shard(c.ID)
	s.mu.Lock()
	c.mu.Lock()
	left := leaving{who: c.who()}
	switch {
	case !c.session.Outlives():
		b.endRecorded(t, c, &left, true)
		b.strike(s, c)
	case a.closedAt == 0:
		left.will = b.away(t, c)
	default:
		if a.doubt != c.session.Doubt() { // else it would be said of messages to come
			t.closed(c, a.closedAt)
		}
		left.will = b.absent(t, c, a.closedAt, a.willAt)
	}
	c.mu.Unlock()
	s.mu.Unlock()
	b.finishLeaving(t, c, &left)
}

// stored is a recovered session in the session's own terms.
func stored(r *record.Recovered) *session.Stored {
	s := &session.Stored{
		Terms:  session.Terms{Version: r.Version, Expiry: r.Expiry},
		Unsent: r.Unsent, Last: r.Last, Messages: r.Messages, Bytes: int(r.Bytes), Doubt: r.Doubt,
	}
	if r.ClosedAt == 0 {
		s.Doubt = r.Last
	}
	for _, sub := range r.Subscriptions {
		s.Subscriptions = append(s.Subscriptions, session.Subscription{
			Subscription: packet.Subscription{
				Filter: sub.Filter, QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished,
				RetainHandling: sub.RetainHandling,
			},
			ID: sub.ID,
		})
	}
	for id := range r.Received {
		s.Open = append(s.Open, id)
	}
	for _, w := range r.Window {
		s.Window = append(s.Window, session.Unacked{Seq: w.Seq, ID: w.ID, Released: w.Released})
	}
	return s
}
