// Package wheel is a coarse timing wheel: keep-alive, connect timeouts,
// session expiry, will delays and the expiry of retained messages all wait on
// it.
//
// A deadline stands in the slot of its due time and costs nothing until then:
// what pushes it back (a packet that came in) is a store in the owner, who is
// asked when the slot comes up and answers with the later time. Deadlines beyond
// one turn of the wheel are looked at once a turn. One goroutine turns the
// wheel; it sleeps until the next slot that holds one, so an idle program does
// not wake.
//
// A slot is a list of owners, and an [Entry] has no pointer: the garbage
// collector passes over a million of them in a row, where entries that are
// linked to each other would make it wait for memory at each.
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

// Owner has an entry, and is asked when that is due. The pointer to it is what
// is known of it.
type Owner interface {
	// Timer is the owner's entry, always the same.
	Timer() *Entry
	// Due is called on the wheel's goroutine, without its lock, at now (unix
	// milliseconds). It returns when to ask again, or 0. It must not wait.
	Due(now int64) (next int64)
}

// Entry is one waiting deadline, guarded by the wheel's lock. The zero value
// waits for nothing.
type Entry struct {
	due   int64  // unix milliseconds; 0: not waiting
	place uint32 // in its slot
	slot  uint16
	asked bool // Due is being called, and neither Set nor Stop was since; By may have been
}

// Wheel holds entries. Its goroutine runs from New until Close.
type Wheel struct {
	mu     sync.Mutex // guards the rest and every entry
	slots  [slots][]Owner
	due    []Owner // for turn
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
	go w.run() // ends with Close, which waits for it
	return w
}

// Close stops the wheel: nobody is asked any more.
func (w *Wheel) Close() {
	close(w.stop)
	<-w.done
}

// Set makes o wait until due (unix milliseconds), in place of whatever it
// waited for.
func (w *Wheel) Set(o Owner, due int64) {
	w.mu.Lock()
	w.unlink(o)
	w.link(o, due)
	w.mu.Unlock()
}

// By makes o wait until due, unless it waits for something earlier. If Due is
// being called, it is asked again at the earlier of this and what it returns.
func (w *Wheel) By(o Owner, due int64) {
	w.mu.Lock()
	asked := o.Timer().asked
	w.by(o, due)
	o.Timer().asked = asked
	w.mu.Unlock()
}

// Stop makes o wait for nothing. A call of Due under way goes on.
func (w *Wheel) Stop(o Owner) {
	w.mu.Lock()
	w.unlink(o)
	w.mu.Unlock()
}

func (w *Wheel) by(o Owner, due int64) {
	if e := o.Timer(); e.due == 0 || due < e.due {
		w.unlink(o)
		w.link(o, due)
	}
}

func (w *Wheel) link(o Owner, due int64) {
	slot := (due + Resolution - 1) / Resolution // the first slot that is not early
	if slot <= w.at {
		slot = w.at + 1
	}
	list := &w.slots[slot%slots]
	*o.Timer() = Entry{due: due, slot: uint16(slot % slots), place: uint32(len(*list))}
	*list = append(*list, o)
	w.count++
	if w.sleeps == 0 || slot < w.sleeps {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *Wheel) unlink(o Owner) {
	e := o.Timer()
	e.asked = false
	if e.due == 0 {
		return
	}
	list := w.slots[e.slot]
	last := len(list) - 1
	list[e.place] = list[last]
	list[e.place].Timer().place = e.place
	list[last] = nil
	w.slots[e.slot] = fitting(list[:last])
	*e = Entry{}
	w.count--
}

const smallest = 16

// fitting is a list that does not hold on to much more memory than it needs.
func fitting(list []Owner) []Owner {
	switch {
	case len(list) == 0:
		return nil
	case cap(list) > smallest && len(list) < cap(list)/4:
		return append(make([]Owner, 0, 2*len(list)), list...)
	default:
		return list
	}
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
		if len(w.slots[(w.at+i)%slots]) > 0 {
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
		w.slot(w.slots[w.at%slots], now)
	}
	w.mu.Unlock()
}

// slot asks those in one slot that are due.
func (w *Wheel) slot(list []Owner, now int64) {
	for _, o := range list {
		if o.Timer().due <= now {
			w.due = append(w.due, o)
		}
	}
	for i, o := range w.due {
		w.due[i] = nil
		if e := o.Timer(); e.due > 0 && e.due <= now { // else stopped or set anew meanwhile
			w.ask(o, now)
		}
	}
	w.due = fitting(w.due[:0])
}

func (w *Wheel) ask(o Owner, now int64) {
	w.unlink(o)
	e := o.Timer()
	e.asked = true
	w.mu.Unlock()
	next := o.Due(now)
	w.mu.Lock()
	if e.asked && next > 0 {
		w.by(o, next)
	}
	e.asked = false
}
