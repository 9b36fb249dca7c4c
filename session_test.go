package fantail_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// lasting asks for a session that outlives its connection.
func lasting(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 1000, true }

func TestQueueOfAnAbsentClientKeepsItsOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.device(t, "sub", lasting).to("a/#", 2).lose()
		pub := s.device(t, "pub", nil)
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprint(i))
			pub.publish(packet.Publish{Topic: []byte(fmt.Sprint("a/", i%3)), Payload: []byte(want[i]), QoS: byte(1 + i%2)})
		}
		pub.publish(packet.Publish{Topic: []byte("a/0"), Payload: []byte("QoS 0")})
		pub.quiet()
		if n := s.figure(t, "queue_messages"); n != 200 {
			t.Errorf("%v messages are queued, want 200", n)
		}
		sub, ack := s.connect(t, "sub", lasting)
		if !ack.SessionPresent {
			t.Error("the session is not present")
		}
		seen := 0
		for seen < len(want) {
			p := sub.nextPublish()
			if string(p.Payload) != want[seen] || p.Dup {
				t.Fatalf("%q came with DUP %v, want %q without", p.Payload, p.Dup, want[seen])
			}
			seen++
			if p.QoS == 1 {
				sub.answer(packet.PUBACK, p.ID)
			} else {
				sub.answer(packet.PUBREC, p.ID)
			}
		}
		s.reaches(t, `messages_dropped_total{reason="offline"}`, 1) // the one with QoS 0
	})
}

func TestQueueIsBounded(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{QueueMessages: 3}}, nil)
		s.device(t, "sub", lasting).to("a", 1).lose()
		pub := s.device(t, "pub", nil)
		for i := range 5 {
			want := packet.Success
			if i >= 3 {
				want = packet.QuotaExceeded // no success code for a message that was dropped
			}
			if code := pub.say("a", fmt.Sprint(i)); code != want {
				t.Errorf("PUBACK of message %d: %v, want %v", i, code, want)
			}
		}
		s.reaches(t, `messages_dropped_total{reason="queue_full"}`, 2)
		sub, _ := s.connect(t, "sub", lasting)
		sub.hears("0", "1", "2")
	})
}

func TestQoS0WaitsWhereItMay(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{QueueMessages: 3, QueueQoS0: true}}, nil)
		s.device(t, "sub", lasting).to("a", 1).lose()
		pub := s.device(t, "pub", nil)
		for i := range 5 {
			pub.publish(packet.Publish{Topic: []byte("a"), Payload: []byte(fmt.Sprint(i))})
		}
		for _, text := range []string{"5", "6"} {
			if code := pub.say("a", text); code != packet.Success {
				t.Errorf("PUBACK: %v", code)
			}
		}
		s.reaches(t, `messages_dropped_total{reason="queue_full_qos0"}`, 4)
		if n := s.figure(t, "queue_messages"); n != 3 {
			t.Errorf("%v messages wait, want 3", n)
		}
		sub, _ := s.connect(t, "sub", lasting)
		came := map[string]bool{}
		for range 3 { // in any order: they are of two QoS
			p := sub.take()
			came[string(p.Payload)] = p.QoS == 0
		}
		if len(came) != 3 || !came["4"] || came["5"] || came["6"] {
			t.Errorf("came %v, true at QoS 0", came)
		}
		sub.quiet()
		if n := s.figure(t, `messages_dropped_total{reason="offline"}`); n != 0 {
			t.Errorf("%v were dropped because the client was away", n)
		}
	})
}

func TestSessionExpires(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		short := func(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 1, true }
		s.device(t, "sub", short).to("a", 1).lose()
		s.reaches(t, "sessions_expired_total", 1)
		if n := s.figure(t, "subscriptions"); n != 0 {
			t.Errorf("%v subscriptions are left", n)
		}
		if _, ack := s.connect(t, "sub", short); ack.SessionPresent { // [MQTT-3.1.2-5]
			t.Error("the session is present")
		}
	})
}

func TestSessionExpiryOfDisconnect(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{SessionExpiryMax: 500 * time.Second}}, nil)
		w, ack := s.connect(t, "a", lasting)
		if !ack.HasSessionExpiry || ack.SessionExpiry != 500 {
			t.Errorf("CONNACK: session expiry %d (%v), want 500", ack.SessionExpiry, ack.HasSessionExpiry)
		}
		w.bye(packet.Disconnect{SessionExpiry: 0, HasSessionExpiry: true})
		if _, ack := s.connect(t, "a", lasting); ack.SessionPresent {
			t.Error("a session that DISCONNECT ended is present")
		}
		w = s.device(t, "b", nil)
		w.send(packet.AppendDisconnect(nil, &packet.Disconnect{SessionExpiry: 5, HasSessionExpiry: true}, w.v, 0))
		w.sentAway(packet.ProtocolError) // 5.0, section 3.14.2.2.2
	})
}

func TestMessageExpiresInTheQueue(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		s.device(t, "sub", lasting).to("a", 1).lose()
		pub := s.device(t, "pub", nil)
		for _, seconds := range []uint32{1, 100} {
			pub.publish(packet.Publish{Topic: []byte("a"), Payload: []byte(fmt.Sprint(seconds)), QoS: 1, Expiry: seconds, HasExpiry: true})
		}
		// A retained message that came later has expired: so has the first.
		pub.publish(packet.Publish{Topic: []byte("r"), Payload: []byte("x"), QoS: 1, Retain: true, Expiry: 1, HasExpiry: true})
		s.reaches(t, `messages_dropped_total{reason="retained_expired"}`, 1)
		sub, _ := s.connect(t, "sub", lasting)
		p := sub.take()
		if string(p.Payload) != "100" || !p.HasExpiry || p.Expiry > 99 || p.Expiry < 80 { // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
			t.Errorf("%q came with an expiry of %d (%v)", p.Payload, p.Expiry, p.HasExpiry)
		}
		sub.quiet()
		s.reaches(t, `messages_dropped_total{reason="expired"}`, 1)
	})
}

