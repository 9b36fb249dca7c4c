package conform

import (
	"bytes"
	"fmt"
	"strings"
)

func subscribeChecks() []Check {
	return []Check{
		v4("MQTT-3.8.3-2", "A filter with wildcards is granted and works, or is refused.", wildcardsWorkOrNot),
		v4("MQTT-3.8.3-3", "SUBSCRIBE without a filter, or with one without its QoS, closes the connection.", emptySubscribe),
		v5("MQTT-3.8.3-2", "SUBSCRIBE without a filter, or with one without its options, is refused.", emptySubscribe),
		v4("MQTT-3-8.3-4", "SUBSCRIBE with QoS 3 or reserved bits closes the connection.", func(t *T) { badOptions(t, 3, 4, 8, 0x10, 0x40, 0x80) }),
		v5("MQTT-3.8.3-3", "With No Local the publisher gets none of its own messages, others do, and it gets those of others.", noLocalWorks),
		v5("MQTT-3.8.3-4", "No Local on a shared subscription is refused as a protocol error.", noLocalShared),
		v5("MQTT-3.8.3-5", "SUBSCRIBE with reserved option bits, QoS 3 or Retain Handling 3 is refused.", func(t *T) { badOptions(t, 0x40, 0x80, 0xC0, 3, 0x30) }),
		v4("MQTT-3.8.4-1", "SUBSCRIBE is answered with SUBACK.", subscribeAnswered),
		v5("MQTT-3.8.4-1", "SUBSCRIBE is answered with SUBACK.", subscribeAnswered),
		v4("MQTT-3.8.4-2", "SUBACK has the packet identifier of its SUBSCRIBE.", subackRepeatsIdentifier),
		v5("MQTT-3.8.4-2", "SUBACK has the packet identifier of its SUBSCRIBE.", subackRepeatsIdentifier),
		v4("MQTT-3.8.4-3", "A repeated SUBSCRIBE replaces the QoS, brings retained messages again and doubles nothing.", subscriptionReplaced),
		v5("MQTT-3.8.4-3", "A repeated SUBSCRIBE replaces options and identifier of the subscription and doubles nothing.", subscriptionReplaced),
		v5("MQTT-3.8.4-4", "Repeating a SUBSCRIBE with Retain Handling 0 brings retained messages again, and no message of a stream is lost meanwhile.", replacedInStream),
		v4("MQTT-3.8.4-4", "SUBSCRIBE with several filters gets one SUBACK, and all of them work.", severalFilters),
		v5("MQTT-3.8.4-5", "SUBSCRIBE with several filters gets one SUBACK, and all of them work.", severalFilters),
		v4("MQTT-3.8.4-5", "SUBACK has one code for each filter.", oneCodeEach),
		v5("MQTT-3.8.4-6", "SUBACK has one code for each filter.", oneCodeEach),
		v5("MQTT-3.8.4-7", "Each code is the QoS granted, at which messages then come, or a failure.", grantedIsUsed),
		v4("MQTT-3.8.4-6", "For each pair of QoS published and granted the lower arrives.", lowerQoS),
		v5("MQTT-3.8.4-8", "For each pair of QoS published and granted the lower arrives.", lowerQoS),
		v4("MQTT-3.9.3-1", "The codes in SUBACK have the order of the filters.", codesInOrder),
		v5("MQTT-3.9.3-1", "The codes in SUBACK have the order of the filters.", codesInOrder),
		v4("MQTT-3.9.3-2", "SUBACK has only the codes 00, 01, 02 and 80, for ordinary and for odd filters.", oddFilters),
		v5("MQTT-3.9.3-2", "SUBACK has only listed codes, for ordinary and for odd filters.", oddFilters),
		v4("MQTT-3.10.3-2", "UNSUBSCRIBE without a filter closes the connection.", emptyUnsubscribe),
		v5("MQTT-3.10.3-2", "UNSUBSCRIBE without a filter is refused.", emptyUnsubscribe),
		v4("MQTT-3.10.4-1", "UNSUBSCRIBE deletes the filter that is equal character by character, and no other that matches.", exactUnsubscribe),
		v5("MQTT-3.10.4-1", "UNSUBSCRIBE deletes the filter that is equal character by character, and no other that matches.", exactUnsubscribe),
		v4("MQTT-3.10.4-2", "After UNSUBACK no new message comes.", nothingAfterUnsubscribe),
		v5("MQTT-3.10.4-2", "After UNSUBACK no new message comes.", nothingAfterUnsubscribe),
		v4("MQTT-3.10.4-3", "QoS 2 deliveries begun before UNSUBSCRIBE are finished, also after a reconnection.", begunIsFinished),
		v5("MQTT-3.10.4-3", "QoS 2 deliveries begun before UNSUBSCRIBE are finished, also after a reconnection.", begunIsFinished),
		v4("MQTT-3.10.4-4", "UNSUBSCRIBE is answered with UNSUBACK that has its identifier.", subackRepeatsIdentifier),
		v5("MQTT-3.10.4-4", "UNSUBSCRIBE is answered with UNSUBACK.", subackRepeatsIdentifier),
		v4("MQTT-3.10.4-5", "UNSUBACK comes also where nothing was subscribed.", unsubscribeNothing),
		v5("MQTT-3.10.4-5", "UNSUBACK with the identifier comes also where nothing was subscribed.", unsubscribeNothing),
		v4("MQTT-3.10.4-6", "UNSUBSCRIBE with several filters gets one UNSUBACK, and all of them end.", unsubscribeSeveral),
		v5("MQTT-3.10.4-6", "UNSUBSCRIBE with several filters gets one UNSUBACK, and all of them end.", unsubscribeSeveral),
		v5("MQTT-3.11.3-1", "The codes in UNSUBACK have the order of the filters.", unsubackCodes),
		v5("MQTT-3.11.3-2", "UNSUBACK has 0x00 for a subscription that was there and 0x11 for one that was not.", unsubackCodes),
		v4("MQTT-3.12.4-1", "PINGREQ is answered with PINGRESP, one each.", pings),
		v5("MQTT-3.12.4-1", "PINGREQ is answered with PINGRESP, one each.", pings),
	}
}

