package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	retry = 5 * time.Millisecond
	burst = 15 * time.Millisecond
	// keptSessions is how many of the sessions that came in earlier cycles stay.
	keptSessions = 4
)

// errGuilty ends a run: the judge has findings.
var errGuilty = errors.New("guilty")

// world is one run: some cycles on one data directory.
type world struct {
	history  *history
	server   *server
	random   *rand.Rand
	cut      bool          // cut the connections instead of killing the server
	spread   time.Duration // the latest moment of a kill
	deadline time.Duration // of a drain

	publishers  []*member
	subscribers []*member // those of the whole run
	newcomers   []*member // those of the last cycles
	cycles      int
	kills       int
}

func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d) + 1))
}

// branch is a source of its own for a goroutine.
func (w *world) branch() *rand.Rand {
	return rand.New(rand.NewPCG(w.random.Uint64(), w.random.Uint64()))
}

// begin brings in all who are there for the whole run.
func (w *world) begin(ctx context.Context) error {
	if err := w.server.start(ctx); err != nil {
		return err
	}
	for i, qos := range []byte{1, 1, 2, 2} {
		p := w.member(fmt.Sprintf("p%d", i), version(i))
		p.qos, p.orders = qos, make(chan order)
		w.publishers = append(w.publishers, p)
	}
	all := []string{"load/#", "ret/#", "will/#"}
	w.subscriber("online-a", 4, true, 2, all...)
	w.subscriber("online-b", 5, true, 1, all...)
	w.subscriber("online-c", 4, true, 1, "load/p1/#", "will/#")
	w.subscriber("offline-a", 4, false, 1, all...)
	w.subscriber("offline-b", 5, false, 2, all...)
	w.subscriber("offline-c", 5, false, 2, "load/+/q2/#")
	for _, m := range w.members() {
		m.come(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, w.deadline)
	defer cancel()
	return w.history.until(ctx, func(j *judge) bool {
		return !slices.ContainsFunc(w.subscribers, func(m *member) bool {
			return j.client(m.line.who).granted() < len(m.filters)
		})
	})
}

// version alternates between the two libraries.
func version(i int) byte { return byte(4 + i%2) }

func (w *world) subscriber(name string, version byte, online bool, qos byte, filters ...string) *member {
	m := w.member(name, version)
	m.online = online
	for _, f := range filters {
		m.filters = append(m.filters, wanted{f, qos})
	}
	w.subscribers = append(w.subscribers, m)
	return m
}

func (w *world) members() []*member {
	var all []*member
	for _, group := range [][]*member{w.publishers, w.subscribers, w.newcomers} {
		all = append(all, group...)
	}
	return all
}

// end takes all away.
func (w *world) end() {
	for _, m := range w.members() {
		m.leave()
	}
	w.server.kill()
}

// cycle is load, kill, restart, drain, compare.
func (w *world) cycle(ctx context.Context) error {
	w.cycles++
	for _, m := range w.subscribers {
		w.away(m)
	}
	for _, m := range w.newcomers {
		w.away(m)
	}
	if err := w.load(ctx); err != nil {
		return err
	}
	if err := w.restart(ctx); err != nil {
		return err
	}
	if err := w.drain(ctx); err != nil {
		return err
	}
	if err := w.verdict(); err != nil {
		return err
	}
	return w.retire(ctx)
}

// away takes a subscriber offline for the load, with DISCONNECT or without.
func (w *world) away(m *member) {
	if m.online {
		return
	}
	if w.random.IntN(2) == 0 {
		m.line.leave()
	}
	m.leave()
}

// moment is when to kill: often while those of the cycle still connect.
func (w *world) moment() time.Duration {
	if w.random.IntN(4) == 0 {
		return upTo(w.random, w.spread/20)
	}
	return upTo(w.random, w.spread)
}

// load runs all there is until the kill.
func (w *world) load(ctx context.Context) error {
	on, off := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, p := range w.publishers {
		random := w.branch()
		running.Go(func() { p.feed(on, random) }) // these end with the load, which waits
	}
	for i := range 3 {
		random := w.branch()
		running.Go(func() { w.testator(on, fmt.Sprintf("t%d-%d", w.cycles, i), random) })
	}
	failed := make(chan error, 1)
	random := w.branch()
	running.Go(func() { failed <- w.passer(on, fmt.Sprintf("m%d", w.cycles), random) })
	for i := range 2 {
		m := w.subscriber(fmt.Sprintf("new%d-%d", w.cycles, i), version(w.random.IntN(2)), w.random.IntN(2) == 0, byte(1+w.random.IntN(2)), "load/#")
		w.subscribers = w.subscribers[:len(w.subscribers)-1]
		w.newcomers = append(w.newcomers, m)
		random := w.branch()
		running.Go(func() {
			if pause(on, upTo(random, w.spread)) {
				m.come(ctx)
			}
		})
	}
	flapping := w.branch()
	running.Go(func() { w.flap(on, flapping) })
	pause(ctx, w.moment())
	w.strike()
	off()
	running.Wait()
	return <-failed
}

// flap breaks connections, so that some are being made when the kill comes.
func (w *world) flap(ctx context.Context, random *rand.Rand) {
	some := append([]*member{w.subscribers[0], w.subscribers[1]}, w.publishers...)
	for pause(ctx, upTo(random, w.spread/2)) {
		some[random.IntN(len(some))].line.drop()
	}
}

// strike is the crash. Where connections are only cut, it is told as one all the same:
// a server that forgets nothing and restarts in no time.
func (w *world) strike() {
	w.history.add(event{kind: crashed})
	if !w.cut {
		w.kills++
		w.server.kill()
		return
	}
	for _, m := range w.members() {
		m.line.drop()
	}
}

// restart starts the server again; one time in four it is killed once more while the
// clients resume.
func (w *world) restart(ctx context.Context) error {
	if err := w.again(ctx); err != nil || w.random.IntN(4) > 0 {
		return err
	}
	for _, m := range w.members() {
		m.come(ctx)
	}
	pause(ctx, upTo(w.random, w.spread/4))
	w.strike()
	return w.again(ctx)
}

func (w *world) again(ctx context.Context) error {
	if !w.cut {
		if err := w.server.start(ctx); err != nil {
			return err
		}
	}
	w.history.add(event{kind: ready})
	return nil
}

// errDied: the server ended by itself.
var errDied = errors.New("the server ended by itself")

// drain brings all together and waits until nothing is owed. The last messages are
// fences: whatever comes late to a session comes before them.
func (w *world) drain(ctx context.Context) error {
	err := w.settle(ctx)
	select {
	case <-w.server.over():
		return errDied
	default:
		return err
	}
}

func (w *world) settle(ctx context.Context) error {
	if err := w.auditor(ctx, fmt.Sprintf("auditor%d", w.cycles)); err != nil {
		return fmt.Errorf("look at the retained messages: %w", err)
	}
	for _, m := range w.members() {
		m.come(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, w.deadline)
	defer cancel()
	ctx, stop := during(ctx, w.server.over())
	defer stop()
	for _, p := range w.publishers {
		if err := p.fence(ctx); err != nil {
			return err
		}
	}
	if w.history.until(ctx, func(j *judge) bool { return j.unacked == 0 && j.owed == 0 }) != nil {
		w.history.ask(func(j *judge) { j.findings = append(j.findings, j.missing()...) })
	}
	return nil
}

// retire ends the sessions of the oldest newcomers, as a client does: it asks for a
// clean one.
func (w *world) retire(ctx context.Context) error {
	for len(w.newcomers) > keptSessions {
		m := w.newcomers[0]
		w.newcomers = w.newcomers[1:]
		m.leave()
		m.line.tell(event{kind: ended})
		c := w.foreign(m.version, wish{line: m.line, clean: true})
		if err := c.dial(ctx); err != nil {
			return fmt.Errorf("end the session of %s: %w", m.line.who, err)
		}
		m.line.drop()
		<-c.gone()
	}
	return nil
}

// testament waits for the wills of a run.
func (w *world) testament(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*margin+2*willDelay*time.Second)
	defer cancel()
	_ = w.history.until(ctx, func(j *judge) bool { return len(j.pending()) == 0 })
	return w.verdict()
}

// verdict says what the judge found.
func (w *world) verdict() (err error) {
	w.history.ask(func(j *judge) {
		j.findings = append(j.findings, j.overdue(time.Now())...)
		if len(j.findings) > 0 {
			err = errGuilty
		}
	})
	return err
}
