package session_test

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// hot is a connected session with a message for it.
type hot struct {
	session.Session
	work  session.Work
	draft message.Draft
	route session.Route
}

func newHot(t session.Terms, qos byte) *hot {
	h := &hot{
		draft: message.Draft{Name: []byte("plant/1/temp"), Topic: "plant/1/temp", Payload: make([]byte, 64), QoS: qos},
		route: session.Route{QoS: qos},
	}
	h.work.Limits = &session.Limits{
		ReceiveMaximum: 100, TopicAliasMaximum: 64, InFlight: 32, QueueMessages: 1000, QueueBytes: 1 << 20, PendingBytes: 1 << 20,
	}
	h.work.Out = make([]byte, 0, 4096)
	h.Begin(t)
	return h
}

// deliver delivers the message to the session, which is one of many or not.
func (h *hot) deliver(many bool) session.Outcome {
	h.work.Out = h.work.Out[:0]
	h.work.Message(&h.draft, many)
	return h.Deliver(&h.work, &h.draft, &h.route)
}

// exchange delivers a QoS 1 message and takes in its PUBACK. The packet
// identifier is behind the topic.
func (h *hot) exchange() {
	h.deliver(false)
	at := 2 + 2 + len(h.draft.Name)
	_ = h.Puback(&h.work, &packet.Ack{ID: uint16(h.work.Out[at])<<8 | uint16(h.work.Out[at+1])})
}

func TestHotFunctionsDoNotAllocate(t *testing.T) {
	v3, v5 := session.Terms{Version: packet.V311}, session.Terms{Version: packet.V5}
	old, plain, one := newHot(v3, 0), newHot(v5, 0), newHot(v5, 1)
	aliased := newHot(session.Terms{Version: packet.V5, AliasMaximum: 10}, 0)
	identified := newHot(v5, 0)
	identified.route.IDs = []uint32{1, 300}
	in := newHot(v5, 0)
	ack := packet.Ack{ID: 7}
	named := packet.Publish{Topic: []byte("plant/1/temp"), Alias: 1}
	short := packet.Publish{Alias: 1}
	tests := map[string]func(){
		"Deliver QoS 0 to 3.1.1":                      func() { old.deliver(false) },
		"Deliver QoS 0 to 5.0":                        func() { plain.deliver(false) },
		"Deliver QoS 0 to 3.1.1, one of many":         func() { old.deliver(true) },
		"Deliver QoS 0 to 5.0, one of many":           func() { plain.deliver(true) },
		"Deliver QoS 0 with a topic alias":            func() { aliased.deliver(false) },
		"Deliver QoS 0 with subscription identifiers": func() { identified.deliver(false) },
		"Deliver QoS 1 and Puback":                    func() { one.exchange() },
		"Admit and Pubrel": func() {
			_, _ = in.Admit(&in.work, &packet.Publish{QoS: 2, ID: 7, Topic: named.Topic}, 0)
			in.Pubrel(&in.work, &ack)
		},
		"Topic that names an alias": func() { _ = in.Topic(&in.work, &named) },
		"Topic of an alias": func() {
			short.Topic = nil
			_ = in.Topic(&in.work, &named)
			_ = in.Topic(&in.work, &short)
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			f()
			if n := testing.AllocsPerRun(1000, f); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
	for _, h := range []*hot{old, plain, aliased, identified, one} {
		if len(h.work.Out) < 64 || h.InFlight() > 0 {
			t.Errorf("%d bytes sent, %d in flight: the test has tested something else", len(h.work.Out), h.InFlight())
		}
	}
	if string(short.Topic) != "plant/1/temp" {
		t.Errorf("the alias stands for %q", short.Topic)
	}
}

// The bytes of a PUBLISH are the read buffer's; the topic of an alias is lent to
// whoever routes the message, until the end of the tick.
func TestTopicOfAnAliasIsACopyThatStays(t *testing.T) {
	h := newHot(session.Terms{Version: packet.V5}, 0)
	topic := func(name []byte) []byte {
		p := packet.Publish{Topic: name, Alias: 1}
		if err := h.Topic(&h.work, &p); err != nil {
			t.Fatal(err)
		}
		return p.Topic
	}
	buffer := []byte("plant/1")
	topic(buffer)
	copy(buffer, "XXXXXXX")
	first := topic(nil)
	topic([]byte("plant/2"))
	if string(first) != "plant/1" {
		t.Errorf("the topic that was lent is %q now", first)
	}
	if got := topic(nil); string(got) != "plant/2" {
		t.Errorf("the alias stands for %q", got)
	}
}

func BenchmarkDeliver(b *testing.B) {
	tests := map[string]struct {
		terms session.Terms
		many  bool
		ids   []uint32
	}{
		"3.1.1":       {terms: session.Terms{Version: packet.V311}},
		"5.0":         {terms: session.Terms{Version: packet.V5}},
		"5.0 alias":   {terms: session.Terms{Version: packet.V5, AliasMaximum: 10}},
		"5.0 id":      {terms: session.Terms{Version: packet.V5}, ids: []uint32{7}},
		"5.0 of many": {terms: session.Terms{Version: packet.V5}, many: true},
	}
	for name, tt := range tests {
		b.Run(name, func(b *testing.B) {
			h := newHot(tt.terms, 0)
			h.route.IDs = tt.ids
			h.work.Message(&h.draft, tt.many)
			b.ReportAllocs()
			for b.Loop() {
				h.work.Out = h.work.Out[:0]
				if h.Deliver(&h.work, &h.draft, &h.route) != session.Sent {
					b.Fatal("not sent")
				}
			}
		})
	}
}

func BenchmarkDeliverAndPuback(b *testing.B) {
	for name, expiry := range map[string]uint32{"ephemeral": 0, "durable": 60} {
		b.Run(name, func(b *testing.B) {
			h := newHot(session.Terms{Version: packet.V311, Expiry: expiry}, 1)
			b.ReportAllocs()
			for b.Loop() {
				h.exchange()
				h.work.Changes = h.work.Changes[:0]
			}
		})
	}
}

// BenchmarkPuback acknowledges the oldest of a full window, and the next takes
// its place.
func BenchmarkPuback(b *testing.B) {
	for name, window := range map[string]uint16{"window 32": 32, "window 1000": 1000} {
		b.Run(name, func(b *testing.B) {
			h := newHot(session.Terms{Version: packet.V311}, 1)
			h.work.Limits.InFlight = window
			for range window {
				h.deliver(false)
			}
			id := uint16(0)
			b.ReportAllocs()
			for b.Loop() {
				id = id%65_535 + 1
				if err := h.Puback(&h.work, &packet.Ack{ID: id}); err != nil {
					b.Fatal(err)
				}
				h.deliver(false)
			}
			if h.InFlight() != int(window) {
				b.Fatalf("%d in flight", h.InFlight())
			}
		})
	}
}
