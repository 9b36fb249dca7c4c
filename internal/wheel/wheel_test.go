package wheel

import (
	"testing"
	"testing/synctest"
	"time"
)

type owner struct {
	entry Entry
	asked []time.Duration // since start
	start time.Time
	next  func() int64
}

func (o *owner) Timer() *Entry { return &o.entry }

func (o *owner) Due(int64) int64 {
	o.asked = append(o.asked, time.Since(o.start))
	if o.next == nil {
		return 0
	}
	return o.next()
}

func in(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }

func TestDueNeverEarlyAndWithinTheResolution(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, 99 * time.Millisecond, time.Second, 101 * time.Second, 103 * time.Second, time.Hour, 300 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := New()
			defer w.Close()
			o := &owner{start: time.Now()}
			w.Set(o, in(d))
			time.Sleep(d + Resolution*time.Millisecond)
			synctest.Wait()
			if len(o.asked) != 1 || o.asked[0] < d || o.asked[0] > d+Resolution*time.Millisecond {
				t.Errorf("after %v: asked at %v", d, o.asked)
			}
		})
	}
}

func TestStopAndSetAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		stopped, moved := &owner{start: time.Now()}, &owner{start: time.Now()}
		w.Set(stopped, in(time.Second))
		w.Set(moved, in(time.Second))
		w.Stop(stopped)
		w.Set(moved, in(5*time.Second))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(stopped.asked) != 0 {
			t.Errorf("a stopped entry was asked at %v", stopped.asked)
		}
		if len(moved.asked) != 1 || moved.asked[0] < 5*time.Second {
			t.Errorf("a moved entry was asked at %v, want once, 5 s", moved.asked)
		}
	})
}

func TestOwnerPutsItOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		o := &owner{start: time.Now()}
		o.next = func() int64 {
			if len(o.asked) == 3 {
				return 0
			}
			return in(time.Second)
		}
		w.Set(o, in(time.Second))
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(o.asked) != 3 {
			t.Errorf("asked %d times, want 3: %v", len(o.asked), o.asked)
		}
	})
}

func TestAnEarlierEntryWakesTheWheel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		late, early := &owner{start: time.Now()}, &owner{start: time.Now()}
		w.Set(late, in(time.Minute))
		synctest.Wait() // the goroutine sleeps until the minute
		w.Set(early, in(time.Second))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(early.asked) != 1 {
			t.Errorf("asked %d times after 2 s, want 1", len(early.asked))
		}
	})
}

// What By asks for holds beside what Due returns at the same time: the earlier of
// both is when the owner is asked again.
func TestByKeepsTheEarlier(t *testing.T) {
	for _, c := range []struct{ by, next, want time.Duration }{
		{by: 3 * time.Second, next: 8 * time.Second, want: 3 * time.Second},
		{by: 8 * time.Second, next: 3 * time.Second, want: 3 * time.Second},
		{by: 3 * time.Second, next: 0, want: 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := New()
			defer w.Close()
			o := &owner{start: time.Now()}
			o.next = func() int64 {
				o.next = nil
				now := time.Now()
				w.By(o, now.Add(c.by).UnixMilli())
				if c.next == 0 {
					return 0
				}
				return now.Add(c.next).UnixMilli()
			}
			w.By(o, in(time.Second))
			w.By(o, in(time.Minute)) // it waits for something earlier
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if len(o.asked) != 2 || (o.asked[1]-o.asked[0]).Round(time.Second) != c.want {
				t.Errorf("asked at %v, want again after %v", o.asked, c.want)
			}
		})
	}
}
