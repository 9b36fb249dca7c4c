package conform

import (
	"fmt"
	"slices"
	"time"
)

func qosChecks() []Check {
	return []Check{
		v4("MQTT-4.3.1-1", "The broker sends QoS 0 messages once, with QoS 0 and DUP 0.", qos0Once),
		v5("MQTT-4.3.1-1", "The broker sends QoS 0 messages once, with QoS 0 and DUP 0.", qos0Once),
		v4("MQTT-4.3.2-1", "The broker sends a QoS 1 message with a free identifier and DUP 0, and keeps it until PUBACK.", qos1Sender),
		v5("MQTT-4.3.2-1", "The broker gives each new QoS 1 message an identifier that is free.", serverIdentifiers),
		v5("MQTT-4.3.2-2", "The broker sends a QoS 1 message first with QoS 1, an identifier and DUP 0.", qos1Sender),
		v5("MQTT-4.3.2-3", "The broker keeps a QoS 1 message until PUBACK: sent again before it, not after it.", qos1Sender),
		v4("MQTT-4.3.2-2", "PUBACK repeats the identifier, which then means a new message, whatever its DUP.", qos1Receiver),
		v5("MQTT-4.3.2-4", "A QoS 1 message is answered with PUBACK that has its identifier.", qos1Receiver),
		v5("MQTT-4.3.2-5", "After PUBACK the identifier means a new message, whatever its DUP.", qos1Receiver),
		v4("MQTT-4.3.3-1", "The broker's QoS 2 deliveries: PUBLISH until PUBREC, then PUBREL until PUBCOMP, and never PUBLISH again.", qos2Sender),
		v5("MQTT-4.3.3-1", "The broker gives each new QoS 2 message an identifier that is free.", serverIdentifiers),
		v5("MQTT-4.3.3-2", "The broker sends a QoS 2 message first with QoS 2, an identifier and DUP 0.", qos2Sender),
		v5("MQTT-4.3.3-3", "The broker keeps a QoS 2 PUBLISH until PUBREC: sent again after a reconnection before that.", qos2Sender),
		v5("MQTT-4.3.3-4", "The broker answers PUBREC with PUBREL that has the same identifier.", qos2Sender),
		v5("MQTT-4.3.3-5", "The broker keeps a PUBREL until PUBCOMP: sent again before it, not after it.", qos2Sender),
		v5("MQTT-4.3.3-6", "After PUBREL the broker does not send the PUBLISH again.", qos2Sender),
		v5("MQTT-4.3.3-7", "A QoS 2 message that was sent once is sent again after a reconnection though its expiry has passed.", sentOutlivesExpiry),
		v4("MQTT-4.3.3-2", "QoS 2 from a client: PUBREC each time and one delivery until PUBREL, then PUBCOMP, then a new message.", qos2Receiver),
		v5("MQTT-4.3.3-8", "A QoS 2 message is answered with PUBREC that has its identifier.", qos2Receiver),
		v5("MQTT-4.3.3-9", "After a PUBREC of 0x80 or above the identifier means a new message.", afterRefusedPubrec),
		v5("MQTT-4.3.3-10", "Until PUBREL each PUBLISH with that identifier gets PUBREC and no second delivery, also over a reconnection.", qos2Receiver),
		v5("MQTT-4.3.3-11", "PUBREL is answered with PUBCOMP that has its identifier.", qos2Receiver),
		v5("MQTT-4.3.3-12", "After PUBCOMP the identifier means a new message.", qos2Receiver),
		v5("MQTT-4.3.3-13", "PUBREL is answered with PUBCOMP though the message's expiry has passed.", acksOutliveExpiry),
		v4("MQTT-4.4.0-1", "On resuming, the broker sends its open PUBLISH and PUBREL packets again with their identifiers.", qos2Sender),
		v5("MQTT-4.4.0-1", "On resuming, the broker sends its open PUBLISH and PUBREL packets again, and at no other time.", resendsOnlyOnResume),
		v5("MQTT-4.4.0-2", "A PUBLISH that the client refused with PUBACK or PUBREC of 0x80 or above is not sent again.", refusedNotResent),
		v4("MQTT-4.6.0-1", "PUBLISH packets that the broker sends again have their original order.", resentInOrder),
		v4("MQTT-4.6.0-2", "The broker's PUBACKs come in the order of the PUBLISH packets.", func(t *T) { acksInOrder(t, 1, kPuback) }),
		v4("MQTT-4.6.0-3", "The broker's PUBRECs come in the order of the PUBLISH packets.", func(t *T) { acksInOrder(t, 2, kPubrec) }),
		v4("MQTT-4.6.0-4", "The broker's PUBRELs come in the order of the PUBRECs.", pubrelsInOrder),
		v4("MQTT-4.6.0-5", "A topic nobody configured is ordered: messages of one client and QoS arrive in their order.", messagesInOrder),
		v4("MQTT-4.6.0-6", "Messages of one client, topic and QoS reach each subscriber in their order, live and queued.", messagesInOrder),
		v5("MQTT-4.6.0-5", "Messages of one client, topic and QoS reach each subscriber in their order, live and queued.", messagesInOrder),
		v5("MQTT-4.6.0-6", "A topic nobody configured is ordered for a subscription that is not shared.", messagesInOrder),
	}
}

