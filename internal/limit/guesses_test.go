package limit

import (
	"net/netip"
	"testing"
	"time"
)

func TestTooManyGuessesAreNotLookedAt(t *testing.T) {
	g := NewGuesses(3)
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 3 {
		if w := g.Wait(here, "ann", 0); w != 0 {
			t.Fatalf("guess %d waits %v", i, w)
		}
		g.Wrong(here, "ann", time.Duration(i)*time.Second)
	}
	for _, c := range []struct {
		a    netip.Addr
		user string
		now  time.Duration
		want time.Duration
	}{
		{here, "ann", 10 * time.Second, 50 * time.Second},
		{here, "bob", 10 * time.Second, 0},
		{there, "ann", 10 * time.Second, 0},
		{here, "ann", time.Minute, 0},
	} {
		if w := g.Wait(c.a, c.user, c.now); w != c.want {
			t.Errorf("%v %s at %v: waits %v, want %v", c.a, c.user, c.now, w, c.want)
		}
	}
	g.Wrong(here, "ann", time.Minute)
	if w := g.Wait(here, "ann", time.Minute); w != 0 {
		t.Errorf("the first guess of another minute waits %v", w)
	}
	if g.SetMost(0); g.Wait(here, "ann", 10*time.Second) != 0 {
		t.Error("waits without a bound")
	}
}

func TestGuessesFromEverywhereAreForgotten(t *testing.T) {
	g := NewGuesses(1)
	first := netip.MustParseAddr("10.0.0.0")
	for a, i := first, 0; i < 3*maxGuesses; a, i = a.Next(), i+1 {
		g.Wrong(a, "ann", 0)
	}
	if n := len(g.young) + len(g.older); n > 2*maxGuesses {
		t.Errorf("%d are remembered", n)
	}
}
