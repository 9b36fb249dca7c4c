package fantail_test

import (
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestTakeoverEndsTheOldConnection(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		old := s.device(t, "pump", nil)
		from := old.conn.LocalAddr().String()
		next := s.old(t, "pump")
		by := next.conn.LocalAddr().String()
		old.sentAway(packet.SessionTakenOver) // [MQTT-3.1.4-3]
		s.log.wait(t, "client id taken over", "client=pump", "from="+from, "by="+by)

		last := s.device(t, "pump", nil)
		next.ended() // 3.1.1 has no DISCONNECT of the server's
		last.quiet()
		s.reaches(t, `connections_closed_total{reason="session_taken_over"}`, 2)
		if n := s.figure(t, "clients_connected"); n != 1 {
			t.Errorf("%v clients are connected, want 1", n)
		}
	})
}

func TestTakeoversInALoopAreOneWarning(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		for i := range 20 {
			s.connect(t, "twin", func(c *packet.Connect) { c.CleanStart = i%2 == 0 })
		}
		s.reaches(t, "takeovers_total", 19)
		warning := s.log.wait(t, "WARN", "two devices share the client id", "client=twin")
		if n := len(s.log.having("WARN")); n != 1 {
			t.Errorf("%d warnings, want 1, as %s", n, warning)
		}
		if n := len(s.log.having("client id taken over")); n > 5 {
			t.Errorf("%d lines of takeovers beside the warning", n)
		}
	})
}

func TestTakeoverKeepsTheSession(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		old := s.device(t, "meter", func(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 60, true })
		old.to("a/#", 2)
		pub := s.device(t, "pub", nil)
		for i := range 3 {
			pub.say("a/b", fmt.Sprint(i))
			old.message() // never acknowledged
		}
		next, ack := s.connect(t, "meter", func(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 60, true })
		if !ack.SessionPresent {
			t.Error("the session is not present")
		}
		for i := range 3 {
			p := next.message()
			if !p.Dup || string(p.Payload) != fmt.Sprint(i) { // [MQTT-3.3.1-1], [MQTT-4.6.0-1]
				t.Errorf("message %d came as %q, DUP %v", i, p.Payload, p.Dup)
			}
			next.answer(packet.PUBACK, p.ID)
		}
		old.sentAway(packet.SessionTakenOver)
		pub.say("a/b", "more")
		next.hears("more")

		fresh, ack := s.connect(t, "meter", func(c *packet.Connect) { c.CleanStart = true })
		if ack.SessionPresent { // [MQTT-3.2.2-2]
			t.Error("a session is present after clean start")
		}
		pub.say("a/b", "nobody")
		fresh.quiet()
	})
}
