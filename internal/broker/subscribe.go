package broker

import (
	"log/slog"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// Subscribe takes in a SUBSCRIBE of a client and answers it. An error ends the
// connection.
func (b *Broker) Subscribe(t *Tick, c *Client, link Link, p *packet.Subscribe) error {
	logged := t.logged
	t.effort += len(p.Filters)
	answer := t.suback(p.ID)
	var walks []*walk
	for i := range p.Filters {
		code, w, err := b.subscribe(t, c, link, &p.Filters[i], p.SubscriptionID)
		if err != nil {
			return err
		}
		answer.Codes = append(answer.Codes, code)
		if w != nil {
			walks = append(walks, w)
		}
	}
	t.answer(held{c: c, link: link, t: packet.SUBACK, sub: answer}, t.logged > logged)
	if len(walks) > 0 {
		b.walk(t, c, link, walks)
	}
	return nil
}

// subscribe adds one subscription. It returns the walk that sends the retained
// messages, if that is asked for.
func (b *Broker) subscribe(t *Tick, c *Client, link Link, s *packet.Subscription, id uint32) (packet.Code, *walk, error) {
	limits := b.limits.Load()
	f, err := topic.ParseFilter(s.Filter, 0)
	if err != nil { // ill-formed: [MQTT-4.7.1-1], [MQTT-4.8.2-1]
		b.refusedFilter(t, c, s.Filter, err.Error())
		return 0, nil, packet.Refuse(packet.TopicFilterInvalid, err.Error())
	}
	if topic.Levels(f.Path) > limits.TopicLevels {
		b.refusedFilter(t, c, s.Filter, "it has more levels than limits.topic_levels")
		return packet.TopicFilterInvalid, nil, nil
	}
	if s.NoLocal && f.IsShared() { // [MQTT-3.8.3-4]
		return 0, nil, packet.Refuse(packet.ProtocolError, "no local on a shared subscription")
	}
	if err := b.maySubscribe(t, link, f, s); err != nil {
		return packet.NotAuthorized, nil, nil
	}
	t.open(c)
	defer t.shut(c)
	if c.link != link {
		return 0, nil, ErrTakenOver
	}
	if !c.session.Subscribed(s.Filter) && c.overLimit(c.limitsOr(limits), f) {
		b.refusedFilter(t, c, s.Filter, "the client has as many subscriptions as limits.subscriptions and limits.wildcard_subscriptions allow")
		return packet.QuotaExceeded, nil, nil
	}
	existed := b.add(t, c, f, session.Subscription{Subscription: *s, ID: id})
	if f.IsShared() || s.RetainHandling == 2 || s.RetainHandling == 1 && existed { // [MQTT-3.3.1-10]
		return packet.Code(s.QoS), nil, nil
	}
	if !existed && b.retained.Len() == 0 && f.Path[0] != '$' { // $SYS is not among them
		return packet.Code(s.QoS), nil, nil
	}
	return packet.Code(s.QoS), &walk{subscription: s.Filter, filter: f.Path, qos: s.QoS, id: id, cursor: b.retained.Iterate(f.Path)}, nil
}

// maySubscribe says whether a client may subscribe, and logs if not.
func (b *Broker) maySubscribe(t *Tick, link Link, f topic.Filter, s *packet.Subscription) error {
	if b.access == nil || b.free(link, f.Path[0]) {
		return nil
	}
	a := access.Ask{Action: access.Subscribe, Topic: s.Filter, QoS: s.QoS}
	err := b.access.Access(link.Info(), a)
	if err != nil {
		t.stats.SubscriptionsRefused++
		b.logDenied(t.now, link.Info(), a, err)
	}
	return err
}

// refusedFilter counts and logs a topic filter that is refused.
func (b *Broker) refusedFilter(t *Tick, c *Client, filter, why string) {
	t.stats.SubscriptionsRefused++
	b.o.Logger.Info("subscription refused", slog.String("client", c.ID), slog.String("filter", filter), slog.String("why", why))
}

// overLimit says whether one more subscription is too many. The caller holds
// c.mu.
func (c *Client) overLimit(l *Limits, f topic.Filter) bool {
	return c.session.SubscriptionCount() >= l.Subscriptions || f.Wildcard() && int(c.wildcards) >= l.WildcardSubscriptions
}

// add puts the subscription into the session and the router. The caller holds
// c.mu.
func (b *Broker) add(t *Tick, c *Client, f topic.Filter, s session.Subscription) (existed bool) {
	existed = c.session.Subscribe(s)
	if !existed && f.Wildcard() {
		c.wildcards++
	}
	if !existed {
		b.watchSys(f, 1)
	}
	b.enroute(f, c, &s)
	if c.session.Durable() {
		t.log(record.AppendSubscribed(t.records[:0], c.ID, record.Subscription{
			Filter: s.Filter, QoS: s.QoS, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished,
			RetainHandling: s.RetainHandling, ID: s.ID,
		}))
	}
	return existed
}

// enroute puts a subscription into the router.
func (b *Broker) enroute(f topic.Filter, c *Client, s *session.Subscription) {
	b.index.Subscribe(f, c.handle, route.Options{QoS: s.QoS, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, ID: s.ID})
}

// Unsubscribe takes in an UNSUBSCRIBE of a client and answers it.
func (b *Broker) Unsubscribe(t *Tick, c *Client, link Link, p *packet.Unsubscribe) error {
	logged := t.logged
	answer := t.suback(p.ID)
	for _, filter := range p.Filters {
		if _, err := topic.ParseFilter(filter, 0); err != nil { // [MQTT-4.7.3-1]
			return packet.Refuse(packet.TopicFilterInvalid, err.Error())
		}
	}
	t.open(c)
	if c.link != link {
		t.shut(c)
		return ErrTakenOver
	}
	for _, filter := range p.Filters {
		code := packet.NoSubscriptionExisted
		if c.session.Unsubscribe(filter) {
			code = packet.Success
			b.remove(t, c, filter)
		}
		answer.Codes = append(answer.Codes, code)
	}
	t.shut(c)
	t.answer(held{c: c, link: link, t: packet.UNSUBACK, sub: answer}, t.logged > logged)
	return nil
}

// remove takes a subscription that the session has dropped out of the router.
// The caller holds c.mu.
func (b *Broker) remove(t *Tick, c *Client, filter string) {
	b.unroute(filter, c)
	c.stopWalk(filter)
	if f, err := topic.ParseFilter(filter, 0); err == nil && f.Wildcard() {
		c.wildcards--
	}
	if c.session.Durable() {
		t.log(record.AppendUnsubscribed(t.records[:0], c.ID, filter))
	}
}
