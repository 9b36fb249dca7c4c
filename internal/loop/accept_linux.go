package loop

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// acceptor is a listening socket.
type acceptor struct {
	loop   *eloop
	file   *os.File
	fd     int
	accept Acceptor
	closed bool
	from   unix.RawSockaddrAny // the peer of the connection that is being accepted
}

func (a *acceptor) end() {
	if a.closed {
		return
	}
	a.closed = true
	a.loop.forget(a.fd)
	_ = a.file.Close()
}

// waits implements source: who is connected comes first.
func (a *acceptor) waits() bool { return true }

func (a *acceptor) judge(int) {}

// batch is how many connections are accepted before others get their turn.
const batch = 16

func (a *acceptor) ready(uint32) {
	for range batch {
		if a.closed {
			return
		}
		fd, errno := rawAccept(a.fd, &a.from)
		switch {
		case errno == unix.EAGAIN:
			return
		case errno != 0:
			a.failed(errno)
			return
		}
		a.hand(fd, peerOf(&a.from))
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
	a.loop.group.wheel.Set(p, time.Now().UnixMilli()+wheel.Resolution)
}

type pause struct {
	entry wheel.Entry
	a     *acceptor
}

func (p *pause) Timer() *wheel.Entry { return &p.entry }

func (p *pause) Due(int64) int64 {
	p.a.loop.post(func() {
		if !p.a.closed {
			p.a.loop.rewatch(p.a.fd, unix.EPOLLIN)
		}
	})
	return 0
}

// hand gives the connection to the loop whose turn it is.
func (a *acceptor) hand(fd int, p peer) {
	g := a.loop.group
	l := g.pick()
	c := &econn{fd: int32(fd), peer: p, late: true}
	c.loop.Store(l)
	if l == a.loop {
		c.begin(a.accept)
		return
	}
	if !l.post(func() { c.begin(a.accept) }) {
		_ = unix.Close(fd)
	}
}
