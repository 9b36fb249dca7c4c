package fantail_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// drawn publishes to topics by publishers, n of each, and returns for each
// member what it got, as "topic publisher".
func drawn(t *testing.T, s *server, filter string, topics, publishers []string, n int) (got [3][]string) {
	t.Helper()
	var members [3]*wire
	for i := range members {
		members[i] = s.device(t, fmt.Sprint("member", i), nil).to(filter, 0)
	}
	for _, id := range publishers {
		pub := s.device(t, id, nil)
		for _, topic := range topics {
			for range n {
				pub.say(topic, id)
			}
		}
	}
	for i, m := range members {
		m.send(packet.AppendPingreq(nil))
		for f := m.next(); f.Type == packet.PUBLISH; f = m.next() {
			p := m.parse(f)
			got[i] = append(got[i], string(p.Topic)+" "+string(p.Payload))
		}
	}
	if sum := len(got[0]) + len(got[1]) + len(got[2]); sum != n*len(topics)*len(publishers) { // [MQTT-4.8.2-4]
		t.Errorf("%d messages arrived, want each once: %d", sum, n*len(topics)*len(publishers))
	}
	return got
}

func TestSharedSubscriptionStrategies(t *testing.T) {
	topics, publishers := []string{"j/1", "j/2", "j/3", "j/4"}, []string{"p1", "p2", "p3"}
	oneMemberEach := func(t *testing.T, got [3][]string, key func(string) string) {
		owner := map[string]int{}
		for i, list := range got {
			for _, what := range list {
				if at, ok := owner[key(what)]; ok && at != i {
					t.Errorf("%s went to members %d and %d", key(what), at, i)
				}
				owner[key(what)] = i
			}
		}
	}
	checks := map[string]func(t *testing.T, got [3][]string){
		"round_robin": func(t *testing.T, got [3][]string) {
			if len(got[0]) != 24 || len(got[1]) != 24 || len(got[2]) != 24 {
				t.Errorf("%d, %d, %d messages, want the same for all", len(got[0]), len(got[1]), len(got[2]))
			}
		},
		"random": func(t *testing.T, got [3][]string) {
			if len(got[0]) == 0 || len(got[1]) == 0 || len(got[2]) == 0 { // once in 10^12 runs
				t.Errorf("%d, %d, %d messages", len(got[0]), len(got[1]), len(got[2]))
			}
		},
		"sticky": func(t *testing.T, got [3][]string) {
			oneMemberEach(t, got, func(string) string { return "anything" })
		},
		"hash_clientid": func(t *testing.T, got [3][]string) {
			oneMemberEach(t, got, func(s string) string { return s[4:] })
		},
		"hash_topic": func(t *testing.T, got [3][]string) {
			oneMemberEach(t, got, func(s string) string { return s[:3] })
		},
	}
	everywhere(t, func(t *testing.T, transport string) {
		for _, strategy := range slices.Sorted(maps.Keys(checks)) {
			t.Run(strategy, func(t *testing.T) {
				s := serve(t, transport, fantail.Config{Shared: strategy}, nil)
				checks[strategy](t, drawn(t, s, "$share/g/j/+", topics, publishers, 6))
			})
		}
	})
}

func TestQueueIsTheAnonymousGroup(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		for i, list := range drawn(t, s, "$queue/j/+", []string{"j/1"}, []string{"p"}, 9) {
			if len(list) != 3 {
				t.Errorf("member %d got %d of 9", i, len(list))
			}
		}
	})
}

func TestGroupsAndOthersEachGetTheirCopy(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		one := s.device(t, "one", nil).to("$share/a/j", 1)
		two := s.device(t, "two", nil).to("$share/b/j", 1)
		plain := s.device(t, "plain", nil).to("j", 1)
		s.device(t, "pub", nil).say("j", "x")
		one.hears("x")
		two.hears("x")
		plain.hears("x")
	})
}

func TestSharedSubscriptionGetsNoRetained(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.device(t, "pub", nil).keep("j", "x")
		s.device(t, "one", nil).to("$share/a/j", 1).quiet() // 5.0, section 4.8.2
		s.device(t, "two", nil).to("$queue/j", 1).quiet()
	})
}

