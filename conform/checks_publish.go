package conform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

func publishChecks() []Check {
	return []Check{
		v4("MQTT-3.3.1-1", "A PUBLISH that the broker sends again after a reconnection has DUP 1.", resentHasDup),
		v5("MQTT-3.3.1-1", "A PUBLISH that the broker sends again after a reconnection has DUP 1.", resentHasDup),
		v4("MQTT-3.3.1-2", "QoS 0 messages come with DUP 0, also where the publisher sent QoS 1 with DUP 1; QoS 0 with DUP 1 is refused.", qos0WithoutDup),
		v5("MQTT-3.3.1-2", "QoS 0 messages come with DUP 0, also where the publisher sent QoS 1 with DUP 1; QoS 0 with DUP 1 is refused.", qos0WithoutDup),
		v4("MQTT-3.3.1-3", "A message published with DUP 1 reaches a subscriber with DUP 0.", dupNotPassedOn),
		v5("MQTT-3.3.1-3", "A message published with DUP 1 reaches a subscriber with DUP 0.", dupNotPassedOn),
		v4("MQTT-3.3.1-4", "A PUBLISH with both QoS bits set closes the connection.", qos3),
		v5("MQTT-3.3.1-4", "A PUBLISH with both QoS bits set is refused as malformed.", qos3),
		v4("MQTT-3.3.2-1", "A PUBLISH without a whole topic name, or with an ill-formed one, closes the connection.", badTopicName),
		v5("MQTT-3.3.2-1", "A PUBLISH without a whole topic name, or with an ill-formed one, is refused.", badTopicName),
		v4("MQTT-3.3.2-2", "A PUBLISH to a topic with a wildcard closes the connection.", wildcardInTopic),
		v5("MQTT-3.3.2-2", "A PUBLISH to a topic with a wildcard is refused.", wildcardInTopic),
		v4("MQTT-3.3.2-3", "Each message comes under the topic it was published to, and only if the filter matches.", topicMatches),
		v5("MQTT-3.3.2-3", "Each message comes under the topic it was published to, and only if the filter matches.", topicMatches),
		v4("MQTT-3.3.4-1", "QoS 0 gets no answer, QoS 1 PUBACK, QoS 2 PUBREC.", answersByQoS),
		v5("MQTT-3.3.4-1", "QoS 0 gets no answer, QoS 1 PUBACK, QoS 2 PUBREC.", answersByQoS),
		v4("MQTT-3.3.5-1", "With overlapping subscriptions the message comes at the highest QoS among them.", highestQoS),
		v5("MQTT-3.3.4-2", "With overlapping subscriptions the message comes at the highest QoS among them.", highestQoS),
		v4("MQTT-3.3.5-2", "A PUBLISH to $SYS is acknowledged as usual or closes the connection.", forbiddenPublish),
		v5("MQTT-3.3.4-3", "With overlapping subscriptions the message brings their subscription identifiers.", subscriptionIDs),
		v5("MQTT-3.3.4-4", "A single copy for overlapping subscriptions has the identifiers of all that have one.", subscriptionIDs),
		v5("MQTT-3.3.4-5", "Several copies for overlapping subscriptions have one identifier each, that of their subscription.", subscriptionIDs),
		v5("MQTT-3.3.4-6", "A PUBLISH from a client with a subscription identifier is refused as a protocol error.", idFromClient),
		v5("MQTT-3.3.2-4", "Payload Format Indicator 1, 0 and none arrive as given.", payloadFormat),
		v5("MQTT-3.3.2-5", "A message whose expiry has passed before delivery is not delivered, queued or retained.", expiredMessage),
		v5("MQTT-3.3.2-6", "The Message Expiry Interval arrives less the time that the message waited, queued or retained.", remainingExpiry),
		v5("MQTT-3.3.2-7", "A topic alias of an earlier connection means nothing on the next one of that session.", aliasEnds),
		v5("MQTT-3.3.2-8", "Topic alias 0 is refused.", aliasZero),
		v5("MQTT-3.3.2-9", "A topic alias above the broker's Topic Alias Maximum is refused with 0x94.", aliasTooHigh),
		v5("MQTT-3.3.2-11", "The broker sends no alias above the client's Topic Alias Maximum of 2, and aliases it sends resolve to the right topics.", aliasFromServer),
		v5("MQTT-3.1.2-26", "The broker sends no alias above the client's Topic Alias Maximum of 2.", aliasFromServer),
		v5("MQTT-3.1.2-27", "Without a Topic Alias Maximum, or with 0, the broker sends no alias.", noAliasFromServer),
		v5("MQTT-3.3.2-12", "The broker accepts each topic alias from 1 to its Topic Alias Maximum, set, used and changed.", aliasesAccepted),
		v5("MQTT-3.3.2-14", "A Response Topic with a wildcard, in PUBLISH or in a will, is refused.", wildcardInResponse),
		v5("MQTT-3.3.2-15", "The Response Topic arrives as given.", forwards(propText(pResponseTopic, "answer/\u00e9/to"))),
		v5("MQTT-3.3.2-16", "Correlation Data arrives as given, any bytes, empty too.", correlation),
		v5("MQTT-3.3.2-17", "User properties arrive as given, live, queued and retained.", userProperties),
		v5("MQTT-3.3.2-18", "User properties arrive in their order, equal keys too.", userProperties),
		v5("MQTT-3.3.2-20", "The Content Type arrives as given.", forwards(propText(pContentType, "text/plain; charset=\u00fc"))),
	}
}

