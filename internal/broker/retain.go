package broker

import (
	"slices"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/message"
)

// retained is a retained message.
type retained struct {
	*message.Message
	by message.SourceHandle
}

// retain stores or removes the retained message of a topic [MQTT-3.3.1-5],
// [MQTT-3.3.1-6]. It returns false if there is no room for one more.
func (b *Broker) retain(t *Tick, from *Client, d *message.Draft) bool {
	own := b.keeping(from)
	b.retaining.Lock()
	defer b.retaining.Unlock()
	old, had := b.retained.Get(d.Topic, 0)
	if len(d.Payload) == 0 { // [MQTT-3.3.1-7]
		if had {
			b.unretain(t, old.Message)
		}
		return true
	}
	l := b.limits.Load()
	m := d.Keep()
	if b.failing() != nil {
		t.stats.Dropped[DropStore]++
		return false
	}
	size := int64(m.Size())
	if had {
		size -= int64(old.Size())
	}
	if !had && b.retained.Len() >= l.RetainedMessages || size > 0 && b.retainedBytes.Load()+size > l.RetainedBytes {
		t.stats.Dropped[DropRetainedFull]++
		return false
	}
	if !b.keepers.keep(from, own, d.Topic, int64(m.Size())) {
		t.stats.Dropped[DropRetainedFull]++
		return false
	}
	if had {
		b.retainedBytes.Add(-int64(old.Size()))
	}
	b.keep(m, d.By)
	t.log(record.AppendRetained(t.records[:0], record.Retained{Message: m, By: d.By.Source()}))
	return true
}

// keep puts a message where retained ones are, in place of none or of one whose
// size no longer counts. The caller holds b.retaining.
func (b *Broker) keep(m *message.Message, by message.SourceHandle) {
	b.retained.Set(m.Topic, retained{m, by}, m.ExpiresAt())
	b.retainedBytes.Add(int64(m.Size()))
	if at := m.ExpiresAt(); at > 0 {
		b.reapBy(at)
	}
}

// unretain removes a retained message. The caller holds b.retaining.
func (b *Broker) unretain(t *Tick, m *message.Message) {
	b.retained.Delete(m.Topic)
	b.keepers.forget(m.Topic)
	b.retainedBytes.Add(-int64(m.Size()))
	t.log(record.AppendRetainCleared(t.records[:0], m.Topic))
}

// reaper reaps expired retained messages, whether or not anybody subscribes.
type reaper struct{ b *Broker }

// reapBy makes the reaper look at the latest then. The caller holds
// b.retaining.
func (b *Broker) reapBy(at int64) {
	if b.reapAt == 0 || at < b.reapAt {
		b.reapAt = at
		b.o.Wheel.Set(reaper{b}, at)
	}
}

// reapBatch is how many messages are reaped before others get their turn.
const reapBatch = 1000

// Timer implements wheel.Owner.
func (r reaper) Timer() *wheel.Entry { return &r.b.reaping }

// Due implements wheel.Owner.
func (r reaper) Due(now int64) (next int64) {
	b := r.b
	b.do(func(t *Tick) {
		b.retaining.Lock()
		defer b.retaining.Unlock()
		next = b.retained.Expired(now, reapBatch, func(_ string, m retained) {
			b.retainedBytes.Add(-int64(m.Size()))
			b.keepers.forget(m.Topic)
			t.stats.Dropped[DropRetainedExpired]++
			t.log(record.AppendRetainCleared(t.records[:0], m.Topic))
		})
		b.reapAt = next
	})
	return next
}

// walk sends the retained messages that match a new subscription, a budget at
// a time and no faster than the client takes them.
type walk struct {
	subscription string // as the client wrote it
	filter       string // what of it matches topics
	qos          byte
	id           uint32
	cursor       route.Cursor
}

const (
	walkNodes    = 2000     // visited in one step
	walkMessages = 256      // sent in one step, and how many may then be queued
	walkPending  = 64 << 10 // bytes of the same: a walk alone never fills queue or pending bytes
)

// stopWalk ends the walk of a subscription that is replaced or has gone
// [MQTT-3.10.4-2]. The caller holds c.mu.
func (c *Client) stopWalk(subscription string) {
	if m := c.busy; m != nil {
		m.walks = slices.DeleteFunc(m.walks, func(w *walk) bool { return w.subscription == subscription })
	}
}

// walk begins to send retained messages.
func (b *Broker) walk(t *Tick, c *Client, link Link, walks []*walk) {
	for _, w := range walks {
		b.sendSys(t, c, w)
	}
	c.mu.Lock()
	for _, w := range walks {
		if c.link == link {
			c.stopWalk(w.subscription)
			m := c.more()
			m.walks = append(m.walks, w)
		}
	}
	c.mu.Unlock()
	b.resumeWalks(t, c, link)
}

// resumeWalks goes on with what is left of the client's walks, as far as it
// has room.
func (b *Broker) resumeWalks(t *Tick, c *Client, link Link) {
	for {
		c.mu.Lock()
		queued, bytes := c.session.Queued()
		queued0, bytes0 := c.session.Queued0()
		if c.link != link || len(c.walks()) == 0 || c.blocked || queued-queued0 >= walkMessages || bytes-bytes0 >= walkPending {
			c.mu.Unlock()
			return // Writable or an acknowledgement will come
		}
		if c.unwritten() >= walkPending || queued0 > 0 { // they leave with the pending bytes
			c.mu.Unlock()
			link.Again()
			return
		}
		most, size := t.walkable(c)
		if most <= 0 {
			c.mu.Unlock()
			return // its rate lets it go on
		}
		w := c.busy.walks[0]
		c.mu.Unlock()
		done := b.step(t, c, w, most, size)
		if !done {
			link.Again()
			return
		}
		c.mu.Lock()
		if list := c.walks(); len(list) > 0 && list[0] == w {
			c.busy.walks = list[1:]
		}
		if len(c.walks()) == 0 {
			c.trim()
		}
		c.mu.Unlock()
	}
}

// step sends some of a walk's messages, so many and about so many bytes at most;
// true if those were the last.
func (b *Broker) step(t *Tick, c *Client, w *walk, most, size int) (done bool) {
	t.found = t.found[:0]
	bytes := 0
	done = b.retained.Next(&w.cursor, walkNodes, t.now, func(_ string, m retained) bool {
		t.found = append(t.found, m)
		bytes += m.Size()
		return len(t.found) < most && bytes < size
	})
	r := session.Route{QoS: w.qos, Retain: true} // [MQTT-3.3.1-8]
	if w.id > 0 {
		r.IDs = []uint32{w.id}
	}
	c.mu.Lock()
	who := c.who()
	c.mu.Unlock()
	for i, m := range t.found {
		t.found[i] = retained{}
		if m.Expired(t.now) || b.revoked(t, m) {
			continue
		}
		if !b.mayReceive(who, m.Topic) {
			t.stats.Dropped[DropMayNotReceive]++
			continue
		}
		d := message.From(m.Message)
		d.Expiry = m.Remaining(t.now)
		t.work.Message(&d, false)
		t.deliver(c, &d, &r)
	}
	return done
}

// Retained yields the retained messages, for administration.
func (b *Broker) Retained(yield func(*message.Message) bool) {
	for m := range b.allRetained {
		if !yield(m.Message) {
			return
		}
	}
}

func (b *Broker) allRetained(yield func(retained) bool) {
	cursor := b.retained.IterateAll()
	for goOn := true; goOn; {
		done := b.retained.Next(&cursor, walkNodes, 0, func(_ string, m retained) bool {
			goOn = yield(m)
			return goOn
		})
		if done {
			return
		}
	}
}
