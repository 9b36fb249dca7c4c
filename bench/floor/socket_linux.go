package main

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (r *relay) listen(port int) error {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("reuse the address: %w", err)
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind to port %d: %w", port, err)
	}
	if err := unix.Listen(l, 4096); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	r.listener = l
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return r.watch(l, unix.EPOLL_CTL_ADD, unix.EPOLLIN)
}

// watch makes the kernel tell of a descriptor.
func (r *relay) watch(fd, op int, events uint32) error {
	if err := unix.EpollCtl(r.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	return nil
}

func (r *relay) accept() error {
	for {
		fd, _, err := unix.Accept4(r.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNABORTED:
			continue
		default:
			return fmt.Errorf("accept: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("no delay: %w", err)
		}
		if err := r.watch(fd, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
			return err
		}
		for len(r.conns) <= fd {
			r.conns = append(r.conns, nil)
		}
		r.conns[fd] = &conn{fd: fd}
	}
}

// drop closes a connection.
func (r *relay) drop(c *conn) error {
	r.conns[c.fd] = nil
	for _, filter := range c.filters {
		r.remove(subscription{filter, c})
	}
	err := unix.Close(c.fd)
	c.fd = -1
	return err
}

// send leaves bytes for the end of the tick.
func (r *relay) send(c *conn, b ...byte) {
	c.out = append(c.out, b...)
	r.touch(c)
}

func (r *relay) touch(c *conn) {
	if !c.touched {
		c.touched = true
		r.touched = append(r.touched, c)
	}
}

// flush writes once to each connection that was touched. What one has no room
// for waits until the kernel says that it has; if it has failed, so does the
// next read.
func (r *relay) flush() error {
	for _, c := range r.touched {
		c.touched = false
		if c.full || c.fd < 0 || len(c.out) == 0 {
			continue
		}
		n := write(c.fd, c.out)
		c.out = c.out[:copy(c.out, c.out[n:])]
		if len(c.out) == 0 {
			continue
		}
		c.full = true
		if err := r.watch(c.fd, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT); err != nil {
			return err
		}
	}
	r.touched = r.touched[:0]
	return nil
}

// undisturbed keeps the scheduler from waking this thread: it takes one that
// waits in the kernel without a word for one that works for too long.
func undisturbed() error {
	runtime.LockOSThread()
	var urgent unix.Sigset_t
	urgent.Val[0] = 1 << (unix.SIGURG - 1)
	return unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil)
}

// The kernel's calls, without a word to the Go scheduler: it would take the
// processor away from a thread that waits, and hand it back.

func wait(epoll int, events []unix.EpollEvent) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), ^uintptr(0), 0, 0)
	return int(n), errno
}

func receive(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return int(n), errno
}

// write is 0 where there is no room, or nobody any more.
func write(fd int, b []byte) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