func resentHasDup(t *T) {
	topic := t.topic("again")
	c := t.resume("c")
	c.subscribe(topic, 2)
	pub := t.connect("p")
	for qos := range byte(2) {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(qos), qos: qos + 1})
		if p := c.expectPublish(topic, fmt.Sprint(qos)); p.dup() {
			c.fail("first PUBLISH with DUP 0", p, nil)
		}
	}
	c.drop()
	c = t.resume("c")
	for range 2 {
		if p := c.message(); !p.dup() {
			c.fail("PUBLISH with DUP 1 as it is sent again", p, nil)
		}
	}
}

func qos0WithoutDup(t *T) {
	topic := t.topic("dup")
	c := t.connect("c")
	c.subscribe(topic, 0)
	c.publish(publish{topic: topic, payload: "1", qos: 1, dup: true})
	c.receive(topic, "1") // the decoder refuses QoS 0 with DUP 1
	c.publish(publish{topic: topic, payload: "0"})
	c.receive(topic, "0")
	c.send(publish{topic: topic, payload: "wrong", dup: true}.bytes(t.level))
	c.refused(malformed, protocolError)
}

func dupNotPassedOn(t *T) {
	topic := t.topic("dup")
	c := t.connect("c")
	c.subscribe(topic, 2)
	for qos := byte(1); qos <= 2; qos++ {
		c.publish(publish{topic: topic, payload: fmt.Sprint(qos), qos: qos, dup: true})
		if p := c.receive(topic, fmt.Sprint(qos)); p.dup() {
			c.fail("PUBLISH with DUP 0", p, nil)
		}
	}
}

func qos3(t *T) {
	for _, first := range []byte{0x36, 0x37, 0x3E} {
		c := t.connect("c")
		c.send(frame(first, text(t.topic("q3")), u16(1), properties(t.level, nil), []byte("x")))
		c.refused(malformed)
	}
}

func badTopicName(t *T) {
	for name, body := range map[string][]byte{
		"empty body": {}, "half a length": {0}, "shorter than its length": {0, 9, 'a'}, "ill-formed": join(text("a\xff"), properties(t.level, nil)),
	} {
		t.try(name, func() {
			c := t.connect("c")
			c.send(frame(0x30, body))
			c.refused(malformed, protocolError, badTopic)
		})
	}
}

