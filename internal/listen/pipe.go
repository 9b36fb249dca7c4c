package listen

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/internal/loop"
)

// pipe is the net.Conn under a tls.Conn: it reads what the layer was given and
// writes to the raw connection.
type pipe struct {
	raw       loop.Conn
	handshake *handshake // which reads for itself; nil when it is over

	// owned by the loop, after the handshake
	early []byte // what came during the handshake and is not part of it
	now   []byte // what the loop gives just now

	mu        sync.Mutex // held for a write to raw, so that records keep their order; guards the rest
	gathered  []byte     // what waits for leave
	gathering bool
}

// again is what Read says when nothing is there: a net.Error that is temporary,
// so that crypto/tls goes on with the record it is in.
type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

func (p *pipe) Read(b []byte) (int, error) {
	if p.handshake != nil {
		return p.handshake.read(b)
	}
	if len(p.early) > 0 {
		n := copy(b, p.early)
		p.early = p.early[n:]
		if len(p.early) == 0 {
			p.early = nil
		}
		return n, nil
	}
	if len(p.now) == 0 {
		return 0, again{}
	}
	n := copy(b, p.now)
	p.now = p.now[n:]
	return n, nil
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gathering {
		p.gathered = append(p.gathered, b...)
	} else {
		p.raw.Write(b)
	}
	return len(b), nil
}

// gather keeps what is written from now on in buf.
func (p *pipe) gather(buf []byte) {
	p.mu.Lock()
	p.gathered, p.gathering = buf[:0], true
	p.mu.Unlock()
}

// leave writes what was gathered at once, and says whether all left. The buffer
// is the caller's again.
func (p *pipe) leave() (buf []byte, flushed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	buf = p.gathered
	p.gathered, p.gathering = nil, false
	return buf, p.raw.Write(buf)
}

func (p *pipe) Close() error                     { return nil } // the layer closes
func (p *pipe) LocalAddr() net.Addr              { return p.raw.RemoteAddr() }
func (p *pipe) RemoteAddr() net.Addr             { return p.raw.RemoteAddr() }
func (p *pipe) SetDeadline(time.Time) error      { return nil } // the greeter has the deadline
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// maxEarly is how much a client may send ahead of the handshake.
const maxEarly = 64 << 10

// handshake is what its goroutine and the loop share. A handshake holds one of
// a few places while it computes, not while it waits for the client: slow
// clients would keep others out.
type handshake struct {
	places chan struct{}
	held   bool          // owned by the goroutine
	more   chan struct{} // something came
	gone   chan struct{} // closed with the connection
	resume func()        // lets the raw connection read again

	mu       sync.Mutex // guards the rest
	in       []byte
	full     bool
	closed   error
	tail     [7]byte // the last bytes that came
	finished bool
}

// enter waits for a place.
func (h *handshake) enter() {
	select {
	case h.places <- struct{}{}:
		h.held = true
	case <-h.gone:
	}
}

func (h *handshake) leave() {
	if h.held {
		h.held = false
		<-h.places
	}
}

// feed adds bytes and says whether these are enough for now.
func (h *handshake) feed(b []byte) (full bool) {
	h.mu.Lock()
	h.in = append(h.in, b...)
	if n := len(b); n >= len(h.tail) {
		copy(h.tail[:], b[n-len(h.tail):])
	} else {
		copy(h.tail[:], h.tail[n:])
		copy(h.tail[len(h.tail)-n:], b)
	}
	h.full = len(h.in) > maxEarly
	full = h.full
	h.mu.Unlock()
	select {
	case h.more <- struct{}{}:
	default:
	}
	return full
}

// read waits for bytes.
func (h *handshake) read(b []byte) (int, error) {
	for {
		n, err := h.readNow(b)
		if n > 0 || err != nil {
			return n, err
		}
		h.leave()
		select {
		case <-h.more:
		case <-h.gone:
		}
		h.enter()
	}
}

func (h *handshake) readNow(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in) == 0 {
		return 0, h.closed
	}
	n := copy(b, h.in)
	h.in = h.in[n:]
	if h.full && len(h.in) == 0 {
		h.full = false
		h.resume()
	}
	return n, nil
}

// alert is what the client said last, if that was an alert in the clear. A
// client of TLS 1.3 that does not like the server's certificate has no keys yet
// to say so with (OpenSSL, mbed TLS), and crypto/tls takes it for a record that
// was tampered with.
func (h *handshake) alert() (a tls.AlertError, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &h.tail
	ok = t[0] == 21 && t[1] == 3 && t[3] == 0 && t[4] == 2 && (t[5] == 1 || t[5] == 2) // RFC 8446, sections 5.1 and 6
	return tls.AlertError(t[6]), ok
}

// take is what is left when the handshake is over.
func (h *handshake) take() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in) == 0 {
		return nil // and not the memory of the client's hello
	}
	return h.in
}

// finish ends a good handshake, and says why the connection is gone by now, if
// it is.
func (h *handshake) finish() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finished = true
	return h.closed
}

// close ends the bytes, and says whether the handshake had finished before.
func (h *handshake) close(err error) (finished bool) {
	h.mu.Lock()
	h.closed = err
	finished = h.finished
	h.mu.Unlock()
	close(h.gone)
	return finished
}
