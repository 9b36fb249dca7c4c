package broker

import (
	"github.com/fantail-mqtt/fantail/internal/record"
)

// Snapshot is the durable state as the broker holds it. It is the state that
// all records so far add up to, if nothing happens meanwhile and no session that
// has ended is being handed over.
func (b *Broker) Snapshot() *record.State {
	s := &record.State{Sessions: map[string]*record.Session{}, Retained: map[string]record.Retained{}, Settings: map[record.Place]record.Setting{}}
	b.each(func(c *Client) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.gone && c.session.Durable() {
			s.Sessions[c.ID] = c.snapshot()
		}
	})
	for m := range b.allRetained {
		s.Retained[m.Topic] = record.Retained{Message: m.Message, By: m.by.Source()}
	}
	b.settings.mu.RLock()
	defer b.settings.mu.RUnlock()
	for _, sp := range b.settings.spaces {
		for _, v := range sp.values {
			s.Settings[v.Place] = v
		}
	}
	return s
}

// snapshot is the durable state of one session. The caller holds c.mu.
func (c *Client) snapshot() *record.Session {
	s := &record.Session{
		Opened:        record.Opened{Expiry: c.session.Expiry, Version: c.session.Version},
		Subscriptions: map[string]record.Subscription{},
		Received:      map[uint16]bool{},
	}
	for sub := range c.session.Subscriptions {
		s.Subscriptions[sub.Filter] = record.Subscription{
			Filter: sub.Filter, QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished,
			RetainHandling: sub.RetainHandling, ID: sub.ID,
		}
	}
	for it := range c.session.Unfinished {
		s.Queue = append(s.Queue, &record.Item{
			Queued: record.Queued{
				Seq: it.Seq, ID: it.ID, QoS: it.QoS, Retain: it.Retain, IDs: it.IDs, Shared: it.Shared, Message: it.Message,
			},
			Released: it.Released,
		})
	}
	for id := range c.session.Open {
		s.Received[id] = true
	}
	if c.will != nil {
		s.Will = &record.Will{Message: c.will.message, Delay: c.will.delay}
		if w := c.waiting(); w != nil {
			s.Will.FireAt = w.willAt
		}
	}
	return s
}