func wildcardInTopic(t *T) {
	for _, name := range []string{"#", "+", t.topic("#"), t.topic("+/x"), t.topic("a+b"), t.topic("a#")} {
		t.try(name, func() {
			c := t.connect("c")
			c.send(publish{topic: name, payload: "x"}.bytes(t.level))
			c.refused(malformed, protocolError, badTopic)
		})
	}
}

func topicMatches(t *T) {
	c, pub := t.connect("c"), t.connect("p")
	c.subscribe(t.topic("a/+/c"), 1)
	c.subscribe(t.topic("x/#"), 1)
	for _, name := range []string{"a/b/c", "a/b", "a/b/c/d", "a//c", "x", "x/y/z", "y/x", "A/b/c", "end/x"} {
		pub.publish(publish{topic: t.topic(name), payload: name, qos: 1})
	}
	for _, name := range []string{"a/b/c", "a//c", "x", "x/y/z"} {
		c.receive(t.topic(name), name)
	}
	c.quiet()
}

func answersByQoS(t *T) {
	c := t.connect("c")
	topic := t.topic("answers")
	c.publish(publish{topic: topic, payload: "x"})
	c.quiet()
	c.publish(publish{topic: topic, payload: "x", qos: 1})
	c.publish(publish{topic: topic, payload: "x", qos: 2})
}

func highestQoS(t *T) {
	c, pub := t.connect("c"), t.connect("p")
	c.subscribe(t.topic("a"), 1)
	c.subscribe(t.topic("+"), 2)
	c.subscribe(t.topic("#"), 0)
	pub.publish(publish{topic: t.topic("a"), payload: "x", qos: 2})
	best := -1
	for _, p := range c.copies() {
		best = max(best, int(p.qos()))
	}
	if best != 2 {
		t.failf("the highest QoS of the copies is %d, expected 2", best)
	}
}

// copies takes all messages that come within a short time after the first.
func (c *client) copies() []*packet {
	out := []*packet{c.message()}
	for {
		if len(c.held) == 0 {
			p, err := c.read(c.t.opts.Quiet)
			if errors.Is(err, errQuiet) {
				return out
			}
			if err != nil || p.kind != kPublish {
				c.fail("PUBLISH or nothing", p, err)
			}
			c.held = append(c.held, p)
		}
		out = append(out, c.message())
	}
}

func forbiddenPublish(t *T) {
	c := t.connect("c")
	c.send(publish{topic: "$SYS/conform/" + t.prefix, payload: "x", qos: 1, id: 7}.bytes(t.level))
	p, err := c.read(t.opts.Wait)
	if errors.Is(err, errClosed) {
		return
	}
	if err != nil || p.kind != kPuback || p.id != 7 {
		c.fail("PUBACK with identifier 7, or closed connection", p, err)
	}
}

func subscriptionIDs(t *T) {
	c, pub := t.connect("c"), t.connect("p")
	c.subscribe(t.topic("a"), 1, propSubscription(1))
	c.subscribe(t.topic("+"), 1, propSubscription(268435455))
	c.subscribe(t.topic("#"), 1)
	pub.publish(publish{topic: t.topic("a"), payload: "x", qos: 1})
	all := c.copies()
	var ids []uint32
	for _, p := range all {
		own := p.subscriptions()
		if len(all) > 1 && len(own) > 1 {
			c.fail("at most one subscription identifier on each of several copies", p, nil)
		}
		ids = append(ids, own...)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []uint32{1, 268435455}) {
		t.failf("%d copies with the subscription identifiers %v, expected 1 and 268435455", len(all), ids)
	}
}

func idFromClient(t *T) {
	c := t.connect("c")
	c.send(publish{topic: t.topic("x"), props: propSubscription(1)}.bytes(5))
	c.refused(protocolError, malformed)
}

