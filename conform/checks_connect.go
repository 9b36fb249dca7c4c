package conform

import (
	"errors"
	"fmt"
	"slices"
)

func connectChecks() []Check {
	return []Check{
		v4("MQTT-3.1.0-1", "Each other packet type sent first, instead of CONNECT, closes the connection with no answer.", notConnectFirst),
		v5("MQTT-3.1.0-1", "Each other packet type sent first, instead of CONNECT, closes the connection with no answer.", notConnectFirst),
		v4("MQTT-3.1.0-2", "A second CONNECT closes the connection.", secondConnect),
		v5("MQTT-3.1.0-2", "A second CONNECT ends the connection as a protocol error.", secondConnect),
		v4("MQTT-3.1.2-1", "CONNECT with another protocol name is not accepted and the connection closed.", wrongProtocolName),
		v5("MQTT-3.1.2-1", "CONNECT with another protocol name is closed, at most after CONNACK 0x84.", wrongProtocolName),
		v4("MQTT-3.1.2-2", "Protocol level 2 is answered with CONNACK return code 1 and closed.", oldLevel),
		v5("MQTT-3.1.2-2", "Protocol version 6 is closed, at most after a CONNACK that says unsupported version.", newLevel),
		v4("MQTT-3.1.2-3", "CONNECT with the reserved flag set is closed without a CONNACK.", func(t *T) { connectFlags(t, 0x01) }),
		v5("MQTT-3.1.2-3", "CONNECT with the reserved flag set is refused as malformed.", func(t *T) { connectFlags(t, 0x01) }),
		v4("MQTT-3.1.2-11", "Will flag 0 with a will topic in the payload is closed without a CONNACK.", willWithoutFlag),
		v4("MQTT-3.1.2-13", "Will QoS 1 or 2 without the will flag is closed without a CONNACK.", func(t *T) { connectFlags(t, 0x08, 0x10) }),
		v5("MQTT-3.1.2-11", "Will QoS 1 or 2 without the will flag is refused.", func(t *T) { connectFlags(t, 0x08, 0x10) }),
		v4("MQTT-3.1.2-14", "Will QoS 3 is closed without a CONNACK.", willQoS3),
		v5("MQTT-3.1.2-12", "Will QoS 3 is refused as malformed.", willQoS3),
		v4("MQTT-3.1.2-15", "Will retain without the will flag is closed without a CONNACK.", func(t *T) { connectFlags(t, 0x20) }),
		v5("MQTT-3.1.2-13", "Will retain without the will flag is refused.", func(t *T) { connectFlags(t, 0x20) }),
		v4("MQTT-3.1.2-18", "A user name in the payload without its flag is closed without a CONNACK.", func(t *T) { trailing(t, "user") }),
		v5("MQTT-3.1.2-16", "A user name in the payload without its flag is refused.", func(t *T) { trailing(t, "user") }),
		v4("MQTT-3.1.2-19", "A user name flag without a user name is closed without a CONNACK.", func(t *T) { connectFlags(t, 0x80) }),
		v5("MQTT-3.1.2-17", "A user name flag without a user name is refused.", func(t *T) { connectFlags(t, 0x80) }),
		v4("MQTT-3.1.2-20", "A password in the payload without its flag is closed without a CONNACK.", passwordWithoutFlag),
		v5("MQTT-3.1.2-18", "A password in the payload without its flag is refused.", passwordWithoutFlag),
		v4("MQTT-3.1.2-21", "A password flag without a password is closed without a CONNACK.", passwordMissing),
		v5("MQTT-3.1.2-19", "A password flag without a password is refused.", passwordMissing),
		v4("MQTT-3.1.2-22", "A password without a user name is closed without a CONNACK.", passwordOnly),
		v4("MQTT-3.1.3-2", "Two clients have separate sessions, each found again by its identifier.", sessionsByIdentifier),
		v5("MQTT-3.1.3-2", "Two clients have separate sessions, each found again by its identifier.", sessionsByIdentifier),
		v4("MQTT-3.1.3-3", "A CONNECT that ends before the client identifier is closed without a CONNACK.", noClientID),
		v5("MQTT-3.1.3-3", "A CONNECT that ends before the client identifier is refused.", noClientID),
		v4("MQTT-3.1.3-5", "Client identifiers of 1 and of 23 bytes, of digits and letters of both cases, are accepted.", ordinaryIDs),
		v5("MQTT-3.1.3-5", "Client identifiers of 1 and of 23 bytes, of digits and letters of both cases, are accepted.", ordinaryIDs),
		v4("MQTT-3.1.3-6", "Two clients with an empty identifier are both connected and served at the same time.", emptyIDs),
		v5("MQTT-3.1.3-6", "Two clients with an empty identifier are both connected and get different identifiers.", emptyIDs),
		v5("MQTT-3.1.3-7", "The Assigned Client Identifier in CONNACK names the session: the client can resume with it.", assignedID),
		v5("MQTT-3.2.2-16", "Assigned Client Identifiers differ from each other and from those in use.", emptyIDs),
		v4("MQTT-3.1.3-7", "An empty client identifier with CleanSession 0 is answered with return code 2 and closed.", emptyIDNotClean),
		v4("MQTT-3.1.3-8", "An empty client identifier with CleanSession 0 is answered with return code 2 and closed.", emptyIDNotClean),
		v4("MQTT-3.1.3-9", "A client identifier the broker rejects (empty, CleanSession 0) gets return code 2, then the close.", emptyIDNotClean),
		v5("MQTT-3.1.3-8", "A client identifier the broker cannot accept (with U+0000, ill-formed) is closed, at most after CONNACK 0x81 or 0x85.", rejectedID),
		v4("MQTT-3.1.4-1", "CONNECT packets cut short, too long, or with a field missing are closed without a CONNACK.", deformedConnect),
		v5("MQTT-3.1.4-1", "CONNECT packets cut short, too long, or with misplaced properties are refused.", deformedConnect),
		v5("MQTT-3.1.4-2", "A CONNECT that fails authentication (an unknown method) is closed, at most after a CONNACK of 0x80 or above.", failedAuthentication),
		v4("MQTT-3.1.4-2", "A second connection with the same client identifier closes the first.", takeover),
		v5("MQTT-3.1.4-3", "A second connection with the same client identifier sends the first DISCONNECT 0x8E and closes it.", takeover),
		v4("MQTT-3.1.4-4", "A valid CONNECT is acknowledged with return code 0, with and without account and will; half an account is not taken for malformed.", validConnects),
		v5("MQTT-3.1.4-5", "A valid CONNECT is acknowledged with 0x00, with and without account, will and each property; half an account is not taken for malformed.", validConnects),
		v4("MQTT-3.1.4-5", "A PUBLISH sent right after a CONNECT that is rejected reaches no subscriber.", nothingAfterRejection),
		v5("MQTT-3.1.4-6", "A PUBLISH sent right after a CONNECT that is rejected reaches no subscriber.", nothingAfterRejection),
		v4("MQTT-3.2.0-1", "With CONNECT, SUBSCRIBE and PINGREQ sent at once, CONNACK comes first.", connackFirst),
		v5("MQTT-3.2.0-1", "With CONNECT, SUBSCRIBE and PINGREQ sent at once, CONNACK comes first; also when a session with waiting messages is resumed.", connackFirst),
		v5("MQTT-3.2.0-2", "No second CONNACK comes, also not for a second CONNECT.", oneConnack),
		v5("MQTT-3.2.2-1", "The reserved connect acknowledge flags are 0 for new, resumed and refused connections.", connackForms),
		v4("MQTT-3.2.2-4", "A CONNACK that refuses has session present 0, though a session for that identifier exists.", refusedHasNoSession),
		v5("MQTT-3.2.2-6", "A CONNACK that refuses has session present 0, though a session for that identifier exists.", refusedHasNoSession),
		v4("MQTT-3.2.2-5", "After a CONNACK with a return code other than 0 the connection is closed.", emptyIDNotClean),
		v5("MQTT-3.2.2-7", "After a CONNACK of 0x80 or above the connection is closed.", failedAuthentication),
		v4("MQTT-3.2.2-6", "A CONNECT that no return code fits (will QoS 3) is closed without a CONNACK.", willQoS3),
		v5("MQTT-3.2.2-8", "CONNACK has a listed reason code for accepted, resumed and several refused connections.", connackForms),
		v5("MQTT-3.2.2-9", "Without Maximum QoS in CONNACK, QoS 2 messages work; with it, a PUBLISH above it is refused.", maximumQoS),
		v5("MQTT-3.2.2-10", "Subscriptions that ask for QoS 0, 1 and 2 are all accepted, whatever Maximum QoS says.", subscribeAnyQoS),
		v5("MQTT-3.2.2-12", "A will of QoS 2 is accepted without Maximum QoS in CONNACK, and rejected where it is above that.", willAboveMaximum),
		v5("MQTT-3.2.2-13", "A retained will is accepted and retained, or rejected where CONNACK says Retain Available 0.", willRetainAvailable),
		v4("MQTT-7.0.0-2", "Messages of QoS 0, 1 and 2 pass between two clients that use nothing beyond the standard.", plainExchange),
	}
}

