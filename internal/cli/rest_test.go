package cli

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// What a burst leaves behind is collected once things are calm, where Go itself
// would wait for as much again.
func TestRestCollectsWhatABurstLeaves(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // ends with stop
		restful(ctx, 10*time.Millisecond)
		close(ended)
	}()
	defer func() { stop(); <-ended }()
	collected := make(chan struct{})
	burst(collected)
	select {
	case <-collected:
	case <-time.After(30 * time.Second): // Go itself collects after two minutes
		t.Error("the last of a burst was not collected")
	}
}

// burst leaves garbage, so much that Go collects some of it, and closes a
// channel when the last of it is collected.
func burst(collected chan struct{}) {
	const size, count = 64 << 10, 2000
	var kept [64][]byte // most of the heap is in use while the collector runs
	for i := range count {
		kept[i%len(kept)] = make([]byte, size)
	}
	last := &struct{ b []byte }{make([]byte, 8<<20)}
	runtime.AddCleanup(last, func(c chan struct{}) { close(c) }, collected)
	runtime.KeepAlive(last)
}

func TestFiguresOfTheRuntime(t *testing.T) {
	names := []string{"/gc/heap/allocs:bytes", "/gc/heap/live:bytes"}
	runtime.GC()
	for i, n := range runtimeFigures(names...) {
		if n == 0 {
			t.Errorf("%s is 0: is it still called so?", names[i])
		}
	}
}