// forwards makes a check that a property arrives byte by byte as it was sent.
func forwards(prop []byte) func(*T) {
	return func(t *T) {
		topic := t.topic("props")
		c := t.connect("c")
		c.subscribe(topic, 1)
		for qos := range byte(3) {
			c.publish(publish{topic: topic, payload: "x", qos: qos, props: prop})
			p := c.receive(topic, "x")
			if !strings.Contains(string(p.raw), string(prop)) {
				c.fail(fmt.Sprintf("PUBLISH with the property % X", prop), p, nil)
			}
		}
	}
}

func correlation(t *T) {
	for _, data := range []string{"\x00\xff\x80bytes", ""} {
		forwards(propText(pCorrelationData, data))(t)
	}
}

func payloadFormat(t *T) {
	topic := t.topic("format")
	c := t.connect("c")
	c.subscribe(topic, 1)
	for name, props := range map[string][]byte{"none": nil, "0": propByte(pPayloadFormat, 0), "1": propByte(pPayloadFormat, 1)} {
		c.publish(publish{topic: topic, payload: "text", props: props})
		p := c.receive(topic, "text")
		got := "none"
		if format, ok := p.prop(pPayloadFormat); ok {
			got = fmt.Sprint(format.number)
		}
		if got != name {
			c.fail("Payload Format Indicator "+name, p, nil)
		}
	}
}

func userProperties(t *T) {
	topic := t.topic("user")
	props := join(propPair("z", "1"), propPair("a", "2"), propPair("z", "0"), propPair("", ""), propPair("z", "1"))
	want := []string{"z=1", "a=2", "z=0", "=", "z=1"}
	check := func(c *client) {
		if p := c.receive(topic, "x"); !slices.Equal(p.pairs(), want) {
			c.fail(fmt.Sprintf("user properties %q", want), p, nil)
		}
	}
	live, away := t.connect("live"), t.resume("away")
	live.subscribe(topic, 1)
	away.subscribe(topic, 1)
	away.leave()
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1, retain: true, props: props})
	check(live)
	check(t.resume("away"))
	late := t.connect("late")
	late.subscribe(topic, 1)
	check(late)
}

func expiredMessage(t *T) {
	topic := t.topic("expired")
	away := t.resume("away")
	away.subscribe(topic, 1)
	away.leave()
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "short", qos: 1, retain: true, props: prop32(pMessageExpiry, 1)})
	pub.publish(publish{topic: topic, payload: "long", qos: 1, props: prop32(pMessageExpiry, 60)})
	t.pass(2200 * time.Millisecond)
	away = t.resume("away")
	away.receive(topic, "long")
	late := t.connect("late")
	late.subscribe(topic, 1)
	late.quiet()
}

func remainingExpiry(t *T) {
	topic := t.topic("expiry")
	away, live := t.resume("away"), t.connect("live")
	away.subscribe(topic, 1)
	live.subscribe(topic, 1)
	away.leave()
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1, retain: true, props: prop32(pMessageExpiry, 60)})
	remains := func(c *client, low, high uint32) {
		p := c.receive(topic, "x")
		if left := announced(p, pMessageExpiry, 0); left < low || left > high {
			c.fail(fmt.Sprintf("Message Expiry Interval of %d to %d", low, high), p, nil)
		}
	}
	remains(live, 59, 60)
	t.pass(2200 * time.Millisecond)
	remains(t.resume("away"), 56, 58)
	late := t.connect("late")
	late.subscribe(topic, 1)
	remains(late, 56, 58)
}

// aliasMaximum is what the broker accepts; without any there is nothing to observe.
func (c *client) aliasMaximum(got *packet) uint16 {
	most := uint16(announced(got, pTopicAliasMaximum, 0))
	if most > 0 {
		return most
	}
	if c.t.opts.Offers {
		c.fail("CONNACK with a Topic Alias Maximum", got, nil)
	}
	c.t.notObservable("the broker accepts no topic aliases, which the standard allows")
	return 0
}

func aliased(topic, payload string, alias uint16) []byte {
	return publish{topic: topic, payload: payload, props: prop16(pTopicAlias, alias)}.bytes(5)
}

