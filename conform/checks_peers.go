package conform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// peerChecks are for mistakes that other brokers were seen to make.
func peerChecks() []Check {
	return []Check{
		named("5.0", "subscribe-without-options", "SUBSCRIBE that ends before its options byte is refused, and the broker serves on.", subscribeWithoutOptions),
		named("3.1.1", "subscribe-without-qos", "SUBSCRIBE that ends before its QoS byte is refused, and the broker serves on.", subscribeWithoutOptions),
		named("3.1.1", "redelivery-dup", "A message sent again has DUP 1.", resentHasDup),
		named("5.0", "redelivery-dup", "A message sent again has DUP 1.", resentHasDup),
		named("3.1.1", "first-delivery-dup", "A queued or retained message sent for the first time has DUP 0.", firstDeliveryDup),
		named("5.0", "first-delivery-dup", "A queued or retained message sent for the first time has DUP 0.", firstDeliveryDup),
		named("3.1.1", "keep-alive-late", "Keep alive 2 s: disconnected after 3 s, to within a second.", keepAliveLate),
		named("5.0", "keep-alive-late", "Keep alive 2 s: disconnected after 3 s, to within a second.", keepAliveLate),
		named("5.0", "will-delay-late", "A will with a delay of 1 s comes after 1 s, to within a second.", willDelayLate),
		named("5.0", "will-delay-early", "A will with a delay of 3 s does not come within 2.8 s, and comes then.", willDelayEarly),
		named("5.0", "will-at-session-end", "A will with a long delay comes when the session expires after 1 s, to within a second.", willAtSessionEnd),
		named("5.0", "session-expiry-late", "A session with an expiry of 1 s is gone 2.1 s after the disconnection.", sessionExpiryLate),
		named("5.0", "session-expiry-changed", "DISCONNECT can shorten the session's expiry to 0, which ends it.", expiryShortened),
		named("5.0", "session-expiry-raised", "DISCONNECT that raises an expiry of 0 is refused as a protocol error.", expiryRaised),
		named("5.0", "expiry-added", "A message without expiry arrives without one: live, queued and retained.", expiryAdded),
		named("5.0", "retain-handling-3", "Retain Handling 3 is refused.", func(t *T) { badOptions(t, 0x30, 0x31) }),
		named("5.0", "reserved-option-bits", "Each reserved bit of the subscription options is refused.", func(t *T) { badOptions(t, 0x40, 0x80) }),
		named("5.0", "no-local-shared", "No Local on a shared subscription is refused.", noLocalShared),
		named("5.0", "share-without-filter", "Filters that begin with $share/ and have no name or no filter are refused.", shareNames),
		named("5.0", "subscription-identifier-0", "Subscription identifier 0 is refused.", func(t *T) { badSubscribe(t, propSubscription(0)) }),
		named("5.0", "subscription-identifier-twice", "Two subscription identifiers in one SUBSCRIBE are refused.", func(t *T) {
			badSubscribe(t, join(propSubscription(1), propSubscription(2)))
		}),
		named("5.0", "repeated-properties", "A property that may stand once and stands twice is refused, in each packet.", repeatedProperties),
		named("5.0", "truncated-properties", "Properties cut short are refused, in each packet.", truncatedProperties),
		named("5.0", "misplaced-properties", "A property of another packet is refused, in each packet.", misplacedProperties),
		named("3.1.1", "ill-formed-user-name", "An ill-formed user name is refused.", func(t *T) { badInConnect(t, "user name", "\xc0\xaf") }),
		named("5.0", "ill-formed-user-name", "An ill-formed user name is refused.", func(t *T) { badInConnect(t, "user name", "\xc0\xaf") }),
		named("3.1.1", "connack-codes", "Refused connections get no return code above 5.", oldConnackCodes),
		named("3.1", "connack-codes", "Refused connections get no return code above 5.", oldConnackCodes),
		named("3.1.1", "no-disconnect-from-server", "The broker sends no DISCONNECT: on takeover, errors, or silence.", noDisconnectToOld),
		named("3.1", "no-disconnect-from-server", "The broker sends no DISCONNECT: on takeover, errors, or silence.", noDisconnectToOld),
		named("5.0", "receive-maximum-qos2", "Receive Maximum holds for QoS 2 until PUBCOMP.", func(t *T) { fillWindow(t, []byte{2}) }),
		named("5.0", "delivery-stalls", "With Receive Maximum 1, 200 messages of all QoS come one after the other.", deliveryStalls),
		named("5.0", "delivery-stalls-after-refusal", "A message refused with PUBACK or PUBREC of 0x80 makes room for the next.", stallsAfterRefusal),
		named("5.0", "delivery-stalls-on-return", "A session that left with its window full goes on with all messages on its return.", stallsOnReturn),
		named("5.0", "receive-maximum-on-return", "The Receive Maximum of the new connection holds for what is sent again.", windowOnReturn),
		named("5.0", "connack-too-large", "CONNACK is no larger than the client's Maximum Packet Size, however small.", connackTooLarge),
		named("5.0", "user-properties-echoed", "The user properties of a PUBLISH, SUBSCRIBE or PUBREL do not come back in its acknowledgement.", propertiesEchoed),
		named("3.1.1", "offline-order", "300 messages queued for a client that is away come in their order, with one read pause.", offlineOrder),
		named("5.0", "offline-order", "300 messages queued for a client that is away come in their order, with one read pause.", offlineOrder),
		named("3.1.1", "will-on-takeover", "The will of a connection that another takes over is published.", willOnTakeover),
		named("5.0", "will-on-takeover", "The will (without delay) of a connection that another takes over is published.", willOnTakeover),
		named("5.0", "will-on-clean-start", "A will with a delay is published at once if a clean start ends the session, its connection broken or not.", willOnCleanStart),
		named("5.0", "will-delay-restarts", "The will of the second connection waits its own delay, though the first one's was stopped.", willDelayRestarts),
		named("5.0", "alias-without-topic", "An empty topic with an alias that was never set is refused.", aliasUnknown),
		named("5.0", "queued-subscription-identifiers", "Subscription identifiers come with queued messages too.", queuedIdentifiers),
		named("3.1.1", "half-packets", "A client that sends half a CONNECT, or half a PUBLISH, disturbs no other.", halfPackets),
		named("5.0", "half-packets", "A client that sends half a CONNECT, or half a PUBLISH, disturbs no other.", halfPackets),
	}
}

