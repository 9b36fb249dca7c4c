package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// How many loops work is decided by load. A message that finds its loop asleep
// costs a wake-up, so at a low rate two loops cost more than one: connections
// begin on the first loop. When that is nearly saturated it sheds half of them
// to the next one, on trial; when all together would fit one loop fewer, and have for a
// while, the last loop gives its own back.
const (
	window    = 100 * time.Millisecond
	saturated = 75 // per cent of a window busy: a further loop is needed
	spare     = 35 // per cent of one loop that all of them together may be busy to do with one fewer
	calmFor   = 2 * time.Second
)

// pick is the loop of a new connection.
func (g *Epoll) pick() *eloop { return g.loops[int(g.next.Add(1))%int(g.active.Load())] }

// measure adds a tick to the window that is measured, and acts on a full one.
func (l *eloop) measure(from, to time.Time) {
	l.spent += to.Sub(from)
	passed := to.Sub(l.begun)
	if passed < window {
		return
	}
	if passed < 2*window { // else the loop slept, and the window says nothing
		l.share.Store(int32(100 * l.spent / passed))
	} else {
		l.share.Store(0)
	}
	l.until.Store(to.UnixNano())
	l.begun, l.spent = to, 0
	l.group.balance(l, to)
}

// balance puts a further loop to work or lets the last one rest. It runs on l.
func (g *Epoll) balance(l *eloop, now time.Time) {
	active := g.active.Load()
	if active > 1 && g.failed(now) && g.active.CompareAndSwap(active, active-1) {
		g.rest(active - 1)
		return
	}
	if l.share.Load() >= saturated {
		g.calm.Store(0)
		if int(active) == len(g.loops) || !g.wanted(now) {
			return
		}
		if g.active.CompareAndSwap(active, active+1) {
			l.shed(g.loops[active], 2)
		} else {
			g.ended() // another loop was quicker
		}
		return
	}
	if active == 1 {
		g.relaxed()
		return
	}
	if g.busy(now) > spare {
		g.calm.Store(0)
		return
	}
	since := g.calm.Load()
	if since == 0 {
		g.calm.CompareAndSwap(0, now.UnixNano())
		return
	}
	if now.Sub(time.Unix(0, since)) < calmFor || !g.active.CompareAndSwap(active, active-1) {
		return
	}
	g.ended()
	g.rest(active - 1)
}

// rest has the loop that is not active any more give its connections back.
func (g *Epoll) rest(last int32) {
	g.calm.Store(0)
	l := g.loops[last]
	l.post(func() { l.shed(g.loops[0], 1) })
}

// busy is the sum of what the loops are busy, in per cent of one.
func (g *Epoll) busy(now time.Time) (sum int32) {
	for _, l := range g.loops[:g.active.Load()] {
		if now.Sub(time.Unix(0, l.until.Load())) < calmFor {
			sum += l.share.Load()
		}
	}
	return sum
}

// shed gives each n-th connection of the loop to another one. It runs on l,
// between two ticks or in a post.
func (l *eloop) shed(to *eloop, n int) {
	l.mu.Lock()
	var moving []*econn
	i := 0
	for _, c := range l.socks {
		if c == nil {
			continue
		}
		if i++; i%n == 0 {
			moving = append(moving, c)
		}
	}
	l.mu.Unlock()
	for _, c := range moving {
		c.move(l, to)
	}
}

// move gives the connection from its loop to another one. Posts that are on
// their way to the old one follow it.
func (c *econn) move(from, to *eloop) {
	c.mu.Lock()
	fd := int(c.fd)
	if fd < 0 || from == to {
		c.mu.Unlock()
		return
	}
	from.forget(fd)
	_ = unix.EpollCtl(from.ep, unix.EPOLL_CTL_DEL, fd, nil)
	c.loop.Store(to)
	c.mu.Unlock()
	if to.post(func() { c.arrive(to) }) {
		return
	}
	c.loop.Store(from) // the other loop is ending, and so will this one
	c.drop(ErrGroupClosed)
}

// arrive begins to watch the connection on its new loop.
func (c *econn) arrive(l *eloop) {
	if c.gone {
		return
	}
	c.mu.Lock()
	fd := int(c.fd)
	events := c.interest()
	c.mu.Unlock()
	if err := l.watch(fd, events, c); err != nil {
		c.drop(err)
	}
}
