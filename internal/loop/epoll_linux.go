package loop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

const (
	readSize  = 64 << 10
	maxEvents = 256

	// A loop that had events within busyFor waits in the kernel in slices of
	// sliceMillis without giving up its processor, so that the runtime does
	// not hand processors around on every message. Idle, it blocks the
	// ordinary way.
	busyFor     = 20 * time.Millisecond
	sliceMillis = 1
)

// Epoll is a group of event loops over epoll.
type Epoll struct {
	loops    []*eloop
	next     atomic.Uint32
	wheel    *wheel.Wheel
	portable *Portable
	onError  func(error)
	done     sync.WaitGroup
}

// NewEpoll starts the loops; Close ends them.
func NewEpoll(o Options, w *wheel.Wheel) (*Epoll, error) {
	n := o.Loops
	if n == 0 {
		n = runtime.NumCPU()
	}
	g := &Epoll{wheel: w, portable: NewPortable(o), onError: o.OnError}
	for range n {
		l, err := newLoop(g, o.Local())
		if err != nil {
			g.Close()
			return nil, err
		}
		g.loops = append(g.loops, l)
		g.done.Add(1)
		go l.run() // ends with Close, which waits for it
	}
	return g, nil
}

// Close drops all connections and ends the loops.
func (g *Epoll) Close() {
	for _, l := range g.loops {
		l.post(func() { l.stop = true })
	}
	g.done.Wait()
	g.portable.Close()
}

// Adopt serves a stream that has no descriptor of its own.
func (g *Epoll) Adopt(nc net.Conn, accept Acceptor) { g.portable.Adopt(nc, accept) }

// filer is a listener with a descriptor.
type filer interface{ File() (*os.File, error) }

// Serve accepts from ln on the first loop and hands the connections around.
func (g *Epoll) Serve(ln net.Listener, accept Acceptor) (func(), error) {
	f, ok := ln.(filer)
	if !ok {
		return g.portable.Serve(ln, accept)
	}
	file, err := f.File() // a duplicate; the original may go
	if err != nil {
		return nil, fmt.Errorf("take over the listener at %s: %w", ln.Addr(), err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	path, addr := "", ln.Addr()
	if addr.Network() == "unix" {
		path = addr.String()
	}
	_ = ln.Close()
	fd := int(file.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("take over the listener at %s: %w", addr, err)
	}
	l := g.loops[0]
	s := &acceptor{loop: l, file: file, fd: fd, accept: accept, tcp: addr.Network() == "tcp"}
	if err := l.watch(fd, unix.EPOLLIN, s); err != nil {
		return nil, err
	}
	return func() {
		ended := make(chan struct{})
		if l.post(func() { s.end(); close(ended) }) {
			select {
			case <-ended:
			case <-l.ended:
			}
		}
		if path != "" {
			_ = os.Remove(path)
		}
	}, nil
}

// source is what a loop watches: a connection, a listener or its own wake-up.
type source interface {
	ready(events uint32)
}

type eloop struct {
	group *Epoll
	ep    int
	wakes int // eventfd
	local Local
	ended chan struct{}

	// owned by the loop's goroutine
	buf  []byte
	stop bool

	mu     sync.Mutex     // guards the rest
	socks  []*econn       // the connections, by descriptor
	others map[int]source // the wake-up and the listeners
	posts  []func()
	closed bool
}

func newLoop(g *Epoll, local Local) (*eloop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an event loop: %w", err)
	}
	wakes, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("make an event loop: %w", err)
	}
	l := &eloop{group: g, ep: ep, wakes: wakes, local: local, buf: make([]byte, readSize), others: map[int]source{}, ended: make(chan struct{})}
	return l, l.watch(wakes, unix.EPOLLIN, wakeups{l})
}

// watch adds a descriptor to the loop.
func (l *eloop) watch(fd int, events uint32, s source) error {
	l.mu.Lock()
	if c, ok := s.(*econn); ok {
		if n := fd + 1 - len(l.socks); n > 0 {
			l.socks = append(l.socks, make([]*econn, n)...)
		}
		l.socks[fd] = c
	} else {
		l.others[fd] = s
	}
	l.mu.Unlock()
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch a descriptor: %w", err)
	}
	return nil
}

