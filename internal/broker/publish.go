package broker

import (
	"errors"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// ErrTakenOver is returned to a connection whose client id another one has by
// now.
var ErrTakenOver = errors.New("another connection took the client id over")

// Publish takes in a PUBLISH of a client and answers it. An error ends the
// connection.
func (b *Broker) Publish(t *Tick, c *Client, link Link, p *packet.Publish) error {
	t.stats.PublishReceived[p.QoS]++
	if p.Alias > 0 || len(p.Topic) == 0 {
		if err := t.resolve(c, link, p); err != nil {
			return err
		}
	}
	if err := topic.ValidName(p.Topic, b.limits.Load().TopicLevels); err != nil {
		return packet.Refuse(packet.TopicNameInvalid, err.Error())
	}
	if w := b.observed.Load(); w != nil {
		w.see(link, p)
	}
	if p.QoS == 0 {
		if err := t.mayPublish(link, p.Topic, 0, p.Retain); err != nil {
			t.stats.Dropped[DropNotAuthorized]++
			return b.forbidden(err)
		}
		b.route(t, c, t.drafted(link, p))
		return nil
	}
	return b.publishAcknowledged(t, c, link, p, packet.Success)
}

// resolve puts the topic that an alias stands for into p.
func (t *Tick) resolve(c *Client, link Link, p *packet.Publish) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != link { // the aliases are those of another connection
		return ErrTakenOver
	}
	return c.session.Topic(&t.work, p)
}

func (t *Tick) drafted(link Link, p *packet.Publish) *message.Draft {
	t.draft = message.Draft{
		Name: p.Topic, Payload: p.Payload, Forward: p.Forward, Arrived: t.now,
		Expiry: p.Expiry, HasExpiry: p.HasExpiry, QoS: p.QoS, Retain: p.Retain,
	}
	if p.Retain {
		t.draft.By = t.b.by(link, p.Topic[0])
	}
	return &t.draft
}

// publishAcknowledged takes in a QoS 1 or 2 message. Its acknowledgement waits
// if it touched durable state. It may be refused already.
func (b *Broker) publishAcknowledged(t *Tick, c *Client, link Link, p *packet.Publish, refused packet.Code) (err error) {
	d := t.drafted(link, p)
	if !refused.Failed() {
		if refused, err = b.refused(t, c, link, d); err != nil {
			return err
		}
	}
	if p.QoS == 2 { // a stored identifier without its message would lose it
		b.o.Log.Enter()
		defer b.o.Log.Leave()
	}
	logged := t.logged
	t.open(c)
	if c.link != link {
		t.shut(c)
		return ErrTakenOver
	}
	fresh, err := c.session.Admit(&t.work, p, c.ending())
	t.shut(c)
	if err != nil {
		return err
	}
	answer := held{c: c, link: link, t: packet.PUBACK, ack: packet.Ack{ID: p.ID}}
	if p.QoS == 2 {
		answer.t = packet.PUBREC
	}
	if fresh {
		// What is delivered of a QoS 2 message waits behind the answer: at QoS 2 to
		// the publisher itself because it expects that first, and to anybody if
		// the answer waits for the log, since a message that outruns its stored
		// identifier would come a second time after a crash.
		t.parking = parkNone
		if p.QoS == 2 {
			t.parking = parkOwn
			if t.logged > logged {
				t.parking = parkAll
			}
		}
		b.routeFor(t, &answer, d, refused)
		t.parking = parkNone
		answer.parked, t.parked = t.parked, nil
	}
	t.answer(answer, t.logged > logged)
	return nil
}

// parking says whose deliveries wait until the answer is out.
type parking byte

const (
	parkNone parking = iota
	parkOwn          // the publisher's, at QoS 2
	parkAll
	parkMoved // of a message that leaves the log elsewhere: until that is safe, and behind no answer
)

// moving makes deliveries wait for the frame in which a message leaves another
// queue, or stops to be a will: else it would come a second time after a crash. It
// returns what ends that.
func (t *Tick) moving() (end func()) {
	if t.b.store != nil {
		t.parking = parkMoved
	}
	return func() { t.parking = parkNone }
}

