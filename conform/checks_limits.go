package conform

import (
	"fmt"
	"strings"
	"time"
)

func limitChecks() []Check {
	return []Check{
		v4("MQTT-3.1.2-24", "A client silent for 1.5 times its keep alive of 1 s is disconnected, and its will published.", keepAlive),
		v5("MQTT-3.1.2-22", "A client silent for 1.5 times its keep alive of 1 s is disconnected, and its will published.", keepAlive),
		v4("MQTT-3.1.2-23", "A client that pings within its keep alive stays connected, and so does one with keep alive 0.", keptAlive),
		v5("MQTT-3.1.2-20", "A client that pings within its keep alive stays connected, and so does one with keep alive 0.", keptAlive),
		v5("MQTT-3.2.2-22", "Without Server Keep Alive in CONNACK the broker goes by the client's value.", keepAlive),
		v5("MQTT-3.1.2-24", "With each Maximum Packet Size that a client gave, no larger packet comes.", packetSize),
		v5("MQTT-3.1.2-25", "A message too large for a client is dropped, and later ones come, also where it was queued.", tooLargeDropped),
		v5("MQTT-3.1.2-28", "With Request Response Information 0, or absent, CONNACK has no Response Information.", responseInformation),
		v5("MQTT-3.1.2-29", "With Request Problem Information 0 no packet but PUBLISH, CONNACK, DISCONNECT has a reason string or user property.", problemInformation),
		v5("MQTT-3.2.2-15", "A packet larger than the broker's Maximum Packet Size is refused with 0x95.", tooLargeForServer),
		v5("MQTT-3.2.2-19", "A CONNACK that refuses fits the client's Maximum Packet Size.", smallRefusal),
		v5("MQTT-3.2.2-20", "A CONNACK that refuses a CONNECT with user properties fits the client's Maximum Packet Size.", smallRefusal),
		v5("MQTT-3.3.4-7", "A client that passes the broker's Receive Maximum with open QoS 2 messages is refused with 0x93.", receiveMaximumPassedByClient),
		v5("MQTT-3.3.4-9", "With Receive Maximum 3 at most 3 messages of QoS 1 and 2 are open, and each that ends lets one more come.", receiveMaximum),
		v5("MQTT-3.3.4-10", "At the client's Receive Maximum, SUBACK, PUBACK, PINGRESP and the rest still come.", othersAtQuotaZero),
		v5("MQTT-4.9.0-1", "With Receive Maximum 1 the first message comes.", firstAtReceiveMaximum1),
		v5("MQTT-4.9.0-2", "At a send quota of zero no PUBLISH of QoS 1 or 2 comes until one is finished.", receiveMaximum),
		v5("MQTT-4.9.0-3", "At a send quota of zero the broker processes and answers all other packets.", othersAtQuotaZero),
		v5("MQTT-3.4.2-1", "PUBACK has a listed reason code, for messages with and without subscribers; a client's unlisted one is refused.", func(t *T) { listedCodes(t, kPuback) }),
		v5("MQTT-3.5.2-1", "PUBREC has a listed reason code; a client's unlisted one is refused.", func(t *T) { listedCodes(t, kPubrec) }),
		v5("MQTT-3.6.2-1", "PUBREL has a listed reason code, also for an unknown identifier; a client's unlisted one is refused.", func(t *T) { listedCodes(t, kPubrel) }),
		v5("MQTT-3.7.2-1", "PUBCOMP has a listed reason code, 0x92 or 0x00 for an unknown identifier; a client's unlisted one is refused.", func(t *T) { listedCodes(t, kPubcomp) }),
		v5("MQTT-3.4.2-2", "PUBACK fits a small Maximum Packet Size of the client.", smallAnswers),
		v5("MQTT-3.4.2-3", "PUBACK for a message with large user properties fits a small Maximum Packet Size.", smallAnswers),
		v5("MQTT-3.5.2-2", "PUBREC fits a small Maximum Packet Size of the client.", smallAnswers),
		v5("MQTT-3.5.2-3", "PUBREC for a message with large user properties fits a small Maximum Packet Size.", smallAnswers),
		v5("MQTT-3.6.2-2", "PUBREL fits a small Maximum Packet Size of the client.", smallAnswers),
		v5("MQTT-3.6.2-3", "PUBREL after a PUBREC with user properties fits a small Maximum Packet Size.", smallAnswers),
		v5("MQTT-3.7.2-2", "PUBCOMP fits a small Maximum Packet Size of the client.", smallAnswers),
		v5("MQTT-3.7.2-3", "PUBCOMP for a PUBREL with user properties fits a small Maximum Packet Size.", smallAnswers),
		v5("MQTT-3.9.2-1", "SUBACK fits a small Maximum Packet Size of the client.", smallAnswers),
		v5("MQTT-3.9.2-2", "SUBACK for a SUBSCRIBE with user properties fits a small Maximum Packet Size.", smallAnswers),
		v5("MQTT-3.11.2-1", "UNSUBACK fits a small Maximum Packet Size of the client.", smallAnswers),
		v5("MQTT-3.11.2-2", "UNSUBACK for an UNSUBSCRIBE with user properties fits a small Maximum Packet Size.", smallAnswers),
		v5("MQTT-3.14.2-3", "DISCONNECT fits a small Maximum Packet Size of the client.", smallDisconnect),
		v5("MQTT-3.14.2-4", "DISCONNECT fits a small Maximum Packet Size of a client that sent user properties.", smallDisconnect),
	}
}

