// Package breaker keeps a backend that does not answer from holding up the
// clients who ask for it.
//
// A [Breaker] stands between a step of the authentication and its backend. It
// lets a bounded number of calls through at a time, each for a bounded time;
// the others wait for a place. A call that fails or takes too long counts, and
// after some of those in a row the breaker opens: nobody is let through, and
// everybody, those who wait too, hears so at once. After a rest one caller
// tries for all. If the backend answers it, the breaker closes; if not, it
// rests again.
//
// Whoever waits gives up its seat among those who work (access.Rise), so that a
// slow backend holds up nobody but those who ask for it.
package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// What Do returns without having asked the backend.
var (
	// ErrOpen says that the backend failed too often and is left alone.
	ErrOpen = errors.New("not asked: it failed too often")
	// ErrBusy says that no place came free in time.
	ErrBusy = errors.New("not asked: too many calls wait for it")
)

// Options of a breaker. What is 0 has its default.
type Options struct {
	// Name is what the log calls the backend: it holds no secret.
	Name string
	// Timeout bounds a call, and before it the wait for a place. Default: 5s.
	Timeout time.Duration
	// Concurrent calls are under way at most. Default: 16.
	Concurrent int
	// Failures in a row open the breaker. Default: 5.
	Failures int
	// Rest is how long it stays open before somebody tries. Default: 5s.
	Rest time.Duration
	// Logger hears once of each change. nil: slog's default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Concurrent <= 0 {
		o.Concurrent = 16
	}
	if o.Failures <= 0 {
		o.Failures = 5
	}
	if o.Rest <= 0 {
		o.Rest = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Breaker bounds the calls of one backend. Any number of goroutines may use it.
type Breaker struct {
	o      Options
	places chan struct{} // one for each call under way

	mu      sync.Mutex // guards the rest; held for memory work only
	state   State
	era     uint64        // counts changes of state: a call belongs to that in which it began
	run     int           // failures in a row
	until   time.Time     // open: when somebody may try
	since   time.Time     // when the backend failed first, of this outage
	why     error         // not closed: what callers hear
	opened  chan struct{} // closed when the breaker opens
	figures Figures
}

// New makes a breaker, which is closed: calls go through.
func New(o Options) *Breaker {
	o = o.withDefaults()
	return &Breaker{o: o, places: make(chan struct{}, o.Concurrent), opened: make(chan struct{})}
}

// Do calls the backend with f, which heeds its context and is no longer called
// once Do returns. An error of f counts against the backend, so f returns nil
// where the backend has answered, whatever the answer was. The error of f is
// returned and, if the breaker opens, told to others and logged: it must not
// hold a secret. A call that its own caller has given up counts for nothing.
func (b *Breaker) Do(ctx context.Context, f func(ctx context.Context) error) error {
	if err := b.closed(); err != nil {
		return err
	}
	defer access.Rise(ctx)()
	p, err := b.enter(ctx)
	if err != nil {
		return err
	}
	failed := errors.New("the call ended in a panic")
	defer func() { b.leave(ctx, p, failed) }()
	timed, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	failed = f(timed)
	if failed != nil && ctx.Err() == nil && timed.Err() != nil {
		failed = &late{after: b.o.Timeout, err: failed}
	}
	return failed
}

// late is the error of a call that took too long. It says so in words of its
// own.
type late struct {
	after time.Duration
	err   error
}

func (l *late) Error() string { return fmt.Sprintf("no answer within %v", l.after) }
func (l *late) Unwrap() error { return l.err }

// closed returns the error of a breaker that lets nobody through, without
// giving up the seat for it.
func (b *Breaker) closed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Closed || b.state == Open && !time.Now().Before(b.until) {
		return nil
	}
	b.figures.Refused++
	return b.why
}

// pass is what a caller has been let through with.
type pass struct {
	era   uint64
	trial bool // it is the one that tries for all, and needs no place
}

// enter lets a caller through, which may have to wait.
func (b *Breaker) enter(ctx context.Context) (pass, error) {
	var patience <-chan time.Time
	for {
		p, opened, err := b.ask()
		if err != nil || p.trial {
			return p, err
		}
		if patience == nil {
			timer := time.NewTimer(b.o.Timeout)
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case b.places <- struct{}{}:
			if b.holds(p) {
				return p, nil
			}
			<-b.places // it has changed meanwhile: ask again
		case <-opened:
		case <-patience:
			return pass{}, b.busy()
		case <-ctx.Done():
			return pass{}, ctx.Err()
		}
	}
}

// ask says whether a caller may go on as things are.
func (b *Breaker) ask() (p pass, opened <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.state == Open && !time.Now().Before(b.until):
		b.state = Trying
		b.era++
		return pass{era: b.era, trial: true}, nil, nil
	case b.state != Closed:
		b.figures.Refused++
		return pass{}, nil, b.why
	default:
		return pass{era: b.era}, b.opened, nil
	}
}

// holds says whether a pass is still one.
func (b *Breaker) holds(p pass) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.era == b.era
}

func (b *Breaker) busy() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.figures.Busy++
	return fmt.Errorf("%w, for %v", ErrBusy, b.o.Timeout)
}

// leave takes in how a call ended.
func (b *Breaker) leave(ctx context.Context, p pass, err error) {
	if !p.trial {
		defer func() { <-b.places }() // once it is known what comes of it
	}
	given := err != nil && ctx.Err() != nil
	b.mu.Lock()
	defer b.mu.Unlock()
	b.figures.Calls++
	if err != nil && !given {
		b.figures.Failed++
		if _, is := errors.AsType[*late](err); is {
			b.figures.Late++
		}
	}
	switch {
	case p.era != b.era: // it began before the last change, and says nothing about now
	case given && p.trial:
		b.state = Open // somebody else may try at once
	case given:
	case err != nil:
		b.fail(p, err)
	default:
		b.work(p)
	}
}

// fail takes in a failure.
func (b *Breaker) fail(p pass, err error) {
	if b.run == 0 {
		b.since = time.Now()
	}
	b.run++
	b.why = fmt.Errorf("%w: %w", ErrOpen, err)
	if !p.trial && b.run < b.o.Failures {
		return
	}
	b.state, b.until = Open, time.Now().Add(b.o.Rest)
	b.era++
	b.figures.Opened++
	if p.trial {
		return // it has been said
	}
	close(b.opened)
	b.o.Logger.Warn("a backend of the authentication fails: who needs it is refused at once until it answers again",
		slog.String("backend", b.o.Name), slog.Int("failures", b.run), slog.Any("err", err), slog.Duration("next_try", b.o.Rest))
}

// work takes in a success.
func (b *Breaker) work(p pass) {
	b.run = 0
	if !p.trial {
		return
	}
	b.state, b.opened = Closed, make(chan struct{})
	b.era++
	b.o.Logger.Info("a backend of the authentication answers again",
		slog.String("backend", b.o.Name), slog.Duration("failed_for", time.Since(b.since).Round(time.Millisecond)))
}
