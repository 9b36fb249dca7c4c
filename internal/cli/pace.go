package cli

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// Go lets the heap double before it collects. A broker that has little in memory, a
// few megabytes, and much traffic would collect dozens of times a second, and each
// collection costs the same however little there is. So where collections follow
// one another closely and little is live, more garbage may gather.
type pace struct {
	percent int
	last    time.Time // when the collector ran
}

const (
	paceHeap = 32 << 20 // the heap may grow so far, if what is live does not ask for more
	paceBusy = 200 * time.Millisecond
	paceCalm = 2 * time.Second
)

// paced keeps the garbage collector's percentage in step with the traffic until ctx
// ends. Who has set GOGC has decided that.
func paced(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	p := pace{percent: 100, last: time.Now()}
	onCycle(ctx, func() {
		if next := p.next(time.Now(), runtimeFigures("/gc/heap/live:bytes")[0]); next != p.percent {
			p.percent = next
			debug.SetGCPercent(next) // stops the program for a moment
		}
	})
}

// next is the percentage behind a collection that has left so many bytes.
func (p *pace) next(now time.Time, live uint64) int {
	since := now.Sub(p.last)
	p.last = now
	percent := p.percent
	switch {
	case since > paceCalm:
		return 100
	case since < paceBusy:
		percent = min(2*percent, 800)
	}
	for percent > 100 && live*uint64(100+percent)/100 > paceHeap {
		percent /= 2
	}
	return percent
}

// onCycle calls f behind each cycle of the garbage collector until ctx ends.
func onCycle(ctx context.Context, f func()) {
	type sentinel struct{ f func() } // holds a pointer: else it would share its memory with others
	runtime.SetFinalizer(&sentinel{f}, func(*sentinel) {
		if ctx.Err() == nil {
			f()
			onCycle(ctx, f)
		}
	})
}
