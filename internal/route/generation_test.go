package route

import (
	"slices"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/topic"
)

func TestGenerationStaysForNamesThatAreNotConcerned(t *testing.T) {
	// Two slots may fall together by the seed: that is allowed, but not always.
	cases := map[string]struct {
		filter string
		names  []string
	}{
		"exact filter":                 {"a/b/c", []string{"a/b/d", "a/b", "a", "b", "$SYS/x"}},
		"two literal levels":           {"a/b/+", []string{"a/c/d", "a", "b/b"}},
		"more literal levels":          {"a/b/c/#", []string{"a/c/d", "a"}},
		"one literal level":            {"a/#", []string{"b", "b/a", "$SYS/a"}},
		"leading wildcard and $ names": {"#", []string{"$SYS/x", "$SYS"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, other := range c.names {
				moved := 0
				for range 5 {
					x := NewIndex()
					before := x.Generation([]byte(other))
					x.Subscribe(filter(t, c.filter), 1, Options{})
					if x.Generation([]byte(other)) != before {
						moved++
					}
				}
				if moved == 5 {
					t.Errorf("%s changes the generation of %s", c.filter, other)
				}
			}
		})
	}
}

func TestGenerationChangesForNamesThatMatch(t *testing.T) {
	x := NewIndex()
	for _, name := range []string{"a", "a/b", "a/b/c", "a/b/c/d", "/", "/a/b", "a//b/", "$SYS", "$SYS/a/b"} {
		for _, f := range filtersThatMatch(t, name) {
			first := x.Generation([]byte(name))
			x.Subscribe(f, 1, Options{})
			second := x.Generation([]byte(name))
			x.Unsubscribe(f, 1)
			if third := x.Generation([]byte(name)); first == second || second == third {
				t.Errorf("generations of %s as %s comes and goes: %d, %d, %d", name, f.Path, first, second, third)
			}
		}
	}
}

// filtersThatMatch are all the filters that match a name.
func filtersThatMatch(t *testing.T, name string) []topic.Filter {
	var out []topic.Filter
	levels := strings.Split(name, "/")
	for plus := range 1 << len(levels) {
		path := slices.Clone(levels)
		for i := range path {
			if plus>>i&1 == 1 {
				path[i] = "+"
			}
		}
		for n := range len(path) + 1 {
			out = append(out, filter(t, strings.Join(append(slices.Clone(path[:n]), "#"), "/")))
		}
		out = append(out, filter(t, strings.Join(path, "/")))
	}
	return slices.DeleteFunc(out, func(f topic.Filter) bool { return !topic.Match(f.Path, name) })
}

func TestGenerationChangesWithTheOptions(t *testing.T) {
	x, f := NewIndex(), filter(t, "a/+")
	x.Subscribe(f, 1, Options{})
	before := x.Generation([]byte("a/b"))
	x.Subscribe(f, 1, Options{QoS: 1})
	if x.Generation([]byte("a/b")) == before {
		t.Error("a changed QoS leaves the generation as it was")
	}
}
