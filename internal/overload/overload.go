// Package overload says when the process has so little left of what it needs that
// new connections would endanger those that are there: memory and descriptors.
//
// Nothing watches: who asks is told. The kernel gives each connection the lowest
// descriptor that is free, so the number of the newest says how many are in use at
// least, and where it is small there is room below. Memory is what the Go runtime
// has from the system, less what it has given back, looked at ten times a second
// at most.
package overload

import (
	"fmt"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Watch knows the bounds.
type Watch struct {
	memory atomic.Int64 // 0: none

	looked atomic.Int64 // when memory was, unix milliseconds
	used   atomic.Int64

	descriptors func() int // that the process may have; 0: not known
}

// Share of what there is that the process may have, in per cent.
const Share = 80

// every is how often memory is looked at, in milliseconds.
const every = 100

// New makes a watch. memory is as SetMemory takes it.
func New(memory int64) *Watch {
	w := &Watch{descriptors: descriptors}
	w.SetMemory(memory)
	return w
}

// SetMemory sets the memory that the process may have: 0 is a share of what there
// is, below 0 no bound.
func (w *Watch) SetMemory(memory int64) { w.memory.Store(Memory(memory)) }

// Memory is the bound that a setting stands for; 0: none.
func Memory(setting int64) int64 {
	switch {
	case setting > 0:
		return setting
	case setting < 0:
		return 0
	default:
		return available() / 100 * Share
	}
}

// Full says why no connection should come in, empty if one may: the figures in
// words. descriptor is that of the newest, below 0 if it is not known. last says
// that there is not even room for an answer.
func (w *Watch) Full(descriptor int, now time.Time) (why string, last bool) {
	all := w.descriptors()
	// What files, the store and those who are told that there is no room need.
	reserve := min(max(all/10, 32), 1024, all/2)
	if most := all - reserve; all > 0 && descriptor >= most {
		return fmt.Sprintf("%d descriptors are in use, of %d that this process may have (%d are kept back): raise LimitNOFILE of the service, or ulimit -n",
			descriptor+1, all, reserve), descriptor >= most+reserve/2
	}
	most := w.memory.Load()
	if most == 0 {
		return "", false
	}
	w.look(now)
	if used := w.used.Load(); used > most {
		return fmt.Sprintf("%d MiB of memory are in use, of %d MiB that this process may have (limits.memory)", used>>20, most>>20), false
	}
	return "", false
}

// look looks how much memory there is in use, if that was not done lately.
func (w *Watch) look(now time.Time) {
	at, last := now.UnixMilli(), w.looked.Load()
	if at-last < every || !w.looked.CompareAndSwap(last, at) {
		return
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	w.used.Store(int64(samples[0].Value.Uint64()) - int64(samples[1].Value.Uint64()))
}
