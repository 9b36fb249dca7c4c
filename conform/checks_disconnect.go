package conform

import "errors"

func disconnectChecks() []Check {
	return []Check{
		v4("MQTT-3.14.4-1", "The broker closes the connection after DISCONNECT, if the client does not.", func(t *T) { t.connect("c").leave() }),
		v4("MQTT-3.14.4-2", "What a client sends after DISCONNECT has no effect.", nothingAfterDisconnect),
		v5("MQTT-3.14.0-1", "Refused connections get no DISCONNECT, before or instead of CONNACK.", noDisconnectBeforeConnack),
		v5("MQTT-3.14.2-1", "DISCONNECT from the broker has a listed reason code, for several errors; a client's unlisted one leaves the will to be published.", disconnectCodes),
		v5("MQTT-3.14.2-2", "DISCONNECT from the broker has no Session Expiry Interval, also where the session has one.", noExpiryInDisconnect),
		v5("MQTT-3.14.4-1", "After its DISCONNECT the broker sends nothing more; what a client sends after its own has no effect.", silentAfterDisconnect),
		v5("MQTT-3.14.4-2", "After its DISCONNECT the broker closes the connection, and after the client's too.", silentAfterDisconnect),
		v4("MQTT-4.8.0-1", "Protocol violations of several kinds each close the connection they came on, and no other.", violations),
		unseen("3.1.1", "MQTT-4.8.0-2", "The connection is closed on a transient error inside the broker.",
			"such an error (memory or descriptors running out, say) cannot be called forth over a connection"),
		v5("MQTT-4.13.1-1", "Malformed packets and protocol errors of several kinds each close the connection they came on, and no other.", violations),
		v5("MQTT-4.13.2-1", "After CONNACK or DISCONNECT of 0x80 or above the connection is closed.", closedAfterCode),
		unseen("3.1.1", "MQTT-7.0.0-1", "Connections that the broker makes to others keep the rules of a client.",
			"the suite is a client; it sees no connection that the broker makes"),
	}
}

func nothingAfterDisconnect(t *T) {
	topic := t.topic("after")
	watch := t.connect("watch")
	watch.subscribe(topic, 0)
	c := t.connect("c")
	c.send(disconnect(t.level, 0, nil), publish{topic: topic, payload: "after"}.bytes(t.level))
	c.closed()
	watch.quiet()
}

func noDisconnectBeforeConnack(t *T) {
	t.try("unknown method", func() { failedAuthentication(t) }) // refused asks for CONNACK here
	t.try("reserved flag", func() { connectFlags(t, 0x01) })
	t.try("will QoS 3", func() { willQoS3(t) })
	t.try("version 6", func() { newLevel(t) })
	t.try("other packet first", func() { notConnectFirst(t) })
}

func disconnectCodes(t *T) {
	violations(t)
	watch := t.connect("watch")
	watch.subscribe(t.topic("w"), 0)
	p := t.hello("c")
	p.will = &will{topic: t.topic("w"), payload: "gone"}
	c, _ := t.open(p)
	c.send(disconnect(5, 0x55, nil))
	for {
		got, err := c.read(t.opts.Wait)
		if errors.Is(err, errClosed) {
			break
		}
		if err != nil || got.kind != kDisconnect {
			c.fail("closed connection", got, err)
		}
	}
	watch.receive(t.topic("w"), "gone")
}

func noExpiryInDisconnect(t *T) {
	c := t.resume("c")
	t.resume("c")
	c.refused(takenOver) // the decoder refuses the property
	c = t.resume("d")
	c.send(publish{topic: "#"}.bytes(5))
	c.refused(malformed, protocolError, badTopic)
}

func silentAfterDisconnect(t *T) {
	c := t.connect("c")
	c.subscribe(t.topic("x"), 0)
	c.send(publish{topic: "#"}.bytes(5), pingreq(), subscribe(5, 2, nil, filter{t.topic("y"), 0}))
	c.refused(malformed, protocolError, badTopic)
	t.connect("d").leave()
	nothingAfterDisconnect(t)
}

func violations(t *T) {
	bystander := t.connect("bystander")
	topic := t.topic("x")
	for name, packet := range map[string][]byte{
		"packet type 0":            {0x00, 0x00},
		"SUBACK from a client":     frame(0x90, u16(1), properties(t.level, nil), []byte{0}),
		"PINGRESP from a client":   {0xD0, 0x00},
		"CONNACK from a client":    frame(0x20, []byte{0, 0}, properties(t.level, nil)),
		"UNSUBACK from a client":   frame(0xB0, u16(1), properties(t.level, nil)),
		"PINGREQ with a body":      {0xC0, 0x01, 0x00},
		"second CONNECT":           t.hello("v").bytes(),
		"PUBACK of one byte":       {0x40, 0x01, 0x00},
		"SUBSCRIBE without filter": subscribe(t.level, 1, nil),
		"length of five bytes":     {0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01},
		"PUBLISH with QoS 3":       frame(0x36, text(topic), u16(1), properties(t.level, nil)),
	} {
		t.try(name, func() {
			c := t.connect("v")
			c.send(packet)
			c.refused(malformed, protocolError)
		})
	}
	if t.level < 5 {
		t.try("AUTH (packet type 15)", func() {
			c := t.connect("v")
			c.send([]byte{0xF0, 0x00})
			c.refused()
		})
	}
	bystander.ping()
}

func closedAfterCode(t *T) {
	failedAuthentication(t)
	takeover(t)
	secondConnect(t)
}