// refused says why a message is not routed, if it is not. A 3.x client cannot
// hear that a message was not stored: its connection ends, with the message not
// acknowledged.
func (b *Broker) refused(t *Tick, c *Client, link Link, d *message.Draft) (packet.Code, error) {
	if err := t.mayPublish(link, d.Name, d.QoS, d.Retain); err != nil {
		t.stats.Dropped[DropNotAuthorized]++
		return packet.NotAuthorized, b.forbidden(err)
	}
	failing := b.failing()
	if failing == nil || !b.keeps(t, c, d) {
		return packet.Success, nil
	}
	t.stats.Dropped[DropStore]++
	if link.Version() < packet.V5 {
		return 0, packet.Refuse(packet.QuotaExceeded, "the message cannot be stored: "+failing.Error())
	}
	return packet.QuotaExceeded, nil
}

// forbidden is what ends a client that publishes where it may not, if that is
// to be so.
func (b *Broker) forbidden(err error) error {
	if b.policy != nil && b.policy.Disconnects() {
		return err
	}
	return nil
}

// routeFor routes a message, unless it is refused, and puts into its answer what
// the publisher should hear.
func (b *Broker) routeFor(t *Tick, answer *held, d *message.Draft, refused packet.Code) {
	if answer.ack.Code = refused; !refused.Failed() {
		answer.ack.Code = b.route(t, answer.c, d)
	}
	if answer.t == packet.PUBREC && answer.ack.Code.Failed() {
		b.refuse2(t, answer)
	}
}

// refuse2 forgets a QoS 2 message that a 5.0 client hears to be refused. A 3.x
// client cannot hear it: the exchange goes on [3.1.1 MQTT-3.3.5-2].
func (b *Broker) refuse2(t *Tick, answer *held) {
	if answer.link.Version() < packet.V5 {
		answer.ack.Code = packet.Success
		return
	}
	t.open(answer.c)
	if !answer.c.gone { // the session may have ended while the message was held
		answer.c.session.Refuse(&t.work, answer.ack.ID)
	}
	t.shut(answer.c)
}

// route gives a message to everybody it is for, and returns what the publisher
// should hear.
func (b *Broker) route(t *Tick, from *Client, d *message.Draft) packet.Code {
	pl := t.plan(d.Name)
	d.Topic = pl.topic
	if d.Retain && !b.retain(t, from, d) {
		return packet.QuotaExceeded
	}
	reached, full := t.fanOut(pl, from, d)
	switch {
	case reached > 0:
		return packet.Success
	case full > 0: // no success code for a message that was dropped
		return packet.QuotaExceeded
	case d.Retain:
		return packet.Success
	default:
		return packet.NoMatchingSubscribers
	}
}

// fanOut delivers to all targets of a plan. It returns how many got the
// message, and how many had no room for it.
func (t *Tick) fanOut(pl *plan, from *Client, d *message.Draft) (reached, full int) {
	t.stats.Dropped[DropMayNotReceive] += uint64(pl.barred)
	t.work.Message(d, len(pl.targets)+len(pl.groups) > 1)
	t.effort += len(pl.targets) + len(pl.groups)
	t.wide = len(pl.targets) >= wideFrom
	t.work.Large = len(d.Payload) >= shareFrom && len(pl.targets) >= shareAmong
	for i := range pl.targets {
		to := &pl.targets[i]
		if to.noLocal && to.client == from { // [MQTT-3.8.3-3]
			if to = to.own; to == nil {
				continue
			}
		}
		r := session.Route{QoS: to.qos, Retain: to.retain && d.Retain, IDs: to.ids, Wait: t.parks(to.client, from, to.qos)}
		switch t.deliver(to.client, d, &r) {
		case session.Sent, session.Queued:
			reached++
		case session.DroppedFull:
			full++
		default:
		}
	}
	t.wide = false
	for _, g := range pl.groups {
		if g.deliver(t, from, d) {
			reached++
		}
	}
	return reached, full
}

