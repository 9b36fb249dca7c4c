package conform

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

var (
	errQuiet  = errors.New("nothing came")
	errClosed = errors.New("connection closed")
)

// client is one connection to the broker. Its methods fail their check when
// something else comes than what they ask for.
type client struct {
	t      *T
	conn   net.Conn
	level  byte
	id     string
	buf    []byte
	held   []*packet // PUBLISH packets that came while another kind was awaited
	sent   []byte    // the last bytes sent, for the message of a failure
	lastID uint16

	limit    int  // the Maximum Packet Size this client gave, or 0
	accepted bool // a CONNACK with code 0 came
}

func (c *client) nextID() uint16 {
	c.lastID++
	return c.lastID
}

// send writes the packets in one piece. A broken connection shows on reading.
func (c *client) send(packets ...[]byte) {
	c.sent = join(packets...)
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.t.opts.Wait))
	_, _ = c.conn.Write(c.sent)
}

// read returns the next packet, errQuiet, errClosed, or what is wrong with it.
func (c *client) read(limit time.Duration) (*packet, error) {
	deadline := time.Now().Add(limit)
	chunk := make([]byte, 64<<10)
	for {
		first, body, size, err := split(c.buf)
		if err == nil {
			p, err := parse(c.level, first, body, c.buf[:size])
			c.buf = slices.Clone(c.buf[size:])
			if err == nil && c.limit > 0 && size > c.limit {
				err = fmt.Errorf("it has %d bytes and the client's Maximum Packet Size is %d", size, c.limit)
			}
			return p, err
		}
		if !errors.Is(err, errShort) {
			return nil, err
		}
		_ = c.conn.SetReadDeadline(deadline)
		n, err := c.conn.Read(chunk)
		c.buf = append(c.buf, chunk[:n]...)
		if n > 0 {
			continue
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, errQuiet
		}
		return nil, errClosed
	}
}

// fail ends the check with what was sent, what should have come, and what came.
func (c *client) fail(want string, p *packet, err error) {
	got := "nothing"
	switch {
	case errors.Is(err, errClosed):
		got = "closed connection"
	case errors.Is(err, errQuiet):
		got = "nothing"
	case err != nil && p != nil:
		got = fmt.Sprintf("packet that a server may not send (%v): % X", err, clip(p.raw))
	case err != nil:
		got = "bytes that are no packet: " + err.Error()
	case p != nil:
		got = p.String()
	}
	c.t.failf("sent % X, expected %s, got %s", clip(c.sent), want, got)
}

func clip(b []byte) []byte {
	if len(b) > 120 {
		return b[:120]
	}
	return b
}

// expect returns the next packet, which must be of kind k. PUBLISH packets
// that come before it are kept for later.
func (c *client) expect(k kind) *packet {
	if k == kPublish && len(c.held) > 0 {
		p := c.held[0]
		c.held = c.held[1:]
		return p
	}
	for {
		p, err := c.read(c.t.opts.Wait)
		if err != nil {
			c.fail(k.String(), p, err)
		}
		if p.kind == k {
			return p
		}
		if p.kind != kPublish {
			c.fail(k.String(), p, nil)
		}
		c.held = append(c.held, p)
	}
}

// expectID is expect for a packet with this packet identifier.
func (c *client) expectID(k kind, id uint16) *packet {
	p := c.expect(k)
	if p.id != id {
		c.fail(fmt.Sprintf("%s with identifier %d", k, id), p, nil)
	}
	return p
}

// expectPublish is expect for a PUBLISH with this topic and payload.
func (c *client) expectPublish(topic, payload string) *packet {
	p := c.expect(kPublish)
	if p.topic != topic || p.payload != payload {
		c.fail(fmt.Sprintf("PUBLISH with topic %q and payload %q", shorten(topic), shorten(payload)), p, nil)
	}
	return p
}

// message takes one PUBLISH and finishes its exchange.
func (c *client) message() *packet {
	p := c.expect(kPublish)
	c.acknowledge(p)
	return p
}

// receive is message for one with this topic and payload.
func (c *client) receive(topic, payload string) *packet {
	p := c.expectPublish(topic, payload)
	c.acknowledge(p)
	return p
}

func (c *client) acknowledge(p *packet) {
	switch p.qos() {
	case 1:
		c.send(ack(kPuback, p.id))
	case 2:
		c.send(ack(kPubrec, p.id))
		c.expectID(kPubrel, p.id)
		c.send(ack(kPubcomp, p.id))
	}
}

// quiet fails if a packet comes, or the connection closes, within a short time.
func (c *client) quiet() { c.quietFor(c.t.opts.Quiet) }

func (c *client) quietFor(d time.Duration) {
	if len(c.held) > 0 {
		c.fail("nothing", c.held[0], nil)
	}
	if p, err := c.read(d); !errors.Is(err, errQuiet) {
		c.fail("nothing", p, err)
	}
}

// closed fails unless the connection closes with no packet before that.
func (c *client) closed() {
	for {
		p, err := c.read(c.t.opts.Wait)
		if errors.Is(err, errClosed) {
			return
		}
		if err != nil || p.kind != kPublish {
			c.fail("closed connection", p, err)
		}
	}
}

