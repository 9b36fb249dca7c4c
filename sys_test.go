package fantail_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestSysComesToSubscribersOnly(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{SysInterval: time.Second}, func(b *fantail.Broker) { b.UseVersion("1.2.3") })
		all := s.device(t, "all", nil).to("#", 0) // [MQTT-4.7.2-1]
		sub := s.device(t, "sub", nil)
		sub.to("$SYS/broker/#", 1)
		first := map[string]string{}
		for len(first) < 20 { // at once, as if they were retained
			p := sub.message()
			if _, twice := first[string(p.Topic)]; twice || !p.Retain {
				t.Fatalf("%s came with RETAIN %v, twice %v", p.Topic, p.Retain, twice)
			}
			first[string(p.Topic)] = string(p.Payload)
		}
		for topic, want := range map[string]string{
			"$SYS/broker/version":                   "fantail version 1.2.3",
			"$SYS/broker/clients/connected":         "2",
			"$SYS/broker/clients/total":             "2",
			"$SYS/broker/clients/maximum":           "2",
			"$SYS/broker/subscriptions/count":       "2",
			"$SYS/broker/retained messages/count":   "0",
			"$SYS/broker/publish/messages/received": "0",
		} {
			if first[topic] != want {
				t.Errorf("%s is %q, want %q", topic, first[topic], want)
			}
		}
		if up := first["$SYS/broker/uptime"]; !strings.HasSuffix(up, " seconds") {
			t.Errorf("uptime is %q", up)
		}
		pub := s.device(t, "pub", nil)
		pub.say("x", "y")
		all.hears("y")
		for { // refreshed, with RETAIN as for any live message
			p := sub.message()
			if string(p.Topic) == "$SYS/broker/publish/messages/received" && string(p.Payload) == "1" {
				break
			}
		}
		for !strings.HasPrefix(string(sub.message().Topic), "$SYS/broker/load/publish/received/") { // after two measures
			continue
		}
		all.quiet()
	})
}

func TestSysBelongsToTheBroker(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil).to("$SYS/mine", 1)
		pub := s.device(t, "pub", nil)
		if code := pub.say("$SYS/mine", "x"); code != packet.NotAuthorized {
			t.Errorf("PUBACK: %v", code)
		}
		pub.publish(packet.Publish{Topic: []byte("$SYS/mine")})
		pub.quiet()
		sub.quiet()
		s.reaches(t, `messages_dropped_total{reason="not_authorized"}`, 2)
		will := s.dial(t)
		ack := will.hello("w", func(c *packet.Connect) { c.Will = &packet.Will{Topic: "$SYS/mine"} })
		if ack.Code != packet.NotAuthorized {
			t.Errorf("CONNACK: %v", ack.Code)
		}
	})
}

type event struct {
	ClientID   string `json:"clientid"`
	UserName   string `json:"username"`
	Address    string `json:"ipaddress"`
	Protocol   string `json:"protocol"`
	CleanStart bool   `json:"clean_start"`
	KeepAlive  int    `json:"keepalive"`
	Expiry     uint32 `json:"expiry_interval"`
	Reason     string `json:"reason"`
	Connected  int64  `json:"connected_at"`
	Time       int64  `json:"ts"`
}

func TestPresenceEvents(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Node: "n1"}, nil)
		sub := s.device(t, "sub", nil).to("$SYS/brokers/+/clients/#", 1)
		sees := func(id, what, reason string) event {
			t.Helper()
			p := sub.take()
			var e event
			if err := json.Unmarshal(p.Payload, &e); err != nil {
				t.Fatal(err)
			}
			topic := "$SYS/brokers/n1/clients/" + id + "/" + what
			if string(p.Topic) != topic || !strings.Contains(e.Reason, reason) || (reason == "") != (e.Reason == "") {
				t.Fatalf("%s %s came, want %s with the reason %q", p.Topic, p.Payload, topic, reason)
			}
			if now := time.Now().UnixMilli(); e.Time > now || e.Time < now-60_000 || e.Connected > e.Time {
				t.Errorf("times are %d, %d; it is %d", e.Connected, e.Time, now)
			}
			return e
		}
		w := s.device(t, "d/1+#", func(c *packet.Connect) {
			c.HasUserName, c.UserName, c.KeepAlive = true, "ann", 30
			c.SessionExpiry, c.HasSessionExpiry = 5, true
		})
		e := sees("d%2F1%2B%23", "connected", "")
		want := event{
			ClientID: "d/1+#", UserName: "ann", Address: w.conn.LocalAddr().String(), Protocol: "5.0",
			CleanStart: true, KeepAlive: 30, Expiry: 5, Connected: e.Connected, Time: e.Time,
		}
		if e != want {
			t.Errorf("%+v, want %+v", e, want)
		}
		w.bye(packet.Disconnect{})
		sees("d%2F1%2B%23", "disconnected", "the client disconnected")

		s.old(t, "lost").lose()
		sees("lost", "connected", "")
		sees("lost", "disconnected", "without DISCONNECT")

		s.device(t, "bad", nil).send([]byte{0x00, 0x00})
		sees("bad", "connected", "")
		sees("bad", "disconnected", "malformed packet")

		s.device(t, "twin", nil)
		sees("twin", "connected", "")
		s.device(t, "twin", nil)
		sees("twin", "disconnected", "session taken over")
		sees("twin", "connected", "")
		sub.quiet()
	})
}
