package conform

import "errors"

func authChecks() []Check {
	return []Check{
		v5("MQTT-3.1.2-30", "A client that sends SUBSCRIBE or PUBLISH before its authentication has ended is refused, and nothing is delivered.", othersDuringAuth),
		v5("MQTT-3.15.2-1", "AUTH from the broker has a listed reason code; a client's unlisted one is refused.", authCodes),
		v5("MQTT-3.15.2-2", "AUTH fits the client's Maximum Packet Size of 250.", authFits),
		v5("MQTT-3.15.2-3", "AUTH fits the Maximum Packet Size of 250 of a client that sent user properties.", authFits),
		v5("MQTT-4.12.0-1", "An unknown Authentication Method is closed, at most after CONNACK 0x8C or 0x87.", failedAuthentication),
		v5("MQTT-4.12.0-2", "The AUTH by which the broker asks for more has reason code 0x18.", func(t *T) { t.authenticated() }),
		v5("MQTT-4.12.0-3", "A client that answers with another reason code than 0x18 is refused.", wrongAuthCode),
		v5("MQTT-4.12.0-4", "A wrong password at the second step is closed, at most after a CONNACK of 0x80 or above.", wrongPassword),
		v5("MQTT-4.12.0-5", "Each AUTH and the CONNACK name the method of CONNECT; a client's AUTH with another method is refused.", methodKept),
		v5("MQTT-4.12.0-6", "Without an Authentication Method no AUTH comes, and CONNACK has no method.", noMethodNoAuth),
		v5("MQTT-4.12.0-7", "AUTH from a client that gave no method is refused as a protocol error.", authWithoutMethod),
		v5("MQTT-4.12.1-1", "Re-authentication with AUTH 0x19 and the same method succeeds; with another method it is refused.", reauthentication),
		v5("MQTT-4.12.1-2", "Re-authentication with a wrong password is closed, at most after a DISCONNECT with a fitting code.", failedReauthentication),
	}
}

// The account that the broker under test knows.
const (
	scramUser     = "conform"
	scramPassword = "conform-secret"
)

// scramHello is a CONNECT that begins an exchange.
func (t *T) scramHello(suffix string, s *scram, more ...[]byte) connect {
	p := t.hello(suffix)
	p.props = join(propText(pAuthMethod, scramMethod), propText(pAuthData, s.first()), join(more...))
	return p
}

// challenged sends CONNECT and returns the challenge. A broker without the
// method leaves nothing to observe.
func (t *T) challenged(p connect) (*client, string) {
	c := t.offer(p)
	got, err := c.read(t.opts.Wait)
	refused := errors.Is(err, errClosed) || err == nil && got.kind == kConnack && got.code >= 0x80
	if refused && !t.opts.Offers {
		t.notObservable("the broker does not offer " + scramMethod)
	}
	if err != nil || got.kind != kAuth {
		c.fail("AUTH 0x18", got, err)
	}
	return c, c.authData(got, continueAuth)
}

// authData looks at code and method of an AUTH or CONNACK and returns its data.
func (c *client) authData(p *packet, code byte) string {
	method, _ := p.prop(pAuthMethod)
	if p.code != code || method.text != scramMethod {
		c.fail("code and Authentication Method of the exchange", p, nil)
	}
	data, _ := p.prop(pAuthData)
	return data.text
}

// final answers a challenge.
func (t *T) final(s *scram, challenge string) string {
	data, err := s.final(challenge)
	if err != nil {
		t.failf("%v", err)
	}
	return data
}

func answer(t *T, s *scram, challenge string) []byte {
	return auth(continueAuth, propText(pAuthMethod, scramMethod), propText(pAuthData, t.final(s, challenge)))
}

// authenticated goes through a whole exchange.
func (t *T) authenticated() *client {
	s := newScram(scramPassword)
	c, challenge := t.challenged(t.scramHello("c", s))
	c.send(answer(t, s, challenge))
	got := c.expect(kConnack)
	if proof := c.authData(got, 0); !s.proven(proof) {
		c.fail("CONNACK with the server's proof", got, nil)
	}
	c.accepted = true
	return c
}