func wildcardsWorkOrNot(t *T) {
	c := t.connect("c")
	c.send(subscribe(t.level, 1, nil, filter{t.topic("+/x"), 0}))
	if p := c.expectID(kSuback, 1); bytes.Equal(p.codes, []byte{0x80}) {
		return
	}
	c.publish(publish{topic: t.topic("a/x"), payload: "x"})
	c.receive(t.topic("a/x"), "x")
}

func emptySubscribe(t *T) {
	body := join(u16(1), properties(t.level, nil))
	for name, packet := range map[string][]byte{
		"no filter": frame(0x82, body), "no options": frame(0x82, body, text(t.topic("a"))),
		"no options on the second": frame(0x82, body, text(t.topic("a")), []byte{0}, text(t.topic("b"))),
	} {
		t.try(name, func() {
			c := t.connect("c")
			c.send(packet)
			c.refused(malformed, protocolError)
		})
	}
}

func badOptions(t *T, options ...byte) {
	for _, o := range options {
		t.try(fmt.Sprintf("options %08b", o), func() {
			c := t.connect("c")
			c.send(subscribe(t.level, 1, nil, filter{t.topic("a"), o}))
			c.refused(malformed, protocolError)
		})
	}
}

func noLocalWorks(t *T) {
	topic := t.topic("local")
	a, b := t.connect("a"), t.connect("b")
	a.subscribe(topic, 1|noLocal)
	b.subscribe(topic, 1)
	a.publish(publish{topic: topic, payload: "own", qos: 1})
	b.receive(topic, "own")
	b.publish(publish{topic: topic, payload: "other", qos: 1})
	a.receive(topic, "other")
	a.quiet()
}

func noLocalShared(t *T) {
	c := t.connect("c")
	c.send(subscribe(5, 1, nil, filter{"$share/g/" + t.topic("x"), noLocal}))
	c.refused(protocolError)
}

func subscribeAnswered(t *T) {
	c := t.connect("c")
	c.subscribe(t.topic("a"), 0)
	c.subscribe(t.topic("a"), 1)
	c.subscribe(t.topic("#"), 2)
}

