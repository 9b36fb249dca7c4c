package fantail_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// As many levels as a topic can have are refused or served, without a stack or
// a time that grows with them.
func TestSixtyThousandLevels(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		for _, levels := range []int{0, 1 << 16} { // the default, and all there can be
			s := serve(t, transport, fantail.Config{Limits: fantail.Limits{TopicLevels: levels, ConnectPacket: 1 << 20}}, nil)
			honest := s.device(t, "honest", nil).to("#", 1)
			start := time.Now()
			for i, name := range []string{
				strings.Repeat("/", 65_535), strings.Repeat("a/", 32_000) + "a", strings.Repeat("+/", 32_000) + "#", strings.Repeat("+/", 32_700) + "+",
			} {
				w := s.device(t, fmt.Sprint("deep", i), nil)
				w.send(packet.AppendSubscribe(nil, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: name, QoS: 1}}}, w.v))
				w.read()
				w.conn.Close()
				if strings.Contains(name, "+") {
					continue
				}
				for _, retain := range []bool{false, true} {
					w := s.device(t, fmt.Sprint("deep", i), nil)
					w.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte(name), QoS: 1, ID: 1, Retain: retain}, w.v))
					w.read()
					w.conn.Close()
				}
				will := s.dial(t)
				will.hello("will", func(c *packet.Connect) { c.Will = &packet.Will{Topic: name} })
				will.conn.Close()
			}
			s.device(t, "walks", nil).subscribe(packet.Subscription{Filter: "+/+/+/+/#"})
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("it took %v", d)
			}
			s.device(t, "pub", nil).say("last", "x")
			for p := honest.take(); string(p.Topic) != "last"; p = honest.take() {
				continue
			}
		}
	})
}

// Topics that begin with $ mean nothing to the broker but $SYS, which is its
// own, and names of what programs are made of mean nothing at all.
func TestOddTopicsAreOrdinary(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		all := s.device(t, "all", nil).to("#", 1)
		pub := s.device(t, "pub", nil)
		for i, name := range []string{
			"$", "$x", "$CONTROL/dynamic-security/v1", "$SYSTEM", "$share/g/x", "$queue/x", "$MQTT/sub/x", "$JS/API/x", "$/", "$$",
			"__proto__", "constructor", "hasOwnProperty", "toString", "valueOf/x", "__proto__/__proto__",
			"a\r\nSUB x 1\r\n", "a\x01b", "\ufeff", "%s%n%p", "${env:HOME}", "../../etc/passwd", "a' OR '1'='1", "\u202e", " ",
		} {
			sub := s.device(t, fmt.Sprint("sub", i), nil)
			if code := sub.subscribe(packet.Subscription{Filter: name, QoS: 1})[0]; code.Failed() {
				sub.conn.Close()
				t.Errorf("%q is refused", name)
				continue
			}
			code := pub.say(name, name)
			switch {
			case strings.HasPrefix(name, "$share/"), strings.HasPrefix(name, "$queue/"):
				sub.quiet() // it has another topic
			case code.Failed():
				t.Errorf("%q: %v", name, code)
			default:
				sub.hears(name)
			}
			if name[0] != '$' {
				all.hears(name)
			}
			sub.unsubscribe(name)
			sub.conn.Close()
		}
		all.quiet() // of those that begin with $ it hears nothing [MQTT-4.7.2-1]
	})
}

// Shared subscriptions that are none end the connection that asks for them,
// and no other.
func TestMalformedSharedSubscriptions(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		honest := s.device(t, "honest", nil).to("$share/g/a", 1)
		for _, filter := range []string{
			"$share", "$share/", "$share//", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/#/a", "$share/#", "$share/g+/a", "$share/g/a#", "$queue", "$queue/",
		} {
			for _, v := range []packet.Version{packet.V311, packet.V5} {
				w := s.device(t, "odd", func(c *packet.Connect) { c.Version = v })
				w.send(packet.AppendSubscribe(nil, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "b"}, {Filter: filter}}}, v))
				w.read()
				w.conn.Close()
				w = s.device(t, "odd", func(c *packet.Connect) { c.Version = v })
				w.send(packet.AppendUnsubscribe(nil, &packet.Unsubscribe{ID: 1, Filters: []string{filter}}, v))
				w.read()
				w.conn.Close()
			}
		}
		s.device(t, "pub", nil).say("a", "x")
		honest.hears("x")
	})
}

// A shared subscription is asked about as any other, and one that is refused
// is none: not even a member of its group.
func TestARefusedSharedSubscriptionIsNone(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) {
			b.UseAuthorizer(authorizer(func(who *fantail.ClientInfo, a fantail.Action, topic string) error {
				if a == fantail.SubscribeTo && who.ClientID == "eve" && strings.HasSuffix(topic, "secret/#") {
					return errors.New("it is secret")
				}
				return nil
			}))
		})
		eve := s.device(t, "eve", nil)
		codes := eve.subscribe(packet.Subscription{Filter: "$share/g/secret/#", QoS: 1}, packet.Subscription{Filter: "$queue/secret/#", QoS: 1},
			packet.Subscription{Filter: "secret/#", QoS: 1})
		for i, code := range codes {
			if code != packet.NotAuthorized {
				t.Errorf("%d: %v", i, code)
			}
		}
		member := s.device(t, "member", nil).to("$share/g/secret/#", 1)
		pub := s.device(t, "pub", nil)
		for range 4 { // in turns, if there were two
			pub.say("secret/a", "x")
			member.hears("x")
		}
		eve.quiet()
	})
}
