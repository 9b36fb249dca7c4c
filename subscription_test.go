package fantail_test

import (
	"slices"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestOverlappingSubscriptionsMakeOneCopy(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil)
		sub.subscribeAs(1, packet.Subscription{Filter: "a/b", QoS: 0})
		sub.subscribeAs(268_435_455, packet.Subscription{Filter: "a/+", QoS: 2})
		sub.subscribeAs(7, packet.Subscription{Filter: "#", QoS: 1})
		sub.subscribe(packet.Subscription{Filter: "+/b", QoS: 1}) // without an identifier
		pub := s.device(t, "pub", nil)
		pub.publish(packet.Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 2})
		p := sub.take()
		ids := slices.Sorted(slices.Values(p.SubscriptionIDs))
		if p.QoS != 2 || !slices.Equal(ids, []uint32{1, 7, 268_435_455}) { // [MQTT-3.3.4-2] to [MQTT-3.3.4-5]
			t.Errorf("QoS %d with the identifiers %v", p.QoS, p.SubscriptionIDs)
		}
		sub.quiet()
		sub.subscribeAs(9, packet.Subscription{Filter: "a/+", QoS: 0}) // replaces [MQTT-3.8.4-3]
		sub.unsubscribe("#", "+/b")
		pub.say("a/b", "y")
		p = sub.take()
		ids = slices.Sorted(slices.Values(p.SubscriptionIDs))
		if p.QoS != 0 || !slices.Equal(ids, []uint32{1, 9}) {
			t.Errorf("QoS %d with the identifiers %v", p.QoS, p.SubscriptionIDs)
		}
	})
}

func TestNoLocal(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		w := s.device(t, "both", nil)
		w.subscribe(packet.Subscription{Filter: "a/#", QoS: 1, NoLocal: true})
		w.say("a/b", "mine") // [MQTT-3.8.3-3]
		w.quiet()
		s.device(t, "other", nil).say("a/b", "other")
		w.hears("other")
		w.subscribe(packet.Subscription{Filter: "a/b", QoS: 0})
		w.publish(packet.Publish{Topic: []byte("a/b"), Payload: []byte("mine")})
		w.hears("mine")
		w.send(packet.AppendSubscribe(nil, &packet.Subscribe{
			ID: 99, Filters: []packet.Subscription{{Filter: "$share/g/a", NoLocal: true}},
		}, w.v))
		w.sentAway(packet.ProtocolError) // [MQTT-3.8.3-4]
	})
}

func TestLocalIsAnOrdinarySubscription(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		pub := s.device(t, "pub", nil)
		pub.keep("a/b", "kept")
		sub := s.device(t, "sub", nil).to("$local/a/+", 1)
		if p := sub.take(); string(p.Topic) != "a/b" || !p.Retain {
			t.Errorf("retained: %s, %v", p.Topic, p.Retain)
		}
		pub.say("a/b", "x")
		sub.hears("x")
		if code := sub.unsubscribe("$local/a/+", "a/+"); code[0] != packet.Success || code[1] != packet.NoSubscriptionExisted {
			t.Errorf("UNSUBACK: %v", code)
		}
		pub.say("a/b", "y")
		sub.quiet()
	})
}

func TestPublisherHearsThatNobodyListens(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		pub := s.device(t, "pub", nil)
		if code := pub.say("nobody", "x"); code != packet.NoMatchingSubscribers {
			t.Errorf("PUBACK: %v", code)
		}
		if code := pub.publish(packet.Publish{Topic: []byte("nobody"), QoS: 2}); code != packet.NoMatchingSubscribers {
			t.Errorf("PUBREC: %v", code)
		}
		s.device(t, "sub", nil).to("somebody", 0)
		if code := pub.say("somebody", "x"); code != packet.Success {
			t.Errorf("PUBACK: %v", code)
		}
	})
}

func TestSubscriptionLimits(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{Subscriptions: 3, WildcardSubscriptions: 1, TopicLevels: 3}}, nil)
		sub := s.device(t, "sub", nil)
		want := []packet.Code{packet.GrantedQoS1, packet.QuotaExceeded, packet.GrantedQoS1, packet.TopicFilterInvalid, packet.GrantedQoS1, packet.QuotaExceeded}
		var filters []packet.Subscription
		for _, f := range []string{"a/+", "b/+", "c", "1/2/3/4", "d", "e"} {
			filters = append(filters, packet.Subscription{Filter: f, QoS: 1})
		}
		if codes := sub.subscribe(filters...); !slices.Equal(codes, want) {
			t.Errorf("SUBACK: %v, want %v", codes, want)
		}
		sub.unsubscribe("a/+")
		sub.to("b/+", 1)
		if n := s.figure(t, "subscriptions_refused_total"); n != 3 {
			t.Errorf("%v subscriptions were refused, want 3", n)
		}
	})
}
