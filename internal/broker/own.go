package broker

import (
	"math"

	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

// Some clients have limits of their own, or a rate at which they get messages. Both
// hang at the client's busy part, so that a broker without them asks for one
// pointer more at each delivery. They stay with the session when the client goes,
// for what is queued meanwhile, and are set anew by the next connection.

// pacer holds what may be sent to a client. Its client's lock guards it, but for
// the entry.
type pacer struct {
	entry               wheel.Entry
	b                   *Broker
	c                   *Client
	messages, bytes     limit.Bucket
	messageRate, byRate limit.Rate
	began               int // length of the pending bytes when the client was opened
	allowed             int // messages at that time
}

// setOwn gives a client the limits of a new connection; nil are those of
// everybody. The caller holds c.mu.
func (b *Broker) setOwn(c *Client, l *Limits) {
	all := l
	if all == nil {
		all = b.limits.Load()
	}
	paces := all.MessagesOut > 0 || all.BytesOut > 0
	if l == nil && !paces && c.busy == nil {
		return
	}
	m := c.more()
	m.limits = l
	switch {
	case !paces:
		m.pace = nil
	case m.pace == nil:
		m.pace = &pacer{b: b, c: c}
		fallthrough
	default: // what was sent before counts: to connect anew brings nothing
		m.pace.messageRate, m.pace.byRate = all.MessagesOut, all.BytesOut
	}
	c.trim()
}

// limitsOr are the client's own limits, or those of everybody. The caller holds
// c.mu.
func (c *Client) limitsOr(l *Limits) *Limits {
	if c.busy != nil && c.busy.limits != nil {
		return c.busy.limits
	}
	return l
}

// allowOwn brings the client's own limits into force. The caller holds c.mu.
func (t *Tick) allowOwn(c *Client) {
	if l := c.busy.limits; l != nil {
		t.own = l.Limits
		t.own.PendingBytes = t.limits.PendingBytes
		t.work.Limits = &t.own
	}
	if p := c.busy.pace; p != nil {
		p.began = c.unwritten()
		p.allowed, t.pace.End = p.left(t.now)
		t.pace.Messages = p.allowed
		if t.pace.End < math.MaxInt-p.began {
			t.pace.End += p.began
		}
		t.work.Pace = &t.pace
	}
}

// left is how much may be sent at unix milliseconds.
func (p *pacer) left(now int64) (messages, bytes int) {
	at := limit.At(now)
	return int(min(p.messages.Left(p.messageRate, at), math.MaxInt)), int(min(p.bytes.Left(p.byRate, at), math.MaxInt))
}

// paced takes what a step has sent from the client's rates. If it may not be sent
// more, its connection goes on when it may. The caller holds c.mu.
func (t *Tick) paced(c *Client) {
	pace := t.work.Pace
	t.work.Pace = nil
	if c.busy == nil || c.busy.pace == nil { // the session has ended meanwhile
		return
	}
	p, now := c.busy.pace, limit.At(t.now)
	wait := p.messages.Take(p.messageRate, int64(p.allowed-pace.Messages), now)
	wait = max(wait, p.bytes.Take(p.byRate, int64(max(0, t.work.Ahead+len(t.work.Out)-p.began)), now))
	if m, n := p.left(t.now); (m <= 0 || n <= 0) && c.link != nil {
		t.b.o.Wheel.By(p, t.now+max(1, wait.Milliseconds()))
	}
}

// Timer implements wheel.Owner.
func (p *pacer) Timer() *wheel.Entry { return &p.entry }

// Due implements wheel.Owner: more may be sent.
func (p *pacer) Due(int64) (next int64) {
	if link := p.c.connection(); link != nil {
		link.Again()
	}
	return 0
}

// walkable is how much of its retained messages a client may be sent now. It is
// asked again when that is more than nothing. The caller holds c.mu.
func (t *Tick) walkable(c *Client) (messages, bytes int) {
	messages, bytes = walkMessages, walkPending
	if c.busy == nil || c.busy.pace == nil {
		return messages, bytes
	}
	p := c.busy.pace
	m, n := p.left(t.now)
	if m <= 0 || n <= 0 {
		wait := max(p.messages.Wait(limit.At(t.now)), p.bytes.Wait(limit.At(t.now)))
		t.b.o.Wheel.By(p, t.now+max(1, wait.Milliseconds()))
		return 0, 0
	}
	return min(messages, m), min(bytes, n)
}

// Refuse answers a PUBLISH that is not taken in, under a reason. An error ends the
// connection.
func (b *Broker) Refuse(t *Tick, c *Client, link Link, p *packet.Publish, why Drop) error {
	t.stats.PublishReceived[p.QoS]++
	t.stats.Dropped[why]++
	if p.Alias > 0 || len(p.Topic) == 0 { // it stands for the topic from now on
		if err := t.resolve(c, link, p); err != nil {
			return err
		}
	}
	if p.QoS == 0 {
		return nil
	}
	return b.publishAcknowledged(t, c, link, p, packet.QuotaExceeded)
}