func aliasEnds(t *T) {
	topic := t.topic("alias")
	c, got := t.open(t.lasting("c"))
	c.aliasMaximum(got)
	c.subscribe(topic, 0)
	c.send(aliased(topic, "x", 1))
	c.receive(topic, "x")
	c.leave()
	c, _ = t.open(t.lasting("c"))
	c.send(aliased("", "lost", 1))
	c.refused(protocolError, badAlias)
}

func aliasZero(t *T) {
	c := t.connect("c")
	c.send(aliased(t.topic("x"), "x", 0))
	c.refused(badAlias, protocolError, malformed)
}

func aliasTooHigh(t *T) {
	c, got := t.open(t.hello("c"))
	most := announced(got, pTopicAliasMaximum, 0)
	if most == 65535 {
		t.notObservable("the broker accepts every topic alias")
	}
	c.send(aliased(t.topic("x"), "x", uint16(most+1)))
	c.refused(badAlias, protocolError)
}

func aliasesAccepted(t *T) {
	c, got := t.open(t.hello("c"))
	most := c.aliasMaximum(got)
	c.subscribe(t.topic("+"), 0)
	for alias := uint16(1); alias <= min(most, 300); alias++ {
		c.send(aliased(t.topic(fmt.Sprint(alias)), "set", alias))
	}
	for alias := uint16(1); alias <= min(most, 300); alias++ {
		c.receive(t.topic(fmt.Sprint(alias)), "set")
	}
	c.send(aliased("", "first", 1), aliased(t.topic("last"), "set", most), aliased("", "last", most),
		aliased(t.topic("changed"), "set", 1), aliased("", "changed", 1))
	c.receive(t.topic("1"), "first")
	c.receive(t.topic("last"), "set")
	c.receive(t.topic("last"), "last")
	c.receive(t.topic("changed"), "set")
	c.receive(t.topic("changed"), "changed")
}

func aliasFromServer(t *T) {
	p := t.hello("c")
	p.props = prop16(pTopicAliasMaximum, 2)
	c, _ := t.open(p)
	c.subscribe(t.topic("+"), 0)
	pub := t.connect("p")
	known := map[uint32]string{}
	for i := range 12 {
		topic := t.topic(fmt.Sprint(i % 4))
		pub.publish(publish{topic: topic, payload: topic})
		got := c.expect(kPublish)
		name := got.topic
		if alias, ok := got.prop(pTopicAlias); ok {
			if alias.number > 2 {
				c.fail("topic alias of at most 2", got, nil)
			}
			if name != "" {
				known[alias.number] = name
			}
			name = known[alias.number]
		}
		if name != topic || got.payload != topic {
			c.fail(fmt.Sprintf("PUBLISH that means the topic %q", topic), got, nil)
		}
	}
}

func noAliasFromServer(t *T) {
	for name, props := range map[string][]byte{"absent": nil, "0": prop16(pTopicAliasMaximum, 0)} {
		t.try(name, func() {
			p := t.hello("c")
			p.props = props
			c, _ := t.open(p)
			topic := t.topic(name)
			c.subscribe(topic, 1)
			for range 5 {
				c.publish(publish{topic: topic, payload: "x", qos: 1})
				got := c.receive(topic, "x")
				if _, ok := got.prop(pTopicAlias); ok {
					c.fail("PUBLISH without a topic alias", got, nil)
				}
			}
		})
	}
}

func wildcardInResponse(t *T) {
	for _, name := range []string{"a/#", "+/b"} {
		c := t.connect("c")
		c.send(publish{topic: t.topic("x"), props: propText(pResponseTopic, name)}.bytes(5))
		c.refused(malformed, protocolError, badTopic)
		p := t.hello("w")
		p.will = &will{topic: t.topic("w"), payload: "x", props: propText(pResponseTopic, name)}
		t.offer(p).refused(malformed, protocolError, badTopic)
	}
}
