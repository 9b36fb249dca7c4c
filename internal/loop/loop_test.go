package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

type ticks struct{ ends atomic.Int64 }

func newLocal() Local { return &ticks{} }

func (l *ticks) End()              { l.ends.Add(1) }
func (l *ticks) EndSome(bool) bool { l.End(); return false }
func (l *ticks) Effort() int       { return 0 }
func (l *ticks) Calm()             {}

// probe is a handler out of functions.
type probe struct {
	conn     Conn
	data     func(l Local, b []byte) int // nil: takes all
	writable chan struct{}
	closed   chan error
}

func newProbe(c Conn) *probe {
	return &probe{conn: c, writable: make(chan struct{}, 1000), closed: make(chan error, 2)}
}

func (p *probe) Data(l Local, b []byte) int {
	if p.data == nil {
		return len(b)
	}
	return p.data(l, b)
}
func (p *probe) Writable(Local)            { p.writable <- struct{}{} }
func (p *probe) Closed(_ Local, err error) { p.closed <- err }

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// served is a group that serves one listener; each connection's probe comes
// out of probes once the setup is done with it.
type served struct {
	group  Group
	addr   net.Addr
	probes chan *probe
	stop   func()
}

func serve(t *testing.T, g Group, network string, setup func(*probe)) *served {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{group: g, addr: ln.Addr(), probes: make(chan *probe, 1000)}
	s.stop, err = g.Serve(ln, func(_ Local, c Conn) Handler {
		p := newProbe(c)
		if setup != nil {
			setup(p)
		}
		s.probes <- p
		return p
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *served) dial(t *testing.T) (net.Conn, *probe) {
	t.Helper()
	nc, err := net.Dial(s.addr.Network(), s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc, receive(t, s.probes)
}

// each runs a test over every implementation.
func each(t *testing.T, test func(t *testing.T, g Group)) {
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) {
			w := wheel.New()
			g := kind(t, w)
			t.Cleanup(func() {
				g.Close()
				w.Close()
			})
			test(t, g)
		})
	}
}

func echo(p *probe) {
	p.data = func(_ Local, b []byte) int {
		p.conn.Write(b)
		return len(b)
	}
}

func TestEchoOfAllSizes(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		for _, network := range []string{"tcp", "unix"} {
			s := serve(t, g, network, echo)
			nc, _ := s.dial(t)
			for _, size := range []int{1, 2, 100, 4095, 4096, 65535, 65536, 65537, 1 << 20} {
				want := bytes.Repeat([]byte("fantail"), size/7+1)[:size]
				go func() { _, _ = nc.Write(want) }() // ends when the echo is read
				got := make([]byte, size)
				if _, err := io.ReadFull(nc, got); err != nil {
					t.Fatal(network, size, err)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("%s: %d bytes came back changed", network, size)
				}
			}
		}
	})
}

func TestWhatIsLeftIsGivenAgainWithMore(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", func(p *probe) {
			p.data = func(_ Local, b []byte) int { // whole tens only
				n := len(b) / 10 * 10
				p.conn.Write(b[:n])
				return n
			}
		})
		nc, _ := s.dial(t)
		want := bytes.Repeat([]byte("0123456789"), 30)
		for i := range want {
			if _, err := nc.Write(want[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestANewHandlerGetsWhatTheOldOneLeft(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", func(p *probe) {
			next := newProbe(p.conn)
			echo(next)
			p.data = func(_ Local, b []byte) int {
				p.conn.SetHandler(next)
				return 1
			}
		})
		nc, _ := s.dial(t)
		_, _ = nc.Write([]byte("xhello"))
		got := make([]byte, 5)
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestAPeerThatDoesNotReadIsToldOfByWrite(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", nil)
		nc, p := s.dial(t)
		const size = 16 << 20
		if p.conn.Write(make([]byte, size)) {
			t.Fatal("16 MiB left for a peer that does not read")
		}
		select {
		case <-p.writable:
			t.Fatal("writable before the peer read")
		default:
		}
		if _, err := io.CopyN(io.Discard, nc, size); err != nil {
			t.Fatal(err)
		}
		receive(t, p.writable)
		done := make(chan struct{})
		p.conn.Post(func(Local) { close(done) })
		receive(t, done)
		if len(p.writable) > 0 {
			t.Error("writable twice")
		}
	})
}