func subscriptionReplaced(t *T) {
	topic := t.topic("again")
	c := t.connect("c")
	var first, second [][]byte
	if t.level == 5 {
		first, second = [][]byte{propSubscription(1)}, [][]byte{propSubscription(2)}
	}
	c.publish(publish{topic: topic, payload: "kept", qos: 1, retain: true})
	c.subscribe(topic, 0, first...)
	c.receive(topic, "kept")
	c.subscribe(topic, 1, second...)
	c.receive(topic, "kept")
	c.publish(publish{topic: topic, payload: "x", qos: 1})
	p := c.receive(topic, "x")
	if ids := p.subscriptions(); p.qos() != 1 || t.level == 5 && (len(ids) != 1 || ids[0] != 2) {
		c.fail("PUBLISH with QoS 1 and the identifier of the second subscription", p, nil)
	}
	c.quiet()
}

func replacedInStream(t *T) {
	topic := t.topic("stream")
	c, pub := t.connect("c"), t.connect("p")
	pub.publish(publish{topic: topic, payload: "kept", qos: 1, retain: true})
	c.subscribe(topic, 1)
	c.receive(topic, "kept")
	for i := range 40 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: 1})
		if i%10 == 5 {
			c.send(subscribe(5, uint16(1000+i), nil, filter{topic, 1}))
		}
	}
	next, kept := 0, 0
	for next < 40 || kept < 4 {
		p, err := c.read(t.opts.Wait)
		switch {
		case err == nil && p.kind == kSuback:
		case err != nil || p.kind != kPublish:
			c.fail(fmt.Sprintf("message %d, or one of %d retained messages", next, 4-kept), p, err)
		case p.payload == "kept":
			kept++
			c.acknowledge(p)
		case p.payload != fmt.Sprint(next):
			c.fail(fmt.Sprintf("message %d", next), p, nil)
		default:
			next++
			c.acknowledge(p)
		}
	}
}

func severalFilters(t *T) {
	c := t.connect("c")
	c.send(subscribe(t.level, 5, nil, filter{t.topic("a"), 0}, filter{t.topic("b"), 1}, filter{t.topic("c/+"), 2}))
	c.expectID(kSuback, 5)
	c.quiet()
	for _, name := range []string{"a", "b", "c/d"} {
		c.publish(publish{topic: t.topic(name), payload: name, qos: 1})
		c.receive(t.topic(name), name)
	}
}

func oneCodeEach(t *T) {
	c := t.connect("c")
	const count = 20
	filters := make([]filter, 0, count)
	for i := range count {
		filters = append(filters, filter{t.topic(fmt.Sprint(i)), byte(i % 3)})
		c.send(subscribe(t.level, uint16(i+1), nil, filters...))
		if p := c.expectID(kSuback, uint16(i+1)); len(p.codes) != i+1 {
			c.fail(fmt.Sprintf("SUBACK with %d codes", i+1), p, nil)
		}
	}
}

func grantedIsUsed(t *T) {
	c := t.connect("c")
	for want := range byte(3) {
		topic := t.topic(fmt.Sprint(want))
		c.send(subscribe(5, 7, nil, filter{topic, want}))
		p := c.expectID(kSuback, 7)
		if len(p.codes) != 1 || p.codes[0] > want && p.codes[0] < 0x80 {
			c.fail(fmt.Sprintf("SUBACK with a QoS of at most %d or a failure", want), p, nil)
		}
		if p.codes[0] >= 0x80 {
			continue
		}
		c.publish(publish{topic: topic, payload: "x", qos: 2})
		if got := c.receive(topic, "x"); got.qos() != p.codes[0] {
			c.fail(fmt.Sprintf("PUBLISH with QoS %d", p.codes[0]), got, nil)
		}
	}
}

func lowerQoS(t *T) {
	c := t.connect("c")
	for granted := range byte(3) {
		topic := t.topic(fmt.Sprint(granted))
		c.subscribe(topic, granted)
		for qos := range byte(3) {
			c.publish(publish{topic: topic, payload: "x", qos: qos})
			if p := c.receive(topic, "x"); p.qos() != min(qos, granted) {
				c.fail(fmt.Sprintf("PUBLISH with QoS %d", min(qos, granted)), p, nil)
			}
		}
	}
}

func codesInOrder(t *T) {
	c := t.connect("c")
	asked := []byte{2, 0, 1, 1, 0, 2}
	filters := make([]filter, 0, len(asked))
	for i, qos := range asked {
		filters = append(filters, filter{t.topic(fmt.Sprint(i)), qos})
	}
	c.send(subscribe(t.level, 3, nil, filters...))
	if p := c.expectID(kSuback, 3); !bytes.Equal(p.codes, asked) {
		c.fail(fmt.Sprintf("SUBACK with the codes % X", asked), p, nil)
	}
}

