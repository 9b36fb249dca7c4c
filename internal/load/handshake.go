package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

const (
	handshakes  = 64               // at once: below the accept queue of 100 that brokers commonly set
	answerTime  = 10 * time.Second // for a connect, or for an answer during set-up
	filterBatch = 100              // in one SUBSCRIBE
)

// pace says how fast connections are opened.
type pace struct {
	every  float64 // ns between two; 0: as fast as the broker answers
	atOnce int     // handshakes
}

// spread divides n connects over a time.
func spread(ramp time.Duration, n int) pace {
	if ramp <= 0 {
		return pace{atOnce: handshakes}
	}
	return pace{every: float64(ramp) / float64(max(1, n)), atOnce: 16 * handshakes}
}

// open connects all of the peers, and returns when they have subscribed.
func (g *generator) open(ctx context.Context, peers []*peer, at pace) error {
	begun, next := g.now(), 0
	g.progress = begun
	return g.until(ctx, func(now int64) bool {
		for next < len(peers) && g.opening < at.atOnce {
			due := begun + int64(float64(next)*at.every)
			if due > now {
				g.wakeAt(due)
				break
			}
			if at.every == 0 {
				due = now
			}
			g.begin(peers[next], due)
			next++
		}
		if g.opening == 0 {
			g.progress = now
		}
		if now-g.progress > int64(answerTime) {
			g.fail(fmt.Errorf("%d of %d clients have no answer within %v", len(peers)-next+g.opening, len(peers), answerTime))
		}
		return next < len(peers) || g.opening > 0
	})
}

// begin connects a peer; what it takes counts from the given time.
func (g *generator) begin(p *peer, due int64) {
	p.rest, p.out, p.sent = p.rest[:0], p.out[:0], 0
	p.full, p.pings, p.subscribed = false, 0, 0
	p.begun = due
	p.state = dialing
	g.opening++
	if err := g.transport.dial(p); err != nil {
		g.ended(p, err)
	}
}

// opened sends the CONNECT.
func (g *generator) opened(p *peer) {
	p.state = greeting
	g.progress = g.now()
	l := &g.target.Login
	c := packet.Connect{
		Version:           g.version,
		CleanStart:        !p.keep,
		KeepAlive:         uint16(l.KeepAlive / time.Second),
		ClientID:          p.id,
		HasUserName:       l.HasUserName || l.UserName != "",
		UserName:          l.UserName,
		HasPassword:       l.Password != nil,
		Password:          l.Password,
		ConnectProperties: l.Properties,
	}
	if g.version == packet.V5 && p.keep && !c.HasSessionExpiry {
		c.SessionExpiry, c.HasSessionExpiry = 3600, true
	}
	p.out = packet.AppendConnect(p.out, &c)
	g.touch(p)
}

// control takes in what belongs to the connection itself.
func (g *generator) control(p *peer, f packet.Frame, now int64) {
	switch {
	case f.Type == packet.CONNACK && p.state == greeting:
		g.welcomed(p, f.Body, now)
	case f.Type == packet.SUBACK && p.state == subscribing:
		g.subscribedTo(p, f.Body, now)
	case f.Type == packet.PINGRESP && p.pings > 0 && len(f.Body) == 0:
		p.pings--
	case f.Type == packet.DISCONNECT && g.version == packet.V5:
		why := packet.Success
		if len(f.Body) > 0 {
			why = packet.Code(f.Body[0])
		}
		g.ended(p, fmt.Errorf("the broker ended it: %v", why))
	default:
		g.result.Faults.Protocol++
	}
}

// welcomed handles the CONNACK.
func (g *generator) welcomed(p *peer, body []byte, now int64) {
	c, err := packet.ParseConnack(body, g.version)
	if err != nil {
		g.ended(p, fmt.Errorf("CONNACK: %w", err))
		return
	}
	if c.Code != packet.Success {
		g.ended(p, refused(c.Code, c.Reason))
		return
	}
	g.result.Connect.Record(time.Duration(now - p.begun))
	switch {
	case g.isPublisher(p):
		g.limit(&g.pubs[p.slot], &c)
	case g.isSubscriber(p):
		if s := &g.subs[int(p.slot)-len(g.pubs)]; s.resuming {
			g.resumed(s, c.SessionPresent || g.version == packet.V31) // which has no way to say so
		}
	}
	if g.failure == nil {
		g.subscribe(p, now)
	}
}

// refused is what a broker has answered, with its reason if it gave one.
func refused(code packet.Code, reason string) error {
	if reason == "" {
		return errors.New(code.String())
	}
	return fmt.Errorf("%v: %s", code, reason)
}

