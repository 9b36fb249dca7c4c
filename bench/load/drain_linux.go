package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// drain brings the clients back, all at once, and takes what waits for them. The
// time runs from the first CONNECT to the last message.
func (r *durableRun) drain(ctx context.Context) error {
	g := r.g
	g.expect()
	before, err := readUsage(r.to.PID)
	if err != nil {
		return err
	}
	g.clock = time.Now()
	if err := r.comeBack(); err != nil {
		return err
	}
	if err := r.turns(ctx, func(int64) bool { return g.undelivered > 0 }); err != nil {
		return err
	}
	s := &r.result.Drain
	s.Messages, s.Elapsed = g.delivered, time.Duration(g.now())
	if err := r.listen(ctx, r.sc.Settle); err != nil { // the last acknowledgements leave; what should not come may
		return err
	}
	if err := r.finish(s, before); err != nil {
		return err
	}
	return r.revisit(ctx)
}

// revisit looks whether anything that was acknowledged comes again.
func (r *durableRun) revisit(ctx context.Context) error {
	if r.g.result.Faults.Trouble != "" {
		return nil // what was not acknowledged may well come again
	}
	for i := range r.g.subs {
		s := &r.g.subs[i]
		if err := errors.Join(unix.SetNonblock(s.fd, false), leave([]int{s.fd}), unix.Close(s.fd)); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		s.fd = -1
	}
	if err := r.comeBack(); err != nil {
		return err
	}
	waiting := func(int64) bool {
		for i := range r.g.subs {
			if r.g.subs[i].resuming {
				return true
			}
		}
		return false
	}
	if err := r.turns(ctx, waiting); err != nil {
		return err
	}
	return r.listen(ctx, linger)
}

// listen goes on for so long.
func (r *durableRun) listen(ctx context.Context, d time.Duration) error {
	end := r.g.now() + int64(d)
	return r.turns(ctx, func(now int64) bool {
		r.g.progress = now // silence is what we hope for
		return now < end
	})
}

// comeBack connects all sessions without waiting for an answer: messages may
// come right behind it.
func (r *durableRun) comeBack() error {
	var hello []byte
	for i := range r.g.subs {
		s := &r.g.subs[i]
		fd, err := dial(r.to.Addr, netip.Addr{})
		if err != nil {
			return err
		}
		s.fd, s.resuming = fd, true
		s.rest, s.out, s.sent, s.full = s.rest[:0], s.out[:0], 0, false
		hello = appendConnect(hello[:0], keptSession, r.sessionID(i), 0)
		if err := writeAll(fd, hello); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		if err := s.watch(r.g.epoll, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
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
func (g *generator) resumed(s *subscriber, body []byte) {
	s.resuming = false
	switch {
	case len(body) != 2 || body[1] != 0:
		g.note(fmt.Sprintf("session %d was refused with % x", s.index, body))
	case body[0] != 1:
		g.note(fmt.Sprintf("session %d was forgotten", s.index))
	default:
		return
	}
	g.forgo(s)
}

// forgo stops waiting for what a subscriber will not get; it counts as lost.
func (g *generator) forgo(s *subscriber) {
	for i := range g.pubs {
		if g.sc.reaches(i, s.index) {
			missing := int(s.flows[i].missing(g.pubs[i].seq))
			g.pubs[i].undelivered -= missing
			g.undelivered -= missing
		}
	}
}