func othersDuringAuth(t *T) {
	topic := t.topic("early")
	watch := t.connect("watch")
	watch.subscribe(topic, 0)
	for name, packet := range map[string][]byte{
		"PUBLISH": publish{topic: topic, payload: "early"}.bytes(5), "SUBSCRIBE": subscribe(5, 1, nil, filter{topic, 0}),
	} {
		t.try(name, func() {
			c, _ := t.challenged(t.scramHello("c", newScram(scramPassword)))
			c.send(packet)
			c.refused(protocolError)
		})
	}
	watch.quiet()
}

func authCodes(t *T) {
	c := t.authenticated()
	c.send(auth(0x55, propText(pAuthMethod, scramMethod)))
	c.refused(protocolError, malformed)
}

func authFits(t *T) {
	s := newScram(scramPassword)
	p := t.scramHello("c", s, prop32(pMaximumPacketSize, 250), propPair("key", "value"))
	c, challenge := t.challenged(p)
	c.limit = 250
	if size := len(challenge); size > 240 {
		t.failf("AUTH with %d bytes of data for a client with Maximum Packet Size 250", size)
	}
	c.send(answer(t, s, challenge))
	c.authData(c.expect(kConnack), 0)
}

func wrongAuthCode(t *T) {
	for _, code := range []byte{0x00, reauthenticate} {
		s := newScram(scramPassword)
		c, challenge := t.challenged(t.scramHello("c", s))
		c.send(auth(code, propText(pAuthMethod, scramMethod), propText(pAuthData, t.final(s, challenge))))
		c.refused(protocolError, malformed, notAuthorized)
	}
}

func wrongPassword(t *T) {
	for _, s := range []*scram{newScram("wrong"), newScram("")} {
		c, challenge := t.challenged(t.scramHello("c", s))
		c.send(answer(t, s, challenge))
		c.refused(notAuthorized, badPassword)
	}
}

func methodKept(t *T) {
	t.authenticated() // looks at the method in AUTH and CONNACK
	s := newScram(scramPassword)
	c, challenge := t.challenged(t.scramHello("other", s))
	c.send(auth(continueAuth, propText(pAuthMethod, "SCRAM-SHA-1"), propText(pAuthData, t.final(s, challenge))))
	c.refused(protocolError, badMethod, notAuthorized)
}

func noMethodNoAuth(t *T) {
	c, got := t.open(t.hello("c"))
	if _, ok := got.prop(pAuthMethod); ok {
		c.fail("CONNACK without Authentication Method", got, nil)
	}
	c.ping()
	c.quiet()
}

func authWithoutMethod(t *T) {
	for _, code := range []byte{continueAuth, reauthenticate} {
		c := t.connect("c")
		c.send(auth(code, propText(pAuthMethod, scramMethod), propText(pAuthData, "x")))
		c.refused(protocolError)
	}
}

// again begins a re-authentication and returns the challenge.
func (c *client) again(s *scram) string {
	c.send(auth(reauthenticate, propText(pAuthMethod, scramMethod), propText(pAuthData, s.first())))
	return c.authData(c.expect(kAuth), continueAuth)
}

func reauthentication(t *T) {
	c := t.authenticated()
	topic := t.topic("again")
	c.subscribe(topic, 1)
	s := newScram(scramPassword)
	challenge := c.again(s)
	c.ping() // the connection goes on meanwhile
	c.send(answer(t, s, challenge))
	got := c.expect(kAuth)
	if proof := c.authData(got, 0); !s.proven(proof) {
		c.fail("AUTH 0x00 with the server's proof", got, nil)
	}
	c.publish(publish{topic: topic, payload: "x", qos: 1})
	c.receive(topic, "x")
	c.send(auth(reauthenticate, propText(pAuthMethod, "OTHER"), propText(pAuthData, "x")))
	c.refused(protocolError, badMethod)
}

func failedReauthentication(t *T) {
	c := t.authenticated()
	s := newScram("wrong")
	c.send(answer(t, s, c.again(s)))
	c.refused(notAuthorized, badPassword)
}
