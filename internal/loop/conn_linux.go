package loop

import (
	"bytes"
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

// econn is a connection on an event loop. There may be a million that are idle:
// what only a busy one has hangs at left and outbox, and the order of the
// fields leaves no gaps.
type econn struct {
	loop    atomic.Pointer[eloop] // changed by the loop itself, between two ticks
	handler Handler               // owned by the loop's goroutine, as are left and what is said below
	left    *[]byte               // what the handler is not done with; nil: nothing

	mu     sync.Mutex // guards outbox, fd and what is said below; held for non-blocking writes
	outbox *outbox    // nil: nothing is unsent, and Finish was not called
	fd     int32      // -1 once closed

	// owned by the loop's goroutine
	paused  bool
	giving  bool // inside handler.Data
	resumed bool // while giving
	gone    bool // Closed was called
	late    bool // others come first

	waiting bool // for EPOLLOUT; guarded by mu
	peer    peer // does not change
}

// maxVec is how many pieces one system call sends at most.
const maxVec = 32

// outbox is what a connection has that cannot send all at once, or is ending.
// Its connection's mu guards it.
type outbox struct {
	unsent [][]byte
	finish *finish // nil: Finish was not called
	shut   bool    // the FIN is out
}

// finishing is how the connection ends, if Finish was called. The caller holds
// mu.
func (c *econn) finishing() *finish {
	if c.outbox == nil {
		return nil
	}
	return c.outbox.finish
}

// out is the outbox, made if there is none. The caller holds mu.
func (c *econn) out() *outbox {
	if c.outbox == nil {
		c.outbox = &outbox{}
	}
	return c.outbox
}

func (c *econn) begin(accept Acceptor) {
	l := c.loop.Load()
	c.handler = accept(l.local, c)
	c.mu.Lock()
	if c.fd < 0 {
		c.mu.Unlock()
		return
	}
	err := l.watch(int(c.fd), c.interest(), c)
	c.mu.Unlock()
	if err != nil {
		c.drop(err)
	}
}

// RemoteAddr is the connection itself, seen as an address: it costs nothing.
func (c *econn) RemoteAddr() net.Addr { return (*remote)(c) }

func (c *econn) SetHandler(h Handler) { c.handler = h }

// Descriptor implements Descripted.
func (c *econn) Descriptor() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.fd)
}

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
	} else if c.left != nil {
		c.offer(*c.left)
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
	c.loop.Load().rewatch(int(c.fd), c.interest())
}

