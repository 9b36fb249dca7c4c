package limit

import (
	"fmt"
	"testing"
)

func TestHushHoldsBackWhatIsSaidAgain(t *testing.T) {
	var h Hush
	steps := []struct {
		now       int64
		who, what string
		say       bool
		held      int
	}{
		{0, "a", "x", true, 0},
		{1, "a", "x", false, 0},
		{2, "a", "y", true, 0},
		{2, "b", "x", true, 0},
		{3, "a", "x", false, 0},
		{hushFor, "a", "x", true, 2},
		{hushFor + 1, "a", "x", false, 0},
	}
	for i, s := range steps {
		if say, held := h.Say(s.now, s.who, s.what); say != s.say || held != s.held {
			t.Errorf("step %d: %v, %d; want %v, %d", i, say, held, s.say, s.held)
		}
	}
}

func TestHushRemembersSoManyAtMost(t *testing.T) {
	var h Hush
	said := 0
	for i := range 3 * maxHushed {
		if say, _ := h.Say(0, fmt.Sprint(i), "x"); say {
			said++
		}
	}
	if said != maxHushed || len(h.said) != maxHushed {
		t.Errorf("%d were said, %d are remembered, want %d", said, len(h.said), maxHushed)
	}
	if say, _ := h.Say(2*hushFor, "new", "x"); !say || len(h.said) != 1 {
		t.Errorf("later: %v, with %d remembered", say, len(h.said))
	}
}
