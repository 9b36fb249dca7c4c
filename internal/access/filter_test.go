package access

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/topic"
)

func TestCoversAndOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b             string
		covers, overlaps bool
	}{
		{"a", "a", true, true},
		{"a", "b", false, false},
		{"a/b", "a", false, false},
		{"a", "a/b", false, false},
		{"a/#", "a", true, true},
		{"a", "a/#", false, true},
		{"a/#", "a/b/c", true, true},
		{"a/#", "a/#", true, true},
		{"a/#", "a/+/#", true, true},
		{"a/+/#", "a/#", false, true},
		{"a/+/#", "a", false, false},
		{"a", "a/+/#", false, false},
		{"a/+", "a/#", false, true},
		{"a/+", "a/+", true, true},
		{"a/+", "a/b", true, true},
		{"a/b", "a/+", false, true},
		{"a/+", "a/b/c", false, false},
		{"a/+/c", "a/b/+", false, true},
		{"+/b", "a/+", false, true},
		{"#", "a", true, true},
		{"#", "#", true, true},
		{"#", "+/+", true, true},
		{"+/#", "#", true, true}, // every name has a first level
		{"#", "+/#", true, true},
		{"+/+/#", "#", false, true},
		{"+", "#", false, true},
		{"+/a", "/a", true, true},
		{"/+", "/", true, true},
		{"+", "/", false, false},
		{"/#", "+", false, false}, // the parent of /# would be the empty name
		{"+", "/#", false, false},
		{"+/+/#", "/#", true, true},
		{"/+/#", "/#", true, true},
		{"/#", "/+/#", true, true},
		{"/#", "/", true, true},
		{"#", "$SYS/a", false, false}, // [MQTT-4.7.2-1]
		{"#", "$SYS/#", false, false},
		{"+/a", "$SYS/a", false, false},
		{"$SYS/#", "#", false, false},
		{"$SYS/a", "+/a", false, false},
		{"$SYS/#", "$SYS/a", true, true},
		{"$SYS/#", "$SYS", true, true},
		{"$SYS/+", "$SYS/#", false, true},
		{"a/#", "a/$SYS", true, true}, // only the first level hides
		{"", "a", false, false},
		{"a", "", false, false},
	} {
		if got := covers([]byte(c.a), c.b); got != c.covers {
			t.Errorf("%q covers %q: %v", c.a, c.b, got)
		}
		if got := overlaps([]byte(c.a), c.b); got != c.overlaps {
			t.Errorf("%q overlaps %q: %v", c.a, c.b, got)
		}
	}
}

// names are all up to four levels of a few kinds, one of which is in no filter.
func names() []string {
	levels := []string{"a", "b", "", "$x", "other"}
	all := []string{}
	last := levels
	for range 4 {
		all = append(all, last...)
		var next []string
		for _, n := range last {
			for _, l := range levels {
				next = append(next, n+"/"+l)
			}
		}
		last = next
	}
	return all
}

// What covers and overlaps say of filters is so for every name.
func TestCoversAndOverlapsAgreeWithAllNames(t *testing.T) {
	all := names()
	filter := rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "+", "$x"}), 1, 3).Draw(t, "levels")
		if rapid.Bool().Draw(t, "hash") {
			levels = append(levels, "#")
		}
		if rapid.IntRange(0, 9).Draw(t, "alone") == 0 {
			return "#"
		}
		return strings.Join(levels, "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := filter.Draw(t, "a"), filter.Draw(t, "b")
		if a == "" || b == "" {
			return
		}
		covered, overlapped := true, false
		for _, n := range all {
			inA, inB := topic.Match(a, n), topic.Match(b, n)
			covered = covered && (inA || !inB)
			overlapped = overlapped || inA && inB
		}
		if got := covers([]byte(a), b); got != covered {
			t.Errorf("%q covers %q: %v, of all names %v", a, b, got, covered)
		}
		if got := overlaps([]byte(a), b); got != overlapped {
			t.Errorf("%q overlaps %q: %v, of all names %v", a, b, got, overlapped)
		}
		if overlaps([]byte(b), a) != overlapped {
			t.Errorf("%q overlaps %q, and not the other way round", a, b)
		}
		for _, n := range all { // a name is a filter
			if n != "" && covers([]byte(a), n) != topic.Match(a, n) {
				t.Errorf("%q covers the name %q: %v", a, n, covers([]byte(a), n))
			}
		}
	})
}