// interest is what the connection waits for. The caller holds mu.
func (c *econn) interest() (events uint32) {
	if !c.paused || c.finishing() != nil {
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

// waits implements source.
func (c *econn) waits() bool { return c.late }

// judge implements source.
func (c *econn) judge(effort int) { c.late = effort >= muchEffort }

func (c *econn) read() {
	buf := c.loop.Load().buf
	n, errno := rawRead(int(c.fd), buf)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if n > 0 {
		c.loop.Load().took(n)
	}
	c.mu.Lock()
	finishing := c.finishing()
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
		c.keep(buf[:n])
	case c.left != nil:
		c.keep(buf[:n])
		c.offer(*c.left)
	default:
		c.offer(buf[:n])
	}
}

// keep keeps b behind what the handler is not done with.
func (c *econn) keep(b []byte) {
	if c.left == nil {
		c.left = new([]byte)
	}
	*c.left = append(*c.left, b...)
}

// offer gives b to the handler and keeps what it leaves.
func (c *econn) offer(b []byte) {
	for {
		h := c.handler
		c.giving, c.resumed = true, false
		n := h.Data(c.loop.Load().local, b)
		c.giving = false
		if c.gone {
			c.left = nil
			return
		}
		b = b[n:]
		if c.handler == h && !c.resumed || c.paused || len(b) == 0 {
			break // else a new handler is there: what is left is for it
		}
	}
	if len(b) == 0 {
		c.left = nil
		return
	}
	if c.left != nil {
		*c.left = (*c.left)[:0]
	}
	c.keep(b)
}

func (c *econn) Write(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || c.finishing() != nil {
		return true // nobody will read it
	}
	return c.write(b)
}

// write sends b behind what is unsent. The caller holds mu.
func (c *econn) write(b []byte) bool {
	if len(b) == 0 {
		return c.outbox == nil || len(c.outbox.unsent) == 0
	}
	parts := [1][]byte{b}
	rest := c.push(parts[:])
	if len(rest) > 0 {
		c.wait(bytes.Clone(rest[0]))
	}
	return len(rest) == 0
}

// Gather implements [Gatherer].
func (c *econn) Gather(parts [][]byte) (flushed, kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || c.finishing() != nil {
		return true, false // nobody will read it
	}
	rest := c.push(parts)
	switch n := length(rest); {
	case n == 0:
		return true, false
	case n < worthKeeping:
		c.wait(bytes.Join(rest, nil))
		return false, false
	default:
		c.wait(rest...)
		return false, true
	}
}

// worthKeeping is what is kept rather than copied: a little may be in a buffer that
// is much larger.
const worthKeeping = 32 << 10

func length(parts [][]byte) (n int) {
	for _, p := range parts {
		n += len(p)
	}
	return n
}

// push sends parts, if nothing is unsent, and returns what is over. The caller
// holds mu.
func (c *econn) push(parts [][]byte) (rest [][]byte) {
	if o := c.outbox; o != nil && len(o.unsent) > 0 {
		return parts
	}
	return sendAll(int(c.fd), parts)
}

// wait keeps parts until the kernel takes them. The caller holds mu.
func (c *econn) wait(parts ...[]byte) {
	o := c.out()
	o.unsent = append(o.unsent, parts...)
	if !c.waiting {
		c.waiting = true
		c.loop.Load().post(c.rearmLocked)
	}
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
	if !c.send() {
		c.mu.Unlock()
		return
	}
	c.waiting = false
	finishing := c.finishing() != nil
	if finishing {
		c.sendFin()
	} else {
		c.outbox = nil
	}
	c.rearm()
	c.mu.Unlock()
	if !finishing {
		c.handler.Writable(c.loop.Load().local)
	}
}

// send writes what is unsent, and says whether all left. The caller holds mu.
func (c *econn) send() bool {
	o := c.outbox
	if o == nil {
		return true
	}
	o.unsent = sendAll(int(c.fd), o.unsent)
	return len(o.unsent) == 0
}

func (c *econn) Finish(b []byte, err error) {
	if err == nil {
		err = io.EOF
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || c.finishing() != nil {
		return
	}
	flushed := c.write(b)
	f := &finish{c: c, err: err}
	c.out().finish = f
	c.loop.Load().group.wheel.Set(f, time.Now().Add(Lingering).UnixMilli())
	if flushed {
		c.sendFin()
	}
	c.loop.Load().post(c.leave)
}

// leave lets a connection that was finished read to its end, behind others.
func (c *econn) leave() {
	c.late = true
	c.rearmLocked()
}

// sendFin ends the writing side. The caller holds mu.
func (c *econn) sendFin() {
	if o := c.out(); !o.shut {
		o.shut = true
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
}

// finish is a connection's end that waits for the peer's.
type finish struct {
	entry wheel.Entry
	c     *econn
	err   error
}

// Timer implements wheel.Owner.
func (f *finish) Timer() *wheel.Entry { return &f.entry }

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
	if f := c.finishing(); f != nil {
		err = f.err
		c.loop.Load().group.wheel.Stop(f)
	}
	fd := int(c.fd)
	c.fd = -1
	c.outbox = nil
	c.mu.Unlock()
	l := c.loop.Load()
	l.forget(fd)
	_ = unix.Close(fd)
	c.left = nil
	if c.handler != nil {
		c.handler.Closed(l.local, err)
	}
}

// sendAll sends parts and returns what the kernel does not take now. If the
// connection is broken, that is nothing: the reading side hears of it.
func sendAll(fd int, parts [][]byte) (rest [][]byte) {
	for len(parts) > 0 {
		n, errno := rawSend(fd, parts)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return parts
		case errno != 0:
			return nil
		}
		parts = behind(parts, n)
	}
	return nil
}

// behind is what comes behind the first n bytes of parts.
func behind(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts[0] = nil // the outbox holds it no longer
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// rawSend sends as much of parts as there is room for.
func rawSend(fd int, parts [][]byte) (int, syscall.Errno) {
	if len(parts) == 1 {
		return rawWrite(fd, parts[0])
	}
	var vec [maxVec]unix.Iovec
	k := 0
	for _, p := range parts[:min(len(parts), maxVec)] {
		vec[k].Base = &p[0]
		vec[k].SetLen(len(p))
		k++
	}
	msg := unix.Msghdr{Iov: &vec[0]}
	msg.SetIovlen(k)
	n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return int(n), errno
}

// rawRead and rawWrite are the socket's own calls: those of files cost more.

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// rawAccept accepts a connection and notes where it comes from.
func rawAccept(fd int, from *unix.RawSockaddrAny) (int, syscall.Errno) {
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}
