package cli

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go collects garbage when the heap has doubled. A broker in which thousands of
// devices have connected and now say nothing never gets there: what connecting
// has left behind would stay. A rest collects it once things have become calm,
// and gives the memory back to the system.
//
// It is told by the collector's own cycles that something goes on, and then looks
// again and again, at longer and longer intervals while nothing does, until it
// stops looking. So it costs no timer once things are calm.
type rest struct {
	cycles chan struct{} // the collector has run
	calm   time.Duration // the shortest interval
	before uint64        // bytes allocated until the last rest
}

const (
	restCalm  = 250 * time.Millisecond
	restLast  = 64       // the longest interval, in terms of the shortest
	restQuiet = 64 << 10 // bytes allocated in the shortest interval that are little
	restWorth = 1 << 20  // bytes allocated that are worth a collection, if they are an eighth of what is in use, too
)

// restful lets the process rest until ctx ends.
func restful(ctx context.Context, calm time.Duration) {
	r := &rest{cycles: make(chan struct{}, 1), calm: calm}
	onCycle(ctx, func() {
		select {
		case r.cycles <- struct{}{}:
		default:
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.cycles:
		}
		r.watch(ctx)
	}
}

// watch rests whenever little is allocated, until that has been so for long.
func (r *rest) watch(ctx context.Context) {
	look := time.NewTimer(r.calm)
	defer look.Stop()
	before := allocated()
	for times := uint64(1); times <= restLast; {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		now := allocated()
		if now-before >= restQuiet*times {
			times = 1
		} else {
			r.rest()
			times *= 2
		}
		before = allocated()
		look.Reset(r.calm * time.Duration(times))
	}
}

// rest collects, if it is worthwhile.
func (r *rest) rest() {
	if r.worthwhile() {
		debug.FreeOSMemory()
		r.before = allocated()
	}
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 { return runtimeFigures("/gc/heap/allocs:bytes")[0] }

// worthwhile says whether so much was allocated since the last rest that some of
// it may be garbage by now. The collector's own cycles come every two minutes
// even if nothing was.
func (r *rest) worthwhile() bool {
	fresh := allocated() - r.before
	return fresh >= restWorth && fresh >= runtimeFigures("/gc/heap/live:bytes")[0]/8
}

// runtimeFigures reads figures of the runtime.
func runtimeFigures(names ...string) []uint64 {
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	values := make([]uint64, len(names))
	for i := range samples {
		if samples[i].Value.Kind() == metrics.KindUint64 {
			values[i] = samples[i].Value.Uint64()
		}
	}
	return values
}
