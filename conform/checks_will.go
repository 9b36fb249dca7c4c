package conform

import (
	"slices"
	"time"
)

func willChecks() []Check {
	return []Check{
		v4("MQTT-3.1.2-8", "The will is published when the connection breaks, and not after DISCONNECT.", willPublished),
		v4("MQTT-3.1.2-9", "Will topic, message, QoS and retain arrive as given; a will flag without them in the payload closes the connection.", willAsGiven),
		v4("MQTT-3.1.2-10", "A will is published once: neither a later break nor a return of the client brings it again.", willOnce),
		v4("MQTT-3.1.2-12", "Without the will flag nothing is published when the connection breaks, also if the session had a will before.", noWill),
		v4("MQTT-3.1.2-16", "A will with retain 0 is not retained.", willNotRetained),
		v4("MQTT-3.1.2-17", "A will with retain 1 is retained.", willRetained),
		v4("MQTT-3.14.4-3", "After DISCONNECT the will is not published.", disconnectDropsWill),
		v5("MQTT-3.1.2-7", "A will is kept with the session, seen by its being published with its properties.", willWithProperties),
		v5("MQTT-3.1.2-8", "The will is published when the connection breaks, when its delay has passed, or when the session ends before that.", willDelayed),
		v5("MQTT-3.1.2-9", "Will topic, payload, QoS and retain arrive as given; a will flag without them in the payload is refused.", willAsGiven),
		v5("MQTT-3.1.2-10", "A will is published once, and not after DISCONNECT 0x00.", willOnce),
		v5("MQTT-3.1.2-14", "A will with retain 0 is not retained.", willNotRetained),
		v5("MQTT-3.1.2-15", "A will with retain 1 is retained.", willRetained),
		v5("MQTT-3.1.3-9", "A return within the will delay stops the will.", willStoppedByReturn),
		v5("MQTT-3.1.3-10", "The user properties of a will keep their order, equal keys too.", willWithProperties),
		v5("MQTT-3.14.4-3", "After DISCONNECT 0x00 the will is not published; after 0x04 it is.", disconnectDropsWill),
	}
}

// withWill opens a connection that leaves a will, and one that watches for it.
func (t *T) withWill(w will) (c, watch *client) {
	watch = t.connect("watch")
	watch.subscribe(w.topic, 2)
	p := t.hello("dying")
	p.will = &w
	c, _ = t.open(p)
	return c, watch
}

func willPublished(t *T) {
	c, watch := t.withWill(will{topic: t.topic("w"), payload: "gone"})
	watch.quiet()
	c.drop()
	watch.receive(t.topic("w"), "gone")
	disconnectDropsWill(t)
}

func willAsGiven(t *T) {
	for qos := range byte(3) {
		c, watch := t.withWill(will{topic: t.topic("w"), payload: "\x00\xffbytes", qos: qos})
		c.drop()
		if p := watch.receive(t.topic("w"), "\x00\xffbytes"); p.qos() != qos || p.retain() {
			watch.fail("will with its QoS and RETAIN 0", p, nil)
		}
	}
	p := t.hello("f")
	p.flip = 0x04
	t.offer(p).refused(malformed, protocolError)
}

func willOnce(t *T) {
	w := will{topic: t.topic("w"), payload: "gone", qos: 1}
	c, watch := t.withWill(w)
	c.drop()
	watch.receive(w.topic, "gone")
	again := t.connect("dying") // without a will this time
	again.drop()
	watch.quiet()
	disconnectDropsWill(t)
}

func noWill(t *T) {
	w := will{topic: t.topic("w"), payload: "gone"}
	watch := t.connect("watch")
	watch.subscribe(w.topic, 0)
	p := t.lasting("c")
	p.will = &w
	c, _ := t.open(p)
	c.leave()
	t.resume("c").drop()
	watch.quiet()
}

