package listen

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/packet"
)

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

// stream is size bytes that begin like a CONNECT packet.
func stream(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * 7)
	}
	b[0] = connectByte
	return b
}

// publish is a packet with a payload of that size.
func publish(size int) []byte {
	return packet.AppendPublish(nil, &packet.Publish{Topic: []byte("t"), Payload: make([]byte, size)}, packet.V311)
}

func TestEchoInOddPieces(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		w.setup = echo
		l := w.openAs(scheme)
		for _, size := range []int{1, 125, 126, 4096, 65535, 65536, 300_000} {
			nc := w.dial(l)
			want := stream(size)
			var writing sync.WaitGroup
			writing.Go(func() {
				for rest := want; len(rest) > 0; {
					n := min(len(rest), 1+rand.IntN(1+size/5))
					if _, err := nc.Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
			})
			got := make([]byte, size)
			if _, err := io.ReadFull(nc, got); err != nil {
				t.Fatal(size, err)
			}
			writing.Wait()
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes came back changed", size)
			}
			p := receive(t, w.probes)
			if p.peer.Transport != scheme || p.peer.Listener != l.Addr() || p.peer.Addr == nil {
				t.Errorf("peer %+v", p.peer)
			}
			secure := scheme == config.SchemeTLS || scheme == config.SchemeWSS
			if (p.peer.TLS != nil) != secure {
				t.Errorf("TLS state %v", p.peer.TLS)
			}
			_ = nc.Close()
			receive(t, p.closed)
		}
	})
}

// What a handler is not done with comes again with more behind it, across
// records and frames.
func TestWhatIsLeftIsGivenAgain(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		w.setup = func(p *probe) {
			p.data = func(_ loop.Local, b []byte) int {
				n := len(b) / 1000 * 1000
				p.conn.Write(b[:n])
				return n
			}
		}
		nc := w.dial(w.openAs(scheme))
		want := stream(50_000)
		var writing sync.WaitGroup
		writing.Go(func() {
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 333)
				if _, err := nc.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		})
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatal(err)
		}
		writing.Wait()
		if !bytes.Equal(got, want) {
			t.Error("the bytes came back changed")
		}
	})
}

// begin dials and sends a first byte, for a handler.
func (w *world) begin(l *Listener) (net.Conn, *probe) {
	w.t.Helper()
	nc := w.dial(l)
	if _, err := nc.Write([]byte{connectByte}); err != nil {
		w.t.Fatal(err)
	}
	return nc, receive(w.t, w.probes)
}

func TestAPeerThatDoesNotReadIsToldOfByWrite(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		nc, p := w.begin(w.openAs(scheme))
		settled(t, p.conn) // what the upgrade and the handshake wrote has left
		settled(t, p.conn)
		large := publish(16 << 20)
		if p.conn.Write(large) {
			t.Fatal("16 MiB left for a peer that does not read")
		}
		if len(p.writable) > 0 {
			t.Fatal("writable before the peer read")
		}
		if _, err := io.CopyN(io.Discard, nc, int64(len(large))); err != nil {
			t.Fatal(err)
		}
		receive(t, p.writable)
		settled(t, p.conn)
		if len(p.writable) > 0 {
			t.Error("writable twice")
		}
	})
}

func TestFinishDeliversAllThenTheEnd(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		w.setup = func(p *probe) {
			p.data = func(loop.Local, []byte) int { return 0 } // never done with it
		}
		nc, p := w.begin(w.openAs(scheme))
		if _, err := nc.Write(make([]byte, 10<<10)); err != nil {
			t.Fatal(err)
		}
		sent := stream(3 << 20)
		why := errors.New("why")
		p.conn.Write(sent[:1<<20])
		p.conn.Finish(sent[1<<20:], why)
		p.conn.Write([]byte("after"))
		p.conn.Finish([]byte("twice"), nil)
		got, err := io.ReadAll(nc)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("got %d of %d bytes, %v", len(got), len(sent), err)
		}
		if f, ok := nc.(*frameConn); ok && f.code != ws.StatusNormalClosure {
			t.Errorf("closed with %d", f.code)
		}
		_ = nc.Close()
		if err := receive(t, p.closed); !errors.Is(err, why) {
			t.Errorf("closed with %v", err)
		}
	})
}

func TestFinishInsideDataEndsIt(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		calls := 0
		w.setup = func(p *probe) {
			p.data = func(loop.Local, []byte) int {
				calls++
				p.conn.Finish([]byte("bye"), nil)
				return 0
			}
		}
		nc := w.dial(w.openAs(scheme))
		_, _ = nc.Write(stream(1000))
		_, _ = nc.Write(stream(1000))
		if got, err := io.ReadAll(nc); err != nil || string(got) != "bye" {
			t.Fatalf("got %q, %v", got, err)
		}
		_ = nc.Close()
		receive(t, receive(t, w.probes).closed)
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
	})
}

