package loop

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// econn is a connection on an event loop.
type econn struct {
	loop atomic.Pointer[eloop] // changed by the loop itself, between two ticks
	addr net.Addr

	// owned by the loop's goroutine
	handler Handler
	in      []byte // what the handler is not done with
	paused  bool
	giving  bool // inside handler.Data
	resumed bool // while giving
	gone    bool // Closed was called

	mu        sync.Mutex // guards the rest; held for non-blocking writes
	fd        int        // -1 once closed
	unsent    []byte
	waiting   bool    // for EPOLLOUT
	shut      bool    // the FIN is out
	finishing *finish // Finish was called
}

func (c *econn) begin(accept Acceptor) {
	l := c.loop.Load()
	c.handler = accept(l.local, c)
	if err := l.watch(c.fd, unix.EPOLLIN, c); err != nil {
		c.drop(err)
	}
}

func (c *econn) RemoteAddr() net.Addr { return c.addr }

func (c *econn) SetHandler(h Handler) { c.handler = h }

func (c *econn) Post(f func(Local)) {
	c.onLoop(func(l *eloop) {
		if !c.gone {
			f(l.local)
		}
	})
}

// onLoop runs f on the connection's loop, wherever that is by then.
func (c *econn) onLoop(f func(l *eloop)) {
	l := c.loop.Load()
	l.post(func() {
		if c.loop.Load() != l {
			c.onLoop(f)
			return
		}
		f(l)
	})
}

// Close drops the connection. If its loop is ending, that does so.
func (c *econn) Close(err error) { c.onLoop(func(*eloop) { c.drop(err) }) }

func (c *econn) Pause() {
	c.paused = true
	c.mu.Lock()
	c.rearm()
	c.mu.Unlock()
}

func (c *econn) Resume(l Local) {
	if !c.paused || c.gone {
		return
	}
	c.paused = false
	if c.giving {
		c.resumed = true // offer goes on
	} else if len(c.in) > 0 {
		c.offer(c.in)
	}
	c.mu.Lock()
	c.rearm()
	c.mu.Unlock()
}

// rearm tells the kernel what the connection waits for. The caller holds mu.
func (c *econn) rearm() {
	if c.fd < 0 {
		return
	}
	c.loop.Load().rewatch(c.fd, c.interest())
}

// interest is what the connection waits for. The caller holds mu.
func (c *econn) interest() (events uint32) {
	if !c.paused || c.finishing != nil {
		events |= unix.EPOLLIN
	}
	if c.waiting {
		events |= unix.EPOLLOUT
	}
	return events
}

func (c *econn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.writable()
	}
	if c.gone {
		return
	}
	if events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		c.read()
	}
}

func (c *econn) read() {
	buf := c.loop.Load().buf
	n, errno := rawRead(c.fd, buf)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	c.mu.Lock()
	finishing := c.finishing
	c.mu.Unlock()
	switch {
	case errno != 0 && finishing == nil:
		c.drop(errno)
	case n == 0 && finishing == nil:
		c.drop(io.EOF)
	case n <= 0 || errno != 0:
		c.drop(finishing.err)
	case finishing != nil: // read on, so that the close is no reset
	case c.paused: // an error event woke us
		c.in = append(c.in, buf[:n]...)
	case len(c.in) > 0:
		c.in = append(c.in, buf[:n]...)
		c.offer(c.in)
	default:
		c.offer(buf[:n])
	}
}

// offer gives b to the handler and keeps what it leaves.
func (c *econn) offer(b []byte) {
	for {
		h := c.handler
		c.giving, c.resumed = true, false
		n := h.Data(c.loop.Load().local, b)
		c.giving = false
		if c.gone {
			c.in = nil
			return
		}
		b = b[n:]
		if c.handler == h && !c.resumed || c.paused || len(b) == 0 {
			break // else a new handler is there: what is left is for it
		}
	}
	if len(b) == 0 {
		c.in = nil
		return
	}
	c.in = append(c.in[:0], b...)
}

func (c *econn) Write(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || c.finishing != nil {
		return true // nobody will read it
	}
	return c.write(b)
}

// write sends b behind what is unsent. The caller holds mu.
func (c *econn) write(b []byte) bool {
	if len(c.unsent) > 0 {
		c.unsent = append(c.unsent, b...)
		return false
	}
	for len(b) > 0 {
		n, errno := rawWrite(c.fd, b)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			c.unsent = append(c.unsent, b...)
			if !c.waiting {
				c.waiting = true
				c.loop.Load().post(c.rearmLocked)
			}
			return false
		case errno != 0:
			return true // the reading side hears of it and drops the connection
		}
		b = b[n:]
	}
	return true
}

func (c *econn) rearmLocked() {
	c.mu.Lock()
	c.rearm()
	c.mu.Unlock()
}

// writable sends on what did not fit.
func (c *econn) writable() {
	c.mu.Lock()
	if c.fd < 0 {
		c.mu.Unlock()
		return
	}
	for len(c.unsent) > 0 {
		n, errno := rawWrite(c.fd, c.unsent)
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			c.mu.Unlock()
			return
		}
		if errno != 0 {
			c.unsent = nil
			break
		}
		c.unsent = c.unsent[n:]
	}
	c.unsent, c.waiting = nil, false
	finishing := c.finishing
	if finishing != nil {
		c.sendFin()
	}
	c.rearm()
	c.mu.Unlock()
	if finishing == nil {
		c.handler.Writable(c.loop.Load().local)
	}
}

func (c *econn) Finish(b []byte, err error) {
	if err == nil {
		err = io.EOF
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || c.finishing != nil {
		return
	}
	flushed := c.write(b)
	c.finishing = &finish{c: c, err: err}
	c.loop.Load().group.wheel.Set(&c.finishing.entry, c.finishing, time.Now().Add(Lingering).UnixMilli())
	if flushed {
		c.sendFin()
	}
	c.loop.Load().post(c.rearmLocked) // a paused connection reads again, to its end
}

// sendFin ends the writing side. The caller holds mu.
func (c *econn) sendFin() {
	if !c.shut {
		c.shut = true
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	}
}

// finish is a connection's end that waits for the peer's.
type finish struct {
	entry wheel.Entry
	c     *econn
	err   error
}

// Due implements wheel.Owner: the peer had time enough.
func (f *finish) Due(int64) int64 {
	f.c.Close(f.err)
	return 0
}

// drop closes the descriptor and tells the handler, on the loop only.
func (c *econn) drop(err error) {
	if c.gone {
		return
	}
	c.gone = true
	c.mu.Lock()
	if c.finishing != nil {
		err = c.finishing.err
		c.loop.Load().group.wheel.Stop(&c.finishing.entry)
	}
	fd := c.fd
	c.fd = -1
	c.unsent = nil
	c.mu.Unlock()
	l := c.loop.Load()
	l.forget(fd)
	_ = unix.Close(fd)
	c.in = nil
	if c.handler != nil {
		c.handler.Closed(l.local, err)
	}
}

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}
