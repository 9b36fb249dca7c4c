// Package api serves the broker's HTTP listener: health, readiness and
// metrics.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Options of the HTTP listener.
type Options struct {
	Metrics http.Handler
	// Ready returns nil once the broker takes clients, or why it does not.
	Ready func() error
}

// Server is an HTTP listener.
type Server struct {
	http http.Server
	ln   net.Listener
	done chan struct{}
}

// Open serves on address until Close.
func Open(address string, o Options) (*Server, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("http://%s: %w: choose another address for the http listener, in the file or with --listen", address, err)
	}
	s := &Server{ln: ln, done: make(chan struct{})}
	s.http.Handler = handler(o)
	s.http.ReadHeaderTimeout = 10 * time.Second
	go func() { // ends with Close, which waits for it
		defer close(s.done)
		_ = s.http.Serve(ln)
	}()
	return s, nil
}

// Addr is the listener's URL.
func (s *Server) Addr() string { return "http://" + s.ln.Addr().String() }

// Close finishes the requests under way.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		_ = s.http.Close()
	}
	<-s.done
}

func handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	mux.Handle("GET /metrics", o.Metrics)
	return mux
}
