package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// scenario is a story which every client can play.
type scenario struct {
	name     string
	versions []int
	// needs what not every client can; nil is nothing.
	needs func(f flavour) bool
	play  func(s *stage)
}

// TestScenarios plays each scenario with each client.
func TestScenarios(t *testing.T) {
	t.Parallel()
	both := []int{4, 5}
	scenarios := []scenario{
		{name: "exchange", versions: both, play: exchange},
		{name: "retained", versions: both, play: retained},
		{name: "will", versions: both, play: will},
		{name: "session", versions: both, play: session},
		{name: "shared", versions: both, play: shared},
		{name: "takeover", versions: both, play: takeover},
		{name: "request", versions: []int{5}, play: request},
		{name: "reasons", versions: []int{5}, needs: func(f flavour) bool { return !f.lazy }, play: reasons},
	}
	at := startBroker(t, options{})
	for _, f := range flavours(t, both...) {
		for _, sc := range scenarios {
			if !slices.Contains(sc.versions, f.version) || sc.needs != nil && !sc.needs(f) {
				continue
			}
			t.Run(sc.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				sc.play(newStage(t, at, f))
			})
		}
	}
}

// exchange publishes at each QoS and receives at the same.
func exchange(s *stage) {
	c := s.open("self")
	c.connect(connect{Clean: true})
	c.subscribe(filter{s.topic("+"), 2})
	payloads := map[string][]byte{"empty": nil, "text": []byte("grüße, “世界”\n"), "binary": binary(200 << 10)}
	for qos := range 3 {
		for name, payload := range payloads {
			m := message{Topic: s.topic(name), Payload: payload, QoS: qos}
			c.publish(m)
			c.expect(m)
		}
	}
	c.disconnect()
}

// retained: a later subscriber sees the message, with the flag; who was there
// sees it without; an empty one clears it.
func retained(s *stage) {
	c, late := s.open("publisher"), s.open("late")
	c.connect(connect{Clean: true})
	kept := message{Topic: s.topic("kept"), Payload: []byte("kept"), QoS: 1, Retain: true}
	c.publish(kept)

	late.connect(connect{Clean: true})
	late.subscribe(filter{s.topic("#"), 1})
	late.expect(kept)

	empty := message{Topic: kept.Topic, QoS: 1, Retain: true}
	c.publish(empty)
	empty.Retain = false // it was routed, not kept
	late.expect(empty)
	late.disconnect()

	late.connect(connect{Clean: true})
	late.subscribe(filter{s.topic("#"), 1})
	fence := message{Topic: kept.Topic, Payload: []byte("nothing was kept"), QoS: 1}
	c.publish(fence)
	late.expect(fence)
}

// will: published when the client dies, not when it disconnects.
func will(s *stage) {
	w, c := s.witness(), s.open("mortal")
	w.subscribe(filter{s.topic("will"), 2})
	last := message{Topic: s.topic("will"), Payload: []byte("last words"), QoS: 1}
	if s.flavour.version == 5 {
		last.User = []property{{"cause", "unknown"}} // paho.golang sends no other property of a will
	}
	c.connect(connect{Clean: true, Will: &last})
	c.subscribe(filter{s.topic("alive"), 0})
	c.client.Die()
	w.expect(last)

	c.connect(connect{Clean: true, Will: &last})
	c.subscribe(filter{s.topic("alive"), 0})
	c.disconnect()
	if s.flavour.lazy && s.flavour.version == 5 {
		w.expect(last) // mosquitto_sub leaves with code 0x04, which asks for it
		return
	}
	c.connect(connect{Clean: true}) // the connection before has ended now
	c.subscribe(filter{s.topic("alive"), 0})
	fence := message{Topic: last.Topic, Payload: []byte("no will"), QoS: 2}
	w.publish(fence)
	w.expect(fence)
}

// session: what is published while the client is away comes in order when it
// is back, whether it left with or without a word.
func session(s *stage) {
	w, c := s.witness(), s.open("durable")
	keep := connect{SessionExpiry: 3600}
	c.connectSession(keep, 0)
	c.subscribe(filter{s.topic("+"), 2})
	c.disconnect()
	whileAway(s, w, c, keep, "polite")
	c.client.Die()
	whileAway(s, w, c, keep, "rude")
	c.disconnect()

	c.connectSession(connect{Clean: true}, 0)
	c.subscribe(filter{s.topic("+"), 2})
	fence := message{Topic: s.topic("fence"), QoS: 2}
	w.publish(fence)
	c.expect(fence)
}