func notConnectFirst(t *T) {
	topic := t.topic("first")
	for name, packet := range map[string][]byte{
		"PUBLISH": publish{topic: topic}.bytes(t.level), "PINGREQ": pingreq(), "DISCONNECT": disconnect(t.level, 0, nil),
		"SUBSCRIBE": subscribe(t.level, 1, nil, filter{topic, 0}), "PUBACK": ack(kPuback, 1), "AUTH": auth(0x18),
		"CONNACK": {0x20, 2, 0, 0},
	} {
		t.try(name, func() {
			c := t.dial()
			c.send(packet)
			c.closed()
		})
	}
}

func secondConnect(t *T) {
	c := t.connect("c")
	c.send(t.hello("c").bytes())
	c.refused(protocolError)
}

func wrongProtocolName(t *T) {
	for _, name := range []string{"MQTx", "mqtt", "MQT", "MQTTX", ""} {
		t.try(fmt.Sprintf("name %q", name), func() {
			p := t.hello("n")
			p.name = name
			c := t.offer(p)
			c.unsupported()
		})
	}
}

// unsupported takes a close, or a CONNACK of either form that says the
// protocol is not supported and then the close.
func (c *client) unsupported() {
	c.level = 5 // lengthened below if the answer has the old form
	if c.t.level < 5 {
		c.level = 4
	}
	p, err := c.read(c.t.opts.Wait)
	if errors.Is(err, errClosed) {
		return
	}
	if p == nil || p.kind != kConnack || p.code != oldBadVersion && p.code != unsupportedVersion {
		c.fail("closed connection, at most after a CONNACK that says unsupported version", p, err)
	}
	c.closed()
}