func TestCloseFromAnotherGoroutine(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		nc, p := w.begin(w.openAs(scheme))
		why := errors.New("why")
		p.conn.Close(why)
		if err := receive(t, p.closed); !errors.Is(err, why) {
			t.Errorf("closed with %v", err)
		}
		if _, err := nc.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("the peer reads %v", err)
		}
		p.conn.Write([]byte("x"))
		p.conn.Finish(nil, nil)
		p.conn.Post(func(loop.Local) { t.Error("posted after Closed") })
	})
}

func TestThePeersCloseIsEOF(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		nc, p := w.begin(w.openAs(scheme))
		p.conn.Write([]byte{1}) // behind the tickets of TLS: who closes with something unread resets the connection
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
		if err := receive(t, p.closed); !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
	})
}

func TestPauseHoldsDataBackUntilResume(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		got := make(chan byte, 100)
		w.setup = func(p *probe) {
			p.data = func(_ loop.Local, b []byte) int {
				p.conn.Pause()
				got <- b[0]
				return 1
			}
		}
		nc := w.dial(w.openAs(scheme))
		if _, err := nc.Write([]byte{connectByte, 1}); err != nil {
			t.Fatal(err)
		}
		for i := byte(2); i < 6; i++ { // each a record and a frame
			if _, err := nc.Write([]byte{i}); err != nil {
				t.Fatal(err)
			}
		}
		p := receive(t, w.probes)
		for i, want := range []byte{connectByte, 1, 2, 3, 4, 5} {
			if b := receive(t, got); b != want {
				t.Fatalf("got %d, want %d", b, want)
			}
			settled(t, p.conn)
			if len(got) > 0 {
				t.Fatalf("data came while paused, after %d bytes", i+1)
			}
			p.conn.Post(p.conn.Resume)
		}
	})
}

func TestPauseAndResumeInsideDataLosesNothing(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		want := stream(40_000)
		var got bytes.Buffer
		full := make(chan struct{})
		w.setup = func(p *probe) {
			p.data = func(l loop.Local, b []byte) int {
				p.conn.Pause()
				p.conn.Resume(l)
				n := min(len(b), 777)
				got.Write(b[:n])
				if got.Len() == len(want) {
					close(full)
				}
				return n
			}
		}
		nc := w.dial(w.openAs(scheme))
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 3001)
			if _, err := nc.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		receive(t, full)
		if !bytes.Equal(got.Bytes(), want) {
			t.Error("the bytes came changed")
		}
	})
}

// Writers on other goroutines, as another client's loop is one.
func TestManyWrite(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		nc, p := w.begin(w.openAs(scheme))
		const writers, times = 4, 200
		line := strings.Repeat("x", 99) + "\n"
		for range writers {
			go func() { // ends by itself: Write does not wait
				for range times {
					p.conn.Write([]byte(line))
				}
			}()
		}
		got := make([]byte, writers*times*len(line))
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatal(err)
		}
		if string(got) != strings.Repeat(line, writers*times) {
			t.Error("the writes were mixed")
		}
	})
}

func TestManyConnectionsComeAndGo(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		w.setup = echo
		l := w.openAs(scheme)
		w.pki() // made before the goroutines need it
		const visitors, times = 4, 10
		var done sync.WaitGroup
		for range visitors {
			done.Go(func() {
				for i := range times {
					nc := w.dial(l)
					_, _ = nc.Write(stream(10))
					if i%2 == 0 {
						if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
							t.Error(err)
						}
					}
					_ = nc.Close()
				}
			})
		}
		done.Wait()
		for range visitors * times {
			select {
			case p := <-w.probes:
				receive(t, p.closed)
				if len(p.closed) > 0 {
					t.Error("closed twice")
				}
			case r := <-w.refused: // it left before its byte was read
				t.Log(r.Reason, r.Detail)
			}
		}
	})
}

func TestCloseStopsAcceptingAndLeavesConnections(t *testing.T) {
	eachScheme(t, func(t *testing.T, w *world, scheme string) {
		w.setup = echo
		l := w.openAs(scheme)
		nc, _ := w.begin(l)
		l.Close()
		network := "tcp"
		if scheme == config.SchemeUnix {
			network = "unix"
		}
		if other, err := net.Dial(network, l.config.Address); err == nil {
			_ = other.Close()
			t.Error("the listener still accepts")
		}
		if _, err := nc.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(nc, make([]byte, 2)); err != nil {
			t.Error(err)
		}
	})
}
