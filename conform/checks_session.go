package conform

import "time"

func sessionChecks() []Check {
	return []Check{
		v4("MQTT-3.1.2-4", "CleanSession 0 goes on with the stored session: present, subscribed, nothing asked again.", resumes),
		v4("MQTT-3.1.2-5", "QoS 1 and 2 messages sent while a client with CleanSession 0 is away reach it on its return, in order.", queuedWhileAway),
		v4("MQTT-3.1.2-6", "CleanSession 1 drops an earlier session and its messages, and leaves none behind.", cleanDrops),
		v4("MQTT-3.1.2.7", "A retained message stays when the session of its publisher ends, and when CleanSession 1 drops one.", retainedOutlivesSession),
		v5("MQTT-3.1.2-4", "Clean Start 1 drops an earlier session and its messages.", cleanDrops),
		v5("MQTT-3.1.2-5", "Clean Start 0 goes on with the stored session: present, subscribed, nothing asked again.", resumes),
		v5("MQTT-3.1.2-6", "Clean Start 0 without a session makes a new one: session present 0, and it can be resumed.", newWithoutClean),
		v5("MQTT-3.1.2-23", "A session with a Session Expiry Interval is kept after the connection, with what was queued.", queuedWhileAway),
		v4("MQTT-3.1.4-3", "CleanSession 1 and 0 are carried out on connecting.", carriesOutClean),
		v5("MQTT-3.1.4-4", "Clean Start 1 and 0 are carried out on connecting.", carriesOutClean),
		v4("MQTT-3.2.2-1", "CleanSession 1 is accepted with session present 0, also where a session existed.", cleanIsNotPresent),
		v5("MQTT-3.2.2-2", "Clean Start 1 is accepted with session present 0, also where a session existed.", cleanIsNotPresent),
		v4("MQTT-3.2.2-2", "CleanSession 0 with a stored session is accepted with session present 1.", resumes),
		v5("MQTT-3.2.2-3", "Clean Start 0 is accepted with session present 1 with a session, and 0 without.", carriesOutClean),
		v4("MQTT-3.2.2-3", "A connection without a stored session is accepted with session present 0.", newWithoutClean),
		v4("MQTT-4.1.0-1", "A session's subscriptions, queued messages and open exchanges are there as long as it lasts, over several connections.", sessionLasts),
		v4("MQTT-4.1.0-2", "A clean session lasts as long as its connection: its subscription works until the end.", sessionWhileConnected),
		v5("MQTT-4.1.0-1", "A session without an expiry interval lasts as long as its connection.", sessionWhileConnected),
		v5("MQTT-4.1.0-2", "A session is there before its Session Expiry Interval has passed and gone after it.", sessionExpires),
		v4("MQTT-4.5.0-1", "A message reaches every client with a matching subscription, connected or away.", everyMatchingSession),
		v5("MQTT-4.5.0-1", "A message reaches every client with a matching subscription, connected or away.", everyMatchingSession),
	}
}

func (c *client) present(got *packet, want bool) {
	if got.present != want {
		c.fail(map[bool]string{true: "CONNACK with session present 1", false: "CONNACK with session present 0"}[want], got, nil)
	}
}

func resumes(t *T) {
	topic := t.topic("keep")
	c, got := t.open(t.lasting("c"))
	c.present(got, false)
	c.subscribe(topic, 1)
	c.leave()
	c, got = t.open(t.lasting("c"))
	c.present(got, true)
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1})
	c.receive(topic, "x")
	c.drop() // without DISCONNECT it is kept as well
	c, got = t.open(t.lasting("c"))
	c.present(got, true)
}

func queuedWhileAway(t *T) {
	topic := t.topic("away")
	c := t.resume("c")
	c.subscribe(topic, 2)
	c.leave()
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "1", qos: 1})
	pub.publish(publish{topic: topic, payload: "2", qos: 2})
	pub.publish(publish{topic: topic, payload: "3", qos: 1})
	pub.publish(publish{topic: topic, payload: "4", qos: 2})
	c, got := t.open(t.lasting("c"))
	c.present(got, true)
	seen := map[string]byte{}
	for range 4 {
		p := c.message()
		if p.dup() {
			c.fail("PUBLISH with DUP 0 as it is sent first now", p, nil)
		}
		seen[p.payload] = p.qos()
	}
	for payload, qos := range map[string]byte{"1": 1, "2": 2, "3": 1, "4": 2} {
		if seen[payload] != qos {
			t.failf("message %s came with QoS %d, expected %d (0 may mean it did not come)", payload, seen[payload], qos)
		}
	}
}

