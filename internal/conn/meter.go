package conn

import (
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

// A client that sends faster than it may is read more slowly: what is over its
// rates is taken in, and then nothing until they have made up for it. The wheel
// wakes it, so nothing polls. TCP tells the client, and most are content with
// that.
//
// Not so one that always has more than a burst on its way, as far as that has
// been read. After leniency its further messages of QoS 1 and 2 are answered with
// 0x97 (quota exceeded), if it speaks 5.0, and after that time again it is
// disconnected with 0x96 (message rate too high).

// leniency is how long a client may have more than a burst on its way.
const leniency = 5000 // milliseconds

// forgetting is how long nothing of that kind has to be seen for it to be
// forgotten.
const forgetting = 2000 // milliseconds

// meter watches the limits of one client.
type meter struct {
	conn   *Conn
	timer  wheel.Entry
	limits *Limits

	// the loop's, and for others to look at; unix milliseconds
	since, seen atomic.Int64    // since when, and last when, more than a burst was on its way
	until       [2]atomic.Int64 // when messages and bytes are taken in again

	// owned by the loop
	messages, bytes limit.Bucket
	refuse          int // messages of QoS 1 and 2 that are to be refused
}

// limitsOf are the limits of a client with a grant.
func (s *Server) limitsOf(g *access.Grant) (*Limits, error) {
	l := s.limits.Load()
	if g == nil || g.Limits == "" {
		return l, nil
	}
	if set := l.Sets[g.Limits]; set != nil {
		return set, nil
	}
	return l, &Advice{
		Refusal: packet.Refuse(packet.NotAuthorized, "the client is not let in"), Step: g.By,
		Why: "it gives the client the limits " + g.Limits + ", which are not among limits.sets", Do: "write them there, or correct the name",
	}
}

// metered says whether a connection has to be watched.
func (l *Limits) metered() bool {
	return l.Messages > 0 || l.Bytes > 0 || l.WithoutQoS1 || l.WithoutQoS2 || l.WithoutRetain || l.MessageExpiryMax > 0 || l.RetainedExpiry > 0
}

// expire caps the expiry interval of a message.
func (l *Limits) expire(p *packet.Publish) {
	if most := l.mostExpiry(p.Retain); most > 0 && (!p.HasExpiry || p.Expiry > most) {
		p.Expiry, p.HasExpiry = most, true
	}
}

// mostExpiry is the longest expiry interval of a message, in seconds; 0: any.
func (l *Limits) mostExpiry(retain bool) uint32 {
	most := l.MessageExpiryMax
	if retain && l.RetainedExpiry > 0 && (most == 0 || l.RetainedExpiry < most) {
		most = l.RetainedExpiry
	}
	return most
}

// takes says whether a message may have a QoS and RETAIN.
func (l *Limits) takes(qos byte, retain bool) error {
	switch {
	case qos == 2 && l.WithoutQoS2, qos >= 1 && l.WithoutQoS1: // [MQTT-3.2.2-12]
		return packet.Refuse(packet.QoSNotSupported, "the QoS is above limits.maximum_qos")
	case retain && l.WithoutRetain: // [MQTT-3.2.2-13]
		return packet.Refuse(packet.RetainNotSupported, "limits.no_retain is set for the client")
	}
	return nil
}

// announce tells a 5.0 client what there is a property for.
func (l *Limits) announce(o *Options, a *packet.Connack) {
	a.ReceiveMaximum, a.TopicAliasMaximum = o.ReceiveMaximum, o.TopicAliasMaximum
	if l.Client != nil {
		a.ReceiveMaximum, a.TopicAliasMaximum = l.ReceiveMaximum, l.TopicAliasMaximum
	}
	if l.Messages > 0 { // who keeps to it is never refused for its rate
		a.ReceiveMaximum = uint16(min(int64(a.ReceiveMaximum), int64(l.Messages)))
	}
	a.MaximumPacketSize = uint32(l.Packet)
	a.HasMaximumQoS = l.WithoutQoS2 || l.WithoutQoS1
	if l.WithoutQoS2 && !l.WithoutQoS1 {
		a.MaximumQoS = 1
	}
	a.WithoutRetain = l.WithoutRetain
}

// bind gives the connection what its client has for itself.
func (c *Conn) bind(t *broker.Tick, l *Limits, user *limit.User) {
	c.limit = uint32(l.Packet)
	if l.metered() || user != nil {
		c.more().meter = &meter{conn: c, limits: l}
		c.extra.user = user
	}
	if c.arrival.pass.Known(limit.At(t.Now())) {
		c.more().pass = c.arrival.pass
	}
	c.arrival.pass = nil
}

// leave gives back what the connection was counted in.
func (c *Conn) leave() {
	if c.arrival != nil && c.arrival.pass != nil {
		c.arrival.pass.Leave(limit.At(time.Now().UnixMilli()))
	}
	if x := c.extra; x != nil && (x.pass != nil || x.user != nil || x.meter != nil) {
		now := limit.At(time.Now().UnixMilli())
		x.pass.Leave(now)
		x.user.Leave(now)
		if x.meter != nil {
			c.door.server.o.Wheel.Stop(x.meter)
		}
	}
}

// publish takes in the PUBLISH that was parsed.
func (m *meter) publish(t *broker.Tick) error {
	c, p := m.conn, t.Packet()
	b := c.door.server.o.Broker
	if err := m.limits.takes(p.QoS, p.Retain); err != nil {
		return err
	}
	if m.refuse > 0 {
		return b.Refuse(t, c.client, c, p, broker.DropRateIn)
	}
	m.limits.expire(p)
	return b.Publish(t, c.client, c, p)
}

// over takes a packet from the client's rates, and says whether that ends reading
// for now. rest is what is there behind it.
func (m *meter) over(t *broker.Tick, f packet.Frame, size int, rest []byte) bool {
	c := m.conn
	messages := int64(0)
	if f.Type == packet.PUBLISH || f.Type == packet.SUBSCRIBE || f.Type == packet.UNSUBSCRIBE {
		messages = 1
	}
	if m.refuse > 0 && messages > 0 {
		m.refuse--
		return false // it was refused, or waits for nobody
	}
	now := limit.At(t.Now())
	wait, reason := m.messages.Take(m.limits.Messages, messages, now), "messages_in"
	if w := m.bytes.Take(m.limits.Bytes, int64(size), now); w > wait {
		wait, reason = w, "bytes_in"
	}
	if c.extra.user != nil {
		if w, byMessages := c.extra.user.Take(messages, int64(size), now); w > wait {
			wait, reason = w, "user_bytes_in"
			if byMessages {
				reason = "user_messages_in"
			}
		}
	}
	if wait == 0 {
		return false
	}
	if !m.bears(t, rest) {
		return true
	}
	if m.refuse > 0 { // what is refused costs nothing
		return false
	}
	c.slowed = true
	m.until[0].Store(t.Now() + m.messages.Wait(now).Milliseconds())
	m.until[1].Store(t.Now() + m.bytes.Wait(now).Milliseconds())
	c.sock.Pause()
	c.door.server.o.Broker.Stats().RateSlowed.Add(reason)
	c.door.server.o.Wheel.Set(m, t.Now()+int64((wait+time.Millisecond-1)/time.Millisecond))
	return true
}

// bears says whether the client is still borne with. It notes whether more than a
// burst waits to be taken in, and what is to be refused of that.
func (m *meter) bears(t *broker.Tick, rest []byte) bool {
	messages, publishes := waiting(rest)
	excess := 0
	if r := int(m.limits.Messages); r > 0 {
		excess = messages - r
	}
	if r := int(m.limits.Bytes); r > 0 && len(rest) > r {
		excess = max(excess, 1, messages*(len(rest)-r)/len(rest))
	}
	now := t.Now()
	if excess <= 0 {
		if now-m.seen.Load() > forgetting {
			m.since.Store(0)
		}
		return true
	}
	if m.since.Load() == 0 || now-m.seen.Load() > m.longest() {
		m.since.Store(now)
	}
	m.seen.Store(now)
	switch behind := m.behind(now); {
	case behind >= 2*leniency:
		m.conn.fail(t, packet.Refuse(packet.MessageRateTooHigh, whyTooFast))
		return false
	case behind >= leniency && m.conn.version == packet.V5 && publishes > 0:
		m.refuse = excess
	}
	return true
}

// behind is how long the client has had more than a burst on its way, in
// milliseconds.
func (m *meter) behind(now int64) int64 {
	since := m.since.Load()
	if since == 0 || now-m.seen.Load() > m.longest() {
		return 0
	}
	return now - since
}

// longest is about how long a wait may be without the client's having been read
// in between, in milliseconds.
func (m *meter) longest() int64 {
	wait := int64(forgetting)
	if r := int64(m.limits.Bytes); r > 0 {
		wait += 1000 * int64(m.limits.Packet) / r
	}
	return wait + 1000
}

// waiting counts the whole packets that cost something in b, and of these the
// messages that can be refused.
func waiting(b []byte) (messages, publishes int) {
	for {
		f, size, err := packet.Split(b, packet.MaxLength)
		if size == 0 || err != nil {
			return messages, publishes
		}
		b = b[size:]
		switch f.Type {
		case packet.PUBLISH:
			messages++
			if f.Flags&6 != 0 {
				publishes++
			}
		case packet.SUBSCRIBE, packet.UNSUBSCRIBE:
			messages++
		default:
		}
	}
}

// Timer implements wheel.Owner.
func (m *meter) Timer() *wheel.Entry { return &m.timer }

// Due implements wheel.Owner: the client may go on.
func (m *meter) Due(int64) int64 {
	m.conn.sock.Post(m.goOn)
	return 0
}

func (m *meter) goOn(l loop.Local) {
	c := m.conn
	c.slowed = false
	if c.state != up {
		return
	}
	t := tick(l)
	if c.keepAlive > 0 { // nothing could come meanwhile
		c.hear(t.Now())
		c.door.server.o.Broker.Watch(c.client, t.Now()+c.patience())
	}
	c.resume(l)
}