func keepAlive(t *T) {
	topic := t.topic("w")
	watch := t.connect("watch")
	watch.subscribe(topic, 0)
	p := t.hello("c")
	p.keepAlive = 1
	p.will = &will{topic: topic, payload: "silent"}
	c, got := t.open(p)
	start := time.Now()
	if _, ok := got.prop(pServerKeepAlive); ok {
		t.notObservable("the broker puts its own Server Keep Alive in place of the client's 1 s")
	}
	c.closedBetween(start, 1400*time.Millisecond, 2600*time.Millisecond)
	watch.receive(topic, "silent")
}

func keptAlive(t *T) {
	p := t.hello("c")
	p.keepAlive = 1
	c, _ := t.open(p)
	zero := t.connect("zero")
	for range 4 {
		c.quietFor(900 * time.Millisecond)
		c.ping()
	}
	zero.ping()
}

// limited connects with a Maximum Packet Size; larger packets then fail the check.
func (t *T) limited(suffix string, limit int, more ...[]byte) *client {
	p := t.hello(suffix)
	p.props = join(prop32(pMaximumPacketSize, uint32(limit)), join(more...))
	c := t.offer(p)
	c.limit = limit
	if got := c.expect(kConnack); got.code != 0 {
		c.fail("CONNACK with code 0", got, nil)
	}
	c.accepted = true
	return c
}

// roomy is the smallest Maximum Packet Size that leaves the broker's CONNACK whole.
func (t *T) roomy() int {
	_, got := t.open(t.hello("size"))
	return max(len(got.raw), 16)
}

func packetSize(t *T) {
	topic := t.topic("size")
	pub := t.connect("p")
	for _, limit := range []int{120, 200, 5000} {
		c := t.limited("c", limit)
		c.subscribe(topic, 1)
		overhead := len(publish{topic: topic, qos: 1, id: 1}.bytes(5))
		for _, size := range []int{limit - overhead - 1, limit - overhead + 1, limit - overhead + 2, limit, 2 * limit} {
			pub.publish(publish{topic: topic, payload: strings.Repeat("x", size), qos: 1})
		}
		pub.publish(publish{topic: topic, payload: "end", qos: 1})
		for c.message().payload != "end" {
			continue // a PUBLISH above the limit fails on reading
		}
		c.unsubscribe(topic)
	}
}

