// Package http lets in clients that a server of the owner's says are right.
//
// A [request] is made of templates: what a client says is written into the
// path, the query, a header, a form or a JSON object so that it stays a value
// there, and a client whose words cannot stand in a place is denied without
// asking. The answer decides, and may carry a grant ([answerOf]). A breaker
// stands before the server; answers may be remembered for a while ([memory]).
//
// Errors that reach the log or other clients hold neither the URL, which may
// have been filled in with a password, nor anything of the answer.
package http

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/breaker"
	"github.com/fantail-mqtt/fantail/internal/auth/trust"
	"github.com/fantail-mqtt/fantail/packet"
)

// Options of the step. What is 0 has its default.
type Options struct {
	URL     string // with placeholders behind the host
	Method  string // POST, or GET
	Headers map[string]string
	// Body has the members of what is posted. nil: username, password, clientid.
	Body map[string]string
	Form bool // post a form instead of JSON

	Timeout     time.Duration // 5s
	Connections int           // at a time: 16
	Failures    int           // in a row, until the server is left alone: 5
	Rest        time.Duration // for which it is left alone: 5s

	CA, Cert, Key string // PEM files: who signed the server's certificate; the broker's own

	// Cache is for how long an answer is remembered. 0: not at all.
	Cache time.Duration
	// CacheSize is of how many clients at most. Default: 10,000.
	CacheSize int

	Logger *slog.Logger // nil: slog's default
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// HTTP asks a server. Any number of goroutines may use it.
type HTTP struct {
	o       Options
	request *request
	client  atomic.Pointer[http.Client]
	breaker *breaker.Breaker
	memory  *memory // nil: nothing is remembered
	logger  *slog.Logger
}

// New makes the step. It does not ask the server.
func New(o Options) (*HTTP, error) {
	o.Timeout, o.Connections = cmp.Or(o.Timeout, 5*time.Second), cmp.Or(o.Connections, 16)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	q, err := newRequest(&o)
	if err != nil {
		return nil, err
	}
	c, err := newClient(&o)
	if err != nil {
		return nil, err
	}
	h := &HTTP{
		o: o, request: q, logger: o.Logger,
		breaker: breaker.New(breaker.Options{
			Name: q.server, Timeout: o.Timeout, Concurrent: o.Connections, Failures: o.Failures, Rest: o.Rest, Logger: o.Logger,
		}),
	}
	h.client.Store(c)
	if o.Cache > 0 {
		h.memory = newMemory(o.Cache, cmp.Or(o.CacheSize, 10_000))
	}
	return h, nil
}

// Prepare reads the files of certificates anew. The caller commits what was
// read, or drops it. Connections that were made by the old ones end once their
// question is answered.
func (h *HTTP) Prepare() (commit func(), err error) {
	if h.o.CA+h.o.Cert == "" {
		return func() {}, nil
	}
	c, err := newClient(&h.o)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	return func() { h.client.Swap(c).CloseIdleConnections() }, nil
}

func newClient(o *Options) (*http.Client, error) {
	t, err := transport(o)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// transport keeps connections to the server. It asks for no compression, which
// would let a small answer become a large one.
func transport(o *Options) (*http.Transport, error) {
	t := &http.Transport{
		MaxConnsPerHost: o.Connections + 1, MaxIdleConnsPerHost: o.Connections, IdleConnTimeout: time.Minute, // one more for the breaker's trial
		TLSHandshakeTimeout: o.Timeout, MaxResponseHeaderBytes: maxAnswer, DisableCompression: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.CA != "" {
		pool, err := trust.Authorities(o.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if o.Cert != "" {
		c, err := trust.Identity(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{c}
	}
	return t, nil
}

// Start warns of what is unsafe.
func (h *HTTP) Start() {
	if h.request.plain {
		h.logger.Warn("passwords go to the server of auth.http without TLS: anybody on the way can read them", slog.String("server", h.request.server))
	}
}

// Close ends the connections to the server.
func (h *HTTP) Close() { h.client.Load().CloseIdleConnections() }

// Breaker is what stands in front of the server.
func (h *HTTP) Breaker() *breaker.Breaker { return h.breaker }

// Remembered is how often the memory knew an answer, and how often it did not;
// ok says that there is a memory.
func (h *HTTP) Remembered() (hits, misses uint64, ok bool) {
	if h.memory == nil {
		return 0, 0, false
	}
	return h.memory.hits.Load(), h.memory.misses.Load(), true
}

// Name implements auth.Step.
func (h *HTTP) Name() string { return "auth.http" }

// Concerns implements auth.Step: a client that shows nothing of what the
// request is about is not asked about.
func (h *HTTP) Concerns(r *access.Request) bool {
	switch {
	case h.request.user:
		return r.HasUserName
	case h.request.certificate:
		return r.Peer.Certificate != nil
	default:
		return true
	}
}

// Check implements auth.Step.
func (h *HTTP) Check(ctx context.Context, r *access.Request) auth.Answer {
	if !h.Concerns(r) {
		return auth.Passed("the client shows no user name, or no certificate, to ask about")
	}
	var k sum
	if h.memory != nil {
		k = h.memory.sum(h.request.values(r))
		if a, ok := h.memory.get(k, time.Now()); ok {
			return a
		}
	}
	q, err := h.request.build(r)
	if err != nil {
		return auth.Denied(packet.BadUserNameOrPassword, "the server is not asked: "+err.Error(), "let the client call itself something else")
	}
	a := h.ask(ctx, q)
	if h.memory != nil && !a.Failed {
		h.memory.put(k, a, time.Now())
	}
	return a
}

// reply is what the server said.
type reply struct {
	status int
	text   []byte // cut after maxAnswer+1
}

// ask sends a request and reads what comes back.
func (h *HTTP) ask(ctx context.Context, q *http.Request) auth.Answer {
	var a reply
	err := h.breaker.Do(ctx, func(ctx context.Context) (err error) {
		a, err = h.exchange(q.WithContext(ctx))
		if err == nil && (a.status >= 500 || a.status == http.StatusTooManyRequests) {
			return fmt.Errorf("it answers %d", a.status)
		}
		return err
	})
	if err != nil {
		return auth.Failure(fmt.Sprintf("%s: %v", h.request.server, err), "see that the server runs, and that the broker can reach it")
	}
	return answerOf(a, time.Now())
}

func (h *HTTP) exchange(q *http.Request) (reply, error) {
	a, err := h.client.Load().Do(q)
	if err != nil {
		return reply{}, bare(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer+1))
	if err != nil {
		return reply{}, bare(err)
	}
	return reply{status: a.StatusCode, text: bytes.TrimSpace(text)}, nil
}

// bare is an error of net/http without the URL, which has what the client said
// in it.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
