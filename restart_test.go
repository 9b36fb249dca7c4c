package fantail_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// again ends the server and starts one on what it has left.
func (s *server) again(t *testing.T, c fantail.Config) *server {
	t.Helper()
	s.stop()
	<-s.done
	return serve(t, onDisk, c, nil)
}

func TestStateSurvivesTheEnd(t *testing.T) {
	c := fantail.Config{Data: t.TempDir()}
	s := serve(t, onDisk, c, nil)
	sub := s.device(t, "sub", lasting).to("t/#", 2).to("$share/g/s", 1)
	sub.unsubscribe("$share/g/s")
	pub := s.device(t, "pub", lasting)
	pub.say("t/1", "before")
	got := sub.message() // not acknowledged
	open := pub.id()
	pub.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("t/2"), Payload: []byte("open"), QoS: 2, ID: open}, packet.V5))
	pub.ack(packet.PUBREC, open)
	sub.message()
	sub.bye(packet.Disconnect{})
	const many = 1000
	for i := range many {
		pub.publish(packet.Publish{Topic: []byte("t/3"), Payload: fmt.Append(nil, i), QoS: byte(1 + i%2)})
	}
	pub.keep("kept", "this")
	pub.keep("gone", "that")
	pub.keep("gone", "")
	will := s.device(t, "will", func(c *packet.Connect) {
		lasting(c)
		c.Will = &packet.Will{Topic: "t/will", Payload: []byte("late"), QoS: 1, Delay: 1}
	})
	will.lose()

	for range 2 { // the second time, from what the first one has written
		s = s.again(t, c)
	}
	pub, ack := s.connect(t, "pub", lasting)
	if !ack.SessionPresent {
		t.Error("the publisher's session is not present")
	}
	// A repetition of what was received goes to nobody; its PUBREL ends it.
	pub.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("t/2"), Payload: []byte("open"), QoS: 2, ID: open, Dup: true}, packet.V5))
	pub.ack(packet.PUBREC, open)
	pub.answer(packet.PUBREL, open)
	pub.ack(packet.PUBCOMP, open)

	sub, ack = s.connect(t, "sub", lasting)
	if !ack.SessionPresent {
		t.Error("the subscriber's session is not present")
	}
	if p := sub.take(); string(p.Payload) != "before" || !p.Dup || p.ID != got.ID {
		t.Errorf("%q came with %d, DUP %v", p.Payload, p.ID, p.Dup)
	}
	want := []string{"open"}
	for i := range many {
		want = append(want, fmt.Sprint(i))
	}
	late := false
	for i := 0; i < len(want); {
		p := sub.nextPublish()
		sub.answer(map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC}[p.QoS], p.ID)
		if string(p.Payload) == "late" {
			late = true
			continue
		}
		if string(p.Payload) != want[i] {
			t.Fatalf("%q came, want %q", p.Payload, want[i])
		}
		i++
	}
	if !late {
		if p := sub.nextPublish(); string(p.Payload) != "late" {
			t.Errorf("%q came, want the will", p.Payload)
		}
	}
	new := s.device(t, "new", nil).to("gone", 1).to("kept", 1)
	if p := new.take(); string(p.Payload) != "this" || !p.Retain {
		t.Errorf("%q came with RETAIN %v", p.Payload, p.Retain)
	}
	new.quiet()
	pub.say("s", "to nobody")
}

func TestASessionThatEndedWhileNobodyServedIsGone(t *testing.T) {
	c := fantail.Config{Data: t.TempDir()}
	s := serve(t, onDisk, c, nil)
	s.device(t, "short", func(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 1, true }).to("t", 1).bye(packet.Disconnect{})
	s.device(t, "long", lasting).to("t", 1).bye(packet.Disconnect{})
	s.stop()
	<-s.done
	<-time.After(1100 * time.Millisecond)
	s = serve(t, onDisk, c, nil)
	s.reaches(t, "sessions_expired_total", 1)
	if _, ack := s.connect(t, "short", nil); ack.SessionPresent {
		t.Error("a session that has expired is present")
	}
	if _, ack := s.connect(t, "long", nil); !ack.SessionPresent {
		t.Error("a session that has not expired is not present")
	}
}

func TestACleanStartLeavesNothingBehind(t *testing.T) {
	c := fantail.Config{Data: t.TempDir()}
	s := serve(t, onDisk, c, nil)
	s.device(t, "a", lasting).to("t", 1).bye(packet.Disconnect{})
	pub := s.device(t, "pub", nil)
	pub.say("t", "of the first session")
	s.device(t, "a", lasting).to("u", 1).bye(packet.Disconnect{})
	pub.say("u", "of the second")
	s = s.again(t, c)
	a, _ := s.connect(t, "a", lasting)
	a.hears("of the second")
	s.device(t, "pub", nil).say("t", "to nobody")
	a.quiet()
}

// What expires while its client is away makes room, before and after a restart.
func TestStoredMessagesExpire(t *testing.T) {
	c := fantail.Config{Data: t.TempDir(), Limits: fantail.Limits{QueueMessages: 3}}
	s := serve(t, onDisk, c, nil)
	s.device(t, "sub", lasting).to("t", 1).bye(packet.Disconnect{})
	pub := s.device(t, "pub", nil)
	brief := func(text string, seconds uint32) packet.Code {
		return pub.publish(packet.Publish{Topic: []byte("t"), Payload: []byte(text), QoS: 1, Expiry: seconds, HasExpiry: true})
	}
	pub.say("t", "first")
	brief("gone soon", 1)
	brief("gone later", 3)
	if code := pub.say("t", "too many"); code != packet.QuotaExceeded {
		t.Errorf("PUBACK: %v, want quota exceeded", code)
	}
	s.reaches(t, `messages_dropped_total{reason="expired"}`, 1)
	if code := brief("gone after the restart", 2); code != packet.Success {
		t.Errorf("PUBACK: %v when one had expired", code)
	}
	pub.bye(packet.Disconnect{})
	s = s.again(t, c)
	s.reaches(t, `messages_dropped_total{reason="expired"}`, 2)
	s.reaches(t, "queue_messages", 1)
	pub = s.device(t, "pub", nil)
	pub.say("t", "second")
	sub, _ := s.connect(t, "sub", lasting)
	for _, want := range []string{"first", "second"} {
		if p := sub.take(); string(p.Payload) != want {
			t.Errorf("%q came, want %q", p.Payload, want)
		}
	}
	sub.quiet()
}