func oldLevel(t *T) {
	p := t.hello("l")
	p.level = 2
	c := t.offer(p)
	c.level = 4
	c.rejected(oldBadVersion)
}

func newLevel(t *T) {
	for _, level := range []byte{6, 0x7F, 0xFF} {
		t.try(fmt.Sprintf("version %d", level), func() {
			p := t.hello("l")
			p.level = level
			t.offer(p).unsupported()
		})
	}
}

// connectFlags inverts flags of an otherwise plain CONNECT.
func connectFlags(t *T, flips ...byte) {
	for _, flip := range flips {
		t.try(fmt.Sprintf("flag %08b", flip), func() {
			p := t.hello("f")
			p.flip = flip
			if flip == 0x80 { // the payload ends before the user name
				t.offer(p).refusedEarly(malformed, protocolError)
				return
			}
			t.offer(p).refused(malformed, protocolError)
		})
	}
}

// trailing leaves a field in the payload whose flag is not set.
func trailing(t *T, field string) {
	p := t.hello("t")
	p.user = &field
	p.flip = 0x80
	t.offer(p).refused(malformed, protocolError)
}

func willWithoutFlag(t *T) {
	p := t.hello("t")
	p.will = &will{topic: t.topic("w"), payload: "x"}
	p.flip = 0x04
	t.offer(p).refused(malformed, protocolError)
}

func passwordWithoutFlag(t *T) {
	p := t.hello("t")
	name := "name"
	p.user, p.password, p.flip = &name, &name, 0x40
	t.offer(p).refused(malformed, protocolError)
}

func passwordMissing(t *T) {
	p := t.hello("t")
	name := "name"
	p.user, p.flip = &name, 0x40
	t.offer(p).refusedEarly(malformed, protocolError)
}

func passwordOnly(t *T) {
	p := t.hello("t")
	secret := "secret"
	p.password = &secret
	t.offer(p).refused(malformed, protocolError)
}

