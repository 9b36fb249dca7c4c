// Package wheel is a coarse timing wheel: keep-alive, connect timeouts,
// session expiry, will delays and the expiry of retained messages all wait on
// it.
//
// An entry hangs in the slot of its due time and costs nothing until then: what
// pushes a deadline back (a packet that came in) is a store in the owner, who
// is asked when the slot comes up and answers with the later time. Entries due
// beyond one turn of the wheel are looked at once a turn. One goroutine turns
// the wheel; it sleeps until the next slot that holds an entry, so an idle
// program does not wake.
package wheel

import (
	"sync"
	"time"
)

const (
	// Resolution is how late an entry can come, at most.
	Resolution = 100 // milliseconds
	slots      = 1024
)

// Owner is asked when its entry is due.
type Owner interface {
	// Due is called on the wheel's goroutine, without its lock, at now (unix
	// milliseconds). It returns when to ask again, or 0. It must not wait.
	Due(now int64) (next int64)
}

// Entry is one waiting deadline. The zero value waits for nothing.
type Entry struct {
	prev, next *Entry // guarded by the wheel's lock
	due        int64  // unix milliseconds; 0: not waiting
	owner      Owner
}

// Wheel holds entries. Its goroutine runs from New until Close.
type Wheel struct {
	mu     sync.Mutex // guards the rest and every entry's links
	slots  [slots]Entry
	count  int
	at     int64 // the slot number (unix milliseconds / Resolution) looked at last
	sleeps int64 // the slot number that the goroutine sleeps until; 0: without end

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

// New starts a wheel.
func New() *Wheel {
	w := &Wheel{
		at:   time.Now().UnixMilli() / Resolution,
		wake: make(chan struct{}, 1),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	for i := range w.slots {
		w.slots[i].prev, w.slots[i].next = &w.slots[i], &w.slots[i]
	}
	go w.run() // ends with Close, which waits for it
	return w
}

// Close stops the wheel: nobody is asked any more.
func (w *Wheel) Close() {
	close(w.stop)
	<-w.done
}

// Set makes e wait for owner until due (unix milliseconds), in place of
// whatever it waited for.
func (w *Wheel) Set(e *Entry, owner Owner, due int64) {
	w.mu.Lock()
	w.unlink(e)
	e.owner = owner
	w.link(e, due)
	w.mu.Unlock()
}

// Stop makes e wait for nothing. A call of Due under way goes on.
func (w *Wheel) Stop(e *Entry) {
	w.mu.Lock()
	w.unlink(e)
	e.owner = nil
	w.mu.Unlock()
}

func (w *Wheel) link(e *Entry, due int64) {
	slot := (due + Resolution - 1) / Resolution // the first slot that is not early
	if slot <= w.at {
		slot = w.at + 1
	}
	e.due = due
	head := &w.slots[slot%slots]
	e.prev, e.next = head.prev, head
	e.prev.next, e.next.prev = e, e
	w.count++
	if w.sleeps == 0 || slot < w.sleeps {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *Wheel) unlink(e *Entry) {
	if e.due == 0 {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next, e.due = nil, nil, 0
	w.count--
}

func (w *Wheel) run() {
	defer close(w.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.turn(time.Now().UnixMilli())
		if d, ok := w.rest(); ok {
			timer.Reset(d)
		} else {
			timer.Stop()
		}
		select {
		case <-w.stop:
			return
		case <-w.wake:
		case <-timer.C:
		}
	}
}

// rest is how long nothing is due, or false if nothing waits at all.
func (w *Wheel) rest() (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sleeps = 0
	if w.count == 0 {
		return 0, false
	}
	for i := int64(1); i <= slots; i++ {
		if head := &w.slots[(w.at+i)%slots]; head.next != head {
			w.sleeps = w.at + i
			break
		}
	}
	return time.Until(time.UnixMilli(w.sleeps * Resolution)), true
}

// turn asks the owners of all entries that are due at now.
func (w *Wheel) turn(now int64) {
	to := now / Resolution
	w.mu.Lock()
	if to-w.at > slots { // asleep for more than a turn: each slot once is enough
		w.at = to - slots
	}
	for w.at < to {
		w.at++
		w.slot(&w.slots[w.at%slots], now)
	}
	w.mu.Unlock()
}

// slot empties one slot: what is due is asked, the rest goes back.
func (w *Wheel) slot(head *Entry, now int64) {
	var due []*Entry
	for e := head.next; e != head; e = e.next {
		if e.due <= now {
			due = append(due, e)
		}
	}
	for _, e := range due {
		owner := e.owner
		if e.due == 0 || e.due > now || owner == nil { // stopped or set anew meanwhile
			continue
		}
		w.unlink(e)
		w.mu.Unlock()
		next := owner.Due(now)
		w.mu.Lock()
		if next > 0 && e.due == 0 && e.owner == owner {
			w.link(e, next)
		}
	}
}