func subscribeWithoutOptions(t *T) {
	bystander := t.connect("b")
	body := join(u16(1), properties(t.level, nil))
	for name, packet := range map[string][]byte{
		"first": frame(0x82, body, text(t.topic("a"))), "second": frame(0x82, body, text(t.topic("a")), []byte{0}, text(t.topic("b"))),
	} {
		t.try(name, func() {
			c := t.connect("c")
			c.send(packet)
			c.refused(malformed, protocolError)
		})
	}
	bystander.ping()
	t.connect("new").ping()
}

func firstDeliveryDup(t *T) {
	topic := t.topic("dup")
	c := t.resume("c")
	c.subscribe(topic, 2)
	c.leave()
	pub := t.connect("p")
	for qos := byte(1); qos <= 2; qos++ {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(qos), qos: qos, retain: true, dup: true})
	}
	c = t.resume("c")
	late := t.connect("late")
	late.subscribe(topic, 2)
	for _, p := range []*packet{c.message(), c.message(), late.message()} {
		if p.dup() {
			c.fail("PUBLISH with DUP 0", p, nil)
		}
	}
}

func keepAliveLate(t *T) {
	p := t.hello("c")
	p.keepAlive = 2
	c, got := t.open(p)
	if _, ok := got.prop(pServerKeepAlive); ok {
		t.notObservable("the broker puts its own Server Keep Alive in place of the client's 2 s")
	}
	c.closedBetween(time.Now(), 2900*time.Millisecond, 4100*time.Millisecond)
}

func willDelayLate(t *T) {
	c, watch := t.delayed(t.topic("w"), 1, 60)
	start := time.Now()
	c.drop()
	watch.receive(t.topic("w"), "gone")
	t.elapsed("the will with a delay of 1 s", start, 900*time.Millisecond, 2100*time.Millisecond)
}

func willDelayEarly(t *T) {
	c, watch := t.delayed(t.topic("w"), 3, 60)
	c.drop()
	watch.quietFor(2800 * time.Millisecond)
	watch.receive(t.topic("w"), "gone")
}

func willAtSessionEnd(t *T) {
	c, watch := t.delayed(t.topic("w"), 60, 1)
	start := time.Now()
	c.drop()
	watch.receive(t.topic("w"), "gone")
	t.elapsed("the will of a session with an expiry of 1 s", start, 900*time.Millisecond, 2100*time.Millisecond)
}

func sessionExpiryLate(t *T) {
	c, _ := t.open(t.expiring("c", 1))
	c.leave()
	t.pass(2100 * time.Millisecond)
	c, got := t.open(t.expiring("c", 1))
	c.present(got, false)
}

