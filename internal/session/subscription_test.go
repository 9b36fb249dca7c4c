package session_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestRemovedSubscriptionIsNotHeld(t *testing.T) {
	for _, n := range []int{3, 30} {
		var s session.Session
		for i := range n {
			s.Subscribe(session.Subscription{Subscription: packet.Subscription{Filter: fmt.Sprint("filter", i)}})
		}
		s.Unsubscribe("filter0")
		s.Unsubscribe("filter2")
		subs := s.Subscriptions()
		for _, sub := range subs[len(subs):cap(subs)] {
			if sub.Filter != "" {
				t.Errorf("filter %q stays in memory", sub.Filter)
			}
		}
	}
}

// The subscriptions of a session are those of a map by filter, in order, however
// many there are.
func TestSubscriptionsAreAMap(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(1, seed))
		var s session.Session
		model := map[string]session.Subscription{}
		filters := 2 + int(seed)*2
		for range 2000 {
			filter := strings.Repeat("x", rnd.IntN(2)*300) + fmt.Sprint(rnd.IntN(filters))
			_, exists := model[filter]
			if got := s.Subscribed(filter); got != exists {
				t.Fatalf("Subscribed(%.10q) is %v", filter, got)
			}
			if rnd.IntN(2) == 0 {
				if got := s.Unsubscribe(filter); got != exists {
					t.Fatalf("Unsubscribe(%.10q) is %v", filter, got)
				}
				delete(model, filter)
			} else {
				sub := session.Subscription{Subscription: packet.Subscription{
					Filter: filter, QoS: byte(rnd.IntN(3)), NoLocal: rnd.IntN(2) == 0,
					RetainAsPublished: rnd.IntN(2) == 0, RetainHandling: byte(rnd.IntN(3)),
				}}
				if rnd.IntN(2) == 0 {
					sub.ID = 1 << rnd.IntN(28)
				}
				if got := s.Subscribe(sub); got != exists {
					t.Fatalf("Subscribe(%.10q) is %v", filter, got)
				}
				model[filter] = sub
			}
			want := make([]session.Subscription, 0, len(model))
			for _, f := range slices.Sorted(maps.Keys(model)) {
				want = append(want, model[f])
			}
			if got := s.Subscriptions(); !slices.Equal(got, want) || s.SubscriptionCount() != len(want) {
				t.Fatalf("%d of %v, want %v", s.SubscriptionCount(), got, want)
			}
		}
	}
}