func willNotRetained(t *T) {
	w := will{topic: t.topic("w"), payload: "gone", qos: 1}
	c, watch := t.withWill(w)
	c.drop()
	watch.receive(w.topic, "gone")
	late := t.connect("late")
	late.subscribe(w.topic, 1)
	late.quiet()
}

func willRetained(t *T) {
	w := will{topic: t.topic("w"), payload: "gone", qos: 1, retain: true}
	t.retained = append(t.retained, w.topic)
	c, watch := t.withWill(w)
	c.drop()
	watch.receive(w.topic, "gone")
	late := t.connect("late")
	late.subscribe(w.topic, 1)
	if p := late.receive(w.topic, "gone"); !p.retain() {
		late.fail("PUBLISH with RETAIN 1", p, nil)
	}
}

func disconnectDropsWill(t *T) {
	w := will{topic: t.topic("bye"), payload: "gone"}
	c, watch := t.withWill(w)
	c.leave()
	watch.quiet()
	if t.level < 5 {
		return
	}
	c, watch = t.withWill(w)
	c.send(disconnect(5, withWill, nil))
	watch.receive(w.topic, "gone")
}

func willWithProperties(t *T) {
	w := will{topic: t.topic("w"), payload: "gone", qos: 1}
	w.props = join(propByte(pPayloadFormat, 1), propText(pContentType, "text"), propText(pResponseTopic, "answer"),
		propText(pCorrelationData, "\x00\x01"), propPair("b", "1"), propPair("a", "2"), propPair("b", "0"))
	c, watch := t.withWill(w)
	c.drop()
	p := watch.receive(w.topic, "gone")
	if !slices.Equal(p.pairs(), []string{"b=1", "a=2", "b=0"}) {
		watch.fail("user properties b=1 a=2 b=0", p, nil)
	}
	for id, want := range map[byte]string{pContentType: "text", pResponseTopic: "answer", pCorrelationData: "\x00\x01"} {
		if got, _ := p.prop(id); got.text != want {
			watch.fail("the property as given: "+want, p, nil)
		}
	}
	if announced(p, pPayloadFormat, 0) != 1 {
		watch.fail("Payload Format Indicator 1", p, nil)
	}
}

// delayed opens a connection whose will waits.
func (t *T) delayed(topic string, delay, expiry uint32) (c, watch *client) {
	watch = t.connect("watch")
	watch.subscribe(topic, 1)
	c, _ = t.open(t.delayedHello(topic, delay, expiry))
	return c, watch
}

func (t *T) delayedHello(topic string, delay, expiry uint32) connect {
	p := t.expiring("dying", expiry)
	p.clean = true
	p.will = &will{topic: topic, payload: "gone", qos: 1, props: prop32(pWillDelay, delay)}
	return p
}

func willDelayed(t *T) {
	t.try("delay", func() {
		c, watch := t.delayed(t.topic("delay"), 2, 60)
		start := time.Now()
		c.drop()
		watch.receive(t.topic("delay"), "gone")
		t.elapsed("the will with a delay of 2 s", start, 1900*time.Millisecond, 3500*time.Millisecond)
	})
	t.try("session ends first", func() {
		c, watch := t.delayed(t.topic("ends"), 60, 1)
		start := time.Now()
		c.drop()
		watch.receive(t.topic("ends"), "gone")
		t.elapsed("the will of a session that ends after 1 s", start, 900*time.Millisecond, 2500*time.Millisecond)
	})
	t.try("no delay", func() {
		c, watch := t.delayed(t.topic("now"), 0, 60)
		start := time.Now()
		c.drop()
		watch.receive(t.topic("now"), "gone")
		t.elapsed("the will without a delay", start, 0, time.Second)
	})
}

func willStoppedByReturn(t *T) {
	topic := t.topic("stopped")
	c, watch := t.delayed(topic, 1, 60)
	c.drop()
	p := t.expiring("dying", 60)
	c, got := t.open(p)
	c.present(got, true)
	watch.quietFor(2200 * time.Millisecond)
	c.ping()
}