func expiryShortened(t *T) {
	c, _ := t.open(t.lasting("c"))
	c.send(disconnect(5, 0, prop32(pSessionExpiry, 0)))
	c.closed()
	c, got := t.open(t.lasting("c"))
	c.present(got, false)
}

func expiryRaised(t *T) {
	c := t.connect("c")
	c.send(disconnect(5, 0, prop32(pSessionExpiry, 60)))
	c.refused(protocolError)
}

func expiryAdded(t *T) {
	topic := t.topic("none")
	live, away := t.connect("live"), t.resume("away")
	live.subscribe(topic, 1)
	away.subscribe(topic, 1)
	away.leave()
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1, retain: true})
	late := t.connect("late")
	late.subscribe(topic, 1)
	for _, c := range []*client{live, t.resume("away"), late} {
		p := c.receive(topic, "x")
		if _, ok := p.prop(pMessageExpiry); ok {
			c.fail("PUBLISH without Message Expiry Interval", p, nil)
		}
	}
}

func badSubscribe(t *T, props []byte) {
	c := t.connect("c")
	c.send(subscribe(5, 1, props, filter{t.topic("x"), 0}))
	c.refused(protocolError, malformed)
}

// withProperties puts properties into each packet that a connected client sends.
func withProperties(t *T, props []byte) map[string][]byte {
	list := properties(5, props)
	return map[string][]byte{
		"PUBLISH":     frame(0x30, text(t.topic("x")), list, []byte("x")),
		"SUBSCRIBE":   frame(0x82, u16(1), list, text(t.topic("x")), []byte{0}),
		"UNSUBSCRIBE": frame(0xA2, u16(1), list, text(t.topic("x"))),
		"PUBACK":      frame(0x40, u16(1), []byte{0}, list),
		"PUBREC":      frame(0x50, u16(1), []byte{0}, list),
		"PUBREL":      frame(0x62, u16(1), []byte{0}, list),
		"PUBCOMP":     frame(0x70, u16(1), []byte{0}, list),
		"DISCONNECT":  frame(0xE0, []byte{0}, list),
	}
}

func refusedProperties(t *T, kinds string, props []byte) {
	for name, packet := range withProperties(t, props) {
		if !slices.Contains(strings.Fields(kinds), name) {
			continue
		}
		t.try(fmt.Sprintf("%s with % X", name, props), func() {
			c := t.connect("c")
			c.send(packet)
			c.refused(protocolError, malformed)
		})
	}
}

const everyKind = "PUBLISH SUBSCRIBE UNSUBSCRIBE PUBACK PUBREC PUBREL PUBCOMP DISCONNECT"

func repeatedProperties(t *T) {
	twice := func(p []byte) []byte { return join(p, p) }
	for _, p := range [][]byte{
		propByte(pPayloadFormat, 0), prop32(pMessageExpiry, 9), prop16(pTopicAlias, 1), propText(pResponseTopic, "r"),
		propText(pCorrelationData, "c"), propText(pContentType, "t"),
	} {
		refusedProperties(t, "PUBLISH", twice(p))
	}
	refusedProperties(t, "PUBACK PUBREC PUBREL PUBCOMP DISCONNECT", twice(propText(pReasonString, "r")))
	refusedProperties(t, "DISCONNECT", twice(prop32(pSessionExpiry, 0)))
	for _, p := range [][]byte{
		prop32(pSessionExpiry, 9), prop16(pReceiveMaximum, 9), prop32(pMaximumPacketSize, 999), prop16(pTopicAliasMaximum, 9),
		propByte(pRequestResponse, 0), propByte(pRequestProblem, 0), propText(pAuthMethod, "x"),
	} {
		t.try(fmt.Sprintf("CONNECT with % X", twice(p)), func() {
			hello := t.hello("c")
			hello.props = twice(p)
			t.offer(hello).refused(protocolError, malformed)
		})
	}
	for _, p := range [][]byte{prop32(pWillDelay, 1), propByte(pPayloadFormat, 1), prop32(pMessageExpiry, 9), propText(pContentType, "t")} {
		t.try(fmt.Sprintf("will with % X", twice(p)), func() {
			hello := t.hello("c")
			hello.will = &will{topic: t.topic("w"), payload: "x", props: twice(p)}
			t.offer(hello).refused(protocolError, malformed)
		})
	}
}

func truncatedProperties(t *T) {
	whole := propPair("key", "value")
	for _, n := range []int{1, 2, 4, len(whole) - 1} {
		refusedProperties(t, everyKind, whole[:n])
	}
	t.try("CONNECT", func() {
		hello := t.hello("c")
		hello.props = whole[:5]
		t.offer(hello).refused(malformed, protocolError)
	})
	t.try("length beyond the packet", func() {
		c := t.connect("c")
		c.send(frame(0x30, text(t.topic("x")), []byte{0x7F}, whole))
		c.refused(malformed, protocolError)
	})
}