func TestFinishDeliversAllThenFIN(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", func(p *probe) {
			p.data = func(_ Local, b []byte) int { return 0 } // never reads it
		})
		nc, p := s.dial(t)
		if _, err := nc.Write(make([]byte, 100<<10)); err != nil { // would turn the close into a reset
			t.Fatal(err)
		}
		sent := bytes.Repeat([]byte("last words "), 1<<19)
		why := errors.New("why")
		p.conn.Write(sent[:1<<20])
		p.conn.Finish(sent[1<<20:], why)
		p.conn.Finish([]byte("twice"), nil)
		p.conn.Write([]byte("after"))
		got, err := io.ReadAll(nc)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("got %d of %d bytes, %v", len(got), len(sent), err)
		}
		_, _ = nc.Write(make([]byte, 10<<10)) // still no reset
		_ = nc.Close()
		if err := receive(t, p.closed); !errors.Is(err, why) {
			t.Errorf("closed with %v", err)
		}
	})
}

func TestAFinishedConnectionLingersNoLongerThanThat(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", nil)
		_, p := s.dial(t)
		start := time.Now()
		p.conn.Finish(nil, nil)
		if err := receive(t, p.closed); !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
		if d := time.Since(start); d < Lingering-wheel.Resolution*time.Millisecond || d > Lingering+5*time.Second {
			t.Errorf("lingered for %v", d)
		}
	})
}

func TestFinishEndsAPausedConnection(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", func(p *probe) {
			p.data = func(_ Local, b []byte) int {
				p.conn.Pause()
				return 0
			}
		})
		nc, p := s.dial(t)
		_, _ = nc.Write([]byte("x"))
		paused := make(chan struct{})
		p.conn.Post(func(Local) { close(paused) })
		receive(t, paused)
		p.conn.Finish([]byte("bye"), nil)
		got, err := io.ReadAll(nc)
		if string(got) != "bye" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		_ = nc.Close()
		receive(t, p.closed)
	})
}

func TestCloseFromAnotherGoroutine(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", nil)
		nc, p := s.dial(t)
		why := errors.New("why")
		p.conn.Close(why)
		if err := receive(t, p.closed); !errors.Is(err, why) {
			t.Errorf("closed with %v", err)
		}
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("the peer did not hear of it")
		}
		p.conn.Close(why)
		p.conn.Finish(nil, why)
		if !p.conn.Write([]byte("x")) {
			t.Error("a closed connection makes its writer wait")
		}
		p.conn.Post(func(Local) { t.Error("posted after Closed") })
	})
}

func TestThePeersCloseIsEOF(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", nil)
		nc, p := s.dial(t)
		_ = nc.Close()
		if err := receive(t, p.closed); !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
	})
}

func TestPauseHoldsDataBackUntilResume(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		got := make(chan string, 100)
		s := serve(t, g, "tcp", func(p *probe) {
			p.data = func(_ Local, b []byte) int {
				p.conn.Pause()
				got <- string(b[:1])
				return 1
			}
		})
		nc, p := s.dial(t)
		_, _ = nc.Write([]byte("ab"))
		if b := receive(t, got); b != "a" {
			t.Fatalf("got %q", b)
		}
		_, _ = nc.Write([]byte("c"))
		for _, want := range []string{"b", "c"} {
			idle := make(chan struct{})
			p.conn.Post(func(Local) { close(idle) })
			receive(t, idle)
			if len(got) > 0 {
				t.Fatal("data came while paused")
			}
			p.conn.Post(p.conn.Resume)
			if b := receive(t, got); b != want {
				t.Fatalf("got %q, want %q", b, want)
			}
		}
	})
}

// A handler may find out inside Data that it has to wait, and that it does not.
func TestPauseAndResumeInsideDataGivesNothingTwice(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		var got bytes.Buffer
		full := make(chan string, 1)
		s := serve(t, g, "tcp", func(p *probe) {
			p.data = func(l Local, b []byte) int {
				if len(b) < 4 && got.Len() == 0 {
					return 0 // so that the connection keeps it
				}
				p.conn.Pause()
				p.conn.Resume(l)
				got.WriteByte(b[0])
				if got.Len() == 6 {
					full <- got.String()
				}
				return 1
			}
		})
		nc, p := s.dial(t)
		_, _ = nc.Write([]byte("ab"))
		idle := make(chan struct{})
		p.conn.Post(func(Local) { close(idle) })
		receive(t, idle)
		_, _ = nc.Write([]byte("cdef"))
		if all := receive(t, full); all != "abcdef" {
			t.Errorf("got %q", all)
		}
	})
}

