package route

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fantail-mqtt/fantail/topic"
)

// crowd makes more changes to one filter than are remembered, so that counters
// have to decide.
func crowd(t *testing.T, x *Index, path string) {
	f := filter(t, path)
	for range recentChanges + 1 {
		x.Subscribe(f, 7, Options{})
	}
}

func TestMatchHoldsForNamesThatAreNotConcerned(t *testing.T) {
	cases := map[string]struct {
		filter string
		names  []string
		anyway []string // though there were so many changes that only counters are left
	}{
		"exact filter":                 {"a/b/c", []string{"a/b/d", "a/b", "a", "b", "$SYS/x"}, []string{"a/b/d", "a/b", "a", "b", "$SYS/x"}},
		"two literal levels":           {"a/b/+", []string{"a/c/d", "a", "b/b", "a/b", "a/b/c/d"}, []string{"a/c/d", "a", "b/b"}},
		"more literal levels":          {"a/b/c/#", []string{"a/c/d", "a", "a/b", "a/b/d"}, []string{"a/c/d", "a"}},
		"one literal level":            {"a/#", []string{"b", "b/a", "$SYS/a"}, []string{"b", "b/a", "$SYS/a"}},
		"literal behind a wildcard":    {"a/+/c", []string{"a/b/d", "a/b", "a/b/c/d", "b/b/c"}, []string{"b/b/c"}},
		"leading wildcard":             {"+/+/c", []string{"a/b/d", "a/b", "a/b/c/d"}, nil},
		"leading wildcard and $ names": {"#", []string{"$SYS/x", "$SYS"}, []string{"$SYS/x", "$SYS"}},
		"a difference in level eight":  {"1/2/3/4/5/6/7/8", []string{"1/2/3/4/5/6/7/9"}, []string{"1/2/3/4/5/6/7/9"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, other := range c.names {
				stays(t, other, c.filter, func(x *Index) { x.Subscribe(filter(t, c.filter), 1, Options{}) })
			}
			for _, other := range c.anyway {
				stays(t, other, c.filter, func(x *Index) { crowd(t, x, c.filter) })
			}
		})
	}
}

// stays checks that what was found for a name holds after a change. Two slots or
// shapes may fall together, by the seed: that is allowed, but not always.
func stays(t *testing.T, name, path string, change func(*Index)) {
	t.Helper()
	for range 5 {
		x := NewIndex()
		m := x.Mark([]byte(name))
		change(x)
		if x.Holds(&m, []byte(name)) {
			return
		}
	}
	t.Errorf("what matches %s does not hold when %s changes", name, path)
}

func TestMatchDoesNotHoldForNamesThatMatch(t *testing.T) {
	x := NewIndex()
	for _, name := range []string{"a", "a/b", "a/b/c", "a/b/c/d", "/", "/a/b", "a//b/", "$SYS", "$SYS/a/b", "1/2/3/4/5/6/7/8"} {
		for _, f := range filtersThatMatch(t, name) {
			for _, far := range []bool{false, true} {
				m := x.Mark([]byte(name))
				x.Subscribe(f, 1, Options{})
				if far {
					crowd(t, x, "other/+/filter")
				}
				if x.Holds(&m, []byte(name)) {
					t.Errorf("what matches %s holds though %s has come", name, f.Path)
				}
				m = x.Mark([]byte(name))
				x.Unsubscribe(f, 1)
				if far {
					crowd(t, x, "other/+/filter")
				}
				if x.Holds(&m, []byte(name)) {
					t.Errorf("what matches %s holds though %s has gone", name, f.Path)
				}
			}
		}
	}
}

// TestNothingStaleHolds has readers beside a writer: what the writer has finished
// has to be in what a reader says to hold.
func TestNothingStaleHolds(t *testing.T) {
	x := NewIndex()
	name := "a/b"
	mine := filter(t, "a/+")
	x.Subscribe(mine, 1, Options{})
	var finished atomic.Uint32
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() { // ends with stop
			m := x.Mark([]byte(name))
			rows, _ := x.Match(name, plenty, nil)
			for {
				select {
				case <-stop:
					return
				default:
				}
				want := finished.Load()
				if !x.Holds(&m, []byte(name)) {
					m = x.Mark([]byte(name))
					rows, _ = x.Match(name, plenty, rows[:0])
				}
				if rows[0].ID < want {
					t.Errorf("change %d is said to hold after change %d", rows[0].ID, want)
					return
				}
			}
		})
	}
	var others []topic.Filter
	for i := range 3 * recentChanges {
		others = append(others, filter(t, fmt.Sprintf("other/+/%d", i)))
	}
	for i := uint32(1); i <= 2000; i++ {
		x.Subscribe(mine, 1, Options{ID: i})
		finished.Store(i)
		for _, f := range others[:i%uint32(len(others))] {
			x.Subscribe(f, 2, Options{})
		}
	}
	close(stop)
	readers.Wait()
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

func TestMatchDoesNotHoldWithOtherOptions(t *testing.T) {
	x, f := NewIndex(), filter(t, "a/+")
	x.Subscribe(f, 1, Options{})
	m := x.Mark([]byte("a/b"))
	x.Subscribe(f, 1, Options{QoS: 1})
	if x.Holds(&m, []byte("a/b")) {
		t.Error("what was found holds though the QoS has changed")
	}
}