func willQoS3(t *T) {
	p := t.hello("w")
	p.will = &will{topic: t.topic("w"), payload: "x", qos: 3}
	t.offer(p).refused(malformed)
}

func noClientID(t *T) {
	c := t.dial()
	c.send(frame(0x10, text("MQTT"), []byte{t.level, 2}, u16(0), properties(t.level, nil)))
	c.refusedEarly(malformed, protocolError, badClientID)
}

func ordinaryIDs(t *T) {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	single := string(letters[(int(t.prefix[0])+int(t.level))%len(letters)]) // another for each version
	own := func(s string) string {                                          // unique, though of the length of s
		return t.id("") + s[len(t.id("")):]
	}
	for _, id := range []string{single, own(letters[:23]), own(letters[23:46]), own(letters[39:])} {
		t.try(fmt.Sprintf("%q", id), func() {
			p := t.hello("")
			p.id = id
			c, _ := t.open(p)
			c.leave()
		})
	}
}

func emptyIDs(t *T) {
	p := t.hello("")
	p.id = ""
	a, first := t.open(p)
	b, second := t.open(p)
	topic := t.topic("empty")
	a.subscribe(topic, 0)
	b.publish(publish{topic: topic, payload: "x"})
	a.receive(topic, "x")
	a.ping()
	b.ping()
	if t.level < 5 {
		return
	}
	one, _ := first.prop(pAssignedClientID)
	two, _ := second.prop(pAssignedClientID)
	if one.text == "" || two.text == "" || one.text == two.text {
		t.failf("assigned client identifiers are %q and %q", one.text, two.text)
	}
}

func assignedID(t *T) {
	p := t.hello("")
	p.id = ""
	p.props = prop32(pSessionExpiry, 600)
	c, got := t.open(p)
	given, ok := got.prop(pAssignedClientID)
	if !ok {
		c.fail("CONNACK with an Assigned Client Identifier", got, nil)
	}
	t.kept = append(t.kept, given.text)
	topic := t.topic("mine")
	c.subscribe(topic, 1)
	c.leave()
	p.id, p.clean = given.text, false
	again, got := t.open(p)
	if !got.present {
		again.fail("CONNACK with session present 1", got, nil)
	}
	again.publish(publish{topic: topic, payload: "x", qos: 1})
	again.receive(topic, "x")
}

func emptyIDNotClean(t *T) {
	p := t.hello("")
	p.id, p.clean = "", false
	t.offer(p).rejected(oldBadID)
}

func rejectedID(t *T) {
	for _, id := range []string{"a\x00b", "\xff", "\xed\xa0\x80"} {
		t.try(fmt.Sprintf("%q", id), func() {
			p := t.hello("")
			p.id = id
			t.offer(p).refused(malformed, badClientID)
		})
	}
}

func deformedConnect(t *T) {
	whole := t.hello("d").bytes()
	body := whole[2:]
	cut := func(n int) []byte { return frame(0x10, body[:n]) }
	for name, packet := range map[string][]byte{
		"empty": {0x10, 0x00}, "ends in the protocol name": cut(4), "ends after the protocol name": cut(6),
	} {
		t.try(name, func() {
			c := t.dial()
			c.send(packet)
			c.refusedEarly(malformed, protocolError)
		})
	}
	for name, packet := range map[string][]byte{
		"ends after the flags": cut(8), "ends in the keep alive": cut(9), "ends in the identifier": cut(len(body) - 1),
		"a byte too many": frame(0x10, body, []byte{0}),
	} {
		t.try(name, func() {
			c := t.dial()
			c.send(packet)
			c.refusedEarly(malformed, protocolError, badClientID)
		})
	}
	if t.level < 5 {
		return
	}
	for name, props := range map[string][]byte{
		"a property of PUBLISH":          prop16(pTopicAlias, 1),
		"an unknown property":            {0x7F, 0},
		"a property cut short":           {pSessionExpiry, 0, 0},
		"Receive Maximum 0":              prop16(pReceiveMaximum, 0),
		"Maximum Packet Size 0":          prop32(pMaximumPacketSize, 0),
		"Request Problem Information 2":  propByte(pRequestProblem, 2),
		"Request Response Information 2": propByte(pRequestResponse, 2),
		"Session Expiry twice":           join(prop32(pSessionExpiry, 1), prop32(pSessionExpiry, 1)),
		"Authentication Data alone":      propText(pAuthData, "x"),
	} {
		t.try(name, func() {
			p := t.hello("p")
			p.props = props
			t.offer(p).refused(malformed, protocolError)
		})
	}
}