func qos0Once(t *T) {
	topic := t.topic("q")
	c := t.resume("c")
	c.subscribe(topic, 0)
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 2})
	if p := c.receive(topic, "x"); p.qos() != 0 {
		c.fail("PUBLISH with QoS 0", p, nil)
	}
	c.drop()
	t.resume("c").quiet()
}

func qos1Sender(t *T) {
	topic := t.topic("q")
	c := t.resume("c")
	c.subscribe(topic, 1)
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1})
	first := c.expectPublish(topic, "x")
	if first.qos() != 1 || first.dup() {
		c.fail("PUBLISH with QoS 1 and DUP 0", first, nil)
	}
	c.drop()
	c = t.resume("c")
	again := c.expectPublish(topic, "x")
	if again.id != first.id || !again.dup() {
		c.fail(fmt.Sprintf("the same PUBLISH with identifier %d and DUP 1", first.id), again, nil)
	}
	c.acknowledge(again)
	c.ping()
	c.drop()
	t.resume("c").quiet()
}

func qos1Receiver(t *T) {
	topic := t.topic("q")
	c, pub := t.connect("c"), t.connect("p")
	c.subscribe(topic, 1)
	for _, dup := range []bool{false, true, false} {
		pub.publish(publish{topic: topic, payload: "x", qos: 1, id: 77, dup: dup})
		c.receive(topic, "x")
	}
	c.quiet()
}

func qos2Sender(t *T) {
	topic := t.topic("q")
	c := t.resume("c")
	c.subscribe(topic, 2)
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 2})
	first := c.expectPublish(topic, "x")
	if first.qos() != 2 || first.dup() {
		c.fail("PUBLISH with QoS 2 and DUP 0", first, nil)
	}
	c.drop()
	c = t.resume("c")
	again := c.expectPublish(topic, "x")
	if again.id != first.id || !again.dup() {
		c.fail(fmt.Sprintf("the same PUBLISH with identifier %d and DUP 1", first.id), again, nil)
	}
	c.send(ack(kPubrec, first.id))
	c.expectID(kPubrel, first.id)
	for range 2 {
		c.drop()
		c = t.resume("c")
		c.expectID(kPubrel, first.id)
		if len(c.held) > 0 {
			c.fail("PUBREL alone", c.held[0], nil)
		}
	}
	c.send(ack(kPubcomp, first.id))
	c.ping()
	c.drop()
	t.resume("c").quiet()
}

func qos2Receiver(t *T) {
	topic := t.topic("q")
	c := t.connect("c")
	pub := t.resume("p")
	c.subscribe(topic, 2)
	first := publish{topic: topic, payload: "first", qos: 2, id: 5}
	pub.send(first.bytes(t.level))
	pub.expectID(kPubrec, 5)
	first.dup = true
	pub.send(first.bytes(t.level))
	pub.expectID(kPubrec, 5)
	pub.drop()
	pub = t.resume("p")
	pub.send(first.bytes(t.level))
	pub.expectID(kPubrec, 5)
	for range 2 { // a PUBREL sent again is answered again
		pub.send(ack(kPubrel, 5))
		pub.expectID(kPubcomp, 5)
	}
	c.receive(topic, "first")
	c.quiet()
	pub.publish(publish{topic: topic, payload: "second", qos: 2, id: 5})
	c.receive(topic, "second")
}

func sentOutlivesExpiry(t *T) {
	topic := t.topic("q")
	c := t.resume("c")
	c.subscribe(topic, 2)
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 2, props: prop32(pMessageExpiry, 1)})
	first := c.expectPublish(topic, "x")
	c.drop()
	t.pass(2200 * time.Millisecond)
	c = t.resume("c")
	if again := c.receive(topic, "x"); again.id != first.id {
		c.fail("the PUBLISH with its identifier", again, nil)
	}
}

func acksOutliveExpiry(t *T) {
	c := t.connect("c")
	c.send(publish{topic: t.topic("q"), payload: "x", qos: 2, id: 3, props: prop32(pMessageExpiry, 1)}.bytes(5))
	c.succeeds(c.expectID(kPubrec, 3))
	c.quietFor(2200 * time.Millisecond)
	c.send(ack(kPubrel, 3))
	c.succeeds(c.expectID(kPubcomp, 3))
}

