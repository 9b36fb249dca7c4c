package loop

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Portable is the transport without event loops: a goroutine reads each
// connection and another writes it. It runs on every system, and over streams
// that have no descriptor.
type Portable struct {
	locals  *locals
	onError func(error)

	mu        sync.Mutex // guards the rest
	conns     map[*pconn]struct{}
	listeners map[net.Listener]struct{}
	closed    bool
	done      sync.WaitGroup
}

// NewPortable makes the portable transport.
func NewPortable(o Options) *Portable {
	return &Portable{
		locals:    newLocals(o),
		onError:   o.OnError,
		conns:     map[*pconn]struct{}{},
		listeners: map[net.Listener]struct{}{},
	}
}

// Close drops all connections and waits for their goroutines.
func (g *Portable) Close() {
	g.mu.Lock()
	g.closed = true
	conns := make([]*pconn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	for ln := range g.listeners {
		_ = ln.Close()
	}
	g.mu.Unlock()
	for _, c := range conns {
		c.Close(ErrGroupClosed)
	}
	g.done.Wait()
	g.locals.end()
}

// Serve accepts connections from ln.
func (g *Portable) Serve(ln net.Listener, accept Acceptor) (func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		_ = ln.Close()
		return nil, ErrGroupClosed
	}
	g.listeners[ln] = struct{}{}
	g.done.Add(1)
	ended := make(chan struct{})
	go func() { // ends when ln is closed, by Close or by stop
		defer g.done.Done()
		defer close(ended)
		g.accept(ln, accept)
	}()
	return func() {
		_ = ln.Close()
		<-ended
		g.mu.Lock()
		delete(g.listeners, ln)
		g.mu.Unlock()
	}, nil
}

func (g *Portable) accept(ln net.Listener, accept Acceptor) {
	for {
		nc, err := ln.Accept()
		if err == nil {
			g.Adopt(nc, accept)
			continue
		}
		if ne, ok := err.(interface{ Temporary() bool }); !ok || !ne.Temporary() {
			return
		}
		if g.onError != nil {
			g.onError(err)
		}
		<-time.After(100 * time.Millisecond) // out of descriptors: rest a moment
	}
}

// Adopt serves one stream.
func (g *Portable) Adopt(nc net.Conn, accept Acceptor) {
	c := &pconn{group: g, nc: nc}
	c.wake.L = &c.mu
	c.resumed.L = &c.handling
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		_ = nc.Close()
		return
	}
	g.conns[c] = struct{}{}
	g.done.Add(2)
	g.mu.Unlock()
	go func() { // ends when the stream does
		defer g.done.Done()
		c.readAll(accept)
	}()
	go func() { // ends after drop
		defer g.done.Done()
		c.writeAll()
	}()
}

// pconn is a connection of the portable transport.
type pconn struct {
	group *Portable
	nc    net.Conn

	handling sync.Mutex // held for calls of the handler; guards the next seven
	handler  Handler
	in       []byte
	paused   bool
	giving   bool // inside handler.Data
	again    bool // Resume was called while giving
	gone     bool
	resumed  sync.Cond

	mu        sync.Mutex // guards the rest
	wake      sync.Cond
	unsent    []byte
	owed      bool // the handler waits for Writable
	posts     []func(Local)
	finishing error
	closing   error // Close was called
	ended     bool
}

func (c *pconn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

func (c *pconn) SetHandler(h Handler) { c.handler = h }

// Descriptor implements Descripted.
func (c *pconn) Descriptor() int {
	n := -1
	if s, ok := c.nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { n = int(fd) })
		}
	}
	return n
}

// handle calls f as the loop would: alone, and with a tick's end behind it.
func (c *pconn) handle(f func(l Local)) {
	c.handling.Lock()
	l := c.group.locals.take()
	if !c.gone {
		f(l)
	}
	c.handling.Unlock()
	l.End()
	c.group.locals.give(l)
}

func (c *pconn) readAll(accept Acceptor) {
	c.handle(func(l Local) { c.handler = accept(l, c) })
	buf := make([]byte, 4096)
	for {
		n, err := c.nc.Read(buf)
		if n > 0 {
			c.handling.Lock()
			for c.paused && !c.gone {
				c.resumed.Wait()
			}
			c.handling.Unlock()
			c.handle(func(l Local) {
				switch {
				case c.paused: // again, by a post meanwhile
					c.in = append(c.in, buf[:n]...)
				case len(c.in) > 0:
					c.in = append(c.in, buf[:n]...)
					c.offer(l, c.in)
				default:
					c.offer(l, buf[:n])
				}
			})
			if n == len(buf) && len(buf) < readMax {
				buf = make([]byte, 2*len(buf))
			}
		}
		if err != nil {
			c.drop(err)
			return
		}
	}
}

