package route

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/topic"
)

// walkAll collects what a walk yields, in steps of a budget.
func walkAll[V any](t testing.TB, r *Retained[V], path string, budget int, now int64) []string {
	t.Helper()
	var names []string
	c := r.Iterate(path)
	for range 1_000_000 {
		if r.Next(&c, budget, now, func(name string, _ V) bool { names = append(names, name); return true }) {
			return names
		}
	}
	t.Fatalf("the walk of %s does not end", path)
	return nil
}

func TestRetainedSetGetDelete(t *testing.T) {
	r := NewRetained[string]()
	if _, ok := r.Get("a", 0); ok {
		t.Error("an empty store has a value")
	}
	if _, had := r.Set("a", "one", 0); had {
		t.Error("the first value replaced one")
	}
	if old, had := r.Set("a", "two", 0); !had || old != "one" {
		t.Errorf("replaced %q, %v", old, had)
	}
	if v, ok := r.Get("a", 1<<60); !ok || v != "two" {
		t.Errorf("got %q, %v", v, ok)
	}
	if r.Len() != 1 {
		t.Errorf("%d values, want 1", r.Len())
	}
	if old, had := r.Delete("a"); !had || old != "two" {
		t.Errorf("deleted %q, %v", old, had)
	}
	if _, had := r.Delete("a"); had || r.Len() != 0 {
		t.Error("it is still there")
	}
}

func TestRetainedWalk(t *testing.T) {
	names := []string{"a", "a!", "a/", "a/!", "a/b", "a/b!", "a/b/c", "a/b!/c", "a/c/c", "b", "b/b", "/", "/b", "//", "$SYS", "$SYS/a", "%", "\u00e9"}
	cases := map[string][]string{
		"a":      {"a"},
		"x":      nil,
		"a/b":    {"a/b"},
		"$SYS":   {"$SYS"},
		"a/#":    {"a", "a/", "a/!", "a/b", "a/b/c", "a/b!", "a/b!/c", "a/c/c"},
		"a/b/#":  {"a/b", "a/b/c"},
		"a/+":    {"a/", "a/!", "a/b", "a/b!"},
		"+/b":    {"/b", "a/b", "b/b"},
		"+/+/c":  {"a/b/c", "a/b!/c", "a/c/c"},
		"+":      {"%", "a", "a!", "b", "\u00e9"},
		"/+":     {"/", "/b"},
		"$SYS/#": {"$SYS", "$SYS/a"},
		"$SYS/+": {"$SYS/a"},
		"a/+/#":  {"a/", "a/!", "a/b", "a/b/c", "a/b!", "a/b!/c", "a/c/c"},
		"+/a/#":  nil,
		"z/#":    nil,
		"#":      {"/", "//", "/b", "%", "a", "a/", "a/!", "a/b", "a/b/c", "a/b!", "a/b!/c", "a/c/c", "a!", "b", "b/b", "\u00e9"},
	}
	r := NewRetained[int]()
	for i, n := range names {
		r.Set(n, i, 0)
	}
	for path, want := range cases {
		for _, budget := range []int{1, 2, 1000} {
			if got := walkAll(t, r, path, budget, 0); !slices.Equal(got, want) {
				t.Errorf("%s by %d: %q, want %q", path, budget, got, want)
			}
		}
	}
	var all []string
	c := r.IterateAll()
	for !r.Next(&c, 3, 0, func(name string, _ int) bool { all = append(all, name); return true }) {
	}
	if slices.Sort(all); !slices.Equal(all, slices.Sorted(slices.Values(names))) {
		t.Errorf("IterateAll: %q", all)
	}
}

func TestRetainedYieldThatStopsIsGoneOnFrom(t *testing.T) {
	r := NewRetained[int]()
	for i := range 100 {
		r.Set(fmt.Sprintf("a/%03d", i), i, 0)
	}
	c := r.Iterate("a/+")
	var got []int
	steps := 1
	for !r.Next(&c, plenty, 0, func(_ string, v int) bool { got = append(got, v); return len(got)%7 != 0 }) {
		steps++
	}
	for i, v := range got {
		if i != v {
			t.Fatalf("value %d is %d: %v", i, v, got)
		}
	}
	if len(got) != 100 || steps < 14 {
		t.Errorf("%d values in %d steps, want 100 in 14 or more", len(got), steps)
	}
	if !r.Next(&c, 10, 0, func(string, int) bool { t.Error("a walk that was done yields"); return true }) {
		t.Error("a walk that was done is not")
	}
}

