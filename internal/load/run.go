package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run sends one scenario through the broker. An error means that nothing was
// measured: no connection, a refusal, no /proc. What goes wrong once messages
// flow is told in Result.Faults. The broker should have no other traffic. If
// ctx ends while messages flow, the result is what there is until then.
func Run(ctx context.Context, to Target, sc Scenario, timing Timing) (*Result, error) {
	if err := sc.Validate(); err != nil {
		return nil, err
	}
	if sc.Threads > 1 {
		return runParts(ctx, to, sc, timing)
	}
	return runPart(ctx, to, sc, timing, func(err error) error { return err })
}

// runPart runs one loop. It is told to go on, or not, by gate, once it has
// connected or failed to.
func runPart(ctx context.Context, to Target, sc Scenario, timing Timing, gate func(error) error) (*Result, error) {
	g, err := newRun(to, sc)
	if err != nil {
		return nil, gate(err)
	}
	r := &trafficRun{g: g, timing: timing}
	err = gate(r.connect(ctx))
	if err == nil {
		err = g.explain(r.measure(ctx))
	}
	if err := errors.Join(err, g.close()); err != nil {
		return nil, fmt.Errorf("%s: %w", sc.Name(), err)
	}
	return &g.result, nil
}

// step is where a run of traffic stands.
type step int

const (
	warming step = iota
	measuring
	draining // nothing more is sent
	lingering
	over
)

// trafficRun takes a generator through the parts of a run.
type trafficRun struct {
	g      *generator
	timing Timing
	step   step
	ends   int64 // of lingering
	asked  bool  // whether the broker has everything
	churn  *churn
	deaf   *stalled

	before  usage
	atStart counts
}

// counts are those whose growth in the window is the result.
type counts struct {
	published, acked, delivered, churned, bytesOut, bytesIn uint64
}

// connect opens all connections, subscribers first. Those that are going to stall
// are not among what is ramped up.
func (r *trafficRun) connect(ctx context.Context) error {
	g := r.g
	r.deaf = newStalled(g)
	n := len(g.subs) + len(g.pubs)
	ramp := func(part int) time.Duration { return r.timing.Ramp * time.Duration(part) / time.Duration(n) }
	if err := g.open(ctx, r.deaf.all(), spread(0, 0)); err != nil {
		return err
	}
	if err := g.open(ctx, g.subscriberPeers(), spread(ramp(len(g.subs)), len(g.subs))); err != nil {
		return err
	}
	return g.open(ctx, g.publisherPeers(), spread(ramp(len(g.pubs)), len(g.pubs)))
}

// measure runs the loop through all its steps.
func (r *trafficRun) measure(ctx context.Context) error {
	g := r.g
	if err := r.deaf.before(); err != nil {
		return err
	}
	r.deaf.stop()
	g.restart()
	g.from = int64(r.timing.Warm)
	g.to = g.from + int64(r.timing.Measure)
	g.phase = "warming up"
	if g.sc.Churn > 0 {
		r.churn = newChurn(g)
	}
	if g.sc.Rate == 0 {
		g.start()
	}
	var err error
	end := g.until(context.WithoutCancel(ctx), func(now int64) bool {
		if err = r.advance(now, ctx.Err() != nil); err == nil {
			err = r.deaf.look(now)
		}
		if err == nil && r.step < draining {
			g.pace(now)
			r.churn.keepUp(now)
		}
		return err == nil && r.step != over
	})
	if err := errors.Join(err, end); err != nil {
		return err
	}
	g.settleAccounts()
	r.churn.settle()
	r.deaf.settle()
	copies := uint64(g.copies)
	g.result.All = Totals{Sent: g.published, Acked: g.acked, Expected: g.published * copies, Received: g.delivered}
	g.result.Clients = len(g.pubs) + len(g.subs)
	return nil
}

// advance moves to the next step when its time has come.
func (r *trafficRun) advance(now int64, stop bool) error {
	g := r.g
	switch r.step {
	case warming:
		if now < g.from && !stop {
			break
		}
		r.step, g.phase = measuring, "measuring"
		return r.begin()
	case measuring:
		if now < g.to && !stop {
			break
		}
		g.result.Interrupted = now < g.to
		r.step, g.phase = draining, "draining"
		g.ripe = g.ripe[:0]
		return r.end()
	case draining:
		if !r.busy() {
			r.step, r.ends = lingering, now+int64(linger)
		}
	case lingering:
		if now > r.ends && !r.deaf.revealing(now) {
			r.step = over
		}
		return nil
	case over:
		return nil
	}
	return r.watchdog(now)
}

// begin opens the measured window, which moves with it if the loop is late.
func (r *trafficRun) begin() error {
	g := r.g
	u, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	r.before = u
	g.from = g.now()
	g.to = g.from + int64(r.timing.Measure)
	r.atStart = g.counts
	return nil
}

// end closes the measured window.
func (r *trafficRun) end() error {
	g := r.g
	u, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	g.to = g.now()
	x, now := &g.result, g.counts
	x.Window = time.Duration(g.to - g.from)
	x.Sent = now.published - r.atStart.published
	x.Acked = now.acked - r.atStart.acked
	x.Received = now.delivered - r.atStart.delivered
	x.Churn = now.churned - r.atStart.churned
	x.BytesOut = now.bytesOut - r.atStart.bytesOut
	x.BytesIn = now.bytesIn - r.atStart.bytesIn
	x.BrokerCPU = u.broker - r.before.broker
	x.OwnCPU = u.own - r.before.own
	x.OtherCPU = max(0, u.machine-r.before.machine-x.BrokerCPU-x.OwnCPU)
	if g.interval > 0 {
		due := uint64(float64(g.to-int64(slice)) / g.interval) // the last slice may be on its way
		x.Behind = max(due, g.due) - g.due
	}
	if g.target.PID > 0 {
		x.RSS, err = RSS(g.target.PID)
	}
	return err
}

// busy says whether something is still to come.
func (r *trafficRun) busy() bool {
	g := r.g
	if g.undelivered > 0 || g.unacked > 0 || !r.churn.idle() {
		return true
	}
	if !g.endless() || r.step < draining {
		return false
	}
	if !r.asked {
		r.asked = true
		g.askAll()
	}
	return g.asking()
}

// watchdog ends a run in which messages are on their way but none arrives.
func (r *trafficRun) watchdog(now int64) error {
	g := r.g
	patience := r.timing.Drain
	if r.step == draining && g.endless() {
		patience *= 6 // the sockets hold much that the broker has to read before it answers
	}
	if !r.busy() {
		g.progress = now
		return nil
	}
	if g.connected > 0 && !g.stalled(now, patience) {
		return nil
	}
	if r.step == warming {
		if err := r.begin(); err != nil {
			return err
		}
	}
	if r.step <= measuring {
		if err := r.end(); err != nil {
			return err
		}
	}
	r.step = over
	return nil
}
