package limit

import (
	"testing"
	"time"
)

// From whenever on, no more than the rate and one burst come.
func TestABucketKeepsItsRate(t *testing.T) {
	for _, r := range []Rate{1, 3, 10, 1000, 1 << 40} {
		var b Bucket
		now, came := At(1_790_000_000_000), int64(0)
		for i := range 10_000 {
			if b.Wait(now) == 0 {
				came++
				b.Take(r, 1, now)
			}
			now += time.Duration(i%7) * time.Millisecond
		}
		seconds := int64(30)                               // 10,000 × 3 ms
		if most := int64(r)*(seconds+1) + 1; came > most { // the burst, and one that went into debt
			t.Errorf("at %d a second %d came in %d s, want %d at most", r, came, seconds, most)
		}
		if least := min(10_000, int64(r)*(seconds-1)); came < least*99/100 {
			t.Errorf("at %d a second %d came in %d s, want %d at least", r, came, seconds, least)
		}
	}
}

func TestABucketOfWhatIsLarge(t *testing.T) {
	var b Bucket
	now := At(1_790_000_000_000)
	if wait := b.Take(1000, 10_000, now); wait != 9*time.Second {
		t.Errorf("wait %v, want 9s", wait)
	}
	b.Give(1000, 10_000)
	if left := b.Left(1000, now); left != 1000 {
		t.Errorf("%d left, want 1000", left)
	}
	if wait := b.Take(1, 1<<62, now); wait < 365*24*time.Hour {
		t.Errorf("wait %v", wait)
	}
	if wait := new(Bucket).Take(0, 1<<40, now); wait != 0 {
		t.Errorf("without a rate: wait %v", wait)
	}
}

func TestBucketsAllocateNothing(t *testing.T) {
	var b Bucket
	if n := testing.AllocsPerRun(100, func() { b.Take(10, 1, At(1)) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