func TestRetainedBudgetCountsNamesLookedAt(t *testing.T) {
	r := NewRetained[int]()
	for i := range 1000 {
		r.Set(fmt.Sprintf("a/%04d/x", i), i, 0)
	}
	c := r.Iterate("+/+/nothing")
	steps := 1
	for !r.Next(&c, 10, 0, func(name string, _ int) bool { t.Errorf("%s matches", name); return true }) {
		steps++
	}
	if steps < 90 || steps > 210 {
		t.Errorf("a walk past 1,000 names in steps of 10 took %d", steps)
	}
	c = r.Iterate("a/0007/x")
	if r.Next(&c, 0, 0, func(string, int) bool { t.Error("yielded without a budget"); return true }) {
		t.Error("done without a budget")
	}
}

func TestRetainedWalkJumps(t *testing.T) {
	r := NewRetained[int]()
	for i := range 100_000 {
		r.Set(fmt.Sprintf("acme/site%02d/dev%05d/temp", i%100, i), i, 0)
	}
	for i := range 1000 {
		r.Set(fmt.Sprintf("$SYS/broker/%d", i), i, 0)
	}
	for path, most := range map[string]int{"+/none": 5, "$SYS/broker/7/#": 3, "acme/+/dev00007/temp": 310, "acme/site07/#": 1010, "acme/+/none/temp": 310, "zebra/#": 2, "$SYS/none/#": 2, "+/site07": 5} {
		c := r.Iterate(path)
		if !r.Next(&c, most, 0, func(string, int) bool { return true }) {
			t.Errorf("%s looks at more than %d names", path, most)
		}
	}
}

func TestRetainedExpiry(t *testing.T) {
	r := NewRetained[int]()
	if next := r.Expired(1000, 10, nil); next != 0 {
		t.Errorf("an empty store wants to be called at %d", next)
	}
	r.Set("for ever", 0, 0)
	for i := range 100 {
		r.Set(fmt.Sprintf("a/%d", i), i, int64(1000+i))
	}
	if next := r.Expired(999, 1000, nil); next != 1000 {
		t.Errorf("next is %d, want 1000", next)
	}
	if _, ok := r.Get("a/5", 1005); ok {
		t.Error("a value outlives its end")
	}
	if _, ok := r.Get("a/5", 1004); !ok {
		t.Error("a value is gone before its end")
	}
	if got := walkAll(t, r, "#", 1000, 1049); len(got) != 51 {
		t.Errorf("a walk yields %d values, want 50 that live and one for ever", len(got))
	}
	r.Set("a/0", 0, 5000)
	r.Set("a/1", 1, 0)
	r.Delete("a/2")
	r.Set("a/99", 99, 1)
	var gone []int
	take := func(_ string, v int) { gone = append(gone, v) }
	if next := r.Expired(1049, 40, take); next != 1042 || len(gone) != 40 {
		t.Errorf("with a budget of 40: %d gone, next %d, want 1042", len(gone), next)
	}
	if next := r.Expired(1049, 1000, take); next != 1050 {
		t.Errorf("next is %d, want 1050", next)
	}
	slices.Sort(gone)
	want := []int{99}
	for i := 3; i < 50; i++ {
		want = append(want, i)
	}
	slices.Sort(want)
	if !slices.Equal(gone, want) {
		t.Errorf("gone: %v, want %v", gone, want)
	}
	if next := r.Expired(1<<40, plenty, take); next != 0 || r.Len() != 2 {
		t.Errorf("at the end of time next is %d and %d values are left, want 0 and 2", next, r.Len())
	}
}

type keptModel struct {
	v       int
	expires int64
}

