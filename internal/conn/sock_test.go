package conn

import (
	"net"

	"github.com/fantail-mqtt/fantail/internal/loop"
)

// sock is the lower side of a connection, in memory. Everything happens on the
// test's goroutine, so it needs no lock.
type sock struct {
	handler loop.Handler
	out     []byte
	full    bool // Write returns false
	paused  bool
	ended   bool // Finish or Close was called
	err     error
	posts   []func(loop.Local)
}

func newSock() *sock { return &sock{} }

func (s *sock) accept(server *Server) *Conn {
	h := server.Accept(s, Peer{Addr: s.RemoteAddr(), Transport: "tcp", Listener: "test"})
	s.handler = h
	c, _ := h.(*Conn)
	return c
}

func (s *sock) Write(b []byte) bool {
	if !s.ended {
		s.out = append(s.out, b...)
	}
	return !s.full
}

func (s *sock) Finish(b []byte, err error) {
	if !s.ended {
		s.out = append(s.out, b...)
	}
	s.ended, s.err = true, err
}

func (s *sock) Close(err error) { s.ended, s.err = true, err }

func (s *sock) Post(f func(loop.Local)) { s.posts = append(s.posts, f) }

func (s *sock) Pause() { s.paused = true }

func (s *sock) Resume(loop.Local) { s.paused = false }

func (s *sock) SetHandler(h loop.Handler) { s.handler = h }

func (s *sock) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
