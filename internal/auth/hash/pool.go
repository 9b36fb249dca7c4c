package hash

import (
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// ErrBusy says that a password was not checked, because as many are as may be.
var ErrBusy = errors.New("too many logins at once")

// Patience is how long a check waits for its turn. A client that has waited
// longer gives up, and the next ones still have a chance.
const Patience = 5 * time.Second

// Pool bounds how many passwords are checked at once. Those in excess wait for
// their turn, in the order in which they came; those in excess of what may wait
// hear ErrBusy. An argon2id hash with several lanes counts as as many, since it
// takes as many processors. What takes microseconds (a digest without
// stretching) does not wait.
//
// There are no goroutines to end: the caller's own does the work.
type Pool struct {
	size, room int

	mu      sync.Mutex // guards the rest
	free    int
	waiting list.List // of *turn
	figures Figures
}

// turn is a check that waits.
type turn struct {
	seats int
	come  chan struct{} // closed when it has its seats
}

// Figures are what a pool is doing and has done.
type Figures struct {
	Size    int    // how many checks may run
	Running int    // seats that are taken
	Waiting int    // checks that wait for one
	Checked uint64 // slow hashes that were computed
	Refused uint64 // checks that heard ErrBusy
}

// NewPool makes a pool in which size checks run and room more wait. A size of 0
// is half of the processors, and a room of 0 is a thousand.
func NewPool(size, room int) *Pool {
	if size <= 0 {
		size = max(1, min(runtime.NumCPU(), runtime.GOMAXPROCS(0))/2)
	}
	if room <= 0 {
		room = 1000
	}
	return &Pool{size: size, room: room, free: size}
}

// Check is [Check] when its turn has come. The error is ErrBusy, or that of
// ctx, which ended before.
func (p *Pool) Check(ctx context.Context, h Hash, password []byte) (ok bool, err error) {
	if !h.slow {
		return Check(h, password), nil
	}
	seats := min(int(h.lanes), p.size)
	if err := p.enter(ctx, seats); err != nil {
		return false, err
	}
	defer p.leave(seats)
	return Check(h, password), nil
}

// Do is Check for work of another kind, that of one hash.
func (p *Pool) Do(ctx context.Context, f func()) error {
	if err := p.enter(ctx, 1); err != nil {
		return err
	}
	defer p.leave(1)
	f()
	return nil
}

// Figures are those of this moment.
func (p *Pool) Figures() Figures {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.figures
	f.Size, f.Running, f.Waiting = p.size, p.size-p.free, p.waiting.Len()
	return f
}

// enter takes seats, or waits for them.
func (p *Pool) enter(ctx context.Context, seats int) error {
	p.mu.Lock()
	if p.free >= seats && p.waiting.Len() == 0 {
		p.free -= seats
		p.mu.Unlock()
		return nil
	}
	if p.waiting.Len() >= p.room {
		p.figures.Refused++
		p.mu.Unlock()
		return ErrBusy
	}
	t := &turn{seats: seats, come: make(chan struct{})}
	place := p.waiting.PushBack(t)
	p.mu.Unlock()

	patience := time.NewTimer(Patience)
	defer patience.Stop()
	var err error
	select {
	case <-t.come:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-patience.C:
		err = ErrBusy
	}
	return p.giveUp(place, t, err)
}

// giveUp ends the wait of a turn with err, unless it has come meanwhile.
func (p *Pool) giveUp(place *list.Element, t *turn, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-t.come:
		return nil
	default:
	}
	p.waiting.Remove(place)
	if errors.Is(err, ErrBusy) {
		p.figures.Refused++
	}
	p.call() // the next one may need less
	return err
}

func (p *Pool) leave(seats int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free += seats
	p.figures.Checked++
	p.call()
}

// call hands free seats to those that wait, in their order.
func (p *Pool) call() {
	for first := p.waiting.Front(); first != nil; first = p.waiting.Front() {
		t, _ := first.Value.(*turn)
		if t.seats > p.free {
			return
		}
		p.free -= t.seats
		p.waiting.Remove(first)
		close(t.come)
	}
}
