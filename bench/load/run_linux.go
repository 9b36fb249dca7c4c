package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	linger    = 20 * time.Millisecond // after the last delivery, for what should not come
	readBatch = 64 << 10              // stays in the second-level cache
)

// Run sends one scenario through the broker. An error means that nothing was
// measured: no connection, a refusal, no /proc. What goes wrong once messages
// flow is told in Result.Faults. The broker should have no other traffic.
func Run(ctx context.Context, to Target, sc Scenario, timing Timing) (*Result, error) {
	if err := sc.Validate(); err != nil {
		return nil, err
	}
	g := newGenerator(sc, rand.Uint32())
	g.target, g.timing = to, timing
	err := g.connect(to)
	if err == nil {
		err = g.measure(ctx)
	}
	if err := errors.Join(err, g.close()); err != nil {
		return nil, fmt.Errorf("%s: %w", sc.Name(), err)
	}
	return &g.result, nil
}

// phase is where a run stands.
type phase int

const (
	warming phase = iota
	measuring
	draining // nothing more is sent
	lingering
	over
)

// generator is the loop and all it owns. One thread runs it.
type generator struct {
	sc     Scenario
	target Target
	timing Timing
	run    uint32
	copies int
	fill   []byte // what each payload holds behind its stamp

	epoll  int
	pubs   []publisher
	subs   []subscriber
	in     []byte // the one read buffer
	events []unix.EpollEvent
	dirty  []*peer      // have pending bytes
	ripe   []*publisher // may send again

	clock    time.Time // when the run began
	phase    phase
	from, to int64 // the measured window, in ns since then
	progress int64 // when something last arrived
	ends     int64 // of lingering

	interval float64 // open loop: ns between two messages
	due      uint64  // open loop: messages of the schedule already sent

	published, delivered uint64
	undelivered, unacked int
	before               usage
	atStart              struct{ published, delivered uint64 }
	result               Result
}

func newGenerator(sc Scenario, run uint32) *generator {
	g := &generator{
		sc:     sc,
		run:    run,
		copies: sc.Copies(),
		fill:   filler(sc.Payload),
		epoll:  -1,
		in:     make([]byte, readBatch),
		events: make([]unix.EpollEvent, 256),
		dirty:  make([]*peer, 0, sc.Publishers+sc.Subscribers),
		ripe:   make([]*publisher, 0, sc.Publishers),
	}
	for i := range sc.Publishers {
		g.pubs = append(g.pubs, newPublisher(sc, i))
	}
	for i := range sc.Subscribers {
		g.subs = append(g.subs, newSubscriber(sc, i))
	}
	if sc.Rate > 0 {
		g.interval = float64(g.copies) * 1e9 / sc.Rate
	}
	return g
}

// connect opens all connections, subscribers first.
func (g *generator) connect(to Target) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	g.epoll = epoll
	for i := range g.subs {
		id := fmt.Sprintf("s%08x-%d", g.run, i)
		if err := g.subs[i].open(epoll, to.Addr, id, g.sc.filter(i), g.sc.QoS); err != nil {
			return err
		}
	}
	for i := range g.pubs {
		if err := g.pubs[i].open(epoll, to.Addr, fmt.Sprintf("p%08x-%d", g.run, i), "", 0); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) close() error {
	var errs []error
	for i := range g.pubs {
		errs = append(errs, g.pubs[i].close())
	}
	for i := range g.subs {
		errs = append(errs, g.subs[i].close())
	}
	if g.epoll >= 0 {
		errs = append(errs, unix.Close(g.epoll))
	}
	return errors.Join(errs...)
}

