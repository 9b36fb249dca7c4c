package listen

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// fakeConn is a raw connection without a loop: the test is the loop.
type fakeConn struct {
	handler  loop.Handler
	sent     bytes.Buffer
	finished bool
	paused   bool
}

func (c *fakeConn) Write(b []byte) bool {
	if !c.finished {
		c.sent.Write(b)
	}
	return true
}

func (c *fakeConn) Finish(b []byte, _ error) {
	c.Write(b)
	c.finished = true
}
func (c *fakeConn) Close(error)               { c.finished = true }
func (c *fakeConn) Post(func(loop.Local))     {}
func (c *fakeConn) Pause()                    { c.paused = true }
func (c *fakeConn) Resume(loop.Local)         { c.paused = false }
func (c *fakeConn) SetHandler(h loop.Handler) { c.handler = h }
func (c *fakeConn) RemoteAddr() net.Addr      { return &net.TCPAddr{} }

// feed gives b in pieces of size, as a loop does.
func (c *fakeConn) feed(t *testing.T, b []byte, size int) {
	var in []byte
	for len(b) > 0 && !c.finished {
		n := min(size, len(b))
		in = append(in, b[:n]...)
		b = b[n:]
		for len(in) > 0 && !c.finished {
			h := c.handler
			n := h.Data(nil, in)
			if n < 0 || n > len(in) {
				t.Fatalf("took %d bytes of %d", n, len(in))
			}
			in = in[n:]
			if c.handler == h {
				break
			}
		}
	}
}

// taker is an upper handler that keeps what it gets, in steps of its own size.
type taker struct {
	conn loop.Conn
	got  bytes.Buffer
	step int
}

func (h *taker) Data(l loop.Local, b []byte) int {
	if len(b) < h.step {
		return 0
	}
	h.conn.Pause()
	h.conn.Resume(l)
	h.got.Write(b[:h.step])
	return h.step
}
func (h *taker) Writable(loop.Local)      {}
func (h *taker) Closed(loop.Local, error) {}

// The same bytes, cut in other places, have the same effect.
func FuzzWebSocket(f *testing.F) {
	add := func(frames ...ws.Frame) {
		var b bytes.Buffer
		for _, frame := range frames {
			b.Write(ws.MustCompileFrame(ws.MaskFrame(frame)))
		}
		f.Add(b.Bytes(), uint8(1))
		f.Add(b.Bytes(), uint8(5))
	}
	add(ws.NewBinaryFrame([]byte("\x10\x00")), ws.NewPingFrame([]byte("p")), ws.NewCloseFrame(nil))
	add(ws.NewFrame(ws.OpBinary, false, []byte("a")), ws.NewPongFrame(nil), ws.NewFrame(ws.OpContinuation, true, make([]byte, 300)))
	add(ws.NewTextFrame([]byte("x")))
	f.Add([]byte("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04payload"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		run := func(size int) (got, sent string, finished bool) {
			c := &fakeConn{}
			w := &webSocket{lower: c, buffers: newBuffers()}
			h := &taker{conn: w, step: 1}
			w.handler, c.handler = h, w
			c.feed(t, bytes.Clone(b), size)
			return h.got.String(), c.sent.String(), c.finished
		}
		got, sent, finished := run(len(b) + 1)
		got2, sent2, finished2 := run(int(size) + 1)
		if got != got2 || sent != sent2 || finished != finished2 {
			t.Errorf("in pieces of %d: %q %q %v, at once: %q %q %v", int(size)+1, got2, sent2, finished2, got, sent, finished)
		}
		if len(got) > len(b) {
			t.Error("more came out than went in")
		}
	})
}

func FuzzGreeter(f *testing.F) {
	f.Add([]byte("\x10\x0c\x00\x04MQTT"), uint8(0), false)
	f.Add([]byte(get+ask+"\r\n\x82\x81\x00\x00\x00\x00\x10"), uint8(3), false)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(100), false)
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 8080 1883\r\n\x10"), uint8(1), true)
	f.Add([]byte(proxyV2+"\x21\x11\x00\x0c"+v4Addresses+get+ask+"\r\n"), uint8(1), true)
	f.Add([]byte("\x16\x03\x01"), uint8(0), false)
	f.Add([]byte("SSH-2.0"), uint8(0), false)
	wh := wheel.New()
	f.Cleanup(wh.Close)
	f.Fuzz(func(t *testing.T, b []byte, size uint8, proxy bool) {
		run := func(size int) (outcome string) {
			calls := 0
			l := &Listener{url: "tcp://here:1883", buffers: newBuffers(), config: config.Listener{Scheme: "tcp", ProxyProtocol: proxy}}
			l.options = Options{
				Wheel:   wh,
				Refused: func(r Refusal) { calls++; outcome = "refused for " + r.Reason },
				Upper: func(_ loop.Local, c loop.Conn, p Peer) loop.Handler {
					calls++
					outcome = "served " + p.Addr.String() + " over " + p.Transport + " from " + p.Origin
					return &taker{conn: c, step: 1}
				},
			}.withDefaults()
			c := &fakeConn{}
			c.handler = l.accept(nil, c)
			c.feed(t, bytes.Clone(b), size)
			c.handler.Closed(nil, io.EOF)
			if calls > 1 {
				t.Errorf("%d outcomes", calls)
			}
			if calls == 0 {
				t.Error("no outcome")
			}
			return outcome
		}
		once, pieces := run(len(b)+1), run(int(size)+1)
		if once != pieces {
			t.Errorf("at once: %s, in pieces of %d: %s", once, int(size)+1, pieces)
		}
	})
}
