package interop

import (
	"fmt"
	"slices"
	"testing"
)

// request: a request names the topic for its response and carries data which
// comes back with it; all properties arrive as they were sent.
func request(s *stage) {
	requester, responder := s.open("requester"), s.open("responder")
	for _, c := range []*peer{requester, responder} {
		c.connect(connect{Clean: true})
		c.subscribe(filter{s.topic(c.role), 1})
	}
	question := message{
		Topic: s.topic("responder"), Payload: []byte("what is the time?"), QoS: 1,
		User:        []property{{"lang", "en"}, {"lang", "de"}, {"größe", "ü"}}, // one name may come twice [MQTT-3.3.2-18]
		ContentType: "text/plain",
		Response:    s.topic("requester"),
		Correlation: []byte("question-1"),
		Expiry:      600,
	}
	requester.publish(question)
	got := responder.next()
	if got.Expiry == question.Expiry-1 { // a second may have begun
		got.Expiry++
	}
	if !same(got, question) {
		s.t.Fatalf("responder receives\n\t%v, want\n\t%v", got, question)
	}
	answer := message{Topic: got.Response, Payload: []byte("late"), QoS: 1, Correlation: got.Correlation}
	responder.publish(answer)
	requester.expect(answer)
}

// TestExpiry: a message that outlived its interval is not delivered, and
// another says how much of its own is left [MQTT-3.3.2-5], [MQTT-3.3.2-6]. The
// delayed will of a client that died is the clock, one for all flavours.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := newStage(t, startBroker(t, options{}), flavour{})
	w := s.witness()
	var peers []*peer
	for i, f := range flavours(t, 5) {
		p := s.peer(f, f.name)
		p.connect(connect{SessionExpiry: 3600, ClientID: fmt.Sprintf("durable-%d", i)})
		p.subscribe(filter{s.topic("for/" + p.role), 1})
		p.disconnect()
		for _, seconds := range []uint32{1, 600, 0} {
			w.publish(message{Topic: s.topic("for/" + p.role), QoS: 1, Expiry: seconds})
		}
		peers = append(peers, p)
	}

	passed := message{Topic: s.topic("clock"), QoS: 1}
	w.subscribe(filter{passed.Topic, 1})
	mortal := s.peer(w.stage.flavour, "mortal")
	mortal.connect(connect{Clean: true, SessionExpiry: 600, Will: &passed, WillDelay: 2})
	mortal.client.Die()
	w.expect(passed)

	for i, p := range peers {
		p.connect(connect{SessionExpiry: 3600, ClientID: fmt.Sprintf("durable-%d", i)})
		if m := p.next(); m.Expiry > 598 || m.Expiry < 600-uint32(patience.Seconds()) {
			t.Errorf("%s receives %v, want an expiry of at most 598", p.role, m)
		}
		p.expect(message{Topic: s.topic("for/" + p.role), QoS: 1})
	}
}

// reasons: the codes of SUBACK, UNSUBACK, PUBACK and PUBREC.
func reasons(s *stage) {
	c := s.open("self")
	c.connect(connect{Clean: true})
	c.subscribe(filter{s.topic("0"), 0}, filter{s.topic("1"), 1}, filter{s.topic("2"), 2})
	const success, noMatch, noSubscription = 0, 0x10, 0x11
	for qos := 1; qos <= 2; qos++ {
		if code := c.publish(message{Topic: s.topic("1"), QoS: qos}); code != success && code != unseen {
			s.t.Errorf("published at QoS %d: code %#x, want success", qos, code)
		}
		c.next()
		code := c.publish(message{Topic: s.topic("nobody"), QoS: qos})
		if !slices.Contains([]int{success, noMatch, unseen}, code) {
			s.t.Errorf("published to nobody at QoS %d: code %#x", qos, code)
		}
	}
	codes, err := c.client.(unsubscriber).Unsubscribe(s.ctx, s.topic("1"), s.topic("never"))
	if err != nil {
		s.t.Fatalf("unsubscribe: %v", err)
	}
	if want := []int{success, noSubscription}; !slices.Equal(codes, want) {
		s.t.Errorf("UNSUBACK has %v, want %v", codes, want)
	}
	c.publish(message{Topic: s.topic("1"), QoS: 1})
	fence := message{Topic: s.topic("2"), QoS: 1}
	c.publish(fence)
	c.expect(fence)
}