func misplacedProperties(t *T) {
	refusedProperties(t, everyKind, prop16(pReceiveMaximum, 5))
	refusedProperties(t, everyKind, propText(pAssignedClientID, "x"))
	refusedProperties(t, everyKind, []byte{0x7E, 0})
	refusedProperties(t, "SUBSCRIBE UNSUBSCRIBE PUBACK DISCONNECT", propByte(pPayloadFormat, 1))
	refusedProperties(t, "SUBSCRIBE UNSUBSCRIBE PUBLISH", propText(pReasonString, "x"))
	refusedProperties(t, "PUBLISH PUBACK", prop32(pSessionExpiry, 5))
}

func oldConnackCodes(t *T) {
	level := t.hello("a")
	level.level = 2
	empty := t.hello("")
	empty.id, empty.clean = "", false
	name := t.hello("c")
	name.name = "MQXX"
	for what, p := range map[string]connect{"level": level, "empty identifier": empty, "name": name} {
		t.try(what, func() {
			c := t.offer(p)
			c.level = t.level
			for {
				got, err := c.read(t.opts.Wait) // the decoder refuses codes above 5
				if errors.Is(err, errClosed) {
					return
				}
				if err != nil || got.kind != kConnack || got.code == 0 {
					c.fail("CONNACK that refuses, or closed connection", got, err)
				}
			}
		})
	}
}

func noDisconnectToOld(t *T) {
	t.try("takeover", func() { takeover(t) })
	t.try("second CONNECT", func() { secondConnect(t) })
	t.try("wildcard in topic", func() {
		c := t.connect("w")
		c.send(publish{topic: "#", payload: "x"}.bytes(t.level))
		c.closed()
	})
	t.try("silence", func() {
		p := t.hello("silent")
		p.keepAlive = 1
		c, _ := t.open(p)
		c.closedBetween(time.Now(), 0, 10*time.Second) // how late is another check's matter
	})
}

func deliveryStalls(t *T) {
	c, pub, topic := t.window(1)
	for i := range 200 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	for i := range 200 {
		c.receive(topic, fmt.Sprint(i))
	}
}

func stallsAfterRefusal(t *T) {
	c, pub, topic := t.window(1)
	for i := range 6 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	for i := range 6 {
		p := c.expectPublish(topic, fmt.Sprint(i))
		k := kPuback
		if p.qos() == 2 {
			k = kPubrec
		}
		c.send(ackCode(k, p.id, unspecified))
	}
}

func stallsOnReturn(t *T) {
	topic := t.topic("w")
	p := t.lasting("c")
	p.props = join(p.props, prop16(pReceiveMaximum, 3))
	c, _ := t.open(p)
	c.subscribe(topic, 2)
	pub := t.connect("p")
	for i := range 20 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	for i := range 3 {
		c.expectPublish(topic, fmt.Sprint(i))
	}
	c.drop()
	c, _ = t.open(p)
	for i := range 20 {
		c.receive(topic, fmt.Sprint(i))
	}
}