// measure runs the loop through all its phases.
func (g *generator) measure(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // this thread's; 50 µs late otherwise
		return fmt.Errorf("timer slack: %w", err)
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) //nolint:errcheck // 0 restores the default and cannot fail

	g.clock = time.Now()
	g.from = int64(g.timing.Warm)
	g.to = g.from + int64(g.timing.Measure)
	if g.sc.Rate == 0 {
		g.start()
	}
	for g.phase != over {
		if err := g.turn(g.now()); err != nil {
			return g.explain(err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	g.count()
	return nil
}

// turn is one round of the loop.
func (g *generator) turn(now int64) error {
	if err := g.advance(now); err != nil {
		return err
	}
	if g.phase < draining {
		g.pace(now)
	}
	if err := g.flush(); err != nil {
		return err
	}
	n, errno := rawWait(g.epoll, g.events, g.patience())
	if errno != 0 && errno != unix.EINTR {
		return fmt.Errorf("epoll wait: %w", errno)
	}
	if errno != 0 {
		return nil
	}
	return g.serve(g.events[:n])
}

func (g *generator) now() int64 { return int64(time.Since(g.clock)) }

// advance moves to the next phase when its time has come.
func (g *generator) advance(now int64) error {
	switch g.phase {
	case warming:
		if now < g.from {
			break
		}
		g.phase = measuring
		return g.begin()
	case measuring:
		if now < g.to {
			break
		}
		g.phase = draining
		return g.end()
	case draining:
		if g.undelivered == 0 && g.unacked == 0 {
			g.phase, g.ends = lingering, now+int64(linger)
		}
	case lingering:
		if now > g.ends {
			g.phase = over
		}
		return nil
	case over:
		return nil
	}
	return g.watchdog(now)
}

// begin opens the measured window, which moves with it if the loop is late.
func (g *generator) begin() error {
	u, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	g.before = u
	g.from = g.now()
	g.to = g.from + int64(g.timing.Measure)
	g.atStart.published, g.atStart.delivered = g.published, g.delivered
	return nil
}

// end closes the measured window.
func (g *generator) end() error {
	u, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	g.to = g.now()
	r := &g.result
	r.Window = time.Duration(g.to - g.from)
	r.Sent = g.published - g.atStart.published
	r.Received = g.delivered - g.atStart.delivered
	r.BrokerCPU = u.broker - g.before.broker
	r.OwnCPU = u.own - g.before.own
	r.OtherCPU = max(0, u.machine-g.before.machine-r.BrokerCPU-r.OwnCPU)
	if g.interval > 0 {
		due := uint64(float64(g.to-int64(slice)) / g.interval) // the last slice may be on its way
		r.Behind = max(due, g.due) - g.due
	}
	r.RSS, err = RSS(g.target.PID)
	return err
}

// watchdog ends a run in which messages are on their way but none arrives.
func (g *generator) watchdog(now int64) error {
	if g.undelivered == 0 && g.unacked == 0 {
		g.progress = now
		return nil
	}
	if now-g.progress < int64(g.timing.Drain) {
		return nil
	}
	g.note(fmt.Sprintf("stalled: nothing arrived for %v", g.timing.Drain))
	if g.phase == measuring {
		if err := g.end(); err != nil {
			return err
		}
	}
	g.phase = over
	return nil
}

// explain adds what was seen before an error: a broker that crashes loses its
// connections first and its /proc entry after.
func (g *generator) explain(err error) error {
	if trouble := g.result.Faults.Trouble; trouble != "" {
		return fmt.Errorf("%s; then %w", trouble, err)
	}
	return err
}

// note keeps the first reason why a run is in trouble.
func (g *generator) note(trouble string) {
	if g.result.Faults.Trouble == "" {
		g.result.Faults.Trouble = trouble
	}
}

// patience is how long the loop may wait for events.
func (g *generator) patience() time.Duration {
	if g.sc.Rate == 0 || g.phase >= draining {
		return slice
	}
	left := time.Duration(g.dueAt(g.due) - g.now())
	if left <= 0 {
		return slice / 10 // held back by a full socket: its event wakes us
	}
	return min(left, slice)
}

// count adds up what never came.
func (g *generator) count() {
	f := &g.result.Faults
	for s := range g.subs {
		for p := range g.pubs {
			if g.sc.reaches(p, s) {
				f.Lost += g.subs[s].flows[p].missing(g.pubs[p].seq)
			}
		}
	}
	f.Protocol += uint64(g.unacked)
}
