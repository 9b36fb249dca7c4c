package conform

import "strings"

func stringChecks() []Check {
	return []Check{
		v4("MQTT-1.5.3-1", "Ill-formed UTF-8 in each string field of CONNECT, PUBLISH, SUBSCRIBE and UNSUBSCRIBE closes the connection.", illFormedUTF8),
		v4("MQTT-1.5.3-2", "U+0000 in each string field closes the connection.", nulInString),
		v4("MQTT-1.5.3-3", "Topics and filters with U+FEFF at the start, inside and at the end keep it and differ from those without.", byteOrderMark),
		v5("MQTT-1.5.4-1", "Ill-formed UTF-8 in each string field and string property ends the connection as malformed.", illFormedUTF8),
		v5("MQTT-1.5.4-2", "U+0000 in each string field and string property ends the connection as malformed.", nulInString),
		v5("MQTT-1.5.4-3", "Topics, filters and user properties with U+FEFF keep it and differ from those without.", byteOrderMark),
		v5("MQTT-1.5.7-1", "An ill-formed key or value of a user property, in each packet that may have one, ends the connection as malformed.", illFormedPair),
		v4("MQTT-3.1.3-4", "An ill-formed client identifier closes the connection.", func(t *T) { badInConnect(t, "client identifier", "\xff") }),
		v4("MQTT-3.1.3-10", "An ill-formed will topic closes the connection.", func(t *T) { badInConnect(t, "will topic", "\xff") }),
		v4("MQTT-3.1.3-11", "An ill-formed user name closes the connection.", func(t *T) { badInConnect(t, "user name", "\xff") }),
		v5("MQTT-3.1.3-4", "An ill-formed client identifier ends the connection.", func(t *T) { badInConnect(t, "client identifier", "\xff") }),
		v5("MQTT-3.1.3-11", "An ill-formed will topic ends the connection.", func(t *T) { badInConnect(t, "will topic", "\xff") }),
		v5("MQTT-3.1.3-12", "An ill-formed user name ends the connection.", func(t *T) { badInConnect(t, "user name", "\xff") }),
		v4("MQTT-3.8.3-1", "An ill-formed filter in SUBSCRIBE closes the connection.", func(t *T) { badInPacket(t, "SUBSCRIBE filter", "\xff") }),
		v5("MQTT-3.8.3-1", "An ill-formed filter in SUBSCRIBE ends the connection.", func(t *T) { badInPacket(t, "SUBSCRIBE filter", "\xff") }),
		v4("MQTT-3.10.3-1", "An ill-formed filter in UNSUBSCRIBE closes the connection.", func(t *T) { badInPacket(t, "UNSUBSCRIBE filter", "\xff") }),
		v5("MQTT-3.10.3-1", "An ill-formed filter in UNSUBSCRIBE ends the connection.", func(t *T) { badInPacket(t, "UNSUBSCRIBE filter", "\xff") }),
		v5("MQTT-3.3.2-13", "An ill-formed Response Topic ends the connection.", func(t *T) { badInPacket(t, "PUBLISH response topic", "\xff") }),
		v5("MQTT-3.3.2-19", "An ill-formed Content Type ends the connection.", func(t *T) { badInPacket(t, "PUBLISH content type", "\xff") }),
	}
}

// connectFields puts a string into each string field of CONNECT.
func connectFields(t *T, s string) map[string]connect {
	set := func(change func(*connect)) connect {
		p := t.hello("bad")
		change(&p)
		return p
	}
	willWith := func(prop []byte) connect {
		return set(func(p *connect) { p.will = &will{topic: t.topic("will"), payload: "x", props: prop} })
	}
	out := map[string]connect{
		"client identifier": set(func(p *connect) { p.id += s }),
		"user name":         set(func(p *connect) { p.user = &s }),
		"will topic":        set(func(p *connect) { p.will = &will{topic: t.topic("will") + s, payload: "x"} }),
	}
	if t.level < 5 {
		return out
	}
	out["CONNECT user property key"] = set(func(p *connect) { p.props = propPair(s, "v") })
	out["CONNECT user property value"] = set(func(p *connect) { p.props = propPair("k", s) })
	out["authentication method"] = set(func(p *connect) { p.props = propText(pAuthMethod, s) })
	out["will content type"] = willWith(propText(pContentType, s))
	out["will response topic"] = willWith(propText(pResponseTopic, s))
	out["will user property key"] = willWith(propPair(s, "v"))
	out["will user property value"] = willWith(propPair("k", s))
	return out
}

