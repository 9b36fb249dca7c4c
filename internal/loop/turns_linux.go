package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// Whose turn it is. In a tick, those come first who are connected and make little
// work with what they send: a message to one client, an acknowledgement, a ping.
// Behind them come those who made much with what they sent last, those who have
// sent nothing so far, those who are leaving, and those who want to come; while
// there are others, all these together have a share of the time. So neither a
// crowd at the door, nor one that goes, nor messages for thousands hold up who has
// nothing to do with them.
//
// Who does not get a turn is ready at the next tick still: the kernel names the
// ready ones in turn. So nobody waits without end.

const (
	// lateShare is what those behind the others have of a tick, and again what was
	// posted has.
	lateShare = time.Millisecond
	// clockEvery is how many posts are run before the time is looked at.
	clockEvery = 16
	// muchEffort is what makes a connection come behind others.
	muchEffort = 64
	// halfBusy is the per cent of a window from which on a loop lets messages for many
	// wait for holdFor, if there is other work: the more wait, the fewer writes.
	halfBusy = 50
	holdFor  = 5 * time.Millisecond
)

// source is what a loop watches: a connection, a listener or its own wake-up.
type source interface {
	ready(events uint32)
	// waits says whether others come first.
	waits() bool
	// judge hears what ready has cost.
	judge(effort int)
}

// due is a source that is ready.
type due struct {
	source
	events uint32
}

// serve lets those sources read and write whose turn it is.
func (l *eloop) serve(events []unix.EpollEvent) {
	l.mu.Lock()
	l.ready, l.late = l.ready[:0], l.late[:0]
	for i := range events {
		s := l.source(int(events[i].Fd))
		switch {
		case s == nil:
		case s.waits():
			l.late = append(l.late, due{s, events[i].Events})
		default:
			l.ready = append(l.ready, due{s, events[i].Events})
		}
	}
	l.mu.Unlock()
	for _, d := range l.ready {
		l.let(d)
	}
	if len(l.late) > 0 && !l.drains { // else they would add to what is to be written
		l.serveLate()
	}
	clear(l.ready)
	clear(l.late)
}

func (l *eloop) serveLate() {
	if len(l.ready) == 0 {
		for _, d := range l.late {
			l.let(d)
		}
		return
	}
	end := time.Now().Add(lateShare)
	for _, d := range l.late {
		l.let(d)
		if time.Now().After(end) {
			return
		}
	}
}

// let lets one source do what it is ready for.
func (l *eloop) let(d due) {
	before := l.local.Effort()
	d.ready(d.events)
	d.judge(l.local.Effort() - before)
	if l.taken >= tickBytes {
		l.taken = 0
		l.local.End()
	}
}

// runPosts runs what was posted, or as much of it as there is time for. It comes
// behind all that was ready: a post may give a connection to another loop.
func (l *eloop) runPosts() {
	if l.woken {
		l.woken = false
		l.mu.Lock()
		posts := l.posts
		l.posts = nil
		l.mu.Unlock()
		l.posted = append(l.posted, posts...)
	}
	if len(l.posted) == 0 {
		return
	}
	end := time.Now().Add(lateShare)
	for i, f := range l.posted {
		if i > 0 && i%clockEvery == 0 && time.Now().After(end) {
			l.posted = l.posted[i:]
			return
		}
		l.posted[i] = nil
		f()
	}
	l.posted = nil
}

// finish ends the tick that began at now, and says whether something was left to be
// written.
func (l *eloop) finish(now time.Time) (more bool) {
	hold := !l.drains && len(l.ready) > 0 && l.share.Load() >= halfBusy && (l.held.IsZero() || now.Sub(l.held) < holdFor)
	switch more = l.local.EndSome(hold); {
	case !more:
		l.held, l.drains, l.taken = time.Time{}, false, 0
	case l.held.IsZero():
		l.held, l.drains = now, !hold
	default:
		l.drains = !hold
	}
	return more
}
