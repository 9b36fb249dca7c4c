package listen

import (
	"sync"
	"sync/atomic"

	"github.com/fantail-mqtt/fantail/internal/loop"
)

// layer is the upper side of TLS and of WebSocket: what a raw connection does
// for its handler.
type layer struct {
	// owned by the loop
	handler loop.Handler
	in      []byte // what the handler is not done with
	paused  bool
	giving  bool // inside handler.Data
	resumed bool // while giving

	ended atomic.Bool // Finish or Close was called: no more data

	writing sync.Mutex // held for a write and its consequence; guards owed
	owed    bool       // the handler waits for Writable
}

// give hands b to the handler, behind what it was not done with.
func (y *layer) give(l loop.Local, b []byte) {
	if len(y.in) > 0 {
		y.in = append(y.in, b...)
		b = y.in
	}
	for len(b) > 0 && !y.paused && !y.ended.Load() {
		h := y.handler
		y.giving, y.resumed = true, false
		n := h.Data(l, b)
		y.giving = false
		b = b[n:]
		if y.handler == h && !y.resumed {
			break // it waits for more
		}
	}
	if len(b) == 0 || y.ended.Load() {
		y.in = nil
		return
	}
	y.in = append(y.in[:0], b...)
}

// stopped says that no more may be given now.
func (y *layer) stopped() bool { return y.paused || y.ended.Load() }

func (y *layer) SetHandler(h loop.Handler) { y.handler = h }

// unblocked says whether the handler waits for what is below to be writable.
func (y *layer) unblocked() bool {
	y.writing.Lock()
	defer y.writing.Unlock()
	owed := y.owed
	y.owed = false
	return owed
}

// buffers are in use only while a layer works: an idle one has none.
type buffers struct {
	plaintexts sync.Pool // *[maxRecord]byte
	frames     sync.Pool // *[]byte
	records    sync.Pool // *[]byte
}

func newBuffers() *buffers {
	return &buffers{
		plaintexts: sync.Pool{New: func() any { return new([maxRecord]byte) }},
		frames:     sync.Pool{New: func() any { return new([]byte) }},
		records:    sync.Pool{New: func() any { return new([]byte) }},
	}
}

// maxKept is the size above which a buffer is not kept for the next use.
const maxKept = 64 << 10