func TestSharedMessageGoesToAnotherMemberWhenASessionEnds(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Shared: "sticky"}, nil)
		first := s.device(t, "first", func(c *packet.Connect) { c.ReceiveMaximum = 2 }).to("$share/g/j", 2)
		pub := s.device(t, "pub", nil)
		for i := range 4 {
			pub.say("j", fmt.Sprint(i)) // two in flight, two queued
		}
		pub.publish(packet.Publish{Topic: []byte("j"), Payload: []byte("4"), QoS: 2}) // queued
		first.message()
		second := s.device(t, "second", nil).to("$share/g/j", 2)
		second.quiet()
		first.lose() // its session ends with it
		second.hears("0", "1", "2", "3", "4")
		s.reaches(t, "messages_redispatched_total", 5)
	})
}

// A QoS 2 message that was sent may have arrived [MQTT-4.8.2-5].
func TestSharedQoS2MessageThatWasSentStays(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Shared: "sticky"}, nil)
		first := s.device(t, "first", nil).to("$share/g/j", 2)
		s.device(t, "pub", nil).publish(packet.Publish{Topic: []byte("j"), Payload: []byte("x"), QoS: 2})
		first.message()
		second := s.device(t, "second", nil).to("$share/g/j", 2)
		first.lose()
		s.reaches(t, `connections_closed_total{reason="peer_closed"}`, 1)
		second.quiet()
	})
}

func TestSharedMessageGoesToAMemberThatIsThere(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		durable := func(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 1000, true }
		away := s.device(t, "away", durable).to("end of away", 1).to("$share/g/j", 1)
		there := s.device(t, "there", durable).to("end of there", 1).to("$share/g/j", 1)
		away.lose()
		pub := s.device(t, "pub", nil)
		for i := range 4 {
			pub.say("j", fmt.Sprint(i))
		}
		there.hears("0", "1", "2", "3")
		there.lose()
		pub.say("j", "4") // nobody is there: it is queued for one of them
		var got []string
		for _, id := range []string{"away", "there"} {
			w, _ := s.connect(t, id, durable)
			pub.say("end of "+id, "end") // behind what was queued
			for p := w.take(); string(p.Payload) != "end"; p = w.take() {
				got = append(got, string(p.Payload))
			}
		}
		if !slices.Equal(got, []string{"4"}) {
			t.Errorf("%q were queued, want 4 once", got)
		}
	})
}

// What waits on disk for a member whose session ends goes to another member, also
// if the server ends in the middle of that.
func TestStoredSharedMessagesGoToAnotherMemberWhenASessionEnds(t *testing.T) {
	for name, again := range map[string]bool{"at once": false, "over a restart": true} {
		t.Run(name, func(t *testing.T) {
			c := fantail.Config{Data: t.TempDir()}
			s := serve(t, onDisk, c, nil)
			s.device(t, "first", lasting).to("$share/g/j", 2).bye(packet.Disconnect{})
			pub := s.device(t, "pub", nil)
			const many = 1000
			text := strings.Repeat("x", 500)
			for i := range many {
				pub.publish(packet.Publish{Topic: []byte("j"), Payload: fmt.Append(nil, i, text), QoS: byte(1 + i%2)})
			}
			s.device(t, "second", lasting).to("$share/g/j", 2).bye(packet.Disconnect{})
			first, ack := s.connect(t, "first", func(c *packet.Connect) { c.CleanStart = true })
			if ack.SessionPresent {
				t.Error("a session is present")
			}
			if again {
				s = s.again(t, c)
			} else {
				first.quiet()
				s.reaches(t, "messages_redispatched_total", many)
			}
			second, _ := s.connect(t, "second", lasting)
			for i := range many {
				p := second.nextPublish()
				second.answer(map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC}[p.QoS], p.ID)
				if want := fmt.Sprint(i, text); string(p.Payload) != want || p.Dup {
					t.Fatalf("%.5s came with DUP %v, want %.5s", p.Payload, p.Dup, want)
				}
			}
			pub = s.device(t, "pub", nil)
			pub.say("j", "last")
			if p := second.nextPublish(); string(p.Payload) != "last" {
				t.Errorf("%.5s came, want the last one", p.Payload)
			}
		})
	}
}
