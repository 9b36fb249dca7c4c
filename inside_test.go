package fantail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestTheProgramPublishesAndSubscribes(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		got := make(chan fantail.Message, 10)
		stop, err := s.Subscribe("a/+", func(m fantail.Message) { got <- m })
		if err != nil {
			t.Fatal(err)
		}
		sub := s.device(t, "sub", nil).to("a/+", 1)
		in := fantail.Message{
			Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true, Expiry: 90 * time.Second,
			Properties: packet.ForwardProperties{ContentType: "text", User: []packet.UserProperty{{Key: "k", Value: "v"}}},
		}
		if err := s.Publish(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		m := receive(t, got)
		if m.Topic != "a/b" || string(m.Payload) != "x" || m.QoS != 1 || !m.Retain || m.Expiry != 90*time.Second ||
			m.Properties.ContentType != "text" || len(m.Properties.User) != 1 {
			t.Errorf("%+v came", m)
		}
		p := sub.take()
		f, err := packet.ParseForward(p.Forward)
		if string(p.Payload) != "x" || p.Retain || p.Expiry != 90 || err != nil || f.ContentType != "text" {
			t.Errorf("%q came with RETAIN %v, expiry %d, %+v, %v", p.Payload, p.Retain, p.Expiry, f, err)
		}
		s.device(t, "pub", nil).say("a/c", "y")
		if m := receive(t, got); string(m.Payload) != "y" || m.Retain {
			t.Errorf("%+v came", m)
		}
		stop()
		if err := s.Publish(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if len(got) > 0 {
			t.Error("a message came after stop")
		}
		late := make(chan fantail.Message, 1)
		stop, err = s.Subscribe("#", func(m fantail.Message) { late <- m })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if m := receive(t, late); string(m.Payload) != "x" || !m.Retain {
			t.Errorf("retained: %+v", m)
		}
	})
}

func TestTheProgramHearsOfItsMistakes(t *testing.T) {
	s := serve(t, "auto", fantail.Config{Limits: fantail.Limits{RetainedMessages: 1}}, nil)
	for name, m := range map[string]fantail.Message{
		"a wildcard":                       {Topic: "a/#"},
		"no topic":                         {},
		"QoS 3":                            {Topic: "a", QoS: 3},
		"not text":                         {Topic: "a\xff"},
		"U+0000":                           {Topic: "a\x00"},
		"a long topic":                     {Topic: strings.Repeat("a", 70_000)},
		"a property that is not text":      {Topic: "a", Properties: packet.ForwardProperties{ContentType: "\xff"}},
		"a property that is too long":      {Topic: "a", Properties: packet.ForwardProperties{ContentType: strings.Repeat("a", 70_000)}},
		"a user property that is not text": {Topic: "a", Properties: packet.ForwardProperties{User: []packet.UserProperty{{Key: "\x00"}}}},
		"long correlation data":            {Topic: "a", Properties: packet.ForwardProperties{HasCorrelation: true, CorrelationData: make([]byte, 70_000)}},
		"a response topic with a wildcard": {Topic: "a", Properties: packet.ForwardProperties{ResponseTopic: "a/#"}},
		"an unknown payload format":        {Topic: "a", Properties: packet.ForwardProperties{HasPayloadFormat: true, PayloadFormat: 2}},
	} {
		if err := s.Publish(t.Context(), m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for range 2 {
		if err := s.Publish(t.Context(), fantail.Message{Topic: "a", Payload: []byte("x"), Retain: true}); err != nil {
			t.Error(err)
		}
	}
	if err := s.Publish(t.Context(), fantail.Message{Topic: "b", Payload: []byte("x"), Retain: true}); err == nil {
		t.Error("no error where there is no room to retain")
	}
	if _, err := s.Subscribe("a/#/b", func(fantail.Message) {}); err == nil {
		t.Error("no error of an ill-formed filter")
	}
}

func TestTheProgramGetsAllRetainedFirst(t *testing.T) {
	s := serve(t, "auto", fantail.Config{}, nil)
	s.fill(t, walkable, "v")
	hold, got := make(chan struct{}), make(chan string, 2*walkable)
	stop, err := s.Subscribe("many/#", func(m fantail.Message) {
		<-hold
		got <- m.Topic
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := s.Publish(t.Context(), fantail.Message{Topic: "many/last", Payload: []byte("live")}); err != nil {
		t.Fatal(err)
	}
	close(hold)
	seen := map[string]bool{}
	for topic := receive(t, got); topic != "many/last"; topic = receive(t, got) {
		seen[topic] = true
	}
	if len(seen) != walkable {
		t.Errorf("%d retained messages came first, want %d", len(seen), walkable)
	}
	if n := s.figure(t, `messages_dropped_total{reason="slow_subscriber_inside"}`); n != 0 {
		t.Errorf("%v messages were dropped", n)
	}
}

func TestTheProgramReadsSys(t *testing.T) {
	s := serve(t, "auto", fantail.Config{SysInterval: time.Second}, nil)
	figures, events := make(chan fantail.Message, 1000), make(chan fantail.Message, 10)
	stop, err := s.Subscribe("$SYS/broker/clients/connected", func(m fantail.Message) { figures <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	stop, err = s.Subscribe("$SYS/brokers/+/clients/#", func(m fantail.Message) { events <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if m := receive(t, figures); string(m.Payload) != "0" { // at once
		t.Errorf("%s is %s", m.Topic, m.Payload)
	}
	s.device(t, "a", nil)
	if m := receive(t, events); m.Topic != "$SYS/brokers/fantail/clients/a/connected" {
		t.Errorf("%s came", m.Topic)
	}
	for string(receive(t, figures).Payload) != "1" {
		continue
	}
}

func TestASlowSubscriberInsideHoldsNobodyUp(t *testing.T) {
	s := serve(t, "auto", fantail.Config{}, nil)
	hold := make(chan struct{})
	stop, err := s.Subscribe("a", func(fantail.Message) { <-hold })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	defer close(hold)
	pub := s.device(t, "pub", nil)
	for i := range 5000 {
		pub.publish(packet.Publish{Topic: []byte("a"), Payload: []byte(fmt.Sprint(i))})
	}
	pub.quiet()
	s.reaches(t, `messages_dropped_total{reason="slow_subscriber_inside"}`, 900)
}

func TestTheProgramsOwnBrokerNeedsNoListener(t *testing.T) {
	b, err := fantail.New(fantail.Config{Listeners: fantail.NoListeners()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	got := make(chan fantail.Message, 1)
	stop, err := b.Subscribe("$share/g/a", func(m fantail.Message) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := b.Publish(t.Context(), fantail.Message{Topic: "a", QoS: 2}); err != nil {
		t.Fatal(err)
	}
	receive(t, got)
}
