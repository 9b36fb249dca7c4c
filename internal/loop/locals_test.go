package loop

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a Local that says how often it was told to be calm.
type counted struct{ calms *atomic.Int32 }

func (counted) Effort() int       { return 0 }
func (counted) End()              {}
func (counted) EndSome(bool) bool { return false }
func (l counted) Calm()           { l.calms.Add(1) }

// busy is a handler whose work takes until it is let go.
type busy struct {
	inside *atomic.Int32
	letGo  chan struct{}
}

func (h busy) Data(_ Local, b []byte) int {
	h.inside.Add(1)
	<-h.letGo
	return len(b)
}
func (busy) Writable(Local)      {}
func (busy) Closed(Local, error) {}

func TestThePortableTransportHasNoMoreTicksAtOnceThanLoops(t *testing.T) {
	const loops, peers = 3, 50
	synctest.Test(t, func(t *testing.T) {
		var made, calms, inside atomic.Int32
		letGo := make(chan struct{})
		g := NewPortable(Options{Loops: loops, Local: func() Local { made.Add(1); return counted{&calms} }})
		for range peers {
			server, peer := net.Pipe()
			defer peer.Close()
			g.Adopt(server, func(Local, Conn) Handler { return busy{&inside, letGo} })
			go func() { _, _ = io.WriteString(peer, "x") }() // ends when it is read
		}
		synctest.Wait()
		if n := inside.Load(); n != loops {
			t.Errorf("%d handlers are at work, want %d", n, loops)
		}
		close(letGo)
		synctest.Wait()
		if n := inside.Load(); n != peers {
			t.Errorf("%d handlers came to work, want %d", n, peers)
		}
		if n := made.Load(); n != loops {
			t.Errorf("%d locals were made, want %d", n, loops)
		}
		g.Close()
	})
}

func TestThePortableTransportWithNothingToDoSaysSoOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calms, inside atomic.Int32
		letGo := make(chan struct{})
		close(letGo)
		g := NewPortable(Options{Loops: 1, Local: func() Local { return counted{&calms} }})
		server, peer := net.Pipe()
		g.Adopt(server, func(Local, Conn) Handler { return busy{&inside, letGo} })
		for range 10 * calmAfter / time.Millisecond { // that often there is something to do
			_, _ = io.WriteString(peer, "x")
			time.Sleep(time.Millisecond)
		}
		if n := calms.Load(); n > 0 {
			t.Errorf("it was calm %d times while there was work", n)
		}
		for i := range int32(3) {
			time.Sleep(time.Hour)
			if n := calms.Load(); n != i+1 {
				t.Errorf("it was calm %d times after %d times of work", n, i+1)
			}
			_, _ = io.WriteString(peer, "x")
		}
		_ = peer.Close()
		g.Close()
		time.Sleep(time.Hour)
		if n := calms.Load(); n != 3 {
			t.Errorf("it was calm %d times, once more after it was closed", n)
		}
	})
}
