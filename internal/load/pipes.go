package load

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// pipes is any other way to a broker: TLS, WebSocket, unix sockets, and TCP
// where there is no epoll. Each connection has a goroutine that dials and then
// reads, and one that writes; both tell the loop by one channel, and the loop
// never waits for them.
type pipes struct {
	g      *generator
	open   func(context.Context) (net.Conn, error)
	ctx    context.Context //nolint:containedctx // ends the goroutines, with stop
	stop   context.CancelFunc
	events chan event
	timer  *time.Timer
	all    sync.WaitGroup
}

// pipe is one connection.
type pipe struct {
	peer   *peer
	ctx    context.Context //nolint:containedctx // ends its goroutines, with cancel
	cancel context.CancelFunc
	conn   net.Conn      // set before opened is told
	again  chan struct{} // the reader may use its buffer again
	write  chan []byte   // for the writer; one at a time
	spare  []byte        // owned by the loop: the buffer to write next
}

// event is what a goroutine tells the loop.
type event struct {
	from *pipe
	kind eventKind
	b    []byte // arrived or written
	err  error  // ended
}

type eventKind uint8

const (
	pipeOpened eventKind = iota
	pipeRead
	pipeWritten
	pipeEnded
)

const pipeBatch = 256 // events in one turn of the loop

func newPipes(g *generator, open func(context.Context) (net.Conn, error)) *pipes {
	ctx, stop := context.WithCancel(context.Background())
	t := &pipes{g: g, open: open, ctx: ctx, stop: stop, events: make(chan event, 4*pipeBatch), timer: time.NewTimer(time.Hour)}
	return t
}

func (t *pipes) dial(p *peer) error {
	x := &pipe{peer: p, again: make(chan struct{}, 1), write: make(chan []byte, 1)}
	x.ctx, x.cancel = context.WithCancel(t.ctx)
	p.pipe = x
	t.all.Go(func() { t.run(x) }) // ends with x.cancel, by drop or close, which waits for it
	return nil
}

// tell hands an event to the loop; false if nobody wants it any more.
func (t *pipes) tell(e event) bool {
	select {
	case t.events <- e:
		return true
	case <-e.from.ctx.Done():
		return false
	}
}

// run dials and then reads.
func (t *pipes) run(x *pipe) {
	ctx, cancel := context.WithTimeout(x.ctx, answerTime)
	conn, err := t.open(ctx)
	cancel()
	if err != nil {
		t.tell(event{from: x, kind: pipeEnded, err: err})
		return
	}
	x.conn = conn
	unblock := context.AfterFunc(x.ctx, func() { _ = conn.Close() })
	defer unblock()
	if !t.tell(event{from: x, kind: pipeOpened}) {
		return
	}
	t.all.Go(func() { t.writeAll(x) }) // as run
	b := make([]byte, 16<<10)
	for {
		n, err := conn.Read(b)
		if n > 0 && !t.tell(event{from: x, kind: pipeRead, b: b[:n]}) {
			return
		}
		if err != nil {
			t.tell(event{from: x, kind: pipeEnded, err: err})
			return
		}
		if n == 0 {
			continue
		}
		select {
		case <-x.again:
		case <-x.ctx.Done():
			return
		}
	}
}

func (t *pipes) writeAll(x *pipe) {
	for {
		select {
		case b := <-x.write:
			if _, err := x.conn.Write(b); err != nil {
				t.tell(event{from: x, kind: pipeEnded, err: err})
				return
			}
			if !t.tell(event{from: x, kind: pipeWritten, b: b}) {
				return
			}
		case <-x.ctx.Done():
			return
		}
	}
}

func (t *pipes) send(p *peer) {
	if p.full || len(p.out) == 0 {
		return
	}
	x := p.pipe
	b := p.out
	p.out, p.full = x.spare[:0], true
	x.spare = nil
	x.write <- b // has room: the writer has told of the one before
	t.g.bytesOut += uint64(len(b))
}

func (t *pipes) wait(limit time.Duration) error {
	select {
	case e := <-t.events:
		t.serve(e)
	default:
		if !t.waitForOne(limit) {
			return nil
		}
	}
	for range pipeBatch {
		select {
		case e := <-t.events:
			t.serve(e)
		default:
			return nil
		}
	}
	return nil
}

func (t *pipes) waitForOne(limit time.Duration) bool {
	if limit <= 0 {
		return false
	}
	t.timer.Reset(limit)
	select {
	case e := <-t.events:
		t.serve(e)
		return true
	case <-t.timer.C:
		return false
	}
}

func (t *pipes) serve(e event) {
	p := e.from.peer
	if p.pipe != e.from {
		return // of an earlier connection
	}
	switch e.kind {
	case pipeOpened:
		t.g.opened(p)
	case pipeRead:
		if p.deaf {
			return // the reader waits for good
		}
		t.read(p, e.b)
		if p.pipe == e.from {
			e.from.again <- struct{}{}
		}
	case pipeWritten:
		p.full = false
		e.from.spare = e.b
		if p.pending() > 0 {
			t.send(p)
		}
	case pipeEnded:
		err := e.err
		if errors.Is(err, io.EOF) {
			err = errClosed
		}
		t.g.ended(p, err)
	}
}

func (t *pipes) read(p *peer, b []byte) {
	if len(p.rest) == 0 {
		used := t.g.arrived(p, b, len(b))
		p.rest = append(p.rest, b[used:]...)
		return
	}
	p.rest = append(p.rest, b...)
	used := t.g.arrived(p, p.rest, len(b))
	p.rest = append(p.rest[:0], p.rest[used:]...)
}

func (t *pipes) drop(p *peer) {
	if p.pipe == nil {
		return
	}
	p.pipe.cancel()
	p.pipe = nil
}

// close lets what is being written go out first, within reason.
func (t *pipes) close() error {
	end := time.NewTimer(time.Second)
	defer end.Stop()
	for t.writing() {
		select {
		case e := <-t.events:
			t.serve(e)
			continue
		case <-end.C:
		}
		break
	}
	for _, p := range t.g.peers {
		t.drop(p)
	}
	t.stop()
	t.all.Wait()
	return nil
}

func (t *pipes) writing() bool {
	for _, p := range t.g.peers {
		if p.pipe != nil && p.full {
			return true
		}
	}
	return false
}