func unknownMethod(t *T, suffix string) connect {
	p := t.hello(suffix)
	p.props = join(propText(pAuthMethod, "NO-SUCH-METHOD"), propText(pAuthData, "x"))
	return p
}

func failedAuthentication(t *T) {
	t.offer(unknownMethod(t, "a")).refused(badMethod, notAuthorized)
}

func takeover(t *T) {
	first := t.connect("same")
	first.ping()
	second := t.connect("same")
	first.refused(takenOver)
	second.ping()
}

func validConnects(t *T) {
	user, password := scramUser, scramPassword
	willOf := &will{topic: t.topic("w"), payload: "x", qos: 1}
	cases := map[string]func(*connect){
		"plain":                  func(*connect) {},
		"user name and password": func(p *connect) { p.user, p.password = &user, &password },
		"will":                   func(p *connect) { p.will = willOf },
		"everything":             func(p *connect) { p.user, p.password, p.will = &user, &password, willOf },
		"longest keep alive":     func(p *connect) { p.keepAlive = 65535 },
	}
	if t.level == 5 {
		cases["properties"] = func(p *connect) {
			p.props = join(prop32(pSessionExpiry, 0), prop16(pReceiveMaximum, 65535), prop32(pMaximumPacketSize, 1<<28),
				prop16(pTopicAliasMaximum, 65535), propByte(pRequestResponse, 1), propByte(pRequestProblem, 0),
				propPair("a", "b"), propPair("a", "b"))
		}
		cases["will properties"] = func(p *connect) {
			w := *willOf
			w.props = join(prop32(pWillDelay, 0), propByte(pPayloadFormat, 1), prop32(pMessageExpiry, 60),
				propText(pContentType, "t"), propText(pResponseTopic, "r"), propText(pCorrelationData, "c"), propPair("a", "b"))
			p.will = &w
		}
	}
	for name, change := range cases {
		t.try(name, func() {
			p := t.hello("v")
			change(&p)
			c, _ := t.open(p)
			c.ping()
			c.leave()
		})
	}
	halfAccounts(t)
}

// halfAccounts sends well-formed user names and passwords that a broker may
// know nothing of, but may not take for malformed.
func halfAccounts(t *T) {
	name, secret, empty := "name", "secret", ""
	cases := map[string]connect{"user name alone": {user: &name}, "empty user name": {user: &empty}, "empty password": {user: &name, password: &empty}}
	if t.level == 5 {
		cases["password alone"] = connect{password: &secret}
	}
	for what, with := range cases {
		t.try(what, func() {
			p := t.hello("h")
			p.user, p.password = with.user, with.password
			c := t.offer(p)
			if got := c.expect(kConnack); !slices.Contains([]byte{0, oldBadPassword, oldNotAuthorized, badPassword, notAuthorized}, got.code) {
				c.fail("CONNACK that accepts, or refuses the account", got, nil)
			}
		})
	}
}

// nothingAfterRejection sends a message in the same piece as a bad CONNECT.
func nothingAfterRejection(t *T) {
	topic := t.topic("late")
	watch := t.connect("w")
	watch.subscribe("conform/"+t.prefix+"/#", 0)
	message := publish{topic: topic, payload: "too late"}.bytes(t.level)
	reserved := t.hello("r")
	reserved.flip = 0x01
	level := t.hello("l")
	level.level = 9
	rejected := map[string][]byte{"reserved flag": reserved.bytes(), "level": level.bytes()}
	if t.level == 5 {
		rejected["authentication method"] = unknownMethod(t, "a").bytes()
	}
	for name, packet := range rejected {
		t.try(name, func() {
			c := t.dial()
			c.send(packet, message)
			for {
				if _, err := c.read(t.opts.Wait); errors.Is(err, errClosed) {
					break
				} else if errors.Is(err, errQuiet) {
					c.fail("closed connection", nil, err)
				}
			}
		})
	}
	watch.quiet()
}