// afterRefusedPubrec needs a PUBLISH that this broker refuses, so it tries
// what a broker is likely to: a payload that is not the text it claims to be,
// and a topic that belongs to the broker.
func afterRefusedPubrec(t *T) {
	for name, p := range map[string]publish{
		"payload": {topic: t.topic("q"), payload: "\xff", props: propByte(pPayloadFormat, 1)},
		"$SYS":    {topic: "$SYS/broker/" + t.prefix, payload: "x"},
	} {
		p.qos, p.id = 2, 9
		c, watch := t.connect("c"+name[:1]), t.connect("w"+name[:1])
		c.send(p.bytes(5))
		got, err := c.read(t.opts.Wait)
		if err != nil || got.kind != kPubrec || got.code < 0x80 {
			continue
		}
		watch.subscribe(t.topic("new"), 2)
		c.publish(publish{topic: t.topic("new"), payload: "new", qos: 2, id: 9})
		watch.receive(t.topic("new"), "new")
		return
	}
	t.notObservable("the broker refuses none of the messages that an anonymous client can publish with a PUBREC of 0x80 or above")
}

func resendsOnlyOnResume(t *T) {
	topic := t.topic("q")
	c := t.resume("c")
	c.subscribe(topic, 2)
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "one", qos: 1})
	pub.publish(publish{topic: topic, payload: "two", qos: 2})
	pub.publish(publish{topic: topic, payload: "rel", qos: 2})
	one, two, rel := c.expectPublish(topic, "one"), c.expectPublish(topic, "two"), c.expectPublish(topic, "rel")
	c.send(ack(kPubrec, rel.id))
	c.expectID(kPubrel, rel.id)
	c.quietFor(3 * time.Second)
	c.drop()
	c = t.resume("c")
	want := map[string]bool{}
	for _, id := range []uint16{one.id, two.id} {
		want[fmt.Sprint(kPublish, id)] = true
	}
	want[fmt.Sprint(kPubrel, rel.id)] = true
	for range 3 {
		p, err := c.read(t.opts.Wait)
		if err != nil || !want[fmt.Sprint(p.kind, p.id)] {
			c.fail(fmt.Sprintf("each of PUBLISH %d, PUBLISH %d and PUBREL %d once", one.id, two.id, rel.id), p, err)
		}
		delete(want, fmt.Sprint(p.kind, p.id))
	}
	c.quiet()
}

func refusedNotResent(t *T) {
	topic := t.topic("q")
	c := t.resume("c")
	c.subscribe(topic, 2)
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "one", qos: 1})
	pub.publish(publish{topic: topic, payload: "two", qos: 2})
	one, two := c.expectPublish(topic, "one"), c.expectPublish(topic, "two")
	c.send(ackCode(kPuback, one.id, implementation), ackCode(kPubrec, two.id, unspecified))
	c.ping()
	c.quiet() // no PUBREL either
	c.drop()
	c = t.resume("c")
	c.quiet()
	pub.publish(publish{topic: topic, payload: "next", qos: 2})
	c.receive(topic, "next")
}

func resentInOrder(t *T) {
	topic := t.topic("q")
	c := t.resume("c")
	c.subscribe(topic, 2)
	pub := t.connect("p")
	const count = 8
	for i := range count {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	for i := range count {
		c.expectPublish(topic, fmt.Sprint(i))
	}
	c.drop()
	c = t.resume("c")
	order := make([]string, 0, count)
	for range count {
		order = append(order, c.message().payload)
	}
	if !slices.IsSorted(order) {
		t.failf("messages sent again in the order %v", order)
	}
}

func acksInOrder(t *T, qos byte, k kind) {
	c := t.connect("c")
	ids := []uint16{9, 3, 70, 1, 65535, 8, 4, 2}
	all := make([][]byte, 0, len(ids))
	for _, id := range ids {
		all = append(all, publish{topic: t.topic("q"), payload: "x", qos: qos, id: id}.bytes(t.level))
	}
	c.send(all...)
	for _, id := range ids {
		c.expectID(k, id)
	}
}

func pubrelsInOrder(t *T) {
	topic := t.topic("q")
	c, pub := t.connect("c"), t.connect("p")
	c.subscribe(topic, 2)
	const count = 6
	recs, ids := make([][]byte, 0, count), make([]uint16, 0, count)
	for i := range count {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: 2})
		p := c.expectPublish(topic, fmt.Sprint(i))
		ids = append(ids, p.id)
		recs = append(recs, ack(kPubrec, p.id))
	}
	c.send(recs...)
	for _, id := range ids {
		c.expectID(kPubrel, id)
	}
}

func messagesInOrder(t *T) {
	for qos := range byte(3) {
		t.try(fmt.Sprintf("live, QoS %d", qos), func() {
			topic := t.topic(fmt.Sprint(qos))
			one, two, pub := t.connect("a"), t.connect("b"), t.connect("p")
			one.subscribe(topic, qos)
			two.subscribe(t.topic("+"), 2)
			stream(pub, topic, qos)
			inOrder(one, topic)
			inOrder(two, topic)
		})
	}
	t.try("queued", func() {
		topic := t.topic("queued")
		c := t.resume("away")
		c.subscribe(topic, 1)
		c.leave()
		stream(t.connect("p"), topic, 1)
		inOrder(t.resume("away"), topic)
	})
}

func stream(pub *client, topic string, qos byte) {
	for i := range 50 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: qos})
	}
}

func inOrder(c *client, topic string) {
	for i := range 50 {
		c.receive(topic, fmt.Sprint(i))
	}
}