// parks says whether what c gets of the present message, at a QoS, waits behind
// the publisher's answer.
func (t *Tick) parks(c, from *Client, qos byte) bool {
	switch t.parking {
	case parkAll:
		return qos > 0
	case parkOwn:
		return c == from && qos == 2
	case parkMoved: // who has no session after a crash may get it a second time, at QoS 1
		return qos == 2 || qos == 1 && durable(c)
	default:
		return false
	}
}

// deliver gives the message to one client and counts what became of it.
func (t *Tick) deliver(c *Client, d *message.Draft, to *session.Route) session.Outcome {
	if c.insider {
		return c.busy.inside.deliver(d, to)
	}
	t.open(c)
	return t.deliverOpened(c, d, to)
}

// deliverOpened is deliver for a client that has been opened; it shuts it.
func (t *Tick) deliverOpened(c *Client, d *message.Draft, to *session.Route) session.Outcome {
	if c.gone {
		t.shut(c)
		return session.DroppedOffline
	}
	t.mayQueue(c, d, to)
	t.work.Share = t.work.Large && c.link != nil && c.link.Gathers()
	o := c.session.Deliver(&t.work, d, to)
	if to.Wait && t.parking != parkMoved { // behind the answer to the present message, not by itself
		for _, seq := range t.work.Waits {
			t.parked = append(t.parked, parked{c, seq})
		}
		t.work.Waits = t.work.Waits[:0]
	}
	t.shut(c)
	switch o {
	case session.Sent:
		t.stats.PublishSent[min(d.QoS, to.QoS)]++
	case session.Queued:
		t.stats.Queued++
		t.countDrained() // what has made room
	case session.DroppedOffline:
		t.stats.Dropped[DropOffline]++
	case session.DroppedSlow:
		t.stats.Dropped[DropSlow]++
	case session.DroppedFull:
		t.stats.Dropped[DropQueueFull]++
		t.countDrained()
	case session.DroppedFull0:
		t.stats.Dropped[DropQueueFull0]++
		t.countDrained()
	case session.DroppedPace:
		t.stats.Dropped[DropRateOut]++
	case session.DroppedTooLarge:
		t.stats.Dropped[DropTooLarge]++
	}
	return o
}

// Acknowledge takes in a PUBACK, PUBREC, PUBREL or PUBCOMP of a client.
func (b *Broker) Acknowledge(t *Tick, c *Client, link Link, typ packet.Type, a *packet.Ack) error {
	logged := t.logged
	t.open(c)
	if c.link != link {
		t.shut(c)
		return ErrTakenOver
	}
	var err error
	var code packet.Code
	switch typ {
	case packet.PUBACK:
		err = c.session.Puback(&t.work, a)
	case packet.PUBREC:
		err = c.session.Pubrec(&t.work, a)
	case packet.PUBCOMP:
		err = c.session.Pubcomp(&t.work, a)
	default:
		code = c.session.Pubrel(&t.work, a)
	}
	t.countDrained()
	walking := len(c.walks()) > 0
	t.shut(c)
	if typ == packet.PUBREL {
		t.answer(held{c: c, link: link, t: packet.PUBCOMP, ack: packet.Ack{ID: a.ID, Code: code}}, t.logged > logged)
	}
	if walking {
		b.resumeWalks(t, c, link)
	}
	return err
}

// countDrained counts what a step has sent of a queue, and dropped of it.
func (t *Tick) countDrained() {
	for qos, n := range t.work.Drained {
		t.stats.PublishSent[qos] += uint64(n)
	}
	t.stats.Dropped[DropQueueFull0] += uint64(t.work.Evicted)
	t.stats.Dropped[DropExpired] += uint64(t.work.Expired)
	t.stats.Dropped[DropTooLarge] += uint64(t.work.TooLarge)
	t.stats.Dropped[DropMayNotReceive] += uint64(t.work.Barred)
	t.stats.Dropped[DropLost] += uint64(t.work.Lost)
	t.work.Drained, t.work.Evicted, t.work.Expired, t.work.TooLarge, t.work.Barred, t.work.Lost = [3]int{}, 0, 0, 0, 0, 0
}
