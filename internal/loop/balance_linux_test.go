package loop

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

type nothing struct{}

func (nothing) End()              {}
func (nothing) Effort() int       { return 0 }
func (nothing) EndSome(bool) bool { return false }
func (nothing) Calm()             {}

// mirror sends back what comes.
type mirror struct{ c Conn }

func (e *mirror) Data(_ Local, b []byte) int { e.c.Write(b); return len(b) }
func (e *mirror) Writable(Local)             {}
func (e *mirror) Closed(Local, error)        {}

func epoll(t *testing.T, loops int) (*Epoll, string) {
	t.Helper()
	w := wheel.New()
	g, err := NewEpoll(Options{Loops: loops, Local: func() Local { return nothing{} }}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(); w.Close() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if _, err := g.Serve(ln, func(_ Local, c Conn) Handler { return &mirror{c} }); err != nil {
		t.Fatal(err)
	}
	return g, addr
}

// Connections that change their loop again and again lose, repeat and reorder
// nothing.
func TestConnectionsMoveBetweenLoops(t *testing.T) {
	g, addr := epoll(t, 3)
	const clients, rounds = 20, 200
	done := make(chan struct{})
	var moving, echoing sync.WaitGroup
	moving.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			from, to, moved := g.loops[i%3], g.loops[(i+1)%3], make(chan struct{})
			if !from.post(func() { from.shed(to, 1+i%2); close(moved) }) {
				return
			}
			<-moved
		}
	})
	for range clients {
		echoing.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for i := range rounds {
				sent := bytes.Repeat([]byte{byte(i)}, 1+i*37)
				if _, err := c.Write(sent); err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("round %d: %v, or something else came back", i, err)
					return
				}
			}
		})
	}
	echoing.Wait()
	close(done)
	moving.Wait()
}

// Posts, pauses and closes reach a connection wherever it has gone.
func TestPostsFollowAConnection(t *testing.T) {
	g, addr := epoll(t, 2)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first := make([]byte, 1)
	if _, err := c.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	conns := make(chan *econn, 1)
	g.loops[0].post(func() {
		for _, s := range g.loops[0].socks {
			if s != nil {
				conns <- s
			}
		}
	})
	conn := <-conns
	ran := make(chan *eloop, 1)
	g.loops[0].post(func() {
		conn.onLoop(func(l *eloop) { ran <- l }) // behind the move on the old loop
		g.loops[0].shed(g.loops[1], 1)
	})
	if l := <-ran; l != g.loops[1] {
		t.Error("a post ran on the loop that the connection had left")
	}
	conn.Close(io.EOF)
	if _, err := c.Read(first); err == nil {
		t.Error("the connection is open after Close")
	}
}

// load is what a group has to do, told window by window on its first loop.
type load struct {
	g   *Epoll
	now time.Time
}

// windows passes some windows in which the first loop is busy for a share, and
// in each of which so much is read.
func (l *load) windows(n int, share time.Duration, bytes uint64) {
	first := l.g.loops[0]
	for range n {
		first.begun, first.spent = l.now, window*share/100
		l.now = l.now.Add(window)
		first.moved.Add(bytes)
		first.measure(l.now, l.now)
	}
}

func (l *load) active(t *testing.T, want int32, what string) {
	t.Helper()
	if n := l.g.active.Load(); n != want {
		t.Errorf("%s: %d loops are active, want %d", what, n, want)
	}
}

// withLoad runs f on the first loop of a group of two, as always.
func withLoad(t *testing.T, f func(l *load)) {
	t.Helper()
	g, _ := epoll(t, 2)
	l := &load{g: g, now: time.Now()}
	ran := make(chan struct{})
	g.loops[0].post(func() {
		defer close(ran)
		f(l)
	})
	<-ran
}

// One loop serves until it is saturated, and again once the load has gone.
func TestLoopsFollowTheLoad(t *testing.T) {
	withLoad(t, func(l *load) {
		l.windows(10, 50, 1000)
		l.active(t, 1, "at half load")
		l.windows(2, 90, 1000)
		l.active(t, 1, "at 90 per cent for a moment")
		l.windows(1, 90, 1000)
		l.active(t, 2, "at 90 per cent")
		l.windows(4, 60, 1500)
		l.active(t, 2, "when that has brought something")
		l.windows(int(calmFor/window)-2, 10, 100)
		l.active(t, 2, "when the load has just gone")
		l.windows(5, 10, 100)
		l.active(t, 1, "without load")
	})
}

// A second loop that brings nothing rests again, and is tried again later.
func TestALoopThatBringsNothingRests(t *testing.T) {
	withLoad(t, func(l *load) {
		l.windows(3, 90, 1000)
		l.active(t, 2, "at 90 per cent")
		l.windows(2, 90, 1050)
		l.active(t, 2, "before it is measured")
		l.windows(1, 90, 1050)
		l.active(t, 1, "when it has brought little")
		l.windows(int(rests/window), 90, 1000)
		l.active(t, 1, "until it has rested")
		l.windows(3, 90, 1000)
		l.active(t, 2, "when it has rested")
		l.windows(4, 90, 1200)
		l.active(t, 2, "when it brings more")
	})
}

// A trial whose loop was not put to work after all ends without a trace: one loop
// always works.
func TestOneLoopAlwaysWorks(t *testing.T) {
	withLoad(t, func(l *load) {
		l.g.trial.begun, l.g.trial.before = l.now, 1e9
		l.windows(10, 50, 10)
		l.active(t, 1, "after a trial of nothing")
	})
}

// The load goes while a loop is on trial: nothing is left of that.
func TestATrialEndsWithItsLoad(t *testing.T) {
	withLoad(t, func(l *load) {
		l.windows(3, 90, 1000)
		l.active(t, 2, "at 90 per cent")
		l.now = l.now.Add(calmFor)
		l.g.loops[0].share.Store(0)
		l.g.calm.Store(l.now.Add(-2 * calmFor).UnixNano())
		l.g.trial.begun = l.now.Add(window) // not measured yet
		l.windows(1, 0, 0)
		l.active(t, 1, "without load")
		l.windows(10, 0, 0)
		l.active(t, 1, "afterwards")
	})
}
