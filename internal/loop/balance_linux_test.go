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

func (nothing) End() {}

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

// One loop serves until it is saturated, and again once the load has gone.
func TestLoopsFollowTheLoad(t *testing.T) {
	g, _ := epoll(t, 2)
	l, now := g.loops[0], time.Now()
	tick := func(share time.Duration) { // a window of the loop
		l.begun, l.spent = now, window*share/100
		now = now.Add(window)
		l.measure(now, now)
	}
	stopped := make(chan struct{})
	l.post(func() { // on its own goroutine, as always
		defer close(stopped)
		tick(50)
		if g.active.Load() != 1 {
			t.Error("a second loop works at half load")
		}
		tick(90)
		if g.active.Load() != 2 {
			t.Error("no second loop at 90 per cent")
		}
		for range calmFor/window - 2 {
			tick(10)
		}
		if g.active.Load() != 2 {
			t.Error("the second loop rests too early")
		}
		for range 5 {
			tick(10)
		}
		if g.active.Load() != 1 {
			t.Error("the second loop works on without load")
		}
	})
	<-stopped
}
