package breaker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
)

var errDown = errors.New("connection refused")

func down(context.Context) error { return errDown }
func up(context.Context) error   { return nil }

// hangs is a backend that never answers.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// log is what a breaker has logged.
func log(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("err = %v, want %v", err, target)
	}
}

func TestOpensAfterFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		b := New(Options{Name: "accounts", Failures: 3, Rest: time.Second, Logger: log(&said)})
		for range 2 {
			want(t, b.Do(t.Context(), down), errDown)
		}
		want(t, b.Do(t.Context(), up), nil) // the row begins anew
		for range 3 {
			want(t, b.Do(t.Context(), down), errDown)
		}
		asked := false
		ask := func(context.Context) error { asked = true; return nil }
		err := b.Do(t.Context(), ask)
		want(t, err, ErrOpen)
		if asked || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("asked: %v, err = %v", asked, err)
		}
		time.Sleep(time.Second)
		want(t, b.Do(t.Context(), down), errDown) // the trial
		want(t, b.Do(t.Context(), up), ErrOpen)
		time.Sleep(time.Second)
		want(t, b.Do(t.Context(), ask), nil)
		want(t, b.Do(t.Context(), up), nil)
		if n := strings.Count(said.String(), "\n"); n != 2 {
			t.Errorf("%d lines instead of one for each change:\n%s", n, said.String())
		}
		for _, part := range []string{"backend=accounts", "failures=3", "connection refused", "failed_for=2s"} {
			if !strings.Contains(said.String(), part) {
				t.Errorf("the log lacks %q:\n%s", part, said.String())
			}
		}
		f := Figures{Name: "accounts", Calls: 9, Failed: 6, Refused: 2, Opened: 2}
		if got := b.Figures(); got != f {
			t.Errorf("figures %+v\nwant    %+v", got, f)
		}
	})
}

func TestOneTriesForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Failures: 1, Rest: time.Second, Logger: log(new(bytes.Buffer))})
		want(t, b.Do(t.Context(), down), errDown)
		time.Sleep(time.Second)
		answer, trial := make(chan struct{}), make(chan error)
		go func() {
			trial <- b.Do(t.Context(), func(context.Context) error { <-answer; return nil })
		}()
		synctest.Wait()
		for range 10 {
			want(t, b.Do(t.Context(), up), ErrOpen)
		}
		close(answer)
		want(t, <-trial, nil)
		want(t, b.Do(t.Context(), up), nil)
	})
}

func TestATrialThatIsGivenUpLetsAnotherTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Failures: 1, Rest: time.Second, Logger: log(new(bytes.Buffer))})
		want(t, b.Do(t.Context(), down), errDown)
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		want(t, b.Do(ctx, hangs), context.Canceled)
		want(t, b.Do(t.Context(), up), nil)
		if f := b.Figures(); f.State != Closed || f.Failed != 1 {
			t.Errorf("figures %+v", f)
		}
	})
}

func TestASlowBackendOpensIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Timeout: time.Second, Failures: 1, Logger: log(new(bytes.Buffer))})
		start := time.Now()
		err := b.Do(t.Context(), hangs)
		want(t, err, context.DeadlineExceeded)
		if took := time.Since(start); took != time.Second || err.Error() != "no answer within 1s" {
			t.Errorf("%v after %v", err, took)
		}
		start = time.Now()
		want(t, b.Do(t.Context(), up), ErrOpen)
		if took := time.Since(start); took != 0 {
			t.Errorf("an open breaker took %v", took)
		}
		if f := b.Figures(); f.Failed != 1 || f.Late != 1 || f.Refused != 1 {
			t.Errorf("figures %+v", f)
		}
	})
}

// Those who wait for a place hear at once that there is no hope.
func TestWhoWaitsHearsThatItOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Timeout: 10 * time.Second, Concurrent: 2, Failures: 1, Logger: log(new(bytes.Buffer))})
		answer := make(chan error)
		var first, waiting sync.WaitGroup
		for range 2 {
			first.Go(func() { want(t, b.Do(t.Context(), func(context.Context) error { return <-answer }), errDown) })
		}
		synctest.Wait()
		start := time.Now()
		for range 100 {
			waiting.Go(func() { want(t, b.Do(t.Context(), up), ErrOpen) })
		}
		synctest.Wait()
		answer <- errDown
		waiting.Wait()
		answer <- errDown
		first.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("they waited %v", took)
		}
	})
}

func TestConcurrentCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Timeout: time.Second, Concurrent: 3})
		var mu sync.Mutex
		now, most := 0, 0
		slow := func(context.Context) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(400 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		var group sync.WaitGroup
		var busy int
		for range 12 {
			group.Go(func() {
				if err := b.Do(t.Context(), slow); err != nil {
					want(t, err, ErrBusy)
					mu.Lock()
					busy++
					mu.Unlock()
				}
			})
		}
		group.Wait()
		if most != 3 || busy != 3 { // three rounds begin within a second
			t.Errorf("%d at a time, %d too many", most, busy)
		}
		if f := b.Figures(); f.Busy != 3 || f.Calls != 9 || f.Failed != 0 || f.Waiting != 0 {
			t.Errorf("figures %+v", f)
		}
	})
}

func TestWhoGivesUpWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Concurrent: 1, Timeout: time.Minute})
		go func() { _ = b.Do(t.Context(), hangs) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		want(t, b.Do(ctx, up), context.DeadlineExceeded)
	})
}

// A call that began before the breaker opened says nothing about later.
func TestLateAnswersChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Failures: 1, Logger: log(new(bytes.Buffer))})
		answer, done := make(chan error), make(chan error)
		go func() { done <- b.Do(t.Context(), func(context.Context) error { return <-answer }) }()
		synctest.Wait()
		want(t, b.Do(t.Context(), down), errDown)
		answer <- nil
		want(t, <-done, nil)
		want(t, b.Do(t.Context(), up), ErrOpen)
	})
}

func TestAPanicGivesThePlaceBack(t *testing.T) {
	b := New(Options{Concurrent: 1})
	func() {
		defer func() { _ = recover() }()
		_ = b.Do(t.Context(), func(context.Context) error { panic("ours") })
	}()
	want(t, b.Do(t.Context(), up), nil)
}

// While a call waits for its answer, somebody else may sit down.
func TestWhoWaitsGivesUpItsSeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seats := make(chan struct{}, 1)
		seats <- struct{}{}
		b := New(Options{Concurrent: 1})
		ctx := access.WithSeats(t.Context(), seats)
		answer, done := make(chan struct{}), make(chan error)
		go func() { done <- b.Do(ctx, func(context.Context) error { <-answer; return nil }) }()
		synctest.Wait()
		seats <- struct{}{} // blocks for ever if the seat is not free
		close(answer)
		synctest.Wait()
		select {
		case <-done:
			t.Error("it went on without a seat")
		default:
		}
		<-seats
		want(t, <-done, nil)
		if len(seats) != 1 {
			t.Errorf("%d seats are taken, want its own", len(seats))
		}
	})
}

func BenchmarkClosed(b *testing.B) {
	k := New(Options{})
	for b.Loop() {
		_ = k.Do(b.Context(), up)
	}
}

func BenchmarkOpen(b *testing.B) {
	k := New(Options{Failures: 1, Rest: time.Hour, Logger: log(new(bytes.Buffer))})
	_ = k.Do(b.Context(), down)
	for b.Loop() {
		_ = k.Do(b.Context(), up)
	}
}