func windowOnReturn(t *T) {
	topic := t.topic("w")
	c := t.resume("c")
	c.subscribe(topic, 2)
	pub := t.connect("p")
	for i := range 6 {
		pub.publish(publish{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	for i := range 6 {
		c.expectPublish(topic, fmt.Sprint(i))
	}
	c.drop()
	p := t.lasting("c")
	p.props = join(p.props, prop16(pReceiveMaximum, 2))
	c, _ = t.open(p)
	open := []*packet{c.expectPublish(topic, "0"), c.expectPublish(topic, "1")}
	c.quiet()
	for i := 2; i < 6; i++ {
		c.acknowledge(open[0])
		open = append(open[1:], c.expectPublish(topic, fmt.Sprint(i)))
	}
	c.quiet()
}

func connackTooLarge(t *T) {
	for _, limit := range []int{5, 6, 8, 10, 12, 15, 18, 22, 30} {
		t.try(fmt.Sprintf("limit %d", limit), func() {
			p := t.hello("")
			p.id = "" // the Assigned Client Identifier makes it longer
			p.props = prop32(pMaximumPacketSize, uint32(limit))
			c := t.offer(p)
			c.limit = limit
			got, err := c.read(t.opts.Wait)
			if !errors.Is(err, errClosed) && (err != nil || got.kind != kConnack) {
				c.fail(fmt.Sprintf("CONNACK of at most %d bytes, or closed connection", limit), got, err)
			}
		})
	}
}

func propertiesEchoed(t *T) {
	topic := t.topic("echo")
	user := propPair("publisher", "own")
	c := t.connect("c")
	clean := func(p *packet) {
		if slices.Contains(p.pairs(), "publisher=own") {
			c.fail("acknowledgement without the publisher's user property", p, nil)
		}
	}
	c.send(subscribe(5, 1, user, filter{t.topic("other"), 1}))
	clean(c.expectID(kSuback, 1))
	for _, name := range []string{topic, t.topic("other")} {
		clean(c.publish(publish{topic: name, qos: 1, props: user}))
		c.send(publish{topic: name, qos: 2, id: 8, props: user}.bytes(5))
		clean(c.expectID(kPubrec, 8))
		c.send(frame(0x62, u16(8), []byte{0}, properties(5, user)))
		clean(c.expectID(kPubcomp, 8))
	}
	c.send(frame(0xA2, u16(9), properties(5, user), text(topic)))
	clean(c.expectID(kUnsuback, 9))
}

func offlineOrder(t *T) {
	c := t.resume("c")
	c.subscribe(t.topic("+"), 1)
	c.leave()
	pub := t.connect("p")
	const count = 300
	for i := range count {
		pub.publish(publish{topic: t.topic(fmt.Sprint(i % 3)), payload: fmt.Sprint(i), qos: 1})
	}
	c = t.resume("c")
	for i := range count {
		p := c.message()
		if p.payload != fmt.Sprint(i) {
			c.fail(fmt.Sprintf("message %d", i), p, nil)
		}
		if i == count/2 {
			c.quietUnlessPublish()
		}
	}
	c.quiet()
}

// quietUnlessPublish pauses, and keeps the messages that come meanwhile.
func (c *client) quietUnlessPublish() {
	for {
		p, err := c.read(c.t.opts.Quiet)
		if errors.Is(err, errQuiet) {
			return
		}
		if err != nil || p.kind != kPublish {
			c.fail("PUBLISH or nothing", p, err)
		}
		c.held = append(c.held, p)
	}
}

func willOnTakeover(t *T) {
	w := will{topic: t.topic("w"), payload: "gone", qos: 1}
	c, watch := t.withWill(w)
	second := t.connect("dying")
	watch.receive(w.topic, "gone")
	c.refused(takenOver)
	second.leave()
	watch.quiet()
}

func willOnCleanStart(t *T) {
	for _, name := range []string{"connection broken", "connection taken over"} {
		t.try(name, func() {
			c, watch := t.delayed(t.topic("w"), 60, 600)
			if name == "connection broken" {
				c.drop()
			}
			t.connect("dying") // a clean start
			watch.receive(t.topic("w"), "gone")
		})
	}
}

func willDelayRestarts(t *T) {
	topic := t.topic("w")
	first, watch := t.delayed(topic, 2, 60)
	first.drop()
	watch.quietFor(time.Second)
	p := t.delayedHello(topic, 2, 60)
	p.clean = false
	second, got := t.open(p)
	second.present(got, true)
	start := time.Now()
	second.drop()
	watch.receive(topic, "gone")
	t.elapsed("the will with a delay of 2 s", start, 1900*time.Millisecond, 3200*time.Millisecond)
	watch.quiet()
}

func aliasUnknown(t *T) {
	c, got := t.open(t.hello("c"))
	c.aliasMaximum(got)
	c.send(aliased("", "x", 1))
	c.refused(protocolError, badAlias)
}

func queuedIdentifiers(t *T) {
	c := t.resume("c")
	c.subscribe(t.topic("x"), 1, propSubscription(4711))
	c.leave()
	t.connect("p").publish(publish{topic: t.topic("x"), payload: "x", qos: 1})
	c = t.resume("c")
	if p := c.receive(t.topic("x"), "x"); !slices.Equal(p.subscriptions(), []uint32{4711}) {
		c.fail("PUBLISH with the subscription identifier 4711", p, nil)
	}
}

func halfPackets(t *T) {
	sub := t.connect("sub")
	topic := t.topic("half")
	sub.subscribe(topic, 0)
	half := t.dial()
	half.send(t.hello("half").bytes()[:9])
	other := t.connect("other")
	packet := publish{topic: topic, payload: "whole"}.bytes(t.level)
	other.send(packet[:len(packet)-2])
	t.connect("p").publish(publish{topic: topic, payload: "meanwhile", qos: 1})
	sub.receive(topic, "meanwhile")
	other.send(packet[len(packet)-2:])
	sub.receive(topic, "whole")
}