func TestRetainedAgreesWithTheModel(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "a!", "", "$S", "c"})
	rapid.Check(t, func(t *rapid.T) {
		r, m := NewRetained[int](), map[string]keptModel{}
		now, serial := int64(100), 0
		name := func() string {
			return cmp.Or(strings.Join(rapid.SliceOfN(level, 1, 4).Draw(t, "name"), "/"), "a")
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				n, k := name(), keptModel{v: serial}
				if rapid.Bool().Draw(t, "expires") {
					k.expires = now + rapid.Int64Range(0, 20).Draw(t, "in")
				}
				serial++
				was, had := m[n]
				if old, ok := r.Set(n, k.v, k.expires); ok != had || had && old != was.v {
					t.Fatalf("set %q replaced %d, %v, want %d, %v", n, old, ok, was.v, had)
				}
				m[n] = k
			},
			"delete": func(t *rapid.T) {
				n := name()
				was, had := m[n]
				if old, ok := r.Delete(n); ok != had || had && old != was.v {
					t.Fatalf("deleted %d, %v from %q, want %d, %v", old, ok, n, was.v, had)
				}
				delete(m, n)
			},
			"expire": func(t *rapid.T) {
				now += rapid.Int64Range(0, 15).Draw(t, "time")
				next := r.Expired(now, plenty, func(n string, v int) {
					if was, ok := m[n]; !ok || was.v != v || was.expires == 0 || was.expires > now {
						t.Fatalf("at %d %q = %d expired, want %+v", now, n, v, was)
					}
					delete(m, n)
				})
				want := int64(0)
				for n, k := range m {
					if k.expires != 0 && k.expires <= now {
						t.Fatalf("at %d %q did not expire: %+v", now, n, k)
					}
					if k.expires != 0 && (want == 0 || k.expires < want) {
						want = k.expires
					}
				}
				if next != want {
					t.Fatalf("next is %d, want %d", next, want)
				}
			},
			"walk": func(t *rapid.T) {
				path := drawPath(t)
				want := map[string]int{}
				for n, k := range m {
					if topic.Match(path, n) && (k.expires == 0 || k.expires > now) {
						want[n] = k.v
					}
				}
				got := map[string]int{}
				c := r.Iterate(path)
				budget := rapid.IntRange(1, 5).Draw(t, "budget")
				for !r.Next(&c, budget, now, func(n string, v int) bool {
					if _, twice := got[n]; twice {
						t.Fatalf("%q twice", n)
					}
					got[n] = v
					return len(got)%3 != 0
				}) {
				}
				if !maps.Equal(got, want) {
					t.Fatalf("walk of %q: %v, want %v", path, got, want)
				}
			},
			"": func(t *rapid.T) {
				if r.Len() != len(m) {
					t.Fatalf("%d values, want %d", r.Len(), len(m))
				}
				n := name()
				was, ok := m[n]
				ok = ok && (was.expires == 0 || was.expires > now)
				if v, has := r.Get(n, now); has != ok || ok && v != was.v {
					t.Fatalf("get %q: %d, %v, want %d, %v", n, v, has, was.v, ok)
				}
			},
		})
	})
}

func drawPath(t *rapid.T) string {
	levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "a!", "", "$S", "c", "+", "+"}), 1, 4).Draw(t, "levels")
	if rapid.Bool().Draw(t, "hash") {
		levels = append(levels, "#")
	}
	return cmp.Or(strings.Join(levels, "/"), "a")
}

// TestRetainedWalkWhileTheStoreChanges lets anything happen between two steps:
// what stood all the time comes exactly once, nothing comes twice.
func TestRetainedWalkWhileTheStoreChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		size := rapid.SampledFrom([]int{20, 300, 3000}).Draw(t, "size")
		name := func() string {
			return fmt.Sprintf("%c/%c%d/%c", 'a'+rng.IntN(3), 'a'+rng.IntN(3), rng.IntN(size/9), 'a'+rng.IntN(2))
		}
		path := rapid.SampledFrom([]string{"#", "a/#", "+/+/a", "a/+/b", "+/b1/#", "+/+/+"}).Draw(t, "path")
		r := NewRetained[bool]()
		stood := map[string]bool{}
		for range size {
			n := name()
			r.Set(n, true, 0)
			stood[n] = true
		}
		c := r.Iterate(path)
		seen := map[string]bool{}
		budget, changes := rapid.IntRange(1, 50).Draw(t, "budget"), rapid.IntRange(0, 50).Draw(t, "changes")
		for !r.Next(&c, budget, 0, func(n string, _ bool) bool {
			if seen[n] {
				t.Fatalf("%q twice", n)
			}
			if !topic.Match(path, n) {
				t.Fatalf("%q does not match %q", n, path)
			}
			seen[n] = true
			return rng.IntN(4) != 0
		}) {
			for range changes {
				n := name()
				if rng.IntN(2) == 0 {
					r.Delete(n)
					delete(stood, n)
					continue
				}
				r.Set(n, true, 0)
			}
		}
		for n := range stood {
			if topic.Match(path, n) && !seen[n] {
				t.Fatalf("%q stood all the time and was missed", n)
			}
		}
	})
}

