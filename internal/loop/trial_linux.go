package loop

import (
	"sync"
	"time"
)

// A further loop is put to work on trial. Two loops cost more for each message than
// one: they wake each other's clients, and where many publishers send to a few
// subscribers they get in each other's way at the same few sockets. So what all
// loops read is measured just before and after: a loop that does not bring more
// rests again, for longer each time. It does not where the clients have no more to
// say, or the processors are needed by others.
const (
	brings  = 1.1        // times the throughput
	settles = window     // the connections have moved
	lasts   = 2 * window // what is measured, before and after
	rests   = 2 * time.Second
	longest = 20 * time.Second
)

type trial struct {
	mu     sync.Mutex // guards these
	first  sample     // when the loops were found saturated, or when a trial is measured from; zero: neither
	before float64    // bytes a second
	begun  time.Time  // when the loop on trial was put to work; zero: none is
	rest   time.Duration
	until  time.Time // no trial before
}

// sample is what all loops have read up to a moment.
type sample struct {
	at    time.Time
	bytes uint64
}

// to is the bytes a second between two samples.
func (s sample) to(e sample) float64 { return float64(e.bytes-s.bytes) / e.at.Sub(s.at).Seconds() }

func (g *Epoll) sample(now time.Time) sample {
	s := sample{at: now}
	for _, l := range g.loops {
		s.bytes += l.moved.Load()
	}
	return s
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

// relieved says that no loop is saturated any more: so much is there to read, and no
// more, but nothing waits for its turn as long as with one loop fewer.
func (g *Epoll) relieved(now time.Time) bool {
	for _, l := range g.loops[:g.active.Load()] {
		if l.share.Load() >= saturated && now.Sub(time.Unix(0, l.until.Load())) < calmFor {
			return false
		}
	}
	return true
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
	if after >= brings*t.before || g.relieved(now) {
		t.rest = 0
		return false
	}
	t.rest = min(max(2*t.rest, rests), longest)
	t.until = now.Add(t.rest)
	return true
}
