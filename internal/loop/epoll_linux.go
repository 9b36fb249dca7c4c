package loop

import (
	"fmt"
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

	// A tick ends early once it has read so much: else what many large messages
	// become would be written when the processor's cache has long lost it, and a
	// subscriber that takes all would be given more at once than any socket takes.
	tickBytes = 256 << 10

	// A loop that had events waits for more in the kernel without giving up its
	// processor, so that the runtime does not hand processors around on every
	// message; a signal of the runtime's ends that wait. After busyFor without
	// events it blocks the ordinary way. A shorter time would cost: where it is
	// the machine's next timer, each wait sets that anew, which a virtual machine
	// pays for with an exit.
	busyFor = 20 * time.Millisecond
)

// Epoll is a group of event loops over epoll.
type Epoll struct {
	loops    []*eloop
	tick     time.Duration
	next     atomic.Uint32
	active   atomic.Int32 // loops in use: the first ones
	calm     atomic.Int64 // since when one loop fewer would do, unix nanoseconds; 0: it would not
	trial    trial
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
	g := &Epoll{tick: o.Tick, wheel: w, portable: NewPortable(o), onError: o.OnError}
	g.active.Store(1)
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
	if addr.Network() == "tcp" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // accepted sockets take it over
	}
	l := g.loops[0]
	s := &acceptor{loop: l, file: file, fd: fd, accept: accept}
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

type eloop struct {
	group *Epoll
	ep    int
	wakes int // eventfd
	local Local
	ended chan struct{}

	// owned by the loop's goroutine
	buf    []byte
	stop   bool
	woken  bool          // posts are waiting
	posted []func()      // that were taken, and wait for their turn
	ready  []due         // in this tick
	late   []due         // the others, that come behind those
	taken  int           // bytes read since the last tick that left nothing
	held   time.Time     // since when messages for many wait to be written; zero: none do
	drains bool          // they are being written
	begun  time.Time     // of the window that is measured
	spent  time.Duration // busy in it

	share atomic.Int32 // of its last window that the loop was busy, per cent
	until atomic.Int64 // the end of that window, unix nanoseconds

	moved atomic.Uint64 // bytes read so far

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

// post runs f on the loop's goroutine, behind what was posted before; false if that
// has ended.
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
	w.l.woken = true
}

func (wakeups) waits() bool { return false }
func (wakeups) judge(int)   {}

// took counts bytes read.
func (l *eloop) took(n int) {
	l.moved.Add(uint64(n))
	l.taken += n
}

func (l *eloop) run() {
	defer l.group.done.Done()
	events := make([]unix.EpollEvent, maxEvents)
	busy := time.Time{} // the end of the last tick that had work
	calm := true
	more := false // the last tick has left something
	now := time.Now()
	for !l.stop {
		if !calm && now.Sub(busy) >= busyFor {
			calm = true
			l.local.Calm()
		}
		n := l.wait(events, !calm, more)
		now = time.Now()
		if n == 0 && !more {
			continue
		}
		l.serve(events[:n])
		l.runPosts()
		more = l.finish(now) || len(l.posted) > 0
		busy, calm = time.Now(), false
		l.measure(now, busy)
		if l.group.tick > 0 && !more {
			busy = pauseUntil(now.Add(l.group.tick), busy)
		}
		now = busy
	}
	l.end()
}

// pauseUntil sleeps, without telling the Go scheduler, and returns the time.
func pauseUntil(end, now time.Time) time.Time {
	for now.Before(end) { // a signal cuts a sleep short
		left := unix.NsecToTimespec(int64(end.Sub(now)))
		_, _, _ = syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&left)), 0, 0)
		now = time.Now()
	}
	return now
}

// wait returns how many descriptors are ready, possibly none.
func (l *eloop) wait(events []unix.EpollEvent, busy, more bool) int {
	switch {
	case more:
		return l.rawWait(events, 0)
	case busy:
		return l.rawWait(events, int(busyFor/time.Millisecond))
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
	posts := append(l.posted, l.posts...)
	l.posted, l.posts = nil, nil
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
