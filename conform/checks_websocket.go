package conform

import (
	"errors"
	"fmt"
	"net/http"
)

func webSocketChecks() []Check {
	return []Check{
		v4("MQTT-6.0.0-1", "Packets come in binary frames; a text frame closes the connection.", binaryFrames),
		v5("MQTT-6.0.0-1", "Packets come in binary frames; a text frame closes the connection.", binaryFrames),
		v4("MQTT-6.0.0-2", "Packets split over frames and fragments, byte by byte, and several in one frame, are all understood.", frameBoundaries),
		v5("MQTT-6.0.0-2", "Packets split over frames and fragments, byte by byte, and several in one frame, are all understood.", frameBoundaries),
		v4("MQTT-6.0.0-3", "A client that offers mqtt among other subprotocols is served.", subprotocol),
		v5("MQTT-6.0.0-3", "A client that offers mqtt among other subprotocols is served.", subprotocol),
		v4("MQTT-6.0.0-4", "The upgrade is answered with the subprotocol mqtt.", subprotocol),
		v5("MQTT-6.0.0-4", "The upgrade is answered with the subprotocol mqtt.", subprotocol),
	}
}

func binaryFrames(t *T) {
	c, ws := t.socket()
	c.send(t.hello("c").bytes())
	c.expect(kConnack)
	c.accepted = true
	topic := t.topic("ws")
	c.subscribe(topic, 1)
	c.publish(publish{topic: topic, payload: "x", qos: 1})
	c.receive(topic, "x")
	if ws.lastOp != opBinary {
		t.failf("packets came in frames with opcode %d, expected binary", ws.lastOp)
	}
	c.sent = pingreq()
	ws.frame(opText, true, c.sent)
	closesOnText(c)
	c, ws = t.socket()
	c.sent = t.hello("text").bytes()
	ws.frame(opText, true, c.sent)
	closesOnText(c)
}

// closesOnText allows a DISCONNECT of 5.0 before the close.
func closesOnText(c *client) {
	p, err := c.read(c.t.opts.Wait)
	if err == nil && p.kind == kDisconnect {
		p, err = c.read(c.t.opts.Wait)
	}
	if !errors.Is(err, errClosed) {
		c.fail("closed connection after a text frame", p, err)
	}
}

func frameBoundaries(t *T) {
	topic := t.topic("ws")
	c, ws := t.socket()
	for _, b := range t.hello("c").bytes() {
		ws.frame(opBinary, true, []byte{b})
	}
	c.expect(kConnack)
	c.accepted = true
	c.send(subscribe(t.level, 1, nil, filter{topic, 0}), pingreq(), publish{topic: topic, payload: "one"}.bytes(t.level), pingreq())
	c.expect(kSuback)
	c.expect(kPingresp)
	c.expect(kPingresp)
	c.receive(topic, "one")
	t.try("fragments of one message", func() {
		packet := publish{topic: topic, payload: "two"}.bytes(t.level)
		c.sent = packet
		ws.frame(opBinary, false, packet[:3])
		ws.frame(opContinue, false, packet[3:7])
		ws.frame(opContinue, true, packet[7:])
		c.receive(topic, "two")
	})
	t.try("a packet and a half, then the rest", func() {
		packet := publish{topic: topic, payload: "three"}.bytes(t.level)
		c.sent = packet
		ws.frame(opBinary, true, join(packet, packet[:5]))
		ws.frame(opBinary, true, packet[5:])
		c.receive(topic, "three")
		c.receive(topic, "three")
	})
	t.try("a packet of 70,000 bytes", func() {
		c.send(publish{topic: topic, payload: fmt.Sprintf("%070000d", 4)}.bytes(t.level))
		c.receive(topic, fmt.Sprintf("%070000d", 4))
	})
}

func subprotocol(t *T) {
	for _, offer := range []string{"mqtt", "chat, mqtt", "mqtt, mqttv3.1"} {
		t.try(offer, func() {
			ws, status := t.upgrade(offer)
			if status != http.StatusSwitchingProtocols || ws.protocol != "mqtt" {
				t.failf("asked for the subprotocols %q: got status %d with subprotocol %q, expected 101 with mqtt", offer, status, ws.protocol)
			}
			c := t.adopt(ws)
			c.send(t.hello("c").bytes())
			c.expect(kConnack)
		})
	}
}
