package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/fantail-mqtt/fantail/internal/loop"
)

// maxRecord is the most that one TLS record holds.
const maxRecord = 16 << 10

// secure is the TLS layer. Its handshake runs on a goroutine, for it computes
// long and crypto/tls waits inside it; afterwards the loop drives the tls.Conn,
// whose reading then ends with again where a socket's would wait.
type secure struct {
	layer
	raw     loop.Conn
	packets bool // what is written is MQTT packets, not WebSocket frames
	tls     *tls.Conn
	pipe    pipe
	buffers *buffers

	// greeter and handshake are nil once the handshake is over.
	greeter   *greeter
	handshake *handshake
}

func newSecure(g *greeter) *secure {
	hs := &handshake{places: g.listener.handshakes, more: make(chan struct{}, 1), gone: make(chan struct{})}
	s := &secure{raw: g.raw, buffers: g.listener.buffers, greeter: g, handshake: hs}
	hs.resume = func() { s.raw.Post(s.resumeRaw) }
	s.handler = g
	s.pipe = pipe{raw: g.raw, handshake: hs}
	s.tls = tls.Server(&s.pipe, g.listener.certs.base)
	return s
}

// begin starts the handshake: a goroutine that ends with it or with the
// connection, and at the deadline at the latest.
func (s *secure) begin() { go s.shake() }

func (s *secure) shake() {
	hs := s.handshake
	hs.enter()
	err := s.tls.HandshakeContext(context.Background())
	hs.leave()
	if err != nil {
		s.failed(err)
		return
	}
	if closed := hs.finish(); closed != nil {
		s.greeter.left(closed)
		return
	}
	s.raw.Post(s.open)
}

func (s *secure) failed(err error) {
	if errors.Is(err, loop.ErrGroupClosed) {
		s.greeter.settle()
		return
	}
	if a, ok := s.handshake.alert(); ok {
		err = fmt.Errorf("remote error: %w", a)
	}
	if fault := s.greeter.report(ReasonTLSHandshake, handshakeDetail(err)); fault != nil {
		s.raw.Finish(nil, fault)
	}
}

// open is the handshake's end on the loop: what came meanwhile is read.
func (s *secure) open(l loop.Local) {
	s.pipe.early = s.handshake.take()
	s.pipe.handshake, s.handshake = nil, nil
	g := s.greeter
	s.greeter = nil
	state := s.tls.ConnectionState()
	g.peer.TLS, g.peer.Vouched = &state, g.listener.certs.vouch(&state)
	if g.peer.Transport == TransportTCP {
		g.peer.Transport = TransportTLS
	}
	s.pump(l)
	s.resumeRaw(l)
}

// resumeRaw lets ciphertext come again, if plaintext may.
func (s *secure) resumeRaw(l loop.Local) {
	if !s.stopped() {
		s.raw.Resume(l)
	}
}

// Data takes in ciphertext.
func (s *secure) Data(l loop.Local, b []byte) int {
	if s.handshake != nil {
		if s.handshake.feed(b) {
			s.raw.Pause()
		}
		return len(b)
	}
	s.pipe.now = b
	s.pump(l)
	n := len(b) - len(s.pipe.now)
	s.pipe.now = nil
	if s.ended.Load() {
		return len(b)
	}
	s.resumeRaw(l) // the handler may have paused and resumed
	return n
}

// pump gives the handler all plaintext that is there.
func (s *secure) pump(l loop.Local) {
	buf, _ := s.buffers.plaintexts.Get().(*[maxRecord]byte)
	defer s.buffers.plaintexts.Put(buf)
	for !s.stopped() {
		n, err := s.tls.Read(buf[:])
		if n > 0 {
			s.give(l, buf[:n])
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, again{}) {
			s.broken(err)
		}
		return
	}
}

// broken ends the connection when reading did.
func (s *secure) broken(err error) {
	s.ended.Store(true)
	if errors.Is(err, io.EOF) { // close_notify: TLS's FIN
		_ = s.tls.CloseWrite()
		s.raw.Close(io.EOF)
		return
	}
	s.raw.Finish(nil, &Fault{Reason: ReasonTLS, Detail: "the TLS stream broke: " + err.Error()})
}

// Writable passes on that all has left.
func (s *secure) Writable(l loop.Local) {
	if s.unblocked() {
		s.handler.Writable(l)
	}
}

// Closed passes on the end. One inside the handshake is told by whoever comes
// last, since an alert may have come before the end.
func (s *secure) Closed(l loop.Local, err error) {
	if s.handshake != nil && !s.handshake.close(err) {
		return
	}
	s.in = nil
	s.handler.Closed(l, err)
}

func (s *secure) Write(b []byte) bool {
	s.writing.Lock()
	defer s.writing.Unlock()
	flushed := s.records(b)
	s.owed = s.owed || !flushed
	return flushed
}

// records encrypts b and writes it at once; it says whether all left. A large
// MQTT packet begins a record of its own.
func (s *secure) records(b []byte) bool {
	records, _ := s.buffers.records.Get().(*[]byte)
	s.pipe.gather(*records)
	for len(b) > 0 {
		n := len(b)
		if s.packets {
			n = piece(b)
		}
		_, _ = s.tls.Write(b[:n]) // fails only after Finish
		b = b[n:]
	}
	buf, flushed := s.pipe.leave()
	if cap(buf) <= maxKept {
		*records = buf
		s.buffers.records.Put(records)
	}
	return flushed
}

func (s *secure) Finish(b []byte, err error) {
	s.ended.Store(true)
	s.writing.Lock()
	if len(b) > 0 {
		s.records(b)
	}
	_ = s.tls.CloseWrite()
	s.writing.Unlock()
	s.raw.Finish(nil, err)
}

func (s *secure) Close(err error) {
	s.ended.Store(true)
	s.raw.Close(err)
}

func (s *secure) Post(f func(loop.Local)) { s.raw.Post(f) }

func (s *secure) RemoteAddr() net.Addr { return s.raw.RemoteAddr() }

func (s *secure) Pause() {
	s.paused = true
	s.raw.Pause()
}

// Resume goes on: with what the handler left, with what is decrypted by then,
// with what comes.
func (s *secure) Resume(l loop.Local) {
	if !s.paused {
		return
	}
	s.paused = false
	if s.giving { // whoever gives goes on
		s.resumed = true
		return
	}
	s.give(l, nil)
	if !s.stopped() {
		s.pump(l)
	}
	s.resumeRaw(l)
}