func tooLargeDropped(t *T) {
	topic := t.topic("drop")
	p := t.lasting("c")
	p.props = join(p.props, prop32(pMaximumPacketSize, 150))
	c, _ := t.open(p)
	c.subscribe(topic, 2)
	pub := t.connect("p")
	send := func(qos byte) {
		pub.publish(publish{topic: topic, payload: "before", qos: qos})
		pub.publish(publish{topic: topic, payload: strings.Repeat("x", 300), qos: qos})
		pub.publish(publish{topic: topic, payload: "after", qos: qos})
	}
	for qos := range byte(3) {
		send(qos)
		c.receive(topic, "before")
		c.receive(topic, "after")
	}
	c.leave()
	send(1)
	c, _ = t.open(p)
	c.receive(topic, "before")
	c.receive(topic, "after")
	c.leave()
	t.resume("c").quiet() // without a limit: it is gone, not waiting
}

func responseInformation(t *T) {
	for name, props := range map[string][]byte{"absent": nil, "0": propByte(pRequestResponse, 0)} {
		p := t.hello("c")
		p.props = props
		c, got := t.open(p)
		if _, ok := got.prop(pResponseInfo); ok {
			c.fail("CONNACK without Response Information ("+name+")", got, nil)
		}
	}
}

func problemInformation(t *T) {
	p := t.hello("c")
	p.props = propByte(pRequestProblem, 0)
	c, _ := t.open(p)
	topic := t.topic("p")
	user := propPair("key", "value")
	silent := func(got *packet) {
		if len(got.props) > 0 {
			c.fail("no reason string or user property", got, nil)
		}
	}
	c.send(subscribe(5, 1, user, filter{topic, 2}, filter{"$share/g/" + topic, 1}))
	silent(c.expectID(kSuback, 1))
	for qos := byte(1); qos <= 2; qos++ {
		silent(c.publish(publish{topic: t.topic("nobody"), qos: qos, props: user}))
	}
	silent(c.unsubscribe(t.topic("never")))
	c.send(ackCode(kPubrel, 99, 0x92))
	silent(c.expectID(kPubcomp, 99))
}

func tooLargeForServer(t *T) {
	c, got := t.open(t.hello("c"))
	most := announced(got, pMaximumPacketSize, 0)
	if most == 0 || most > 8<<20 {
		t.notObservable("the broker announces no Maximum Packet Size, or one above 8 MiB")
	}
	c.send(publish{topic: t.topic("big"), payload: strings.Repeat("x", int(most))}.bytes(5))
	c.refused(tooLarge)
}

func smallRefusal(t *T) {
	for _, limit := range []int{5, 8, 20, 60} {
		t.try(fmt.Sprintf("limit %d", limit), func() {
			p := unknownMethod(t, "r")
			p.props = join(p.props, prop32(pMaximumPacketSize, uint32(limit)), propPair(strings.Repeat("k", 80), "v"))
			c := t.offer(p)
			c.limit = limit
			c.turnedAway(0, badMethod, notAuthorized, tooLarge)
		})
	}
}

func smallDisconnect(t *T) {
	p := t.hello("same")
	c := t.limited("same", t.roomy(), propPair(strings.Repeat("k", 80), "v"))
	t.open(p)
	c.refused(takenOver)
	c = t.limited("bad", t.roomy())
	c.send(publish{topic: t.topic("#"), props: propPair(strings.Repeat("k", 80), "v")}.bytes(5))
	c.refused(malformed, protocolError, badTopic)
}

// smallAnswers asks for each kind of answer with user properties that would
// not fit if they were sent back.
func smallAnswers(t *T) {
	limit := t.roomy()
	user := propPair(strings.Repeat("k", 80), strings.Repeat("v", 80))
	c := t.limited("c", limit)
	topic := "c" + t.prefix
	c.send(subscribe(5, 1, user, filter{topic, 2}, filter{"$share/g/x" + topic, 1}))
	c.expectID(kSuback, 1)
	for qos := byte(1); qos <= 2; qos++ {
		c.send(publish{topic: t.topic("nobody"), payload: "x", qos: qos, id: 2, props: user}.bytes(5))
		c.expectID(map[byte]kind{1: kPuback, 2: kPubrec}[qos], 2)
	}
	c.send(frame(0x62, u16(2), []byte{0}, properties(5, user)))
	c.expectID(kPubcomp, 2)
	c.send(frame(0x62, u16(99), []byte{0x92}, properties(5, user)))
	c.expectID(kPubcomp, 99)
	c.send(frame(0xA2, u16(3), properties(5, user), text("never"+topic)))
	c.expectID(kUnsuback, 3)
	if fits := len(publish{topic: topic, qos: 2, id: 1}.bytes(5)); fits > limit {
		c.ping()
		return
	}
	t.connect("p").publish(publish{topic: topic, qos: 2})
	p := c.expectPublish(topic, "")
	c.send(frame(0x50, u16(p.id), []byte{0}, properties(5, user)))
	c.expectID(kPubrel, p.id)
	c.send(ack(kPubcomp, p.id))
	c.ping()
}

