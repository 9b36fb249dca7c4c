package conn

import (
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/packet"
)

// proof is an enhanced authentication (5.0, section 4.12).
type proof struct {
	method   string
	connect  *packet.Connect // nil when an established client proves itself anew
	exchange Exchange        // nil between two exchanges
}

// beginProof starts the exchange that a CONNECT asks for.
func (c *Conn) beginProof(t *broker.Tick, p *packet.Connect) error {
	if c.door.server.o.Exchange == nil {
		return packet.Refuse(packet.BadAuthenticationMethod, "the server has no enhanced authentication")
	}
	x, err := c.door.server.o.Exchange(p.AuthMethod, c.addr())
	if err != nil {
		return denied(err)
	}
	data := append([]byte(nil), p.AuthData...)
	p.AuthData = nil
	c.more().auth = &proof{method: p.AuthMethod, connect: p, exchange: x}
	c.state = proving
	if !p.HasAuthData {
		c.askFor(nil)
		return nil
	}
	return c.step(t, data)
}

// prove takes in a packet of a client that is still proving itself: AUTH or
// DISCONNECT [MQTT-3.1.2-30].
func (c *Conn) prove(t *broker.Tick, f packet.Frame) error {
	if f.Type == packet.DISCONNECT {
		return packet.Refuse(packet.NotAuthorized, "the client gave up")
	}
	if f.Type != packet.AUTH {
		return packet.Refuse(packet.ProtocolError, "only AUTH may come before CONNACK")
	}
	a, err := packet.ParseAuth(f.Body, packet.FromClient)
	if err != nil {
		return err
	}
	if a.Code != packet.ContinueAuthentication || !a.HasMethod || a.Method != c.extra.auth.method { // [MQTT-4.12.0-5]
		return packet.Refuse(packet.ProtocolError, "AUTH does not continue the method of CONNECT")
	}
	return c.step(t, a.Data)
}

// reauthenticate takes in an AUTH of a connected client (section 4.12.1).
func (c *Conn) reauthenticate(t *broker.Tick, body []byte) error {
	a, err := packet.ParseAuth(body, packet.FromClient)
	if err != nil {
		return err
	}
	if c.auth() == nil { // [MQTT-4.12.0-7]
		return packet.Refuse(packet.ProtocolError, "AUTH without an authentication method in CONNECT")
	}
	if !a.HasMethod || a.Method != c.extra.auth.method { // [MQTT-4.12.1-1]
		return packet.Refuse(packet.ProtocolError, "AUTH names another method than CONNECT")
	}
	if a.Code == packet.ReAuthenticate {
		x, err := c.door.server.o.Exchange(a.Method, c.addr())
		if err != nil {
			return denied(err)
		}
		c.extra.auth.exchange = x
	}
	if c.extra.auth.exchange == nil {
		return packet.Refuse(packet.ProtocolError, "AUTH continues nothing")
	}
	return c.step(t, a.Data)
}

// step hands what the client sent to the exchange.
func (c *Conn) step(t *broker.Tick, data []byte) error {
	reply, done, err := c.extra.auth.exchange.Step(data)
	switch {
	case err != nil:
		return denied(err)
	case !done && c.state == up:
		c.say(t, packet.ContinueAuthentication, reply)
		return nil
	case !done:
		c.askFor(reply)
		return nil
	}
	user, grant := c.extra.auth.exchange.UserName(), c.extra.auth.exchange.Grant()
	c.extra.auth.exchange = nil
	if c.state == up {
		if user != c.user {
			return packet.Refuse(packet.NotAuthorized, "re-authentication as another user")
		}
		c.say(t, packet.Success, reply)
		return nil
	}
	p := c.extra.auth.connect
	c.extra.auth.connect = nil
	c.user = user
	return c.accept(t, p, grant, reply)
}

// askFor sends an AUTH that asks for more, before the client is connected
// [MQTT-4.12.0-2].
func (c *Conn) askFor(data []byte) { c.sock.Write(c.authPacket(packet.ContinueAuthentication, data)) }

// say sends an AUTH to a connected client.
func (c *Conn) say(t *broker.Tick, code packet.Code, data []byte) {
	c.door.server.o.Broker.Send(t, c.client, c, c.authPacket(code, data))
}

func (c *Conn) authPacket(code packet.Code, data []byte) []byte {
	return packet.AppendAuth(nil, &packet.Auth{
		Code: code, Method: c.extra.auth.method, HasMethod: true, Data: data, HasData: len(data) > 0,
	}, c.maxPacket)
}
