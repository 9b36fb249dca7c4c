package load

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// RunDurable runs one scenario against a broker without other traffic. An
// error means that nothing was measured; what goes wrong once messages flow is
// told in Faults. If ctx ends while messages are queued, those are drained.
func RunDurable(ctx context.Context, to Target, sc Durable) (*DurableResult, error) {
	if err := sc.Validate(); err != nil {
		return nil, err
	}
	g, err := newRun(to, sc.traffic())
	if err != nil {
		return nil, err
	}
	r := &durableRun{g: g, sc: sc}
	err = g.explain(r.measure(ctx))
	if err == nil {
		err = r.cleanUp(context.WithoutCancel(ctx))
	}
	if err := errors.Join(err, g.close()); err != nil {
		return nil, fmt.Errorf("%s: %w", sc.Pattern.Names()[0], err)
	}
	r.result.Connect = g.result.Connect
	r.result.Faults = g.result.Faults
	return &r.result, nil
}

// durableRun drives a generator whose subscribers come late.
type durableRun struct {
	g      *generator
	sc     Durable
	made   int // sessions
	result DurableResult
}

func (r *durableRun) measure(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if err := r.queue(ctx); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // what is queued is drained, or it would look lost
	var err error
	if r.result.Full, err = readRSS(r.g.target.PID); err != nil {
		return err
	}
	if r.g.target.PID > 0 {
		if r.result.Peak, err = PeakRSS(r.g.target.PID); err != nil {
			return err
		}
	}
	if r.sc.Pattern == Growth {
		r.g.result.Faults.Protocol += uint64(r.g.unacked) // nobody comes back: nothing else is to be counted
		return nil
	}
	if err := r.drain(ctx); err != nil {
		return err
	}
	r.g.settleAccounts()
	return nil
}

// prepare leaves all sessions behind and the publishers connected.
func (r *durableRun) prepare(ctx context.Context) error {
	g := r.g
	for i := range g.subs {
		g.subs[i].id, g.subs[i].keep = r.sessionID(i), true
	}
	if err := r.leaveBehind(ctx); err != nil {
		return fmt.Errorf("after %d sessions: %w", r.made, err)
	}
	if err := g.open(ctx, g.publisherPeers(), pace{atOnce: handshakes}); err != nil {
		return err
	}
	if err := g.listen(ctx, r.sc.Settle); err != nil {
		return err
	}
	var err error
	r.result.Empty, err = readRSS(g.target.PID)
	return err
}

func (r *durableRun) sessionID(i int) string { return "d" + r.g.tag() + "-" + strconv.Itoa(i) }

// leaveBehind makes the sessions, each with one subscription, and returns once
// the broker knows that their clients have gone.
func (r *durableRun) leaveBehind(ctx context.Context) error {
	makers := make([]*peer, 0, r.sc.Sessions)
	for i := range r.sc.Sessions {
		x := r.g.invite(r.sessionID(i), r.g.names.filters(i, r.partner(i))...)
		x.keep = true
		x.session = func(int64) { r.g.leave(&x.peer) }
		x.takes = r.g.unasked
		x.gone = func(_ int64, well bool) {
			r.made++
			if !well {
				r.g.fail(errors.New(r.g.result.Faults.Trouble))
			}
		}
		makers = append(makers, &x.peer)
	}
	if err := r.g.open(ctx, makers, pace{atOnce: handshakes}); err != nil {
		return err
	}
	return r.until(ctx, func(int64) bool { return r.made < r.sc.Sessions })
}

func (r *durableRun) partner(i int) string {
	if i < len(r.g.pubs) {
		return r.g.pubs[i].id
	}
	return ""
}

// queue publishes to the sessions, whose clients are away.
func (r *durableRun) queue(ctx context.Context) error {
	g := r.g
	g.copies = 0 // nobody receives, so only acknowledgements open a window
	g.phase = "queueing"
	before, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	g.restart()
	g.from, g.to = 0, int64(r.sc.Limit)
	if err := r.publishAll(ctx); err != nil {
		return err
	}
	s := &r.result.Queue
	s.Messages, s.Elapsed = g.published-uint64(g.unacked), g.elapsed()
	if err := g.listen(context.WithoutCancel(ctx), r.sc.Settle); err != nil {
		return err
	}
	r.result.Latency = g.result.Ack
	return r.finish(s, before)
}

// finish takes the readings at the end of a stage.
func (r *durableRun) finish(s *Stage, before usage) error {
	after, err := readUsage(r.g.target.PID)
	if err != nil {
		return err
	}
	s.Span = time.Duration(r.g.now())
	s.BrokerCPU = after.broker - before.broker
	s.OwnCPU = after.own - before.own
	s.OtherCPU = max(0, after.machine-before.machine-s.BrokerCPU-s.OwnCPU)
	return nil
}

// publishAll keeps every window full until all is published and acknowledged,
// or until ctx ends.
func (r *durableRun) publishAll(ctx context.Context) error {
	g, left := r.g, r.sc.Messages
	g.start()
	return r.until(context.WithoutCancel(ctx), func(now int64) bool {
		if now >= int64(r.sc.Limit) || ctx.Err() != nil {
			r.result.Interrupted = r.result.Interrupted || ctx.Err() != nil && left > 0
			left = 0
		}
		kept := g.ripe[:0]
		for _, p := range g.ripe {
			p.ripe = false
			want := min(left, p.window-p.ids.used)
			n := min(want, p.room())
			if n > 0 && p.state == up {
				g.publish(p, n, now)
				left -= n
			}
			if n < want && p.state == up {
				p.ripe = true
				kept = append(kept, p)
			}
		}
		g.ripe, g.more = kept, len(kept) > 0
		return left > 0 || g.unacked > 0
	})
}

// until runs the loop for as long as step asks for more, or until nothing has
// arrived for too long.
func (r *durableRun) until(ctx context.Context, step func(now int64) (more bool)) error {
	r.g.progress = r.g.now()
	return r.g.until(ctx, func(now int64) bool { return step(now) && !r.g.stalled(now, r.sc.Patience) })
}

// cleanUp makes the broker forget the sessions.
func (r *durableRun) cleanUp(ctx context.Context) error {
	if !r.sc.CleanUp {
		return nil
	}
	g := r.g
	g.finishing = true
	g.phase = "cleaning up"
	var list []*peer
	for _, p := range g.subscriberPeers() { // those that came back would be taken over
		if p.state != away {
			g.ended(p, errClosed)
		}
	}
	for _, x := range g.guests {
		x.keep, x.filters = false, nil
		x.session = func(int64) {}
		x.gone = func(int64, bool) {}
		list = append(list, &x.peer)
	}
	return g.open(ctx, list, pace{atOnce: handshakes})
}
