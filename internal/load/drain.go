package load

import (
	"context"
	"fmt"

	"github.com/fantail-mqtt/fantail/packet"
)

// drain brings the clients back, all at once, and takes what waits for them. The
// time runs from the first CONNECT to the last message.
func (r *durableRun) drain(ctx context.Context) error {
	g := r.g
	g.expect()
	g.phase = "draining"
	before, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	g.restart()
	r.comeBack()
	if err := r.until(ctx, func(int64) bool { return g.undelivered > 0 }); err != nil {
		return err
	}
	s := &r.result.Drain
	s.Messages, s.Elapsed = g.delivered, g.elapsed()
	if err := g.listen(ctx, r.sc.Settle); err != nil { // the last acknowledgements leave; what should not come may
		return err
	}
	if err := r.finish(s, before); err != nil {
		return err
	}
	return r.revisit(ctx)
}

// revisit looks whether anything that was acknowledged comes again.
func (r *durableRun) revisit(ctx context.Context) error {
	g := r.g
	if g.result.Faults.Trouble != "" {
		return nil // what was not acknowledged may well come again
	}
	for i := range g.subs {
		if g.subs[i].state == up {
			g.leave(&g.subs[i].peer)
		}
	}
	if err := r.until(ctx, func(int64) bool { return g.any(func(s *subscriber) bool { return s.state == leaving }) }); err != nil {
		return err
	}
	r.comeBack()
	if err := r.until(ctx, func(int64) bool { return g.any(func(s *subscriber) bool { return s.resuming }) }); err != nil {
		return err
	}
	return g.listen(ctx, linger)
}

func (g *generator) any(is func(*subscriber) bool) bool {
	for i := range g.subs {
		if is(&g.subs[i]) {
			return true
		}
	}
	return false
}

// comeBack connects all sessions without waiting for an answer: messages may
// come right behind it.
func (r *durableRun) comeBack() {
	g := r.g
	for i := range g.subs {
		s := &g.subs[i]
		s.resuming, s.filters = true, nil
		g.begin(&s.peer, g.now())
	}
}

// expect turns all that was published into messages on their way.
func (g *generator) expect() {
	g.copies = g.sc.Copies()
	g.undelivered = 0
	for i := range g.pubs {
		p := &g.pubs[i]
		p.undelivered = int(p.seq) * g.copies
		g.undelivered += p.undelivered
	}
}

// resumed handles the CONNACK of a client that came back.
func (g *generator) resumed(s *subscriber, present bool) {
	s.resuming = false
	if !present {
		g.note(fmt.Sprintf("session %d was forgotten", s.index))
		g.forgo(s)
	}
}

// unwelcome handles the end of a client that tried to come back.
func (g *generator) unwelcome(s *subscriber, why error) {
	s.resuming = false
	g.note(fmt.Sprintf("session %d was refused: %v", s.index, why))
	g.forgo(s)
}

// forgo stops waiting for what a subscriber will not get; it counts as lost.
func (g *generator) forgo(s *subscriber) {
	for i := range g.pubs {
		g.each(i, func(reached *subscriber) {
			if reached != s {
				return
			}
			missing := int(g.flow(s, i).missing(g.pubs[i].seq))
			g.pubs[i].undelivered -= missing
			g.undelivered -= missing
		})
	}
}

// unasked counts what nobody asked for.
func (g *generator) unasked(packet.Frame, int64) { g.result.Faults.Protocol++ }