func TestServerKeepAlive(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{KeepAliveMax: 60 * time.Second}}, nil)
		for asked, want := range map[uint16]uint16{0: 60, 61: 60, 60: 0, 5: 0} {
			_, ack := s.connect(t, "a", func(c *packet.Connect) { c.KeepAlive = asked })
			if ack.ServerKeepAlive != want || ack.HasServerKeepAlive != (want > 0) {
				t.Errorf("asked for %d: server keep-alive %d (%v), want %d", asked, ack.ServerKeepAlive, ack.HasServerKeepAlive, want)
			}
		}
	})
}

func TestKeepAliveEnds(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		start := time.Now()
		five := s.device(t, "five", func(c *packet.Connect) { c.KeepAlive = 1 })
		three := s.device(t, "three", func(c *packet.Connect) { c.KeepAlive, c.Version = 1, packet.V311 })
		five.sentAway(packet.KeepAliveTimeout) // [MQTT-3.1.2-22]
		three.ended()
		if d := time.Since(start); d < 1400*time.Millisecond || d > 6*time.Second {
			t.Errorf("it took %v, want 1.5 s", d)
		}
		s.reaches(t, `connections_closed_total{reason="keep_alive_timeout"}`, 2)
	})
}

func TestMaximumPacketSizeOfTheServer(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{Packet: 1000}}, nil)
		w, ack := s.connect(t, "a", nil)
		if ack.MaximumPacketSize != 1000 {
			t.Errorf("CONNACK: maximum packet size %d", ack.MaximumPacketSize)
		}
		fits := packet.Publish{Topic: []byte("a"), Payload: make([]byte, 1000-3-3-3), QoS: 1, ID: 1}
		for fits.Size(w.v) < 1000 {
			fits.Payload = append(fits.Payload, 0)
		}
		fits.Payload = fits.Payload[:len(fits.Payload)-fits.Size(w.v)+1000]
		w.publish(fits)
		w.send([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}) // refused by its header, before the rest has come
		w.sentAway(packet.PacketTooLarge)
		s.reaches(t, `connections_closed_total{reason="packet_too_large"}`, 1)
		first := s.dial(t)
		first.send([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F})
		first.ended()
	})
}

func TestMaximumPacketSizeOfTheClient(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		small := s.device(t, "small", func(c *packet.Connect) { c.MaximumPacketSize = 60 }).to("a", 1)
		other := s.device(t, "other", nil).to("a", 1)
		pub := s.device(t, "pub", nil)
		pub.say("a", string(make([]byte, 100)))
		pub.say("a", "fits")
		small.hears("fits") // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
		other.take()
		other.hears("fits")
		s.reaches(t, `messages_dropped_total{reason="packet_too_large"}`, 1)
	})
}

func TestConnectionLimit(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{Connections: 1}, ServerReference: "other:1883"}, nil)
		first := s.device(t, "first", nil)
		ack := s.dial(t).hello("second", nil)
		if ack.Code != packet.UseAnotherServer || ack.ServerReference != "other:1883" {
			t.Errorf("CONNACK: %v, %q", ack.Code, ack.ServerReference)
		}
		ack = s.dial(t).hello("third", func(c *packet.Connect) { c.Version, c.CleanStart = packet.V311, true })
		if ack.Code != packet.ServerUnavailable {
			t.Errorf("CONNACK of 3.1.1: %v", ack.Code)
		}
		s.reaches(t, `connections_refused_total{reason="use_another_server"}`, 2)
		first.bye(packet.Disconnect{})
		s.device(t, "second", nil)

		without := serve(t, transport, fantail.Config{Limits: fantail.Limits{Connections: 1}}, nil)
		without.device(t, "first", nil)
		if ack := without.dial(t).hello("second", nil); ack.Code != packet.QuotaExceeded {
			t.Errorf("CONNACK: %v", ack.Code)
		}
	})
}

func TestTopicAliases(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{TopicAliasMaximum: 2}}, nil)
		sub := s.device(t, "sub", func(c *packet.Connect) { c.TopicAliasMaximum = 1 }).to("#", 0)
		pub, ack := s.connect(t, "pub", nil)
		if ack.TopicAliasMaximum != 2 {
			t.Errorf("CONNACK: topic alias maximum %d", ack.TopicAliasMaximum)
		}
		for _, p := range []packet.Publish{{Topic: []byte("a/long/topic"), Alias: 2}, {Alias: 2}, {Topic: []byte("b/long/topic"), Alias: 2}, {Alias: 2}} {
			pub.publish(p)
		}
		for i, want := range []packet.Publish{{Topic: []byte("a/long/topic"), Alias: 1}, {Alias: 1}, {Topic: []byte("b/long/topic")}, {Topic: []byte("b/long/topic")}} {
			if p := sub.message(); string(p.Topic) != string(want.Topic) || p.Alias != want.Alias {
				t.Errorf("message %d came on %q with alias %d, want %q with %d", i, p.Topic, p.Alias, want.Topic, want.Alias)
			}
		}
		pub.publish(packet.Publish{Topic: []byte("c"), Alias: 3})
		pub.sentAway(packet.TopicAliasInvalid) // [MQTT-3.3.2-9]
	})
}
