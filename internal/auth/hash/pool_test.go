package hash

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func hexOf(algorithm, text string) string {
	switch algorithm {
	case "md5":
		sum := md5.Sum([]byte(text))
		return hex.EncodeToString(sum[:])
	case "sha1":
		sum := sha1.Sum([]byte(text))
		return hex.EncodeToString(sum[:])
	case "sha256":
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	default:
		sum := sha512.Sum512([]byte(text))
		return hex.EncodeToString(sum[:])
	}
}

// gauge is a form that tells how many are at work, and waits to be let go.
type gauge struct {
	begun chan struct{}
	end   chan struct{}
	now   *atomic.Int32
	most  *atomic.Int32
}

func newGauge() gauge {
	return gauge{begun: make(chan struct{}, 100), end: make(chan struct{}), now: new(atomic.Int32), most: new(atomic.Int32)}
}

func (g gauge) fits([]byte) bool {
	n := g.now.Add(1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
	g.begun <- struct{}{}
	<-g.end
	g.now.Add(-1)
	return true
}

func (g gauge) hash(lanes uint32) Hash { return Hash{form: g, lanes: lanes, slow: true} }

func TestThePoolBoundsWhatRunsAndWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g := NewPool(2, 3), newGauge()
		answers := make(chan error, 10)
		for range 5 {
			go func() { // ends when the gauge lets it go
				_, err := p.Check(t.Context(), g.hash(1), nil)
				answers <- err
			}()
		}
		synctest.Wait()
		if f := p.Figures(); f.Running != 2 || f.Waiting != 3 || len(g.begun) != 2 {
			t.Errorf("%+v, and %d have begun", f, len(g.begun))
		}
		if _, err := p.Check(t.Context(), g.hash(1), nil); !errors.Is(err, ErrBusy) {
			t.Errorf("the sixth: %v", err)
		}
		quick, err := Column{Algorithm: "plain"}.Parse("x", "")
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Check(t.Context(), quick, []byte("x")); !ok || err != nil {
			t.Errorf("what takes no time waits: %v, %v", ok, err)
		}
		close(g.end)
		synctest.Wait()
		for range 5 {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		if f := p.Figures(); f != (Figures{Size: 2, Checked: 5, Refused: 1}) || g.most.Load() != 2 {
			t.Errorf("%+v, %d at once", f, g.most.Load())
		}
	})
}

func TestAHashOfSeveralLanesTakesAsManySeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g := NewPool(4, 0), newGauge()
		answers := make(chan error, 10)
		check := func(lanes uint32) {
			go func() {
				_, err := p.Check(t.Context(), g.hash(lanes), nil)
				answers <- err
			}()
			synctest.Wait()
		}
		check(3)
		check(16) // takes the whole pool, and waits for it
		check(1)  // waits too: it came later
		if f := p.Figures(); f.Running != 3 || f.Waiting != 2 {
			t.Errorf("%+v", f)
		}
		g.end <- struct{}{}
		synctest.Wait()
		if f := p.Figures(); f.Running != 4 || f.Waiting != 1 {
			t.Errorf("after the first: %+v", f)
		}
		close(g.end)
		for range 3 {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWhoHasWaitedLongIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g := NewPool(2, 0), newGauge()
		first, second := make(chan error), make(chan error)
		go func() {
			_, err := p.Check(t.Context(), g.hash(1), nil)
			first <- err
		}()
		synctest.Wait()
		start := time.Now()
		go func() {
			_, err := p.Check(t.Context(), g.hash(2), nil)
			second <- err
		}()
		synctest.Wait()
		// It stands behind the one that needs two seats, and gets its own when
		// that one gives up.
		third := make(chan error)
		<-time.After(time.Second)
		go func() {
			_, err := p.Check(t.Context(), g.hash(1), nil)
			third <- err
		}()
		if err := <-second; !errors.Is(err, ErrBusy) || time.Since(start) != Patience {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if f := p.Figures(); f.Running != 2 || f.Waiting != 0 || f.Refused != 1 {
			t.Errorf("%+v", f)
		}
		close(g.end)
		if err := errors.Join(<-first, <-third); err != nil {
			t.Error(err)
		}
	})
}

func TestWhoIsGoneWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g := NewPool(1, 0), newGauge()
		done := make(chan error)
		go func() {
			_, err := p.Check(t.Context(), g.hash(1), nil)
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Check(ctx, g.hash(1), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if f := p.Figures(); f.Waiting != 0 || f.Refused != 0 {
			t.Errorf("%+v", f)
		}
		close(g.end)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAPoolLeavesHalfOfTheProcessors(t *testing.T) {
	if f := NewPool(0, 0).Figures(); f.Size < 1 {
		t.Errorf("%+v", f)
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, k := range Kinds() {
		b.Run(string(k), func(b *testing.B) {
			text, err := New(k, []byte("pencil"))
			if err != nil {
				b.Fatal(err)
			}
			h, err := Parse(text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if !Check(h, []byte("pencil")) {
					b.Fatal("does not fit")
				}
			}
		})
	}
}