// whileAway publishes at QoS 1 and 2 while c is away, and checks what c gets
// when it connects again.
func whileAway(s *stage, w, c *peer, keep connect, mood string) {
	s.t.Helper()
	const count = 20
	topics := []string{1: s.topic(mood + "1"), 2: s.topic(mood + "2")}
	for i := range count {
		for qos := 1; qos <= 2; qos++ {
			w.publish(message{Topic: topics[qos], Payload: fmt.Append(nil, i), QoS: qos})
		}
	}
	c.connectSession(keep, 1)
	arrived := []int{1: 0, 2: 0}
	for arrived[1]+arrived[2] < 2*count { // the order of one topic is promised, not of two
		got := c.next()
		qos := max(1, slices.Index(topics, got.Topic))
		want := message{Topic: topics[qos], Payload: fmt.Append(nil, arrived[qos]), QoS: qos}
		if mood == "rude" && got.Topic != want.Topic {
			continue // received before c died, but not acknowledged
		}
		want.Dup = got.Dup && mood == "rude" // on its way when c died
		if !same(got, want) {
			s.t.Fatalf("%s: receives\n\t%v, want\n\t%v", mood, got, want)
		}
		arrived[qos]++
	}
}

// shared: of two members each message reaches one, and both get some.
func shared(s *stage) {
	const count = 40
	w := s.witness()
	type share struct {
		role string
		got  []string
		err  error
	}
	shares := make(chan share)
	roles := []string{"one", "two"}
	for _, role := range roles {
		c := s.open(role)
		c.connect(connect{Clean: true})
		c.subscribe(filter{"$share/" + c.id() + "/nobody", 1}, filter{s.topic("end/" + role), 1}, filter{"$share/group/" + s.topic("work"), 1})
		go func() { // ends with its fence or the scenario
			got, err := until(s.ctx, c.client, s.topic("end/"+role))
			shares <- share{role, got, err}
		}()
	}
	for i := range count {
		w.publish(message{Topic: s.topic("work"), Payload: fmt.Append(nil, i), QoS: 1})
	}
	for _, role := range roles {
		w.publish(message{Topic: s.topic("end/" + role), QoS: 1})
	}
	times := make(map[string]int)
	for range roles {
		sh := <-shares
		if sh.err != nil || len(sh.got) == 0 {
			s.t.Errorf("member %s gets %d messages, then %v", sh.role, len(sh.got), sh.err)
		}
		for _, payload := range sh.got {
			times[payload]++
		}
	}
	for i := range count {
		if n := times[fmt.Sprint(i)]; n != 1 {
			s.t.Errorf("message %d arrives %d times", i, n)
		}
	}
}

// until collects payloads up to a message on the topic end.
func until(ctx context.Context, c client, end string) ([]string, error) {
	var got []string
	for {
		m, err := c.Next(ctx)
		if err != nil {
			return got, err
		}
		if m.Topic == end {
			return got, nil
		}
		got = append(got, string(m.Payload))
	}
}

// takeover: a second client with the same id ends the first [MQTT-3.1.4-3].
func takeover(s *stage) {
	first, second := s.open("first"), s.open("second")
	first.connect(connect{Clean: true})
	first.subscribe(filter{s.topic("a"), 0})
	second.connect(connect{Clean: true, ClientID: first.id()})
	second.subscribe(filter{s.topic("b"), 0})
	m, err := first.client.Next(s.ctx)
	var end *gone
	if !errors.As(err, &end) {
		s.t.Fatalf("first gets %v, %v; want the end of its connection", m, err)
	}
	const takenOver = 0x8E
	mustShow := s.flavour.version == 5 && !s.flavour.deaf
	if end.Code != takenOver && (end.Code != unseen || mustShow) {
		s.t.Errorf("first is sent away with code %#x, want %#x", end.Code, takenOver)
	}
	if s.flavour.lazy {
		return // mosquitto_sub has connected again, and taken over in turn
	}
	alive := message{Topic: s.topic("b")}
	second.publish(alive)
	second.expect(alive)
}
