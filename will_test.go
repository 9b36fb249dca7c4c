package fantail_test

import (
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// leaving is a client whose will is to be seen on will/<id>.
func (s *server) leaving(t *testing.T, id string, w packet.Will, expiry uint32, clean bool) *wire {
	t.Helper()
	w.Topic, w.QoS = "will/"+id, 1
	if w.Payload == nil {
		w.Payload = []byte("gone")
	}
	c, _ := s.connect(t, id, func(c *packet.Connect) {
		c.Will, c.CleanStart = &w, clean
		c.SessionExpiry, c.HasSessionExpiry = expiry, expiry > 0
	})
	return c
}

func TestWillOfALostConnection(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil).to("will/#", 1)
		s.leaving(t, "a", packet.Will{Forward: packet.AppendForward(nil, &packet.ForwardProperties{ContentType: "text"})}, 0, true).lose()
		p := sub.take()
		f, err := packet.ParseForward(p.Forward)
		if err != nil || string(p.Payload) != "gone" || p.QoS != 1 || f.ContentType != "text" {
			t.Errorf("%q came with QoS %d, %+v, %v", p.Payload, p.QoS, f, err)
		}
		s.leaving(t, "b", packet.Will{}, 0, true).send([]byte{0xF0, 0xFF, 0xFF, 0xFF, 0xFF}) // malformed [MQTT-3.1.2-8]
		sub.hears("gone")
		s.leaving(t, "c", packet.Will{}, 0, true).bye(packet.Disconnect{}) // [MQTT-3.14.4-3]
		sub.quiet()
		s.leaving(t, "d", packet.Will{}, 0, true).bye(packet.Disconnect{Code: packet.DisconnectWithWill})
		sub.hears("gone")
	})
}

func TestWillIsRetained(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.leaving(t, "a", packet.Will{Retain: true}, 0, true).lose() // [MQTT-3.1.2-15]
		s.reaches(t, "retained_messages", 1)
		if p := s.device(t, "sub", nil).to("will/a", 1).take(); !p.Retain || string(p.Payload) != "gone" {
			t.Errorf("%q came with RETAIN %v", p.Payload, p.Retain)
		}
	})
}

func TestWillWaitsForItsDelay(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil).to("will/#", 1)
		s.leaving(t, "a", packet.Will{Delay: 1}, 1000, true).lose()
		sub.quiet()
		sub.hears("gone")
	})
}

func TestWillIsCancelledByReconnecting(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil).to("will/#", 1)
		s.leaving(t, "a", packet.Will{Delay: 1}, 1000, true).lose()
		again, ack := s.connect(t, "a", func(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 1000, true }) // [MQTT-3.1.3-9]
		if !ack.SessionPresent {
			t.Error("the session is not present")
		}
		// The will of another client, lost later, comes; that of a does not.
		s.leaving(t, "b", packet.Will{Delay: 2, Payload: []byte("b")}, 1000, true).lose()
		sub.hears("b")
		again.lose()
		sub.quiet() // the last connection had no will
	})
}

func TestWillComesWithTheEndOfTheSession(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil).to("will/#", 1)
		s.leaving(t, "a", packet.Will{Delay: 1000}, 1, true).lose() // [MQTT-3.1.2-8]
		sub.quiet()
		sub.hears("gone")
		s.reaches(t, "sessions_expired_total", 1)

		s.leaving(t, "b", packet.Will{Delay: 1000}, 1000, true).lose()
		sub.quiet()
		s.device(t, "b", nil) // clean start ends the session
		sub.hears("gone")

		s.leaving(t, "c", packet.Will{Delay: 1000}, 1000, true).
			bye(packet.Disconnect{Code: packet.DisconnectWithWill, SessionExpiry: 0, HasSessionExpiry: true})
		sub.hears("gone")
	})
}

func TestWillAtATakeover(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		cases := map[string]struct {
			delay uint32
			clean bool
			comes bool
		}{
			"the session goes on, without a delay": {0, false, true},
			"the session goes on, with a delay":    {1000, false, false}, // [MQTT-3.1.3-9]
			"clean start, without a delay":         {0, true, true},
			"clean start, with a delay":            {1000, true, true}, // the session has ended
		}
		s := serve(t, transport, fantail.Config{}, nil)
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				sub := s.device(t, "sub", nil).to("will/#", 1)
				old := s.leaving(t, "a", packet.Will{Delay: c.delay}, 1000, true)
				s.connect(t, "a", func(r *packet.Connect) { r.CleanStart = c.clean })
				old.sentAway(packet.SessionTakenOver)
				if c.comes {
					sub.hears("gone")
				}
				sub.quiet()
			})
		}
	})
}
