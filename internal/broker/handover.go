package broker

import (
	"log/slog"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
)

// A session that ends leaves what it got as a member of a shared subscription to
// other members (5.0, section 4.8.2). Of what only the store has, that takes a
// while: the session has ended for everybody, and its place is free, but the log
// still has it, as one that has expired, and so has its shard, as a late one. It
// is read batch by batch, each joining other queues in the frame that takes it
// out of this one. A crash in the middle finds a session that has expired, and
// goes on. When nothing is left the log has the end as well.
//
// A new session of the client id may begin at once. But the log knows sessions
// by their client id, so one that the log has too cuts the handing over short:
// what is left is dropped, as all the rest of a session that ends.

// logEnd appends that a session has ended, or that it has expired and what is in
// memory goes to others, if there is more in the store. The caller holds the
// shard's lock and c.mu.
func (b *Broker) logEnd(t *Tick, c *Client, left *leaving) {
	if b.store != nil {
		left.from = c.session.Left()
	}
	if left.from == 0 {
		t.log(record.AppendSessionEnded(t.records[:0], c.ID))
		return
	}
	r := record.AppendSessionClosed(t.records[:0], c.ID, t.now, 0, 0)
	if c.will != nil {
		r = record.AppendWillGone(r, c.ID)
	}
	for i := range left.shared {
		r = record.AppendAcked(r, c.ID, left.shared[i].Seq, unsent(left.shared[i].ID > 0, left.shared[i].Message))
	}
	t.log(r)
	c.late = true
	b.shard(c.ID).late[c.ID] = c
}

// handOver reads some of what an ended session has left in the store, and gives
// it to others.
func (b *Broker) handOver(c *Client, from uint64) {
	b.store.Load(c.ID, from, b.limits.Load().HeadBytes, func(items []record.Queued, err error) {
		if err != nil { // the next start tries again
			b.o.Logger.Error("cannot hand over the messages of a session that has ended",
				slog.String("client", c.ID), slog.Any("err", err))
			return
		}
		b.do(func(t *Tick) { b.handedOver(t, c, items) })
	})
}

func (b *Broker) handedOver(t *Tick, c *Client, items []record.Queued) {
	b.o.Log.Enter() // a message leaves one queue for another in one frame
	defer b.o.Log.Leave()
	shared, from := b.takeOut(t, c, items)
	for i := range shared {
		b.redispatch(t, &shared[i])
	}
	if from > 0 {
		b.handOver(c, from)
	}
}

// takeOut takes messages out of the queue of a late session. It returns those
// that are for others, and where to go on; 0 if the session is gone now.
func (b *Broker) takeOut(t *Tick, c *Client, items []record.Queued) (shared []session.Item, from uint64) {
	s := b.shard(c.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.late: // cut short: the log has another session, and these may be its messages
		return nil, 0
	case len(items) == 0:
		b.bury(t, s, c)
		return nil, 0
	}
	r := t.records[:0]
	for i := range items {
		q := &items[i]
		from = q.Seq + 1
		began := c.session.Began(q.Seq)
		r = record.AppendAcked(r, c.ID, q.Seq, unsent(began, q.Message))
		if q.Shared != "" && q.Message != nil && (q.QoS == 1 || !began) { // [MQTT-4.8.2-5]
			shared = append(shared, session.Item{Seq: q.Seq, Message: q.Message, Shared: q.Shared, QoS: q.QoS})
		}
	}
	t.log(r)
	return shared, from
}

// unsent is the size of a message that was never sent, else 0.
func unsent(began bool, m *message.Message) int {
	if began || m == nil {
		return 0
	}
	return m.Size()
}

// cutShort ends the late session of a client id, if there is one, since the log
// is to have another. The caller holds the shard's lock and no client's.
func (b *Broker) cutShort(t *Tick, s *shard, id string) {
	c := s.late[id]
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b.bury(t, s, c)
}

// bury lets the log forget a late session. The caller holds the shard's lock and
// c.mu.
func (b *Broker) bury(t *Tick, s *shard, c *Client) {
	c.late, c.session = false, session.Session{}
	delete(s.late, c.ID)
	t.log(record.AppendSessionEnded(t.records[:0], c.ID))
}
