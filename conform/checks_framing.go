package conform

import "fmt"

func framingChecks() []Check {
	return []Check{
		v4("MQTT-2.2.2-1", "Each packet type the broker sends has the fixed header flags of table 2.2.", everyPacketFromServer),
		v4("MQTT-2.2.2-2", "Wrong header flags in each packet type a client sends close the connection.", wrongFlags),
		v4("MQTT-2.3.1-1", "Packet identifier 0 in PUBLISH (QoS 1, 2), SUBSCRIBE or UNSUBSCRIBE closes the connection, and the broker's own PUBLISH has another.", identifierZero),
		v4("MQTT-2.3.1-4", "Several unacknowledged PUBLISH packets from the broker have different identifiers, none 0.", serverIdentifiers),
		v4("MQTT-2.3.1-5", "A QoS 0 message arrives with its whole payload, nothing of it taken for an identifier.", noIdentifierAtQoS0),
		v4("MQTT-2.3.1-6", "PUBACK, PUBREC, PUBCOMP and the broker's PUBREL repeat the identifier of their PUBLISH, small or large.", acksRepeatIdentifier),
		v4("MQTT-2.3.1-7", "SUBACK and UNSUBACK repeat the identifier, small or large.", subackRepeatsIdentifier),
		v5("MQTT-1.5.5-1", "The broker's lengths have the shortest form; one in a longer form, or of five bytes, is refused as malformed.", shortestLengths),
		v5("MQTT-2.1.3-1", "Wrong header flags in each packet type a client sends are refused as malformed, and the broker's own are right.", flagsBothWays),
		v5("MQTT-2.2.1-2", "A QoS 0 message arrives with its whole payload, nothing of it taken for an identifier.", noIdentifierAtQoS0),
		v5("MQTT-2.2.1-3", "Packet identifier 0 in PUBLISH (QoS 1, 2), SUBSCRIBE or UNSUBSCRIBE is refused.", identifierZero),
		v5("MQTT-2.2.1-4", "Several unacknowledged PUBLISH packets from the broker have different identifiers, none 0.", serverIdentifiers),
		v5("MQTT-2.2.1-5", "PUBACK, PUBREC, PUBCOMP and the broker's PUBREL repeat the identifier of their PUBLISH, small or large.", acksRepeatIdentifier),
		v5("MQTT-2.2.1-6", "SUBACK and UNSUBACK repeat the identifier, small or large.", subackRepeatsIdentifier),
		v5("MQTT-2.2.2-1", "CONNACK, SUBACK, UNSUBACK and PUBLISH from the broker have a property length; a CONNECT without one is refused.", propertyLength),
		v4("MQTT-3.6.1-1", "PUBREL with the flags 0000 closes the connection.", func(t *T) { wrongFlag(t, 0x60, frame(0x60, u16(1))) }),
		v5("MQTT-3.6.1-1", "PUBREL with the flags 0000 is refused as malformed.", func(t *T) { wrongFlag(t, 0x60, frame(0x60, u16(1))) }),
		v4("MQTT-3.8.1-1", "SUBSCRIBE with other flags than 0010 closes the connection.", func(t *T) { wrongFlagsOf(t, 0x80, subscribe(t.level, 1, nil, filter{t.topic("f"), 0})) }),
		v5("MQTT-3.8.1-1", "SUBSCRIBE with other flags than 0010 is refused as malformed.", func(t *T) { wrongFlagsOf(t, 0x80, subscribe(t.level, 1, nil, filter{t.topic("f"), 0})) }),
		v4("MQTT-3.10.1-1", "UNSUBSCRIBE with other flags than 0010 closes the connection.", func(t *T) { wrongFlagsOf(t, 0xA0, unsubscribe(t.level, 1, t.topic("f"))) }),
		v5("MQTT-3.10.1-1", "UNSUBSCRIBE with other flags than 0010 is refused as malformed.", func(t *T) { wrongFlagsOf(t, 0xA0, unsubscribe(t.level, 1, t.topic("f"))) }),
		v4("MQTT-3.14.1-1", "DISCONNECT with reserved bits set closes the connection and leaves the will to be published.", badDisconnectFlags),
		v5("MQTT-3.14.1-1", "DISCONNECT with reserved bits set is answered with DISCONNECT 0x81 and leaves the will to be published.", badDisconnectFlags),
		v5("MQTT-3.15.1-1", "AUTH with reserved bits set is refused as malformed.", func(t *T) { wrongFlag(t, 0xF1, frame(0xF1, []byte{0x18}, properties(5, propText(pAuthMethod, "x")))) }),
	}
}

// everyPacketFromServer makes the broker send each of its packet types; the
// decoder looks at their flags and forms.
func everyPacketFromServer(t *T) {
	c := t.connect("a")
	topic := t.topic("all")
	c.subscribe(topic, 2)
	for qos := range byte(3) {
		c.publish(publish{topic: topic, payload: "x", qos: qos})
		c.receive(topic, "x")
	}
	c.unsubscribe(topic)
	c.ping()
}

func wrongFlag(t *T, first byte, packet []byte) {
	c := t.connect("f")
	packet[0] = first
	c.send(packet)
	c.refused(malformed, protocolError)
}

// wrongFlagsOf tries the three neighbours of the flags 0010.
func wrongFlagsOf(t *T, high byte, packet []byte) {
	for _, low := range []byte{0, 1, 3, 6, 10} {
		t.try(fmt.Sprintf("flags %04b", low), func() { wrongFlag(t, high|low, packet) })
	}
}