func receiveMaximumPassedByClient(t *T) {
	c, got := t.open(t.hello("c"))
	most := announced(got, pReceiveMaximum, 65535)
	if most > 2000 {
		t.notObservable("the broker announces a Receive Maximum above 2,000, or none")
	}
	var all [][]byte
	for id := uint32(1); id <= most; id++ {
		all = append(all, publish{topic: t.topic("r"), qos: 2, id: uint16(id)}.bytes(5))
	}
	c.send(all...)
	for range most {
		c.succeeds(c.expect(kPubrec))
	}
	c.send(publish{topic: t.topic("r"), qos: 2, id: uint16(most + 1)}.bytes(5))
	c.refused(receiveMaximumPassed)
}

// window opens a subscriber that lets no more than most messages be open.
func (t *T) window(most uint16) (c, pub *client, topic string) {
	p := t.hello("window")
	p.props = prop16(pReceiveMaximum, most)
	c, _ = t.open(p)
	topic = t.topic("window")
	c.subscribe(topic, 2)
	return c, t.connect("p"), topic
}

func receiveMaximum(t *T) {
	for name, qos := range map[string][]byte{"QoS 1": {1}, "QoS 2": {2}, "mixed": {1, 2}} {
		t.try(name, func() { fillWindow(t, qos) })
	}
}

func fillWindow(t *T, qos []byte) {
	c, pub, topic := t.window(3)
	const count = 10
	for i := range count {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: qos[i%len(qos)]})
	}
	var open []*packet
	for i := range 3 {
		open = append(open, c.expectPublish(topic, fmt.Sprint(i)))
	}
	c.quiet()
	for i := 3; i < count; i++ {
		first := open[0]
		if first.qos() == 2 { // PUBREC alone frees nothing
			c.send(ack(kPubrec, first.id))
			c.expectID(kPubrel, first.id)
			if i == 3 {
				c.quiet()
			}
			c.send(ack(kPubcomp, first.id))
		} else {
			c.send(ack(kPuback, first.id))
		}
		open = append(open[1:], c.expectPublish(topic, fmt.Sprint(i)))
	}
	c.quiet()
}

func othersAtQuotaZero(t *T) {
	c, pub, topic := t.window(1)
	for i := range 3 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: 1})
	}
	first := c.expectPublish(topic, "0")
	c.ping()
	c.subscribe(t.topic("other"), 0)
	c.unsubscribe(t.topic("other"))
	c.publish(publish{topic: t.topic("nobody"), qos: 1})
	c.publish(publish{topic: t.topic("nobody"), qos: 2})
	c.quiet()
	c.acknowledge(first)
	c.receive(topic, "1")
	c.receive(topic, "2")
}

func firstAtReceiveMaximum1(t *T) {
	c, pub, topic := t.window(1)
	for i := range 5 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	for i := range 5 {
		c.receive(topic, fmt.Sprint(i))
	}
}

func listedCodes(t *T, k kind) {
	topic := t.topic("codes")
	c := t.connect("c")
	c.publish(publish{topic: t.topic("nobody"), qos: 1})
	c.publish(publish{topic: t.topic("nobody"), qos: 2})
	c.subscribe(topic, 2)
	for qos := byte(1); qos <= 2; qos++ {
		c.publish(publish{topic: topic, qos: qos})
		c.message()
	}
	c.send(ack(kPubrel, 4711))
	c.expectID(kPubcomp, 4711)
	c.send(ackCode(k, 4711, 0x55))
	c.refused(malformed, protocolError)
}
