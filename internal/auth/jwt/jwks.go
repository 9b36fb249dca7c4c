package jwt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth/trust"
)

// JWKS is a server that hands out a set of keys.
type JWKS struct {
	URL string
	// Refresh is the longest time between two looks at it. Default: 5m. The
	// server may ask for less with Cache-Control.
	Refresh time.Duration
	// Keep is how long keys count that the server has not confirmed. Default:
	// 24h.
	Keep time.Duration
	// CA is a PEM file with the certificates that may have signed the server's.
	// Empty: those of the system.
	CA string
	// AllowHTTP takes a URL without TLS from elsewhere than this machine.
	AllowHTTP bool
}

const (
	fetchTimeout = 5 * time.Second
	maxJWKS      = 256 << 10
	// rest is the least time between two looks that tokens give rise to: a
	// stranger may name any key.
	rest = 10 * time.Second
	// ageLeast is the shortest time to the next look that a server can ask for.
	ageLeast = time.Minute
	// retryMost is the longest time to the next try after a failure, and
	// retryLeast the shortest, which doubles each time.
	retryLeast, retryMost = time.Second, time.Minute
)

// remote has the keys of a server. One goroutine fetches them: at once, then
// by and by, and when a token names a key that is not among them. Who needs
// the keys waits only where there are none, or such a one might be new. Keys
// stay when the server is gone.
type remote struct {
	o       JWKS
	allowed []string
	shown   string // the URL without what may be secret in it
	logger  *slog.Logger
	client  atomic.Pointer[http.Client]

	ctx  context.Context // ends with close
	stop context.CancelFunc
	done sync.WaitGroup // the goroutine that fetches
	wake chan struct{}  // asks it to fetch now; only who sets fetching sends

	// owned by the goroutine that fetches
	etag, modified string
	sum            [sha256.Size]byte // of the last text
	failures       int

	mu       sync.Mutex // guards the rest; held for memory work only
	set      *keySet    // nil: none yet
	at       time.Time  // when the server last said that they hold
	last     time.Time  // when a fetch last began
	fetching bool
	round    chan struct{} // closed at the end of the next fetch
	err      error         // of the last fetch
}

// dial is how the server is reached.
func (o *JWKS) dial() (*http.Transport, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: fetchTimeout,
		MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute, MaxIdleConns: 1,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.CA == "" {
		return transport, nil
	}
	pool, err := trust.Authorities(o.CA)
	if err != nil {
		return nil, fmt.Errorf("jwks_ca: %w", err)
	}
	transport.TLSClientConfig.RootCAs = pool
	return transport, nil
}

// newRemote is for keys that are fetched by a transport, from start on.
func newRemote(o JWKS, allowed []string, logger *slog.Logger, transport http.RoundTripper) (*remote, error) {
	o.Refresh = cmp.Or(o.Refresh, 5*time.Minute)
	o.Keep = max(cmp.Or(o.Keep, 24*time.Hour), o.Refresh)
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("jwks: it is no URL such as https://id.example/.well-known/jwks.json")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("jwks: the scheme %s is neither https nor http", u.Scheme)
	case u.Scheme == "http" && !o.AllowHTTP && !loopback(u.Hostname()):
		return nil, errors.New("jwks: without TLS anybody on the way could put in keys of their own: write https, or set jwks_http")
	}
	r := &remote{
		o: o, allowed: allowed, shown: u.Scheme + "://" + u.Host + u.Path, logger: logger,
		wake: make(chan struct{}, 1), fetching: true, round: make(chan struct{}),
	}
	r.client.Store(clientOver(transport))
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r, nil
}

