package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions lets Pebble compact as much at a time as it allows itself. Pebble's own
// scheduler does the same, but looks again ten times a second whether more is
// allowed, which keeps an idle machine awake. Here that is looked at when it may
// have changed: behind a flush and behind a compaction.
type compactions struct {
	db pebble.DBForCompaction // set before all else

	mu      sync.Mutex // guards the rest
	running int
	looking bool // a goroutine is
	again   bool // something has changed since it began
	closed  bool
	lookers sync.WaitGroup
}

// Register implements pebble.CompactionScheduler.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister implements pebble.CompactionScheduler.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.lookers.Wait()
}

// TrySchedule implements pebble.CompactionScheduler.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.free() {
		return false, nil
	}
	c.running++
	return true, grant{c}
}

// free says whether one more may run. The caller holds c.mu.
func (c *compactions) free() bool {
	return !c.closed && c.running < c.db.GetAllowedWithoutPermission()
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler. The
// caller has locks of the database, so whoever looks is another goroutine.
func (c *compactions) UpdateGetAllowedWithoutPermission() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
}

// look starts what waits, if that is allowed. The caller holds c.mu.
func (c *compactions) look() {
	switch {
	case c.closed:
	case c.looking:
		c.again = true
	default:
		c.looking = true
		c.lookers.Go(func() { // ends once nothing is allowed or nothing waits; Unregister waits for it
			for c.start() {
			}
		})
	}
}

// start starts one compaction that waits, and says whether to go on.
func (c *compactions) start() bool {
	c.mu.Lock()
	free := c.free()
	c.mu.Unlock()
	if free {
		if waits, _ := c.db.GetWaitingCompaction(); waits && c.db.Schedule(grant{c}) {
			c.mu.Lock()
			c.running++
			c.mu.Unlock()
			return true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looking, c.again = c.again, false
	return c.looking
}

// grant is leave to compact.
type grant struct{ c *compactions }

func (grant) Started()                                          {}
func (grant) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (grant) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (g grant) Done() {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	g.c.running--
	g.c.look()
}
