package conform

import (
	"errors"
	"fmt"
)

func retainChecks() []Check {
	return []Check{
		v4("MQTT-3.3.1-5", "A retained message is stored with its QoS for a later subscriber.", retainedWithQoS),
		v5("MQTT-3.3.1-5", "A retained message is stored, and the next one for the topic replaces it.", retainedReplaced),
		v4("MQTT-3.3.1-6", "A new subscription gets the last retained message of each matching topic.", lastOfEachTopic),
		v4("MQTT-3.3.1-7", "A retained QoS 0 message replaces what was retained; later subscribers get it or nothing.", retainedQoS0),
		v4("MQTT-3.3.1-8", "A retained message for a new subscription has RETAIN 1.", retainFlagOnNew),
		v4("MQTT-3.3.1-9", "A message with RETAIN 1 reaches an established subscription with RETAIN 0.", retainFlagOnLive),
		v4("MQTT-3.3.1-10", "An empty retained message reaches current subscribers, and removes what was retained.", emptyRemoves),
		v5("MQTT-3.3.1-6", "An empty retained message reaches current subscribers, and removes what was retained.", emptyRemoves),
		v4("MQTT-3.3.1-11", "A subscriber after an empty retained message gets nothing.", emptyNotStored),
		v5("MQTT-3.3.1-7", "A subscriber after an empty retained message gets nothing.", emptyNotStored),
		v4("MQTT-3.3.1-12", "A message with RETAIN 0 is not stored and leaves the retained one as it is.", plainLeavesRetained),
		v5("MQTT-3.3.1-8", "A message with RETAIN 0 is not stored and leaves the retained one as it is.", plainLeavesRetained),
		v5("MQTT-3.3.1-9", "Retain Handling 0 brings the retained messages at each SUBSCRIBE, new or repeated.", func(t *T) { retainHandling(t, 0, true, true) }),
		v5("MQTT-3.3.1-10", "Retain Handling 1 brings them for a new subscription and not for a repeated one.", func(t *T) { retainHandling(t, retainIfNew, true, false) }),
		v5("MQTT-3.3.1-11", "Retain Handling 2 brings none.", func(t *T) { retainHandling(t, retainNever, false, false) }),
		v5("MQTT-3.3.1-12", "With Retain As Published 0 a live message has RETAIN 0.", retainFlagOnLive),
		v5("MQTT-3.3.1-13", "With Retain As Published 1 a live message has the flag of its publisher, 1 or 0.", asPublished),
	}
}

func retainedWithQoS(t *T) {
	pub := t.connect("p")
	for qos := byte(1); qos <= 2; qos++ {
		topic := t.topic(fmt.Sprint(qos))
		pub.publish(publish{topic: topic, payload: "x", qos: qos, retain: true})
		c := t.connect("c")
		c.subscribe(topic, 2)
		if p := c.receive(topic, "x"); p.qos() != qos {
			c.fail(fmt.Sprintf("PUBLISH with QoS %d", qos), p, nil)
		}
	}
}

func retainedReplaced(t *T) {
	topic := t.topic("r")
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "old", qos: 1, retain: true})
	pub.publish(publish{topic: topic, payload: "new", qos: 1, retain: true})
	c := t.connect("c")
	c.subscribe(topic, 1)
	c.receive(topic, "new")
	c.quiet()
}

func lastOfEachTopic(t *T) {
	pub := t.connect("p")
	for i := range 3 {
		pub.publish(publish{topic: t.topic(fmt.Sprint("n/", i)), payload: "old", qos: 1, retain: true})
		pub.publish(publish{topic: t.topic(fmt.Sprint("n/", i)), payload: "new", qos: 1, retain: true})
	}
	pub.publish(publish{topic: t.topic("other"), payload: "x", qos: 1, retain: true})
	c := t.connect("c")
	c.subscribe(t.topic("n/+"), 1)
	seen := map[string]bool{}
	for range 3 {
		p := c.message()
		if p.payload != "new" || seen[p.topic] {
			c.fail("the last message of each topic once", p, nil)
		}
		seen[p.topic] = true
	}
	c.quiet()
}

func retainedQoS0(t *T) {
	topic := t.topic("r")
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "old", qos: 1, retain: true})
	pub.publish(publish{topic: topic, payload: "new", retain: true})
	pub.ping() // it has been read
	c := t.connect("c")
	c.subscribe(topic, 1)
	p, err := c.read(t.opts.Quiet)
	if errors.Is(err, errQuiet) {
		t.note("the broker did not keep the retained QoS 0 message")
		return
	}
	if err != nil || p.kind != kPublish || p.payload != "new" {
		c.fail(`PUBLISH with payload "new", or nothing`, p, err)
	}
}

func retainFlagOnNew(t *T) {
	topic := t.topic("r")
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1, retain: true})
	c := t.connect("c")
	c.subscribe(topic, 1)
	if p := c.receive(topic, "x"); !p.retain() {
		c.fail("PUBLISH with RETAIN 1", p, nil)
	}
}

func retainFlagOnLive(t *T) {
	topic := t.topic("r")
	c := t.connect("c")
	c.subscribe(topic, 1)
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1, retain: true})
	if p := c.receive(topic, "x"); p.retain() {
		c.fail("PUBLISH with RETAIN 0", p, nil)
	}
}

func emptyRemoves(t *T) {
	topic := t.topic("r")
	pub, c := t.connect("p"), t.connect("c")
	pub.publish(publish{topic: topic, payload: "x", qos: 1, retain: true})
	c.subscribe(topic, 1)
	c.receive(topic, "x")
	pub.publish(publish{topic: topic, qos: 1, retain: true})
	if p := c.receive(topic, ""); p.retain() {
		c.fail("empty PUBLISH with RETAIN 0", p, nil)
	}
	late := t.connect("late")
	late.subscribe(topic, 1)
	late.quiet()
}

func emptyNotStored(t *T) {
	topic := t.topic("r")
	t.connect("p").publish(publish{topic: topic, qos: 1, retain: true})
	c := t.connect("c")
	c.subscribe(topic, 1)
	c.quiet()
}

func plainLeavesRetained(t *T) {
	topic, other := t.topic("r"), t.topic("none")
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "kept", qos: 1, retain: true})
	pub.publish(publish{topic: topic, payload: "live", qos: 1})
	pub.publish(publish{topic: topic, qos: 1})
	pub.publish(publish{topic: other, payload: "live", qos: 1})
	c := t.connect("c")
	c.subscribe(topic, 1)
	c.receive(topic, "kept")
	c.subscribe(other, 1)
	c.quiet()
}

func retainHandling(t *T, option byte, onNew, onRepeat bool) {
	topic := t.topic("r")
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1, retain: true})
	c := t.connect("c")
	for _, brings := range []bool{onNew, onRepeat} {
		c.subscribe(topic, 1|option)
		if brings {
			c.receive(topic, "x")
		}
		c.quiet()
	}
	c.unsubscribe(topic)
	c.subscribe(topic, 1|option)
	if onNew {
		c.receive(topic, "x")
	}
	c.quiet()
}

func asPublished(t *T) {
	topic := t.topic("r")
	c := t.connect("c")
	c.subscribe(topic, 1|retainAsPublished)
	for _, retain := range []bool{true, false} {
		c.publish(publish{topic: topic, payload: "x", qos: 1, retain: retain})
		if p := c.receive(topic, "x"); p.retain() != retain {
			c.fail(fmt.Sprintf("PUBLISH with RETAIN %t", retain), p, nil)
		}
	}
}
