package listen

import (
	"bytes"
	"math"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fantail-mqtt/fantail/internal/loop"
)

// sink is an upper handler that takes all and keeps nothing.
type sink struct{}

func (sink) Data(_ loop.Local, b []byte) int { return len(b) }
func (sink) Writable(loop.Local)             {}
func (sink) Closed(loop.Local, error)        {}

// drain is a raw connection that keeps nothing.
type drain struct{ fakeConn }

func (*drain) Write([]byte) bool { return true }

func TestFramesAllocateNothing(t *testing.T) {
	w := &webSocket{lower: &drain{}, buffers: newBuffers()}
	w.handler = &sink{}
	frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame(make([]byte, 300))))
	in, out := bytes.Repeat(frame, 5), make([]byte, 300)
	allocs := math.Inf(1)
	for range 100 { // the fewest, for a pool loses some of what it is given on purpose under the race detector
		allocs = min(allocs, testing.AllocsPerRun(1, func() {
			if n := w.Data(nil, in); n != len(in) {
				t.Fatalf("took %d bytes of %d", n, len(in))
			}
			if !w.Write(out) {
				t.Fatal("not written")
			}
		}))
	}
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// A client may send more behind its handshake than is kept for it.
func TestAHandshakeKeepsAFewBytesAhead(t *testing.T) {
	resumed := 0
	h := &handshake{more: make(chan struct{}, 1), resume: func() { resumed++ }}
	if h.feed(make([]byte, maxEarly)) {
		t.Error("full too early")
	}
	if !h.feed(make([]byte, 1)) {
		t.Error("not full")
	}
	b := make([]byte, maxEarly)
	if n, err := h.readNow(b); n != maxEarly || err != nil || resumed != 0 {
		t.Errorf("read %d, %v; resumed %d times", n, err, resumed)
	}
	if n, err := h.readNow(b); n != 1 || err != nil || resumed != 1 {
		t.Errorf("read %d, %v; resumed %d times", n, err, resumed)
	}
	if h.take() != nil {
		t.Error("an empty buffer is kept")
	}
}