func connackFirst(t *T) {
	topic := t.topic("first")
	c := t.dial()
	c.send(t.hello("c").bytes(), subscribe(t.level, 1, nil, filter{topic, 0}), pingreq())
	next := func(want kind) {
		if p, err := c.read(t.opts.Wait); err != nil || p.kind != want {
			c.fail(want.String(), p, err)
		}
	}
	next(kConnack)
	next(kSuback)
	next(kPingresp)
	t.try("with messages waiting", func() {
		away := t.resume("away")
		away.subscribe(topic, 1)
		away.leave()
		t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1})
		c = t.offer(t.lasting("away"))
		next(kConnack)
		next(kPublish)
	})
}

func oneConnack(t *T) {
	c := t.connect("c")
	c.quiet()
	c.send(t.hello("c").bytes())
	c.refused(protocolError) // a CONNACK would be the wrong kind here
}

func connackForms(t *T) {
	p := t.lasting("c")
	c, _ := t.open(p)
	c.leave()
	c, _ = t.open(p)
	c.leave()
	t.offer(unknownMethod(t, "a")).refused(badMethod, notAuthorized)
	t.try("reserved flag", func() { connectFlags(t, 0x01) })
	t.try("empty filter of properties", func() {
		bad := t.hello("b")
		bad.props = prop16(pReceiveMaximum, 0)
		t.offer(bad).refused(malformed, protocolError)
	})
}

func refusedHasNoSession(t *T) {
	c := t.resume("c")
	c.leave()
	p := t.lasting("c")
	if t.level == 5 {
		p.props = join(prop32(pSessionExpiry, 600), propText(pAuthMethod, "NO-SUCH-METHOD"))
		t.offer(p).refused(badMethod, notAuthorized) // the decoder refuses session present 1
		return
	}
	p.level = 2
	c = t.offer(p)
	c.level = 4
	c.rejected(oldBadVersion)
}

// announced returns what CONNACK says of a property, or its default.
func announced(got *packet, id byte, otherwise uint32) uint32 {
	if p, ok := got.prop(id); ok {
		return p.number
	}
	return otherwise
}

func maximumQoS(t *T) {
	c, got := t.open(t.hello("q"))
	most := byte(announced(got, pMaximumQoS, 2))
	topic := t.topic("q")
	c.subscribe(topic, most)
	c.publish(publish{topic: topic, payload: "x", qos: most})
	c.receive(topic, "x")
	if most < 2 {
		c.send(publish{topic: topic, qos: most + 1, id: 9}.bytes(5))
		c.refused(qosUnsupported)
	}
}

func subscribeAnyQoS(t *T) {
	c := t.connect("q")
	c.send(subscribe(5, 1, nil, filter{t.topic("0"), 0}, filter{t.topic("1"), 1}, filter{t.topic("2"), 2}))
	if p := c.expectID(kSuback, 1); len(p.codes) != 3 || p.codes[0] > 2 || p.codes[1] > 2 || p.codes[2] > 2 {
		c.fail("SUBACK that accepts all three", p, nil)
	}
}

func willAboveMaximum(t *T) {
	_, got := t.open(t.hello("q"))
	p := t.hello("w")
	p.will = &will{topic: t.topic("w"), payload: "x", qos: 2}
	c := t.offer(p)
	if announced(got, pMaximumQoS, 2) < 2 {
		c.refused(qosUnsupported)
		return
	}
	if got := c.expect(kConnack); got.code != 0 {
		c.fail("CONNACK 0x00", got, nil)
	}
}

func willRetainAvailable(t *T) {
	_, got := t.open(t.hello("q"))
	if announced(got, pRetainAvailable, 1) == 1 {
		willRetained(t)
		return
	}
	p := t.hello("w")
	p.will = &will{topic: t.topic("w"), payload: "x", retain: true}
	t.offer(p).refused(retainUnsupported)
}

func plainExchange(t *T) {
	sub, pub := t.connect("s"), t.connect("p")
	topic := t.topic("plain")
	sub.subscribe(topic, 2)
	for qos := range byte(3) {
		payload := fmt.Sprint("qos ", qos)
		pub.publish(publish{topic: topic, payload: payload, qos: qos})
		sub.receive(topic, payload)
	}
	sub.leave()
	pub.leave()
}
