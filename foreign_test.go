package fantail_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/fantail-mqtt/fantail"
)

// five is a connected client of paho.golang.
func five(t *testing.T, s *server, c *paho5.Connect) (*paho5.Client, *paho5.Connack, chan *paho5.Publish) {
	t.Helper()
	conn, err := net.Dial("tcp", s.mqtt[0])
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *paho5.Publish, 100)
	p := paho5.NewClient(paho5.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho5.PublishReceived) (bool, error){func(r paho5.PublishReceived) (bool, error) {
			got <- r.Packet
			return true, nil
		}},
	})
	ack, err := p.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return p, ack, got
}

func TestPahoGolang(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		expiry, id := uint32(100), 7
		durable := &paho5.Connect{
			ClientID: "sub", KeepAlive: 30, CleanStart: true, Properties: &paho5.ConnectProperties{SessionExpiryInterval: &expiry},
			WillMessage: &paho5.WillMessage{Topic: "will", Payload: []byte("gone"), QoS: 1},
		}
		sub, _, got := five(t, s, durable)
		if _, err := sub.Subscribe(t.Context(), &paho5.Subscribe{
			Subscriptions: []paho5.SubscribeOptions{{Topic: "a/#", QoS: 2}, {Topic: "$share/g/b", QoS: 1}},
			Properties:    &paho5.SubscribeProperties{SubscriptionIdentifier: &id},
		}); err != nil {
			t.Fatal(err)
		}
		pub, _, _ := five(t, s, &paho5.Connect{ClientID: "pub", KeepAlive: 30, CleanStart: true})
		for qos := range byte(3) {
			for _, topic := range []string{"a/x", "b"} {
				if _, err := pub.Publish(t.Context(), &paho5.Publish{
					Topic: topic, QoS: qos, Payload: []byte{qos}, Properties: &paho5.PublishProperties{ContentType: "bytes"},
				}); err != nil {
					t.Fatal(err)
				}
				p := receive(t, got)
				if p.Topic != topic || p.Payload[0] != qos || p.Properties.ContentType != "bytes" ||
					p.Properties.SubscriptionIdentifier == nil || *p.Properties.SubscriptionIdentifier != id {
					t.Errorf("%v with %v and identifier %v came, want %s with %d", p, p.Payload, *p.Properties.SubscriptionIdentifier, topic, qos)
				}
			}
		}
		if err := sub.Disconnect(&paho5.Disconnect{ReasonCode: 0x04}); err != nil {
			t.Fatal(err)
		}
		receive(t, sub.Done())
		s.log.wait(t, "client gone", "client=sub")
		if _, err := pub.Publish(t.Context(), &paho5.Publish{Topic: "a/x", QoS: 1, Payload: []byte("queued"), Retain: true}); err != nil {
			t.Fatal(err)
		}
		durable.CleanStart = false
		sub, ack, got := five(t, s, durable)
		if !ack.SessionPresent {
			t.Error("the session is not present")
		}
		p := receive(t, got)
		for p.Payload[0] < 3 { // what paho had not acknowledged yet comes again
			p = receive(t, got)
		}
		if string(p.Payload) != "queued" || p.Retain {
			t.Errorf("%v came", p)
		}
		for _, c := range []*paho5.Client{sub, pub} {
			if err := c.Disconnect(&paho5.Disconnect{}); err != nil {
				t.Error(err)
			}
			receive(t, c.Done())
		}
	})
}

// three is a connected client of paho.mqtt.golang.
func three(t *testing.T, s *server, id string, clean bool, got chan paho3.Message) paho3.Client {
	t.Helper()
	o := paho3.NewClientOptions().AddBroker("tcp://" + s.mqtt[0]).SetClientID(id).SetCleanSession(clean).
		SetAutoReconnect(false).SetOrderMatters(true).SetProtocolVersion(4).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { got <- m })
	c := paho3.NewClient(o)
	done(t, c.Connect())
	return c
}

func done(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

func TestPahoMQTTGolang(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		got := make(chan paho3.Message, 100)
		sub := three(t, s, "sub", false, got)
		done(t, sub.Subscribe("a/#", 2, nil))
		pub := three(t, s, "pub", true, nil)
		for qos := range byte(3) {
			done(t, pub.Publish("a/x", qos, false, []byte{qos}))
			if m := receive(t, got); m.Topic() != "a/x" || m.Qos() != qos || m.Payload()[0] != qos {
				t.Errorf("%s with QoS %d came", m.Topic(), m.Qos())
			}
		}
		sub.Disconnect(250)
		s.log.wait(t, "client gone", "client=sub")
		for i := range 50 {
			done(t, pub.Publish("a/x", byte(1+i%2), false, fmt.Sprint(i)))
		}
		done(t, pub.Publish("kept", 1, true, "kept"))
		sub = three(t, s, "sub", false, got)
		for i := range 50 {
			m := receive(t, got)
			for m.Duplicate() { // what paho had not acknowledged yet comes again
				m = receive(t, got)
			}
			if string(m.Payload()) != fmt.Sprint(i) {
				t.Fatalf("%s came, want %d", m.Payload(), i)
			}
		}
		done(t, sub.Subscribe("kept", 1, nil))
		if m := receive(t, got); !m.Retained() || string(m.Payload()) != "kept" {
			t.Errorf("%s with RETAIN %v came", m.Payload(), m.Retained())
		}
		sub.Disconnect(250)
		pub.Disconnect(250)
	})
}

func TestPahoMQTTGolangIsTakenOver(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		lost := make(chan error, 1)
		o := paho3.NewClientOptions().AddBroker("tcp://" + s.mqtt[0]).SetClientID("twin").SetAutoReconnect(false).
			SetConnectionLostHandler(func(_ paho3.Client, err error) { lost <- err })
		first := paho3.NewClient(o)
		done(t, first.Connect())
		second := three(t, s, "twin", true, nil)
		if err := receive(t, lost); err == nil {
			t.Error("no error")
		}
		if !second.IsConnected() {
			t.Error("the second one is not connected")
		}
		second.Disconnect(uint(time.Second / time.Millisecond / 4))
	})
}
