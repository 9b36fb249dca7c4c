package session_test

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestRemovedSubscriptionIsNotHeld(t *testing.T) {
	var s session.Session
	for _, filter := range []string{"a", "b", "c"} {
		s.Subscribe(session.Subscription{Subscription: packet.Subscription{Filter: filter}})
	}
	s.Unsubscribe("a")
	s.Unsubscribe("c")
	subs := s.Subscriptions()
	for _, sub := range subs[len(subs):cap(subs)] {
		if sub.Filter != "" {
			t.Errorf("filter %q stays in memory", sub.Filter)
		}
	}
}