func clientOver(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport, Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// prepare implements source: the server is looked at anew, and known by the file
// of authorities as it is now.
func (r *remote) prepare() (commit func(), err error) {
	if r.o.CA == "" {
		return r.again, nil
	}
	transport, err := r.o.dial()
	if err != nil {
		return nil, err
	}
	return func() {
		r.client.Swap(clientOver(transport)).CloseIdleConnections()
		r.again()
	}, nil
}

// again asks for a fetch now, unless one is under way.
func (r *remote) again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fetching {
		r.fetching = true // or as good as
		r.wake <- struct{}{}
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// start begins to fetch.
func (r *remote) start() {
	r.done.Go(func() { r.run(r.ctx) }) // close ends it and waits
}

func (r *remote) close() {
	r.stop()
	r.done.Wait()
	r.client.Load().CloseIdleConnections()
}

// now implements source.
func (r *remote) now() *keySet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.good()
}

// good are the keys that are not too old. It needs the lock.
func (r *remote) good() *keySet {
	if r.set != nil && time.Since(r.at) > r.o.Keep {
		return nil
	}
	return r.set
}

// ready implements source.
func (r *remote) ready(ctx context.Context, h *header) (*keySet, error) {
	set, round := r.look(h)
	if round != nil {
		sit := access.Rise(ctx)
		timer := time.NewTimer(fetchTimeout + time.Second)
		select {
		case <-round:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		sit()
		set = r.now()
	}
	if set == nil {
		return nil, r.none()
	}
	return set, nil
}

// look is what there is now, and, where it is worth waiting for a fetch, one to
// wait for.
func (r *remote) look(h *header) (set *keySet, round chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	set = r.good()
	if set != nil && !set.lacks(h) {
		return set, nil
	}
	if r.fetching {
		return set, r.round
	}
	if time.Since(r.last) < rest {
		return set, nil
	}
	r.fetching = true // or as good as
	r.wake <- struct{}{}
	return set, r.round
}

// lacks says whether a token names a key that is not in the set.
func (s *keySet) lacks(h *header) bool {
	if !h.hasKid {
		return false
	}
	_, named := s.candidates(h)
	return !named
}

// none says why there are no keys.
func (r *remote) none() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	do := "see that the broker can reach the server, and that it answers with a JWKS"
	switch {
	case r.set != nil:
		return &unknowable{why: fmt.Sprintf("the keys of %s are too old: it last confirmed them %v ago: %v", r.shown, time.Since(r.at).Round(time.Second), r.err), do: do}
	case r.err != nil:
		return &unknowable{why: fmt.Sprintf("there are no keys yet: %s: %v", r.shown, r.err), do: do}
	default:
		return &unknowable{why: fmt.Sprintf("there are no keys yet: %s has not answered", r.shown), do: do}
	}
}

// run fetches until ctx ends.
func (r *remote) run(ctx context.Context) {
	for {
		next := r.fetch(ctx)
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// fetch looks at the server once and says when to do so again.
func (r *remote) fetch(ctx context.Context) (next time.Duration) {
	r.mu.Lock()
	r.fetching, r.last = true, time.Now()
	select {
	case <-r.wake: // it was time anyway
	default:
	}
	r.mu.Unlock()
	set, age, err := r.get(ctx)
	if ctx.Err() == nil {
		r.tell(set, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetching, r.err = false, err
	close(r.round)
	r.round = make(chan struct{})
	if err != nil {
		r.failures++
		return min(retryLeast<<min(r.failures-1, 10), retryMost, r.o.Refresh)
	}
	r.failures, r.at = 0, time.Now()
	if set != nil {
		r.set = set
	}
	return min(max(age, ageLeast), r.o.Refresh)
}

// tell logs what has changed.
func (r *remote) tell(set *keySet, err error) {
	switch {
	case err != nil && r.failures == 0:
		r.logger.Warn("cannot fetch the keys of tokens: those that are known stay for a while",
			slog.String("url", r.shown), slog.Any("err", err), slog.Duration("keep", r.o.Keep))
	case err == nil && r.failures > 0:
		r.logger.Info("the keys of tokens can be fetched again", slog.String("url", r.shown), slog.Int("failures", r.failures))
	}
	if set != nil {
		r.logger.Info("new keys of tokens", slog.String("url", r.shown), slog.String("keys", set.describe()))
	}
}

// get asks the server: set is nil if it is what it was, and age is how long
// the server wants it to be taken for that.
func (r *remote) get(ctx context.Context) (set *keySet, age time.Duration, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.o.URL, nil)
	if err != nil {
		return nil, 0, bare(err)
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	if r.etag != "" {
		q.Header.Set("If-None-Match", r.etag)
	}
	if r.modified != "" {
		q.Header.Set("If-Modified-Since", r.modified)
	}
	a, err := r.client.Load().Do(q)
	if err != nil {
		return nil, 0, bare(err)
	}
	defer func() { _ = a.Body.Close() }()
	age = maxAge(a.Header, r.o.Refresh)
	switch {
	case a.StatusCode == http.StatusNotModified && r.etag+r.modified != "":
		return nil, age, nil
	case a.StatusCode >= 300 && a.StatusCode < 400:
		return nil, 0, fmt.Errorf("it answers %d and sends elsewhere, where nobody follows: write the right URL", a.StatusCode)
	case a.StatusCode != http.StatusOK:
		return nil, 0, fmt.Errorf("it answers %d", a.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(a.Body, maxJWKS+1))
	if err != nil {
		return nil, 0, bare(err)
	}
	if len(text) > maxJWKS {
		return nil, 0, fmt.Errorf("its answer has more than %d bytes", maxJWKS)
	}
	sum := sha256.Sum256(text)
	if sum != r.sum {
		keys, left, err := parseJWKS(text)
		if err != nil {
			return nil, 0, fmt.Errorf("its answer is no JWKS: %w", err)
		}
		if left > 0 {
			r.logger.Debug("keys that are not for signatures", slog.String("url", r.shown), slog.Int("left_out", left))
		}
		if set = newKeySet(keys, r.allowed, r.shown); len(set.keys) == 0 {
			return nil, 0, fmt.Errorf("none of its %d keys is for %s", len(keys), strings.Join(r.allowed, ", "))
		}
	}
	r.etag, r.modified, r.sum = a.Header.Get("ETag"), a.Header.Get("Last-Modified"), sum
	return set, age, nil
}

// bare is an error of net/http without the URL, which may have a secret in it.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return fmt.Errorf("no answer within %v", fetchTimeout)
		}
		return u.Err
	}
	return err
}

// maxAge is how long an answer is fresh (RFC 9111, section 5.2.2).
func maxAge(h http.Header, otherwise time.Duration) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return time.Duration(n) * time.Second
		}
	}
	return otherwise
}
