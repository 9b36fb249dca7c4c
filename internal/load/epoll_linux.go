package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const readBatch = 64 << 10 // stays in the second-level cache

// epoll is plain TCP: one descriptor that tells of all connections, one read
// buffer for everybody, on a thread of its own.
type epoll struct {
	g       *generator
	fd      int
	in      []byte
	events  []unix.EpollEvent
	sources []netip.Addr // to connect from, in turn; none: the system's choice
	dialed  int
	reset   bool // connections are cut off: thousands in TIME_WAIT would slow what follows
}

// newPlain locks the goroutine to its thread until close.
func newPlain(g *generator) (transport, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // this thread's; 50 µs late otherwise
		runtime.UnlockOSThread()
		return nil, errors.Join(fmt.Errorf("timer slack: %w", err), unix.Close(fd))
	}
	t := &epoll{g: g, fd: fd, in: make([]byte, readBatch), events: make([]unix.EpollEvent, 256)}
	if g.target.Source.IsValid() {
		t.sources = []netip.Addr{g.target.Source}
	}
	return t, nil
}

// crowd makes a transport fit for more connections than one address has ports
// for, all of which are cut off at the end.
func (t *epoll) crowd() {
	t.reset = true
	if t.sources == nil && t.g.target.Addr.Addr().Is4() && t.g.target.Addr.Addr().IsLoopback() {
		for i := range byte(4) {
			t.sources = append(t.sources, netip.AddrFrom4([4]byte{127, 0, 0, 2 + i}))
		}
	}
}

func (t *epoll) dial(p *peer) error {
	var source netip.Addr
	if len(t.sources) > 0 {
		source = t.sources[t.dialed%len(t.sources)]
	}
	t.dialed++
	fd, err := dialSocket(t.g.target.Addr, source)
	if err != nil {
		return err
	}
	p.fd = fd
	p.life++
	if err := t.watch(p, unix.EPOLL_CTL_ADD, unix.EPOLLIN|unix.EPOLLOUT); err != nil {
		return err // drop closes it
	}
	return nil
}

func (t *epoll) watch(p *peer, op int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: p.slot, Pad: p.life}
	if err := unix.EpollCtl(t.fd, op, p.fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (t *epoll) send(p *peer) {
	for p.sent < len(p.out) {
		n, errno := rawSend(p.fd, p.out[p.sent:])
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			t.waitForRoom(p)
			return
		}
		if errno != 0 {
			t.g.ended(p, errno)
			return
		}
		p.sent += n
		t.g.bytesOut += uint64(n)
	}
	p.out, p.sent = p.out[:0], 0
	if !p.full {
		return
	}
	p.full = false
	if err := t.watch(p, unix.EPOLL_CTL_MOD, t.interest(p)); err != nil {
		t.g.ended(p, err)
	}
}

func (t *epoll) waitForRoom(p *peer) {
	if p.full {
		return
	}
	p.full = true
	if err := t.watch(p, unix.EPOLL_CTL_MOD, t.interest(p)); err != nil {
		t.g.ended(p, err)
	}
}

func (t *epoll) wait(limit time.Duration) error {
	n, errno := rawWait(t.fd, t.events, limit)
	if errno == unix.EINTR {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("epoll wait: %w", errno)
	}
	for i := range t.events[:n] {
		t.serve(&t.events[i])
	}
	return nil
}

// serve reads once; epoll reports again what is left.
func (t *epoll) serve(ev *unix.EpollEvent) {
	p := t.g.peers[ev.Fd]
	if p.life != ev.Pad || p.fd < 0 {
		return
	}
	if p.state == dialing {
		t.connected(p)
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		t.send(p)
	}
	if ev.Events&^unix.EPOLLOUT == 0 || p.fd < 0 {
		return
	}
	if p.deaf {
		t.ignore(p, ev.Events)
		return
	}
	t.read(p)
}

// ignore leaves what has come for a peer that reads nothing. epoll need not tell of
// it again, but of an end without reading, which it does unasked.
func (t *epoll) ignore(p *peer, events uint32) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		t.g.ended(p, errClosed)
		return
	}
	if err := t.watch(p, unix.EPOLL_CTL_MOD, t.interest(p)); err != nil {
		t.g.ended(p, err)
	}
}

// interest is what epoll should tell of a peer that is connected.
func (t *epoll) interest(p *peer) (events uint32) {
	if !p.deaf {
		events |= unix.EPOLLIN
	}
	if p.full {
		events |= unix.EPOLLOUT
	}
	return events
}

func (t *epoll) connected(p *peer) {
	code, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = fmt.Errorf("connect to %v: %w", t.g.target.Addr, syscall.Errno(code))
	}
	if err == nil {
		err = t.watch(p, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
	}
	if err != nil {
		t.g.ended(p, err)
		return
	}
	t.g.opened(p)
}

func (t *epoll) read(p *peer) {
	for len(p.rest) > len(t.in)/2 {
		t.in = make([]byte, 2*len(t.in))
	}
	had := copy(t.in, p.rest)
	n, errno := rawRecv(p.fd, t.in[had:])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		t.g.ended(p, errno)
		return
	case n == 0:
		t.g.ended(p, errClosed)
		return
	}
	used := t.g.arrived(p, t.in[:had+n], n)
	p.rest = append(p.rest[:0], t.in[used:had+n]...)
}

func (t *epoll) drop(p *peer) {
	if p.fd < 0 {
		return
	}
	if t.reset {
		_ = unix.SetsockoptLinger(p.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // the close counts
	}
	_ = unix.Close(p.fd) // nothing is lost by it
	p.fd = -1
}

func (t *epoll) close() error {
	for _, p := range t.g.peers {
		t.drop(p)
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // 0 restores the default and cannot fail
	runtime.UnlockOSThread()
	return unix.Close(t.fd)
}
