package conform

import (
	"errors"
	"fmt"
)

// mqtt31Checks are for MQTT 3.1: protocol name MQIsdp, level 3.
func mqtt31Checks() []Check {
	return []Check{
		named("3.1", "connect", "CONNECT with MQIsdp and level 3 is accepted, with and without account and will.", validConnects),
		named("3.1", "client-identifier", "Client identifiers of 1 and of 23 bytes are accepted.", ordinaryIDs),
		named("3.1", "empty-client-identifier", "An empty client identifier is refused with return code 2.", emptyIDIn31),
		named("3.1", "name-and-level", "MQTT with level 3 and MQIsdp with level 4 or 5 are not accepted.", nameAndLevel),
		named("3.1", "publish", "Messages of QoS 0, 1 and 2 are acknowledged and delivered.", plainExchange),
		named("3.1", "publish-to-others", "Messages pass between clients of 3.1, 3.1.1 and 5.0.", betweenVersions),
		named("3.1", "subscribe", "SUBSCRIBE with several filters gets one SUBACK with the QoS granted, and all work.", severalFilters),
		named("3.1", "unsubscribe", "UNSUBSCRIBE is answered, and ends the subscription.", unsubscribeSeveral),
		named("3.1", "retained", "A retained message reaches a later subscriber with RETAIN 1.", retainFlagOnNew),
		named("3.1", "will", "The will is published when the connection breaks, and not after DISCONNECT.", willPublished),
		named("3.1", "will-as-given", "Will QoS and message arrive as given.", willQoSIn31),
		named("3.1", "session", "A session goes on: subscriptions and messages queued while away.", sessionIn31),
		named("3.1", "redelivery", "An open QoS 2 delivery goes on after a reconnection.", qos2Sender),
		named("3.1", "keep-alive", "A silent client is disconnected after 1.5 times its keep alive.", keepAlive),
		named("3.1", "ping", "PINGREQ is answered.", pings),
		named("3.1", "takeover", "A second connection with the same identifier closes the first.", takeover),
	}
}

func emptyIDIn31(t *T) {
	p := t.hello("")
	p.id = ""
	t.offer(p).turnedAway(oldBadID)
}

func nameAndLevel(t *T) {
	for _, p := range []connect{{name: "MQTT", level: 3}, {name: "MQIsdp", level: 4}, {name: "MQIsdp", level: 5}} {
		t.try(fmt.Sprintf("%s with level %d", p.name, p.level), func() {
			p.id, p.clean = t.id("n"), true
			c := t.offer(p)
			c.level = 4
			if p.level == 5 {
				c.level = 5
			}
			got, err := c.read(t.opts.Wait)
			if errors.Is(err, errClosed) {
				return
			}
			if got == nil || got.kind != kConnack || got.code == 0 {
				c.fail("closed connection, at most after a CONNACK that refuses", got, err)
			}
			c.closed()
		})
	}
}

func betweenVersions(t *T) {
	topic := t.topic("mixed")
	all := make([]*client, 0, 3)
	for _, level := range []byte{3, 4, 5} {
		p := t.hello(fmt.Sprint(level))
		p.level = level
		if level > 3 {
			p.name = "MQTT"
		}
		c, _ := t.open(p)
		c.subscribe(topic, 2)
		all = append(all, c)
	}
	for _, from := range all {
		payload := fmt.Sprint("from ", from.level)
		for qos := range byte(3) {
			from.publish(publish{topic: topic, payload: payload, qos: qos})
			for _, to := range all {
				if p := to.receive(topic, payload); p.qos() != qos {
					to.fail(fmt.Sprintf("PUBLISH with QoS %d", qos), p, nil)
				}
			}
		}
	}
}

func willQoSIn31(t *T) {
	for qos := range byte(3) {
		c, watch := t.withWill(will{topic: t.topic("w"), payload: "gone", qos: qos})
		c.drop()
		if p := watch.receive(t.topic("w"), "gone"); p.qos() != qos {
			watch.fail(fmt.Sprintf("PUBLISH with QoS %d", qos), p, nil)
		}
	}
}

// sessionIn31 leaves session present alone: in 3.1 that bit is reserved.
func sessionIn31(t *T) {
	topic := t.topic("away")
	c := t.resume("c")
	c.subscribe(topic, 2)
	c.leave()
	pub := t.connect("p")
	pub.publish(publish{topic: topic, payload: "1", qos: 1})
	pub.publish(publish{topic: topic, payload: "2", qos: 2})
	c = t.resume("c")
	c.receive(topic, "1")
	c.receive(topic, "2")
}