// source is what the descriptor belongs to, or nil. The caller holds l.mu.
func (l *eloop) source(fd int) source {
	if fd < len(l.socks) && l.socks[fd] != nil {
		return l.socks[fd]
	}
	return l.others[fd]
}

func (l *eloop) rewatch(fd int, events uint32) {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, fd, &ev) // fails only for a closed descriptor
}

func (l *eloop) forget(fd int) {
	l.mu.Lock()
	delete(l.others, fd)
	if fd < len(l.socks) {
		l.socks[fd] = nil
	}
	l.mu.Unlock()
}

// post runs f on the loop's goroutine; false if that has ended.
func (l *eloop) post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.posts = append(l.posts, f)
	first := len(l.posts) == 1
	l.mu.Unlock()
	if first {
		one := [8]byte{1}
		_, _ = unix.Write(l.wakes, one[:])
	}
	return true
}

// wakeups is the loop's own eventfd.
type wakeups struct{ l *eloop }

func (w wakeups) ready(uint32) {
	var b [8]byte
	_, _ = unix.Read(w.l.wakes, b[:])
	w.l.mu.Lock()
	posts := w.l.posts
	w.l.posts = nil
	w.l.mu.Unlock()
	for _, f := range posts {
		f()
	}
}

func (l *eloop) run() {
	defer l.group.done.Done()
	events := make([]unix.EpollEvent, maxEvents)
	ready := make([]source, 0, maxEvents)
	var busy time.Time
	for !l.stop {
		n := l.wait(events, time.Since(busy) < busyFor)
		if n == 0 {
			continue
		}
		l.mu.Lock()
		ready = ready[:0]
		for i := range events[:n] {
			ready = append(ready, l.source(int(events[i].Fd)))
		}
		l.mu.Unlock()
		for i, s := range ready {
			if s != nil {
				s.ready(events[i].Events)
			}
			ready[i] = nil
		}
		l.local.End()
		busy = time.Now()
	}
	l.end()
}

// wait returns how many descriptors are ready, possibly none.
func (l *eloop) wait(events []unix.EpollEvent, busy bool) int {
	if busy {
		if n := l.rawWait(events, 0); n != 0 {
			return n
		}
		return l.rawWait(events, sliceMillis)
	}
	n, err := unix.EpollWait(l.ep, events, -1)
	if err != nil {
		return 0 // EINTR
	}
	return n
}

// rawWait waits without telling the Go scheduler, which so leaves the loop its
// processor.
func (l *eloop) rawWait(events []unix.EpollEvent, millis int) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(millis), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// end closes everything that the loop watches, with the connections that are
// still posted to it.
func (l *eloop) end() {
	l.mu.Lock()
	l.closed = true
	posts := l.posts
	l.posts = nil
	l.mu.Unlock()
	for _, f := range posts {
		f()
	}
	l.mu.Lock()
	socks, others := l.socks, l.others
	l.socks, l.others = nil, nil
	l.mu.Unlock()
	for _, c := range socks {
		if c != nil {
			c.drop(ErrGroupClosed)
		}
	}
	for _, s := range others {
		if a, ok := s.(*acceptor); ok {
			_ = a.file.Close()
		}
	}
	l.local.End()
	_ = unix.Close(l.wakes)
	_ = unix.Close(l.ep)
	close(l.ended)
}

// acceptor is a listening socket.
type acceptor struct {
	loop   *eloop
	file   *os.File
	fd     int
	tcp    bool
	accept Acceptor
	closed bool
}

func (a *acceptor) end() {
	if a.closed {
		return
	}
	a.closed = true
	a.loop.forget(a.fd)
	_ = a.file.Close()
}

// batch is how many connections are accepted before others get their turn.
const batch = 64