func wrongFlags(t *T) {
	t.try("CONNECT", func() {
		p := t.hello("c").bytes()
		p[0] |= 1
		c := t.dial()
		c.send(p)
		c.refusedEarly(malformed, protocolError)
	})
	topic := t.topic("flags")
	for name, packet := range map[string][]byte{
		"PUBACK": ack(kPuback, 1), "PUBREC": ack(kPubrec, 1), "PUBREL": ack(kPubrel, 1), "PUBCOMP": ack(kPubcomp, 1),
		"SUBSCRIBE": subscribe(t.level, 1, nil, filter{topic, 0}), "UNSUBSCRIBE": unsubscribe(t.level, 1, topic),
		"PINGREQ": pingreq(), "DISCONNECT": {0xE0, 0},
	} {
		t.try(name, func() { wrongFlag(t, packet[0]^0x05, packet) })
	}
}

func flagsBothWays(t *T) {
	wrongFlags(t)
	everyPacketFromServer(t)
}

func identifierZero(t *T) {
	topic := t.topic("zero")
	for name, packet := range map[string][]byte{
		"PUBLISH QoS 1": publish{topic: topic, qos: 1}.bytes(t.level),
		"PUBLISH QoS 2": publish{topic: topic, qos: 2}.bytes(t.level),
		"SUBSCRIBE":     subscribe(t.level, 0, nil, filter{topic, 0}),
		"UNSUBSCRIBE":   unsubscribe(t.level, 0, topic),
	} {
		t.try(name, func() {
			c := t.connect("z")
			c.send(packet)
			c.refused(malformed, protocolError)
		})
	}
	serverIdentifiers(t)
}

func serverIdentifiers(t *T) {
	topic := t.topic("ids")
	sub, pub := t.connect("s"), t.connect("p")
	sub.subscribe(topic, 2)
	for i := range 6 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	seen := map[uint16]bool{}
	for range 6 {
		p := sub.expect(kPublish) // the decoder refuses identifier 0
		if seen[p.id] {
			sub.fail("PUBLISH with an identifier not in use", p, nil)
		}
		seen[p.id] = true
	}
}

func noIdentifierAtQoS0(t *T) {
	c := t.connect("q")
	topic := t.topic("q0")
	c.subscribe(topic, 2)
	for _, payload := range []string{"\x00\x01abc", "\x00\x00", "x", ""} {
		c.publish(publish{topic: topic, payload: payload})
		if p := c.receive(topic, payload); p.qos() != 0 {
			c.fail("PUBLISH with QoS 0", p, nil)
		}
	}
}

func acksRepeatIdentifier(t *T) {
	c := t.connect("i")
	topic := t.topic("ids")
	c.subscribe(topic, 2)
	for _, id := range []uint16{1, 255, 256, 65535} {
		c.publish(publish{topic: topic, payload: "a", qos: 1, id: id})
		c.message()
		c.publish(publish{topic: topic, payload: "b", qos: 2, id: id})
		c.message() // looks at the broker's PUBREL
	}
}

func subackRepeatsIdentifier(t *T) {
	c := t.connect("i")
	topic := t.topic("ids")
	for _, id := range []uint16{1, 255, 256, 65535} {
		c.send(subscribe(t.level, id, nil, filter{topic, 1}))
		c.expectID(kSuback, id)
		c.send(unsubscribe(t.level, id, topic))
		c.expectID(kUnsuback, id)
	}
}

func shortestLengths(t *T) {
	everyPacketFromServer(t)
	topic := t.topic("len")
	body := join(text(topic), []byte{0x80, 0x00}, []byte("x")) // property length 0 in two bytes
	for name, packet := range map[string][]byte{
		"property length 0 as 80 00":               frame(0x30, body),
		"remaining length 0 as 80 00":              {0xC0, 0x80, 0x00},
		"remaining length of 5 bytes":              {0xC0, 0x80, 0x80, 0x80, 0x80, 0x00},
		"subscription identifier 81 00":            subscribe(5, 1, []byte{pSubscriptionID, 0x81, 0x00}, filter{topic, 0}),
		"user property behind a length of 5 bytes": frame(0x30, text(topic), []byte{0x80, 0x80, 0x80, 0x80, 0x00}),
	} {
		t.try(name, func() {
			c := t.connect("l")
			c.send(packet)
			c.refused(malformed, protocolError)
		})
	}
}

func propertyLength(t *T) {
	everyPacketFromServer(t)
	t.try("CONNECT without property length", func() {
		c := t.dial()
		c.level = 5
		c.send(frame(0x10, text("MQTT"), []byte{5, 2}, u16(0), text(t.id("n"))))
		c.refusedEarly(malformed, protocolError)
	})
	t.try("SUBSCRIBE without property length", func() {
		c := t.connect("s")
		c.send(frame(0x82, u16(1), text(t.topic("x")), []byte{0}))
		c.refused(malformed, protocolError, badFilter)
	})
}

func badDisconnectFlags(t *T) {
	watch := t.connect("w")
	topic := t.topic("will")
	watch.subscribe(topic, 0)
	p := t.hello("d")
	p.will = &will{topic: topic, payload: "gone"}
	c, _ := t.open(p)
	c.send([]byte{0xE1, 0x00})
	c.refused(malformed)
	watch.receive(topic, "gone")
}