func cleanDrops(t *T) {
	topic := t.topic("clean")
	c := t.resume("c")
	c.subscribe(topic, 1)
	c.leave()
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "queued", qos: 1})
	c, got := t.open(t.hello("c"))
	c.present(got, false)
	pub.publish(publish{topic: topic, payload: "live", qos: 1})
	c.quiet() // neither the queued message nor the old subscription
	c.subscribe(topic, 1)
	c.leave()
	c, got = t.open(t.lasting("c"))
	c.present(got, false) // the clean session ended with its connection
	pub.publish(publish{topic: topic, payload: "later", qos: 1})
	c.quiet()
}

func retainedOutlivesSession(t *T) {
	topic := t.topic("stays")
	c := t.connect("c")
	c.publish(publish{topic: topic, payload: "stays", qos: 1, retain: true})
	c.leave()
	c = t.connect("c")
	c.subscribe(topic, 1)
	c.receive(topic, "stays")
}

func newWithoutClean(t *T) {
	c, got := t.open(t.lasting("c"))
	c.present(got, false)
	c.leave()
	c, got = t.open(t.lasting("c"))
	c.present(got, true)
}

func carriesOutClean(t *T) {
	c, got := t.open(t.lasting("c"))
	c.present(got, false)
	c.subscribe(t.topic("x"), 1)
	c.leave()
	c, got = t.open(t.lasting("c"))
	c.present(got, true)
	c.leave()
	cleanIsNotPresent(t)
}

func cleanIsNotPresent(t *T) {
	c, got := t.open(t.hello("n"))
	c.present(got, false)
	c.leave()
	c = t.resume("n")
	c.leave()
	c, got = t.open(t.hello("n"))
	c.present(got, false)
}

func sessionLasts(t *T) {
	topic := t.topic("lasts")
	c := t.resume("c")
	c.subscribe(topic, 2)
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "open", qos: 2})
	first := c.expectPublish(topic, "open") // left open
	c.drop()
	pub.publish(publish{topic: topic, payload: "queued", qos: 1})
	c = t.resume("c")
	if again := c.receive(topic, "open"); again.id != first.id || !again.dup() {
		c.fail("the open exchange with its identifier and DUP 1", again, nil)
	}
	c.receive(topic, "queued")
	c.leave()
	c = t.resume("c")
	pub.publish(publish{topic: topic, payload: "subscribed", qos: 1})
	c.receive(topic, "subscribed")
}

func sessionWhileConnected(t *T) {
	topic := t.topic("while")
	c := t.connect("c")
	c.subscribe(topic, 1)
	c.quietFor(time.Second)
	c.publish(publish{topic: topic, payload: "x", qos: 1})
	c.receive(topic, "x")
}

// expiring is a session that is kept for some seconds.
func (t *T) expiring(suffix string, seconds uint32) connect {
	p := t.lasting(suffix)
	p.props = prop32(pSessionExpiry, seconds)
	return p
}

func sessionExpires(t *T) {
	topic := t.topic("expires")
	c, _ := t.open(t.expiring("c", 2))
	c.subscribe(topic, 1)
	c.leave()
	c, got := t.open(t.expiring("c", 2))
	c.present(got, true)
	c.leave()
	t.pass(3200 * time.Millisecond)
	c, got = t.open(t.expiring("c", 2))
	c.present(got, false)
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: 1})
	c.quiet()
}

func everyMatchingSession(t *T) {
	topic := t.topic("every")
	here, plus, away := t.connect("h"), t.connect("p"), t.resume("a")
	here.subscribe(topic, 1)
	plus.subscribe(t.topic("+"), 2)
	away.subscribe(topic, 1)
	away.leave()
	t.connect("x").publish(publish{topic: topic, payload: "x", qos: 1})
	here.receive(topic, "x")
	plus.receive(topic, "x")
	t.resume("a").receive(topic, "x")
}

func sessionsByIdentifier(t *T) {
	one, two := t.resume("one"), t.resume("two")
	one.subscribe(t.topic("one"), 1)
	two.subscribe(t.topic("two"), 1)
	one.leave()
	two.leave()
	pub := t.connect("p")
	pub.publish(publish{topic: t.topic("one"), payload: "1", qos: 1})
	pub.publish(publish{topic: t.topic("two"), payload: "2", qos: 1})
	one, two = t.resume("one"), t.resume("two")
	one.receive(t.topic("one"), "1")
	two.receive(t.topic("two"), "2")
	one.quiet()
	two.quiet()
}