// limit keeps a publisher within what the broker allows.
func (g *generator) limit(p *publisher, c *packet.Connack) {
	if c.ReceiveMaximum > 0 && g.sc.QoS > 0 {
		p.window = min(p.window, int(c.ReceiveMaximum))
	}
	switch size := len(p.packets[0].bytes); {
	case c.HasMaximumQoS && g.sc.QoS > c.MaximumQoS:
		g.fail(fmt.Errorf("the broker takes no QoS above %d", c.MaximumQoS))
	case c.WithoutRetain && g.sc.Retain:
		g.fail(errors.New("the broker takes no retained messages"))
	case c.MaximumPacketSize > 0 && uint32(size) > c.MaximumPacketSize:
		g.fail(fmt.Errorf("the broker takes packets of %d bytes at most; these have %d", c.MaximumPacketSize, size))
	}
}

// subscribe asks for the next filters, or is done.
func (g *generator) subscribe(p *peer, now int64) {
	left := p.filters[p.subscribed:]
	if len(left) == 0 {
		g.ready(p, now)
		return
	}
	p.state = subscribing
	p.asked = min(len(left), filterBatch)
	s := packet.Subscribe{ID: 1}
	for _, f := range left[:p.asked] {
		s.Filters = append(s.Filters, packet.Subscription{Filter: f, QoS: g.sc.QoS})
	}
	p.out = packet.AppendSubscribe(p.out, &s, g.version)
	g.touch(p)
}

// subscribedTo handles a SUBACK. Less than the QoS asked for would change what
// is measured.
func (g *generator) subscribedTo(p *peer, body []byte, now int64) {
	s, err := packet.ParseSuback(packet.SUBACK, body, g.version)
	if err != nil {
		g.ended(p, fmt.Errorf("SUBACK: %w", err))
		return
	}
	if s.ID != 1 || len(s.Codes) != p.asked {
		g.ended(p, fmt.Errorf("SUBACK: %d codes with identifier %d to %d filters", len(s.Codes), s.ID, p.asked))
		return
	}
	for i, c := range s.Codes {
		if byte(c) != g.sc.QoS {
			g.ended(p, fmt.Errorf("subscribe to %q at QoS %d: %v", p.filters[p.subscribed+i], g.sc.QoS, c))
			return
		}
	}
	p.subscribed += p.asked
	g.subscribe(p, now)
}

// ready ends the set-up of a connection.
func (g *generator) ready(p *peer, now int64) {
	p.state = up
	g.opening--
	g.connected++
	if !g.isPublisher(p) && !g.isSubscriber(p) {
		if x := g.guest(p); x.session != nil {
			x.session(now)
		}
	}
}

// leave sends a DISCONNECT; the broker must close the connection after it
// [MQTT-3.14.4-3].
func (g *generator) leave(p *peer) {
	p.out = append(p.out, disconnect...)
	p.state = leaving
	g.connected--
	g.touch(p)
}

// ended gives up a connection. The run then only collects what is still coming.
func (g *generator) ended(p *peer, why error) {
	was := p.state
	if was == away {
		return
	}
	p.state = away
	g.transport.drop(p)
	switch was {
	case up:
		g.connected--
	case leaving:
		g.progress = g.now()
	default:
		g.opening--
	}
	switch {
	case g.finishing:
	case int(p.slot) >= len(g.pubs)+len(g.subs):
		g.guestEnded(p, was, why)
	case was == leaving:
	case was == up:
		g.lose(p, why)
	case g.isSubscriber(p) && g.subs[int(p.slot)-len(g.pubs)].resuming:
		g.unwelcome(&g.subs[int(p.slot)-len(g.pubs)], why)
	default:
		g.fail(fmt.Errorf("client %s: %w", p.id, why))
	}
}

func (g *generator) guestEnded(p *peer, was state, why error) {
	if p.deaf {
		g.result.Stalled.Closed++
		return
	}
	x := g.guest(p)
	if was != leaving {
		if x.gone == nil {
			g.fail(fmt.Errorf("client %s: %w", p.id, why))
			return
		}
		g.lose(p, why)
	}
	if x.gone != nil {
		x.gone(g.now(), was == leaving)
	}
}

// lose tells of a connection that was there.
func (g *generator) lose(p *peer, why error) {
	g.result.Faults.Closed++
	if g.tolerant {
		return
	}
	g.note(fmt.Sprintf("connection of %s ended: %v", g.called(p), why))
}

func (g *generator) called(p *peer) string {
	switch {
	case g.isPublisher(p):
		return fmt.Sprintf("publisher %d", p.slot)
	case g.isSubscriber(p):
		return fmt.Sprintf("subscriber %d", int(p.slot)-len(g.pubs))
	default:
		return "client " + p.id
	}
}