func TestPostsRunUntilClosed(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "tcp", nil)
		_, p := s.dial(t)
		posted := make(chan Local, 2)
		p.conn.Post(func(l Local) { posted <- l })
		if receive(t, posted) == nil {
			t.Error("no local")
		}
		p.conn.Finish(nil, nil)
		p.conn.Post(func(l Local) { posted <- l }) // lingering, so not Closed
		receive(t, posted)
	})
}

func TestManyConnectionsComeAndGo(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		var open, closed atomic.Int64
		s := serve(t, g, "tcp", func(p *probe) {
			open.Add(1)
			echo(p)
		})
		var done sync.WaitGroup
		for range 8 {
			done.Go(func() {
				for i := range 40 {
					if err := visit(s.addr, i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done.Wait()
		for range 8 * 40 {
			p := receive(t, s.probes)
			receive(t, p.closed)
			closed.Add(1)
			if len(p.closed) > 0 {
				t.Error("closed twice")
			}
		}
		if open.Load() != closed.Load() {
			t.Errorf("%d opened, %d closed", open.Load(), closed.Load())
		}
	})
}

// visit comes, and leaves in one way or another.
func visit(addr net.Addr, i int) error {
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	text := fmt.Sprint("visit ", i)
	if _, err := io.WriteString(nc, text); err != nil {
		return err
	}
	switch i % 3 {
	case 0:
		return nil
	case 1:
		return nc.(*net.TCPConn).SetLinger(0) // a reset
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(nc, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

func TestStoppingTheListenerLeavesConnections(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "unix", echo)
		nc, _ := s.dial(t)
		s.stop()
		if other, err := net.Dial(s.addr.Network(), s.addr.String()); err == nil {
			_ = other.Close()
			t.Error("the listener still accepts")
		}
		_, _ = nc.Write([]byte("x"))
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		s.stop()
	})
}

func TestTheGroupsCloseDropsAll(t *testing.T) {
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) {
			w := wheel.New()
			defer w.Close()
			g := kind(t, w)
			s := serve(t, g, "tcp", nil)
			nc, p := s.dial(t)
			g.Close()
			if err := receive(t, p.closed); !errors.Is(err, ErrGroupClosed) {
				t.Errorf("closed with %v", err)
			}
			if _, err := nc.Read(make([]byte, 1)); err == nil {
				t.Error("the peer did not hear of it")
			}
			p.conn.Post(func(Local) { t.Error("posted after Closed") })
			p.conn.Close(nil)
			s.stop()
		})
	}
}

// Connections that are on their way to their loop when the group closes are
// closed like others: their descriptors would be lost.
func TestClosingWhileConnectionsCome(t *testing.T) {
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				w := wheel.New()
				g := kind(t, w)
				s := serve(t, g, "tcp", nil)
				var clients []net.Conn
				for range 50 {
					nc, err := net.Dial("tcp", s.addr.String())
					if err != nil {
						t.Fatal(err)
					}
					clients = append(clients, nc)
				}
				g.Close()
				w.Close()
				for _, nc := range clients {
					_ = nc.SetDeadline(time.Now().Add(patience))
					if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, errTimeout(err)) {
						t.Fatalf("a connection outlived its group: %v", err)
					}
					_ = nc.Close()
				}
			}
		})
	}
}

// errTimeout is err if that is a timeout, else something that err is not.
func errTimeout(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return errors.New("no timeout")
}

func TestAPipeLingersByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewPortable(Options{Local: newLocal})
		server, peer := net.Pipe()
		probes := make(chan *probe, 1)
		g.Adopt(server, func(_ Local, c Conn) Handler {
			p := newProbe(c)
			probes <- p
			return p
		})
		p := <-probes
		start := time.Now()
		p.conn.Finish([]byte("nobody reads this"), nil)
		if err := <-p.closed; !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
		if d := time.Since(start); d != Lingering {
			t.Errorf("lingered for %v", d)
		}
		_ = peer.Close()
		g.Close()
	})
}