func oddFilters(t *T) {
	for _, name := range []string{
		"/", "//", "$SYS/#", "$other/" + t.prefix, t.topic("#"), "+/" + t.prefix, "$share/g/" + t.topic("a"), " ", "$", "/" + t.prefix + "/+/",
		t.topic(strings.Repeat("a/", 100)), t.topic(strings.Repeat("x", 60000)),
	} {
		t.try(shorten(name), func() {
			c := t.connect("c")
			c.send(subscribe(t.level, 1, nil, filter{name, 1}))
			p := c.expectID(kSuback, 1) // the decoder looks at the code
			if len(p.codes) != 1 {
				c.fail("SUBACK with one code", p, nil)
			}
		})
	}
}

func emptyUnsubscribe(t *T) {
	c := t.connect("c")
	c.send(unsubscribe(t.level, 1))
	c.refused(malformed, protocolError)
}

func exactUnsubscribe(t *T) {
	c := t.connect("c")
	c.subscribe(t.topic("a/+"), 1)
	for _, other := range []string{"a/#", "a/b", "+/+", "a/+/", "A/+", "a"} {
		c.unsubscribe(t.topic(other))
	}
	c.publish(publish{topic: t.topic("a/b"), payload: "x", qos: 1})
	c.receive(t.topic("a/b"), "x")
	c.unsubscribe(t.topic("a/+"))
	c.publish(publish{topic: t.topic("a/b"), payload: "y", qos: 1})
	c.quiet()
}

func nothingAfterUnsubscribe(t *T) {
	topic := t.topic("u")
	c, pub := t.connect("c"), t.connect("p")
	c.subscribe(topic, 1)
	pub.publish(publish{topic: topic, payload: "x", qos: 1})
	c.receive(topic, "x")
	c.unsubscribe(topic)
	for qos := range byte(3) {
		pub.publish(publish{topic: topic, payload: "x", qos: qos})
	}
	c.quiet()
}

func begunIsFinished(t *T) {
	topic := t.topic("u")
	c := t.resume("c")
	c.subscribe(topic, 2)
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "one", qos: 1})
	pub.publish(publish{topic: topic, payload: "two", qos: 2})
	one, two := c.expectPublish(topic, "one"), c.expectPublish(topic, "two")
	c.unsubscribe(topic)
	c.send(ack(kPubrec, two.id))
	c.expectID(kPubrel, two.id)
	c.drop()
	c = t.resume("c")
	open := map[kind]uint16{kPublish: one.id, kPubrel: two.id}
	for range 2 {
		p, err := c.read(t.opts.Wait)
		if err != nil || p.id != open[p.kind] {
			c.fail("the PUBLISH and the PUBREL that were open", p, err)
		}
		delete(open, p.kind)
	}
	c.send(ack(kPuback, one.id), ack(kPubcomp, two.id))
	c.quiet()
}

func unsubscribeNothing(t *T) {
	c := t.connect("c")
	c.unsubscribe(t.topic("never"))
	c.unsubscribe("#")
}

func unsubscribeSeveral(t *T) {
	c := t.connect("c")
	for _, name := range []string{"a", "b", "c"} {
		c.subscribe(t.topic(name), 1)
	}
	c.unsubscribe(t.topic("a"), t.topic("never"), t.topic("c"))
	for _, name := range []string{"a", "c", "b"} {
		c.publish(publish{topic: t.topic(name), payload: name, qos: 1})
	}
	c.receive(t.topic("b"), "b")
	c.quiet()
}

func unsubackCodes(t *T) {
	c := t.connect("c")
	c.subscribe(t.topic("a"), 1)
	c.subscribe(t.topic("b"), 1)
	p := c.unsubscribe(t.topic("a"), t.topic("never"), t.topic("b"), t.topic("a"))
	if want := []byte{0, noSubscription, 0, noSubscription}; !bytes.Equal(p.codes, want) {
		c.fail(fmt.Sprintf("UNSUBACK with the codes % X", want), p, nil)
	}
}

func pings(t *T) {
	c := t.connect("c")
	c.ping()
	c.send(pingreq(), pingreq(), pingreq())
	for range 3 {
		c.expect(kPingresp)
	}
	c.quiet()
}
