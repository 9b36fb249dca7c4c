package route

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/topic"
)

// benchFilters are n filters of devices at a thousand sites: all exact; or
// mixed, 80 % exact, 15 % with +, 5 % with #; or all with wildcards.
func benchFilters(b *testing.B, kind string, n int) []topic.Filter {
	rng := rand.New(rand.NewPCG(1, 1))
	out := make([]topic.Filter, n)
	for i := range out {
		site, dev := i%1000, i/1000
		x := rng.IntN(100)
		switch {
		case kind == "exact" || kind == "mixed" && x < 80:
			out[i] = filter(b, fmt.Sprintf("acme/site%03d/dev%06d/cmd", site, i))
		case x < 95 && (kind == "mixed" || x < 50):
			out[i] = filter(b, fmt.Sprintf("acme/site%03d/+/t%03d", site, dev))
		default:
			out[i] = filter(b, fmt.Sprintf("acme/site%03d/dev%06d/#", site, i))
		}
	}
	return out
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkIndex(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, kind := range []string{"exact", "mixed", "wildcard"} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) { benchIndex(b, kind, n) })
		}
	}
}

func benchIndex(b *testing.B, kind string, n int) {
	filters := benchFilters(b, kind, n)
	empty := heap()
	x := NewIndex()
	var worst time.Duration
	begin := time.Now()
	for i, f := range filters {
		one := time.Now()
		x.Subscribe(f, Handle(i), Options{})
		worst = max(worst, time.Since(one))
	}
	insert := time.Since(begin)
	bytes := heap() - empty
	begin = time.Now()
	runtime.GC()
	collect := time.Since(begin)

	rng := rand.New(rand.NewPCG(2, 2))
	names := make([]string, 1<<16)
	for i := range names {
		k := rng.IntN(n)
		names[i] = fmt.Sprintf("acme/site%03d/dev%06d/cmd", k%1000, k)
	}
	for what, some := range map[string][]string{"cold": names, "hot": names[:256]} {
		b.Run(what, func(b *testing.B) {
			var rows []Row
			var rounds []time.Duration
			i := 0
			for range max(b.N/len(names), 15) {
				begin := time.Now()
				for range names {
					rows, _ = x.Match(some[i%len(some)], plenty, rows[:0])
					i++
				}
				rounds = append(rounds, time.Since(begin))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(slices.Min(rounds).Nanoseconds())/float64(len(names)), "ns/"+what)
			b.ReportMetric(float64(bytes)/float64(n), "B/filter")
			b.ReportMetric(float64(insert.Nanoseconds())/float64(n), "ns/subscribe")
			b.ReportMetric(float64(worst.Microseconds()), "us/worst-subscribe")
			b.ReportMetric(collect.Seconds()*1000, "ms/gc")
		})
	}
	runtime.KeepAlive(filters)
}

// BenchmarkHolds asks whether what was found for a name is valid still: when
// nothing has changed, when one other filter or 100 have since, and when more
// have than are remembered.
func BenchmarkHolds(b *testing.B) {
	x := NewIndex()
	name := []byte("acme/site001/dev000001/cmd")
	was := x.Mark(name)
	done := 0
	for _, changes := range []int{0, 1, 100, recentChanges + 1} {
		for ; done < changes; done++ {
			x.Subscribe(filter(b, fmt.Sprintf("zone/%d/+", done)), 1, Options{})
		}
		b.Run(fmt.Sprintf("changes=%d", changes), func(b *testing.B) {
			for b.Loop() {
				m := was
				if !x.Holds(&m, name) {
					b.Fatal("another filter was taken for one that matches")
				}
			}
		})
	}
}

// BenchmarkHostile has every filter of {a,+}^depth/z and a name that none
// matches: with no bound, and with a budget of 1,000 nodes.
func BenchmarkHostile(b *testing.B) {
	for _, depth := range []int{8, 12, 16} {
		x := NewIndex()
		for i := range 1 << depth {
			x.Subscribe(filter(b, hostile(depth, i)), 1, Options{})
		}
		name := strings.Repeat("a/", depth) + "b"
		for _, budget := range []int{plenty, 1000} {
			b.Run(fmt.Sprintf("depth=%d/budget=%d", depth, budget), func(b *testing.B) {
				var rows []Row
				for b.Loop() {
					rows, _ = x.Match(name, budget, rows[:0])
				}
			})
		}
	}
}

// BenchmarkOneFilter is a filter that very many subscribe to.
func BenchmarkOneFilter(b *testing.B) {
	x, f := NewIndex(), filter(b, "acme/all")
	for h := range Handle(100_000) {
		x.Subscribe(f, h, Options{})
	}
	b.Run("match", func(b *testing.B) {
		var rows []Row
		for b.Loop() {
			rows, _ = x.Match("acme/all", plenty, rows[:0])
		}
	})
	b.Run("unsubscribe-subscribe", func(b *testing.B) {
		h := Handle(0)
		for b.Loop() {
			x.Unsubscribe(f, h)
			x.Subscribe(f, h, Options{})
			h = (h + 7919) % 100_000
		}
	})
}

func BenchmarkRetained(b *testing.B) {
	const n = 1_000_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("acme/site%03d/dev%06d/temp", i%1000, i)
	}
	empty := heap()
	r := NewRetained[*int]()
	v := new(int)
	begin := time.Now()
	for _, name := range names {
		r.Set(name, v, 0)
	}
	insert := time.Since(begin)
	bytes := heap() - empty
	b.Run("get", func(b *testing.B) {
		i := 0
		for b.Loop() {
			r.Get(names[i%n], 0)
			i += 7919
		}
		b.ReportMetric(float64(bytes)/n, "B/topic")
		b.ReportMetric(float64(insert.Nanoseconds())/n, "ns/first-set")
	})
	b.Run("set", func(b *testing.B) {
		i := 0
		for b.Loop() {
			r.Set(names[i%n], v, int64(i))
			i += 7919
		}
	})
	for _, path := range []string{"acme/site005/+/temp", "acme/+/dev000005/temp", "+/+/+/nothing", "#"} {
		b.Run("walk "+strings.NewReplacer("/", ":", "#", "all").Replace(path), func(b *testing.B) {
			found := 0
			for b.Loop() {
				c := r.Iterate(path)
				for !r.Next(&c, 1000, 0, func(string, *int) bool { found++; return true }) {
				}
			}
			b.ReportMetric(float64(found)/float64(b.N), "found")
		})
	}
}