func TestRetainedWalkBesideWriters(t *testing.T) {
	r := NewRetained[int]()
	for i := range 500 {
		r.Set(fmt.Sprintf("a/stays%d", i), i, 0)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 9))
			for now := int64(0); ; now++ {
				select {
				case <-stop:
					return
				default:
				}
				n := fmt.Sprintf("a/comes%d", rng.IntN(1000))
				switch rng.IntN(3) {
				case 0:
					r.Delete(n)
				case 1:
					r.Set(n, 0, now+int64(rng.IntN(100)))
				default:
					r.Expired(now, 10, func(string, int) {})
				}
			}
		})
	}
	for range 30 {
		stays := 0
		for _, n := range walkAll(t, r, "a/+", 20, 0) {
			if strings.HasPrefix(n, "a/stays") {
				stays++
			}
		}
		if stays != 500 {
			t.Errorf("a walk found %d of 500", stays)
		}
	}
	close(stop)
	writers.Wait()
}

func TestRetainedMayBeChangedFromACallback(t *testing.T) {
	r := NewRetained[int]()
	for i := range 100 {
		r.Set(fmt.Sprint("a/", i), i, 10)
	}
	c := r.Iterate("#")
	n := 0
	for !r.Next(&c, 1000, 0, func(name string, _ int) bool {
		n++
		r.Delete(name)
		r.Set("0/"+name, 1, 10)
		return true
	}) {
	}
	if n != 100 || r.Len() != 100 {
		t.Errorf("%d yielded, %d left", n, r.Len())
	}
	r.Expired(10, 1000, func(name string, _ int) { r.Set("again/"+name, 1, 0) })
	if r.Len() != 100 {
		t.Errorf("%d values, want 100", r.Len())
	}
}

func TestRetainedChurnDoesNotGrowTheStore(t *testing.T) {
	steps := 1_000_000
	if testing.Short() {
		steps = 100_000
	}
	r := NewRetained[int]()
	rng := rand.New(rand.NewPCG(10, 11))
	most := 0
	for step := range steps {
		n := fmt.Sprintf("site%d/dev%d", rng.IntN(10), rng.IntN(2000))
		if rng.IntN(2) == 0 {
			r.Delete(n)
		} else {
			r.Set(n, step, int64(step+rng.IntN(100_000)))
		}
		if step%100 == 0 {
			r.Expired(int64(step), 20, func(string, int) {})
		}
		if step == steps/4 {
			most = r.Len() + r.Len()/4
		}
	}
	if got := int(r.byName.next); got > 20_001 {
		t.Errorf("%d numbers were given out for at most 20,000 names", got)
	}
	if len(r.order.runs) > r.Len()/(runMost/8)+2 || len(r.expiry.heap) > r.Len() || r.Len() > most {
		t.Errorf("%d runs and %d ends for %d names", len(r.order.runs), len(r.expiry.heap), r.Len())
	}
	for i := range 10 {
		for j := range 2000 {
			r.Delete(fmt.Sprintf("site%d/dev%d", i, j))
		}
	}
	if r.Len() != 0 || len(r.order.runs) != 0 || len(r.expiry.heap) != 0 {
		t.Errorf("left: %d names, %d runs, %d ends", r.Len(), len(r.order.runs), len(r.expiry.heap))
	}
}

func TestRetainedJoinsShortRuns(t *testing.T) {
	r := NewRetained[int]()
	const n = 50_000
	rng := rand.New(rand.NewPCG(12, 13))
	for _, i := range rng.Perm(n) {
		r.Set(fmt.Sprintf("a/%05d", i), i, 0)
	}
	if len(r.order.runs) > 2*n/runMost+1 {
		t.Errorf("%d runs for %d names", len(r.order.runs), n)
	}
	for _, i := range rng.Perm(n)[:n-500] {
		r.Delete(fmt.Sprintf("a/%05d", i))
	}
	if len(r.order.runs) > 8 {
		t.Errorf("%d runs are left for 500 names", len(r.order.runs))
	}
	if got := walkAll(t, r, "#", 1000, 0); len(got) != 500 || !slices.IsSorted(got) {
		t.Errorf("%d names in the walk, want 500 in order", len(got))
	}
}

func TestRetainedWalkDoesNotAllocatePerName(t *testing.T) {
	r := NewRetained[int]()
	for i := range 1000 {
		r.Set(fmt.Sprintf("a/%d/b", i), i, 0)
	}
	take := func(string, int) bool { return true }
	if n := testing.AllocsPerRun(20, func() {
		c := r.Iterate("+/+/b")
		for !r.Next(&c, 100, 0, take) {
		}
	}); n > 5 {
		t.Errorf("%v allocations for a walk over 1,000 names, want 5 at most", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.Get("a/77/b", 0); r.Set("a/77/b", 1, 5) }); n != 0 {
		t.Errorf("%v allocations for Get and Set of a name that is there, want 0", n)
	}
}
