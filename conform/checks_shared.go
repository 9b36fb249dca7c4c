package conform

import (
	"errors"
	"fmt"
)

func sharedChecks() []Check {
	return []Check{
		v5("MQTT-4.8.2-1", "$share/ without a name, or with an empty one, is refused; $share/name/filter is granted.", shareNames),
		v5("MQTT-4.8.2-2", "A share name with a wildcard, or without a filter after it, is refused.", shareNames),
		v5("MQTT-4.8.2-3", "A member that was granted QoS 0, 1 or 2 gets messages at no more than that.", sharedQoS),
		v5("MQTT-4.8.2-4", "A QoS 2 delivery that broke off is finished to the same member when it returns, and to no other.", sharedResumes),
		v5("MQTT-4.8.2-5", "A QoS 2 delivery that broke off goes to no other member when that session ends.", sharedSessionEnds),
		v5("MQTT-4.8.2-6", "A message refused with PUBACK or PUBREC of 0x80 or above goes to no other member.", sharedRefused),
	}
}

func shareNames(t *T) {
	for _, name := range []string{
		"$share/", "$share//a", "$share/" + t.prefix, "$share/" + t.prefix + "/", "$share/a+/" + t.prefix,
		"$share/#/" + t.prefix, "$share/+/" + t.prefix, "$share/g/a#", "$share/g/a/#/b",
	} {
		t.try(name, func() { filterRefused(t, name, 1) })
	}
	c := t.connect("good")
	c.subscribe("$share/g"+t.prefix+"/"+t.topic("+"), 1)
	c.publish(publish{topic: t.topic("x"), payload: "x", qos: 1})
	c.receive(t.topic("x"), "x")
}

func sharedQoS(t *T) {
	pub := t.connect("p")
	for granted := range byte(3) {
		topic := t.topic(fmt.Sprint(granted))
		c := t.connect("c")
		c.subscribe("$share/g/"+topic, granted)
		for qos := range byte(3) {
			pub.publish(publish{topic: topic, payload: "x", qos: qos})
			if p := c.receive(topic, "x"); p.qos() > granted {
				c.fail(fmt.Sprintf("PUBLISH with a QoS of at most %d", granted), p, nil)
			}
		}
	}
}

// pair makes two members of a share, publishes one message, and returns the
// member that got it first, with its packet.
func (t *T) pair(topic string, qos byte) (chosen, other *client, got *packet) {
	members := []*client{t.resume("a"), t.resume("b")}
	for _, c := range members {
		c.subscribe("$share/g/"+topic, 2)
	}
	t.connect("p").publish(publish{topic: topic, payload: "x", qos: qos})
	for range 10 {
		for i, c := range members {
			p, err := c.read(t.opts.Quiet)
			if errors.Is(err, errQuiet) {
				continue
			}
			if err != nil || p.kind != kPublish {
				c.fail("PUBLISH", p, err)
			}
			return c, members[1-i], p
		}
	}
	t.failf("no member of the share got the message")
	return nil, nil, nil
}

func sharedResumes(t *T) {
	for _, step := range []string{"before PUBREC", "after PUBREC"} {
		t.try(step, func() {
			topic := t.topic(step[:1])
			chosen, other, got := t.pair(topic, 2)
			if step == "after PUBREC" {
				chosen.send(ack(kPubrec, got.id))
				chosen.expectID(kPubrel, got.id)
			}
			chosen.drop()
			other.quiet()
			chosen = t.resume(chosen.id[len(t.prefix):])
			if step == "after PUBREC" {
				chosen.expectID(kPubrel, got.id)
				chosen.send(ack(kPubcomp, got.id))
			} else if again := chosen.receive(topic, "x"); again.id != got.id {
				chosen.fail("the PUBLISH with its identifier", again, nil)
			}
			other.quiet()
			chosen.unsubscribe("$share/g/" + topic)
			other.unsubscribe("$share/g/" + topic)
		})
	}
}

func sharedSessionEnds(t *T) {
	topic := t.topic("ends")
	chosen, other, _ := t.pair(topic, 2)
	chosen.drop()
	other.quiet()
	t.connect(chosen.id[len(t.prefix):]) // a clean start ends that session
	other.quiet()
}

func sharedRefused(t *T) {
	for qos, k := range map[byte]kind{1: kPuback, 2: kPubrec} {
		t.try(k.String(), func() {
			topic := t.topic(fmt.Sprint(qos))
			chosen, other, got := t.pair(topic, qos)
			chosen.send(ackCode(k, got.id, implementation))
			chosen.ping()
			other.quiet()
			chosen.quiet()
			chosen.unsubscribe("$share/g/" + topic)
			other.unsubscribe("$share/g/" + topic)
		})
	}
}
