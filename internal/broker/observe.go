package broker

import (
	"sync"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// Observation remembers what clients publish, each client and topic once, until its
// Stop: for those who want to know what a change of the rules would mean.
type Observation struct {
	b *Broker

	mu   sync.Mutex // guards the rest
	seen map[grant]struct{}
}

// maxObserved bounds what an observation remembers.
const maxObserved = 1 << 17

// Observe begins to remember. There is one at a time: a second one is nil.
func (b *Broker) Observe() *Observation {
	o := &Observation{b: b, seen: map[grant]struct{}{}}
	if !b.observed.CompareAndSwap(nil, o) {
		return nil
	}
	return o
}

// see takes in what a client publishes.
func (o *Observation) see(link Link, p *packet.Publish) {
	g := grant{link.Info(), string(p.Topic), p.QoS, p.Retain}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) < maxObserved {
		o.seen[g] = struct{}{}
	}
}

// Stop ends the observation, and returns what connected clients do: what they have
// published meanwhile, and all that they are subscribed to.
func (o *Observation) Stop() []access.Held {
	o.b.observed.Store(nil)
	o.mu.Lock()
	held := map[*Info]*access.Held{}
	for g := range o.seen {
		h := held[g.who]
		if h == nil {
			h = &access.Held{Info: g.who}
			held[g.who] = h
		}
		h.Asks = append(h.Asks, access.Ask{Action: access.Publish, Topic: g.topic, QoS: g.qos, Retain: g.retain})
	}
	o.mu.Unlock()
	o.b.each(func(c *Client) { subscribed(c, held) })
	list := make([]access.Held, 0, len(held))
	for _, h := range held {
		list = append(list, *h)
	}
	return list
}

// subscribed adds what a connected client is subscribed to.
func subscribed(c *Client, held map[*Info]*access.Held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil || c.insider || c.session.SubscriptionCount() == 0 {
		return
	}
	who := c.link.Info()
	h := held[who]
	if h == nil {
		h = &access.Held{Info: who}
		held[who] = h
	}
	for s := range c.session.Subscriptions {
		h.Asks = append(h.Asks, access.Ask{Action: access.Subscribe, Topic: s.Filter, QoS: s.QoS})
	}
}
