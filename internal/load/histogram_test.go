package load

import (
	"math"
	"testing"
	"time"
)

func TestBucketsAreNarrow(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 63, 64, 65, 127, 128, 129, 1000, 65535, 65536, 999_999, time.Millisecond, time.Second, 9 * time.Minute} {
		got := middle(bucket(d))
		if off := math.Abs(float64(got - d)); off > float64(d)/128+0.5 {
			t.Errorf("%d ns is told as %d ns", d, got)
		}
	}
}

func TestBucketsFollowOneAnother(t *testing.T) {
	for i := 1; i < buckets; i++ {
		if got := bucket(middle(i)); got != i {
			t.Fatalf("the middle of bucket %d, %d ns, falls into %d", i, middle(i), got)
		}
		if middle(i) <= middle(i-1) {
			t.Fatalf("bucket %d is not above the one before", i)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := func() []time.Duration {
		var list []time.Duration
		for i := range 100 {
			list = append(list, time.Duration(i+1))
		}
		return list
	}
	cases := map[string]struct {
		in   []time.Duration
		q    float64
		want time.Duration
	}{
		"nothing recorded":                   {nil, 0.5, 0},
		"one value is every quantile":        {[]time.Duration{40}, 0.999, 40},
		"the lowest":                         {hundred(), 0, 1},
		"the median":                         {hundred(), 0.5, 50},
		"the ninety-ninth of a hundred":      {hundred(), 0.99, 99},
		"the highest":                        {hundred(), 1, 100},
		"a negative one counts as none":      {[]time.Duration{-5}, 1, 0},
		"a slow one in a thousand shows":     {append(make([]time.Duration, 998), 50, 60), 0.999, 50},
		"more than the range is its highest": {[]time.Duration{time.Hour}, 1, middle(buckets - 1)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var h Histogram
			for _, d := range c.in {
				h.Record(d)
			}
			if got := h.Quantile(c.q); got != c.want {
				t.Errorf("Quantile(%g) = %d ns, want %d", c.q, got, c.want)
			}
			if h.Count() != uint64(len(c.in)) {
				t.Errorf("Count() = %d, want %d", h.Count(), len(c.in))
			}
		})
	}
}

func TestHistogramsAddUp(t *testing.T) {
	var a, b Histogram
	a.Record(time.Millisecond)
	b.Record(time.Second + 1)
	a.Add(&b)
	if got := a.Max(); a.Count() != 2 || got != time.Second+1 {
		t.Errorf("%d durations, the longest %v; want 2 and %v", a.Count(), got, time.Second+1)
	}
}