// packetFields puts a string into each string field of the other packets.
func packetFields(t *T, s string) map[string][]byte {
	topic := t.topic("strings")
	out := map[string][]byte{
		"PUBLISH topic":      publish{topic: topic + s}.bytes(t.level),
		"SUBSCRIBE filter":   subscribe(t.level, 1, nil, filter{topic + s, 0}),
		"UNSUBSCRIBE filter": unsubscribe(t.level, 1, topic+s),
	}
	if t.level < 5 {
		return out
	}
	with := func(prop []byte) []byte { return publish{topic: topic, props: prop}.bytes(5) }
	out["PUBLISH content type"] = with(propText(pContentType, s))
	out["PUBLISH response topic"] = with(propText(pResponseTopic, "r"+s))
	out["PUBLISH user property key"] = with(propPair(s, "v"))
	out["PUBLISH user property value"] = with(propPair("k", s))
	out["SUBSCRIBE user property key"] = subscribe(5, 1, propPair(s, "v"), filter{topic, 0})
	out["SUBSCRIBE user property value"] = subscribe(5, 1, propPair("k", s), filter{topic, 0})
	out["UNSUBSCRIBE user property value"] = frame(0xA2, u16(1), properties(5, propPair("k", s)), text(topic))
	return out
}

// inFlightFields puts a string into the properties of a PUBACK.
func inFlightFields(id uint16, s string) map[string][]byte {
	with := func(prop []byte) []byte { return frame(0x40, u16(id), []byte{0}, properties(5, prop)) }
	return map[string][]byte{
		"PUBACK reason string":       with(propText(pReasonString, s)),
		"PUBACK user property key":   with(propPair(s, "v")),
		"PUBACK user property value": with(propPair("k", s)),
	}
}

// badInConnect sends one CONNECT with a string that may not be there.
func badInConnect(t *T, field, s string) {
	p := connectFields(t, s)[field]
	c := t.offer(p)
	codes := []byte{malformed, protocolError}
	old := byte(0)
	switch field {
	case "client identifier":
		codes, old = append(codes, badClientID), oldBadID
	case "user name":
		codes, old = append(codes, badPassword), oldBadPassword
	case "authentication method":
		codes = append(codes, badMethod)
	}
	if t.level == 5 || old == 0 {
		c.refused(codes...)
		return
	}
	c.turnedAway(old)
}

func badInPacket(t *T, field, s string) {
	c := t.connect("s")
	c.send(packetFields(t, s)[field])
	c.refused(malformed, protocolError, badTopic, badFilter)
}

// badEverywhere puts a string that is not allowed into each field in turn.
func badEverywhere(t *T, name, s, only string) {
	for field := range connectFields(t, s) {
		if strings.Contains(field, only) {
			t.try(name+" in "+field, func() { badInConnect(t, field, s) })
		}
	}
	for field := range packetFields(t, s) {
		if strings.Contains(field, only) {
			t.try(name+" in "+field, func() { badInPacket(t, field, s) })
		}
	}
	if t.level < 5 {
		return
	}
	for field := range inFlightFields(1, s) {
		if strings.Contains(field, only) {
			t.try(name+" in "+field, func() { badInAck(t, field, s) })
		}
	}
}

func badInAck(t *T, field, s string) {
	c := t.connect("s")
	topic := t.topic("ack")
	c.subscribe(topic, 1)
	c.publish(publish{topic: topic, payload: "x", qos: 1})
	got := c.expect(kPublish)
	c.send(inFlightFields(got.id, s)[field])
	c.refused(malformed, protocolError)
}

func illFormedUTF8(t *T) {
	bad := map[string]string{
		"FF": "\xff", "overlong C0 80": "\xc0\x80", "surrogate ED A0 80": "\xed\xa0\x80",
		"half a character": "a\xe2\x82", "above U+10FFFF": "\xf4\x90\x80\x80",
	}
	for name, s := range bad {
		badEverywhere(t, name, s, "")
	}
}

func nulInString(t *T) { badEverywhere(t, "U+0000", "a\x00b", "") }

func illFormedPair(t *T) {
	badEverywhere(t, "FF", "\xff", "user property")
	badEverywhere(t, "surrogate", "\xed\xbf\xbf", "user property")
}

func byteOrderMark(t *T) {
	const mark = "\uFEFF"
	plain := t.topic("bom")
	for name, marked := range map[string]string{"start": mark + plain, "inside": t.topic(mark + "bom"), "end": plain + mark} {
		t.try(name, func() {
			c := t.connect("b" + name[:1])
			other := t.connect("o" + name[:1])
			c.subscribe(marked, 0)
			other.subscribe(plain, 0)
			c.publish(publish{topic: marked, payload: mark + "x"})
			c.receive(marked, mark+"x")
			other.quiet()
		})
	}
	if t.level < 5 {
		return
	}
	t.try("user property", func() {
		c := t.connect("u")
		c.subscribe(plain, 0)
		c.publish(publish{topic: plain, props: propPair(mark+"k", "v"+mark)})
		got := c.message()
		if pairs := got.pairs(); len(pairs) != 1 || pairs[0] != mark+"k=v"+mark {
			c.fail("user property with U+FEFF kept", got, nil)
		}
	})
}
