package loop

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A further loop is put to work on trial. Where many publishers send to a few
// subscribers two loops get in each other's way at the same few sockets, and move
// no more than one did at up to twice the cost. So what the loops have read and
// what the process has spent is measured just before and after: a loop that brings
// neither more throughput nor does with about the same time for each byte rests
// again, for longer each time.
const (
	brings  = 1.1        // times the throughput
	costs   = 1.25       // times the time for a byte
	settles = window     // the connections have moved
	lasts   = 2 * window // what is measured, before and after
	rests   = 5 * time.Second
	longest = 5 * time.Minute
)

type trial struct {
	mu     sync.Mutex // guards these
	spent  func() time.Duration
	first  sample // when the loops were found saturated, or when a trial is measured from; zero: neither
	before pace
	begun  time.Time // when the loop on trial was put to work; zero: none is
	rest   time.Duration
	until  time.Time // no trial before
}

// sample is what all loops have moved, and the process has spent, up to a moment.
type sample struct {
	at    time.Time
	bytes uint64
	spent time.Duration
}

// pace is what moved between two samples.
type pace struct {
	throughput float64 // bytes a second
	cost       float64 // nanoseconds of processor time a byte
}

func (s sample) to(e sample) pace {
	bytes := float64(max(e.bytes-s.bytes, 1))
	return pace{bytes / e.at.Sub(s.at).Seconds(), float64(e.spent-s.spent) / bytes}
}

func (g *Epoll) sample(now time.Time) sample {
	s := sample{at: now, spent: g.trial.spent()}
	for _, l := range g.loops {
		s.bytes += l.moved.Load()
	}
	return s
}

// processTime is what the process has spent of the processors' time.
func processTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// wanted says whether a further loop is to be tried: the loops have been
// saturated for a while, and the last trial is long ago.
func (g *Epoll) wanted(now time.Time) bool {
	t := &g.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.begun.IsZero() || now.Before(t.until):
		return false
	case t.first.at.IsZero():
		t.first = g.sample(now)
		return false
	case now.Sub(t.first.at) < lasts:
		return false
	}
	t.before = t.first.to(g.sample(now))
	t.first, t.begun = sample{}, now
	return true
}

// relaxed forgets that the loops were saturated.
func (g *Epoll) relaxed() {
	t := &g.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun.IsZero() {
		t.first = sample{}
	}
}

// ended forgets a trial whose loop rests for another reason.
func (g *Epoll) ended() {
	t := &g.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.begun = sample{}, time.Time{}
}

// failed says whether the loop on trial has shown that it is of no use.
func (g *Epoll) failed(now time.Time) bool {
	t := &g.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.begun.IsZero() || now.Sub(t.begun) < settles:
		return false
	case t.first.at.IsZero():
		t.first = g.sample(now)
		return false
	case now.Sub(t.first.at) < lasts:
		return false
	}
	after := t.first.to(g.sample(now))
	t.first, t.begun = sample{}, time.Time{}
	if after.throughput >= brings*t.before.throughput || after.cost <= costs*t.before.cost {
		t.rest = 0
		return false
	}
	t.rest = min(max(2*t.rest, rests), longest)
	t.until = now.Add(t.rest)
	return true
}
