package ban

import (
	"net/netip"
	"sync"
	"time"
)

// Flapping says when a client connects too often.
type Flapping struct {
	Connects int           // more than these
	Window   time.Duration // in so much time
	Ban      time.Duration // 0: flapping is not looked for
}

// Detector finds clients that connect again and again. It counts a client id at
// one address: so nobody can have the device of somebody else banned by using its
// client id.
//
// There are two generations of counters, of which the older one is forgotten when
// a window is over, or when the younger one is full.
type Detector struct {
	mu           sync.Mutex // guards the rest
	o            Flapping
	young, older map[flapper]counter
	since        time.Time // of the younger
}

type flapper struct {
	client string
	addr   netip.Addr
}

type counter struct {
	from time.Time
	n    int
}

const mostFlappers = 1 << 16 // in each generation

// NewDetector makes one.
func NewDetector(o Flapping) *Detector {
	return &Detector{o: o, young: map[flapper]counter{}}
}

// SetFlapping replaces what is looked for.
func (d *Detector) SetFlapping(o Flapping) {
	d.mu.Lock()
	d.o = o
	d.mu.Unlock()
}

// Connect counts a connect. If those are too many, it says for how long the client
// is to be banned, and how often it has connected in which time.
func (d *Detector) Connect(client string, a netip.Addr, now time.Time) (ban time.Duration, connects int, in time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.o.Ban == 0 {
		return 0, 0, 0
	}
	if now.Sub(d.since) > d.o.Window || len(d.young) >= mostFlappers {
		d.older, d.young, d.since = d.young, map[flapper]counter{}, now
	}
	key := flapper{client, a}
	c, ok := d.young[key]
	if !ok {
		c = d.older[key]
	}
	if now.Sub(c.from) > d.o.Window {
		c = counter{from: now}
	}
	c.n++
	if c.n > d.o.Connects {
		delete(d.young, key)
		delete(d.older, key)
		return d.o.Ban, c.n, now.Sub(c.from)
	}
	d.young[key] = c
	return 0, 0, 0
}