const readMax = 64 << 10

func (c *pconn) offer(l Local, b []byte) {
	if c.isEnding() {
		c.in = nil
		return
	}
	for {
		h := c.handler
		c.giving, c.again = true, false
		n := h.Data(l, b)
		c.giving = false
		b = b[n:]
		if c.handler == h && !c.again || c.paused || len(b) == 0 {
			break
		}
	}
	if len(b) == 0 {
		c.in = nil
		return
	}
	c.in = append(c.in[:0], b...)
}

// isEnding says that the handler wants no more data.
func (c *pconn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finishing != nil || c.closing != nil
}

// isOwing says that something was written since, whose Writable will come.
func (c *pconn) isOwing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owed
}

func (c *pconn) Pause() { c.paused = true }

func (c *pconn) Resume(l Local) {
	if !c.paused {
		return
	}
	c.paused = false
	if c.giving {
		c.again = true // offer goes on
	} else if len(c.in) > 0 {
		c.offer(l, c.in)
	}
	c.resumed.Broadcast()
}

func (c *pconn) Post(f func(Local)) {
	c.mu.Lock()
	c.posts = append(c.posts, f)
	c.wake.Signal()
	c.mu.Unlock()
}

func (c *pconn) Write(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.finishing != nil {
		return true
	}
	c.unsent = append(c.unsent, b...)
	c.owed = true
	c.wake.Signal()
	return false
}

func (c *pconn) Finish(b []byte, err error) {
	if err == nil {
		err = io.EOF
	}
	c.mu.Lock()
	if !c.ended && c.finishing == nil {
		c.unsent = append(c.unsent, b...)
		c.finishing = err
		_ = c.nc.SetDeadline(time.Now().Add(Lingering)) // readAll ends by it at the latest
		c.wake.Signal()
	}
	c.mu.Unlock()
	go c.unpause() // ends at once; apart from the caller, who may be inside a handler
}

// unpause lets a paused reader go on, to the stream's end.
func (c *pconn) unpause() {
	c.handling.Lock()
	c.paused = false
	c.resumed.Broadcast()
	c.handling.Unlock()
}

func (c *pconn) Close(err error) {
	c.mu.Lock()
	if c.closing == nil {
		c.closing = err
	}
	c.mu.Unlock()
	_ = c.nc.Close() // readAll notices
	go c.unpause()   // ends at once
}

// writeAll writes what is waiting and runs what is posted.
func (c *pconn) writeAll() {
	finished := false
	for {
		c.mu.Lock()
		for len(c.unsent) == 0 && !c.owed && len(c.posts) == 0 && (c.finishing == nil || finished) && !c.ended {
			c.wake.Wait()
		}
		out, posts, owed, finishing, ended := c.unsent, c.posts, c.owed, c.finishing, c.ended
		c.unsent, c.posts, c.owed = nil, nil, false
		c.mu.Unlock()
		if ended {
			return
		}
		if len(out) > 0 {
			_, _ = c.nc.Write(out) // readAll hears of an error
		}
		if len(posts) > 0 || owed && finishing == nil {
			c.handle(func(l Local) {
				for _, f := range posts {
					f(l)
				}
				if owed && finishing == nil && !c.isOwing() {
					c.handler.Writable(l)
				}
			})
		}
		if finishing != nil && !finished {
			finished = true
			c.closeWrite()
		}
	}
}

func (c *pconn) closeWrite() {
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
		return
	}
	_ = c.nc.Close()
}

// drop ends the connection, from readAll only.
func (c *pconn) drop(err error) {
	_ = c.nc.Close()
	c.mu.Lock()
	if c.closing != nil {
		err = c.closing
	}
	if c.finishing != nil {
		err = c.finishing
	}
	c.ended = true
	c.wake.Signal()
	c.mu.Unlock()
	c.handle(func(l Local) {
		c.gone = true
		c.in = nil
		if c.handler != nil {
			c.handler.Closed(l, err)
		}
	})
	c.group.mu.Lock()
	delete(c.group.conns, c)
	c.group.mu.Unlock()
}
