package session_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

func drawSubscription(t *rapid.T) session.Subscription {
	filter := rapid.OneOf(
		rapid.StringMatching(`[ab+]/[ab]{0,2}`),
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("plant/%03d/#", rapid.IntRange(0, 999).Draw(t, "n")) }),
		rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat("x", rapid.IntRange(1, 2000).Draw(t, "length")) + rapid.SampledFrom([]string{"", "y"}).Draw(t, "end")
		}),
	).Draw(t, "filter")
	return session.Subscription{
		Subscription: packet.Subscription{
			Filter: filter, QoS: rapid.ByteMax(2).Draw(t, "qos"), NoLocal: rapid.Bool().Draw(t, "no local"),
			RetainAsPublished: rapid.Bool().Draw(t, "retain"), RetainHandling: rapid.ByteMax(2).Draw(t, "handling"),
		},
		ID: rapid.SampledFrom([]uint32{0, 1, 200, 1<<28 - 1}).Draw(t, "id"),
	}
}

func TestSubscriptionsAgreeWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s session.Session
		model := map[string]session.Subscription{}
		known := func(t *rapid.T) string {
			return rapid.SampledFrom(slices.Sorted(maps.Keys(model))).Draw(t, "which")
		}
		subscribe := func(t *rapid.T) {
			sub := drawSubscription(t)
			if len(model) > 0 && rapid.IntRange(0, 9).Draw(t, "again") == 0 {
				sub.Filter = known(t)
			}
			_, had := model[sub.Filter]
			if existed := s.Subscribe(sub); existed != had {
				t.Fatalf("subscribe %.20q: existed %v, want %v", sub.Filter, existed, had)
			}
			model[sub.Filter] = sub
		}
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": subscribe,
			"subscribe to many": func(t *rapid.T) {
				for range 20 {
					subscribe(t)
				}
			},
			"unsubscribe": func(t *rapid.T) {
				filter := drawSubscription(t).Filter
				if len(model) > 0 && rapid.IntRange(0, 4).Draw(t, "one that is there") > 0 {
					filter = known(t)
				}
				_, had := model[filter]
				if existed := s.Unsubscribe(filter); existed != had {
					t.Fatalf("unsubscribe %.20q: existed %v, want %v", filter, existed, had)
				}
				delete(model, filter)
			},
			"": func(t *rapid.T) {
				var want []session.Subscription
				for _, filter := range slices.Sorted(maps.Keys(model)) {
					want = append(want, model[filter])
					if !s.Subscribed(filter) {
						t.Fatalf("%.20q is not found", filter)
					}
				}
				if got := slices.Collect(s.Subscriptions); !slices.Equal(got, want) {
					t.Fatalf("%d subscriptions %.200v, want %d %.200v", len(got), got, len(want), want)
				}
				if s.SubscriptionCount() != len(model) {
					t.Fatalf("%d are counted, want %d", s.SubscriptionCount(), len(model))
				}
				if s.Subscribed("zzz") {
					t.Fatal("a filter is found that is not there")
				}
			},
		})
	})
}

// sessions are n sessions that subscribe to the filters, in this or another
// order, and what each takes of the heap.
func sessions(n int, filters []string, shuffled bool) (list []*session.Session, bytes float64) {
	rng := rand.New(rand.NewPCG(1, 1))
	before := live()
	list = make([]*session.Session, n)
	for i := range list {
		list[i] = &session.Session{}
		if shuffled {
			rng.Shuffle(len(filters), func(i, j int) { filters[i], filters[j] = filters[j], filters[i] })
		}
		for _, f := range filters {
			list[i].Subscribe(session.Subscription{Subscription: packet.Subscription{Filter: f, QoS: 1}})
		}
	}
	bytes = float64(int64(live())-int64(before)) / float64(n)
	runtime.KeepAlive(filters)
	return list, bytes
}

func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func many(n int) (filters []string) {
	for i := range n {
		filters = append(filters, fmt.Sprintf("acme/site%03d/+/t%03d", i, i%7))
	}
	return filters
}

func TestSubscriptionsAreSmall(t *testing.T) {
	filters := many(1000)
	for _, c := range []struct {
		name     string
		sessions int
		filters  []string
		shuffled bool
		most     float64 // bytes a subscription, the session's own part in it
	}{
		{"one", 10_000, []string{"acme/site001/dev000001/cmd"}, false, 300},
		{"a thousand in order", 10, filters, false, 22},
		{"a thousand in any order", 10, filters, true, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, bytes := sessions(c.sessions, slices.Clone(c.filters), c.shuffled)
			if each := bytes / float64(len(c.filters)); each > c.most {
				t.Errorf("a subscription takes %.0f bytes, want %.0f at most", each, c.most)
			}
			t.Logf("%.1f bytes", bytes/float64(len(c.filters)))
			for _, f := range c.filters {
				list[0].Unsubscribe(f)
			}
			if list[0].SubscriptionCount() != 0 {
				t.Error("some are left")
			}
		})
	}
}

// BenchmarkSubscribe subscribes and unsubscribes again, with so many others.
func BenchmarkSubscribe(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			filters := many(n)
			list, bytes := sessions(100, filters, true)
			runtime.KeepAlive(filters)
			i := 0
			for b.Loop() {
				f := fmt.Sprintf("acme/site%03d/+/u", i%n)
				i += 7
				list[0].Subscribe(session.Subscription{Subscription: packet.Subscription{Filter: f}})
				list[0].Unsubscribe(f)
			}
			b.ReportMetric(bytes/float64(n), "B/subscription")
		})
	}
}
