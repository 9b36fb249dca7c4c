package cli

import (
	"testing"
	"time"
)

func TestPaceOfCollections(t *testing.T) {
	now := time.Now()
	p := pace{percent: 100, last: now}
	const little, much = 2 << 20, 40 << 20
	for i, c := range []struct {
		after time.Duration
		live  uint64
		want  int
	}{
		{10 * time.Millisecond, little, 200},
		{10 * time.Millisecond, little, 400},
		{10 * time.Millisecond, little, 800},
		{10 * time.Millisecond, little, 800},
		{time.Second, little, 800},
		{10 * time.Millisecond, 10 << 20, 200},
		{10 * time.Millisecond, much, 100},
		{10 * time.Millisecond, little, 200},
		{3 * time.Second, little, 100},
	} {
		now = now.Add(c.after)
		if p.percent = p.next(now, c.live); p.percent != c.want {
			t.Errorf("step %d: %d per cent, want %d", i, p.percent, c.want)
		}
	}
}