func (a *acceptor) ready(uint32) {
	for range batch {
		if a.closed {
			return
		}
		fd, sa, err := unix.Accept4(a.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			a.failed(err)
			return
		}
		if a.tcp {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		a.hand(fd, addrOf(sa))
	}
}

// failed reports an accept that did not work. Without descriptors the socket
// stays ready: rest a moment so as not to spin.
func (a *acceptor) failed(err error) {
	if errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINTR) {
		return
	}
	if a.loop.group.onError != nil {
		a.loop.group.onError(fmt.Errorf("accept a connection: %w", err))
	}
	a.loop.rewatch(a.fd, 0)
	p := &pause{a: a}
	a.loop.group.wheel.Set(&p.entry, p, time.Now().UnixMilli()+wheel.Resolution)
}

type pause struct {
	entry wheel.Entry
	a     *acceptor
}

func (p *pause) Due(int64) int64 {
	p.a.loop.post(func() {
		if !p.a.closed {
			p.a.loop.rewatch(p.a.fd, unix.EPOLLIN)
		}
	})
	return 0
}

// hand gives the connection to the loop whose turn it is.
func (a *acceptor) hand(fd int, addr net.Addr) {
	g := a.loop.group
	l := g.loops[int(g.next.Add(1))%len(g.loops)]
	c := &econn{loop: l, fd: fd, addr: addr}
	if l == a.loop {
		c.begin(a.accept)
		return
	}
	if !l.post(func() { c.begin(a.accept) }) {
		_ = unix.Close(fd)
	}
}

func addrOf(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port}
	case *unix.SockaddrInet6:
		ip := append(net.IP(nil), sa.Addr[:]...)
		if ip4 := ip.To4(); ip4 != nil {
			ip = append(net.IP(nil), ip4...)
		}
		return &net.TCPAddr{IP: ip, Port: sa.Port}
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	default:
		return &net.UnixAddr{Net: "unix"}
	}
}

// econn is a connection on an event loop.
type econn struct {
	loop *eloop
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
	c.handler = accept(c.loop.local, c)
	if err := c.loop.watch(c.fd, unix.EPOLLIN, c); err != nil {
		c.drop(err)
	}
}

func (c *econn) RemoteAddr() net.Addr { return c.addr }

func (c *econn) SetHandler(h Handler) { c.handler = h }

func (c *econn) Post(f func(Local)) {
	c.loop.post(func() {
		if !c.gone {
			f(c.loop.local)
		}
	})
}

func (c *econn) Close(err error) {
	if !c.loop.post(func() { c.drop(err) }) {
		return // the loop is ending, and drops it
	}
}

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
	var events uint32
	if !c.paused || c.finishing != nil {
		events |= unix.EPOLLIN
	}
	if c.waiting {
		events |= unix.EPOLLOUT
	}
	c.loop.rewatch(c.fd, events)
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
	n, errno := rawRead(c.fd, c.loop.buf)
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
		c.in = append(c.in, c.loop.buf[:n]...)
	case len(c.in) > 0:
		c.in = append(c.in, c.loop.buf[:n]...)
		c.offer(c.in)
	default:
		c.offer(c.loop.buf[:n])
	}
}

// offer gives b to the handler and keeps what it leaves.
func (c *econn) offer(b []byte) {
	for {
		h := c.handler
		c.giving, c.resumed = true, false
		n := h.Data(c.loop.local, b)
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
				c.loop.post(c.rearmLocked)
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
		c.handler.Writable(c.loop.local)
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
	c.loop.group.wheel.Set(&c.finishing.entry, c.finishing, time.Now().Add(Lingering).UnixMilli())
	if flushed {
		c.sendFin()
	}
	c.loop.post(c.rearmLocked) // a paused connection reads again, to its end
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
		c.loop.group.wheel.Stop(&c.finishing.entry)
	}
	fd := c.fd
	c.fd = -1
	c.unsent = nil
	c.mu.Unlock()
	c.loop.forget(fd)
	_ = unix.Close(fd)
	c.in = nil
	if c.handler != nil {
		c.handler.Closed(c.loop.local, err)
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
