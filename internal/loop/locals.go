package loop

import (
	"runtime"
	"sync"
	"time"
)

// locals are the Locals of the portable transport. Each keeps memory for its next
// tick, so there are no more than there would be event loops, however many
// connections have work at once: who finds none free waits for one, which is no
// longer than a tick takes. One that was used last is taken first.
type locals struct {
	local func() Local
	most  int

	mu    sync.Mutex // guards the rest
	given sync.Cond
	free  []Local
	made  int
	used  bool        // since the timer looked
	timer *time.Timer // runs calm; nil: all are calm, or the transport is closed
	ended bool
}

// calmAfter is how long nothing must have happened for the locals to be calm.
const calmAfter = 20 * time.Millisecond

func newLocals(o Options) *locals {
	p := &locals{local: o.Local, most: o.Loops}
	if p.most == 0 {
		p.most = runtime.NumCPU()
	}
	p.given.L = &p.mu
	return p
}

// take waits for a local. Who has one may not wait for anything, nor take another.
func (p *locals) take() Local {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) == 0 && p.made == p.most {
		p.given.Wait()
	}
	if len(p.free) == 0 {
		p.made++
		return p.local()
	}
	last := len(p.free) - 1
	l := p.free[last]
	p.free = p.free[:last]
	return l
}

// give takes a local back.
func (p *locals) give(l Local) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, l)
	p.used = true
	if p.timer == nil && !p.ended {
		p.timer = time.AfterFunc(calmAfter, p.calm)
	}
	p.given.Signal()
}

// calm tells those that are free that nothing has happened for a while, if so.
func (p *locals) calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.timer == nil: // closed
	case p.used:
		p.used = false
		p.timer.Reset(calmAfter)
	default:
		p.timer = nil
		for _, l := range p.free {
			l.Calm()
		}
	}
}

// end stops the timer.
func (p *locals) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}