// closedBetween fails unless the connection closes within these times from
// start on. In 5.0 a DISCONNECT may come before.
func (c *client) closedBetween(start time.Time, low, high time.Duration) {
	for {
		p, err := c.read(time.Until(start.Add(high)))
		if err == nil && p.kind == kDisconnect {
			continue
		}
		if !errors.Is(err, errClosed) {
			c.fail(fmt.Sprintf("closed connection within %v", high), p, err)
		}
		break
	}
	if took := time.Since(start); took < low {
		c.t.failf("connection closed after %v, not before %v was allowed", took.Round(time.Millisecond), low)
	}
}

// refused fails unless the broker ends the connection over what was sent
// last: before 5.0 with no packet at all, in 5.0 with CONNACK or DISCONNECT
// and one of these codes. The standard lets a 5.0 server close without a
// code; Options.Codes says whether that passes.
func (c *client) refused(codes ...byte) {
	if c.level < 5 {
		c.closed()
		return
	}
	p, err := c.read(c.t.opts.Wait)
	for err == nil && p.kind == kPublish {
		p, err = c.read(c.t.opts.Wait)
	}
	want := fmt.Sprintf("closed connection with code % X", codes)
	switch {
	case errors.Is(err, errClosed):
		c.bareClose(want)
		return
	case err != nil:
		c.fail(want, p, err)
	case p.kind != c.refusal() || !slices.Contains(codes, p.code):
		c.fail(want, p, nil)
	}
	c.closed()
}

// refusedEarly is refused for a CONNECT that may be given up before the broker
// knows that the client speaks 5.0, or whose length contradicts its content so
// that nothing in it is to be trusted; no code is asked for then.
func (c *client) refusedEarly(codes ...byte) {
	p, err := c.read(c.t.opts.Wait)
	if errors.Is(err, errClosed) {
		return
	}
	if c.level < 5 || err != nil || p.kind != kConnack || !slices.Contains(codes, p.code) {
		c.fail("closed connection", p, err)
	}
	c.closed()
}

func (c *client) bareClose(want string) {
	if c.t.opts.Codes {
		c.fail(want, nil, errClosed)
	}
	c.t.note("closed without a reason code")
}

// refusal is the packet that may carry a code: the server sends no DISCONNECT
// before its CONNACK [MQTT-3.14.0-1].
func (c *client) refusal() kind {
	if c.accepted {
		return kDisconnect
	}
	return kConnack
}

// turnedAway fails unless the broker closes the connection, where before 5.0
// a CONNACK with the code old may come first.
func (c *client) turnedAway(old byte, codes ...byte) {
	if c.level == 5 {
		c.refused(codes...)
		return
	}
	p, err := c.read(c.t.opts.Wait)
	if errors.Is(err, errClosed) {
		return
	}
	if err != nil || p.kind != kConnack || p.code != old {
		c.fail(fmt.Sprintf("closed connection, at most after CONNACK %d", old), p, err)
	}
	c.closed()
}

// rejected fails unless a CONNACK with one of these codes comes, then the close.
func (c *client) rejected(codes ...byte) {
	p := c.expect(kConnack)
	if !slices.Contains(codes, p.code) {
		c.fail(fmt.Sprintf("CONNACK with code % X", codes), p, nil)
	}
	c.closed()
}

// publish sends a message and finishes its exchange. It returns the first
// acknowledgement, or nil for QoS 0.
func (c *client) publish(p publish) *packet {
	if p.qos > 0 && p.id == 0 {
		p.id = c.nextID()
	}
	if p.retain && p.payload != "" {
		c.t.retained = append(c.t.retained, p.topic)
	}
	c.send(p.bytes(c.level))
	switch p.qos {
	case 1:
		return c.succeeds(c.expectID(kPuback, p.id))
	case 2:
		got := c.succeeds(c.expectID(kPubrec, p.id))
		c.send(ack(kPubrel, p.id))
		c.succeeds(c.expectID(kPubcomp, p.id))
		return got
	}
	return nil
}

func (c *client) succeeds(p *packet) *packet {
	if p.code >= 0x80 {
		c.fail("success", p, nil)
	}
	return p
}

// subscribe adds one subscription, which must be granted as asked for.
func (c *client) subscribe(name string, options byte, props ...[]byte) {
	id := c.nextID()
	c.send(subscribe(c.level, id, join(props...), filter{name, options}))
	p := c.expectID(kSuback, id)
	if len(p.codes) != 1 || p.codes[0] != options&3 {
		c.fail(fmt.Sprintf("SUBACK that grants QoS %d", options&3), p, nil)
	}
}

func (c *client) unsubscribe(names ...string) *packet {
	id := c.nextID()
	c.send(unsubscribe(c.level, id, names...))
	return c.expectID(kUnsuback, id)
}

// ping fails unless the connection is alive.
func (c *client) ping() {
	c.send(pingreq())
	c.expect(kPingresp)
}

// leave says goodbye and waits until the broker has closed the connection.
func (c *client) leave() {
	c.send(disconnect(c.level, 0, nil))
	c.closed()
}

// drop breaks the connection without a goodbye.
func (c *client) drop() { _ = c.conn.Close() }
