package client

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// read is the reader's goroutine. It ends with the connection.
func (c *Client) read() {
	defer close(c.done)
	err := c.readAll()
	c.fail(err)
	if c.opts.OnDisconnect == nil {
		return
	}
	err = c.Err()
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	c.opts.OnDisconnect(err)
}

func (c *Client) readAll() error {
	for {
		f, err := c.next()
		if err == nil {
			err = c.handle(f)
		}
		if err != nil {
			c.complain(err)
			return err
		}
	}
}

// next cuts the next packet off the input. Its body holds until next is
// called again.
func (c *Client) next() (packet.Frame, error) {
	limit := math.MaxInt
	if m := c.opts.Properties.MaximumPacketSize; m > 0 {
		limit = int(m)
	}
	for {
		f, n, err := packet.Split(c.in, limit)
		if err != nil {
			return f, err
		}
		if n > 0 {
			c.in = c.in[n:]
			c.traceFrame(false, f)
			return f, packet.CheckFlags(f, c.version)
		}
		if err := c.fill(); err != nil {
			return f, err
		}
	}
}

func (c *Client) fill() error {
	// The frames cut off before are done with: what is left may move over them.
	if cap(c.in)-len(c.in) < 4096 {
		if cap(c.buf) < 2*len(c.in)+4096 {
			c.buf = make([]byte, 2*len(c.in)+16<<10)
		}
		c.in = c.buf[:copy(c.buf[:cap(c.buf)], c.in)]
	}
	n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("server closed the connection: %w", err)
	}
	return err
}

// complain tells the server why the connection ends [MQTT-4.13.1-1], unless
// it does not take that within a second.
func (c *Client) complain(err error) {
	var r *packet.Refusal
	if c.version != packet.V5 || !errors.As(err, &r) || errors.Is(err, errServerSaid) {
		return
	}
	if !c.finish(&packet.Disconnect{Code: r.Code}) {
		return
	}
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	select {
	case <-c.flushed:
	case <-patience.C:
	}
}

func (c *Client) handle(f packet.Frame) error {
	switch f.Type {
	case packet.PUBLISH:
		return c.handlePublish(f)
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
		return c.handleAck(f)
	case packet.PUBREL:
		return c.handleRelease(f)
	case packet.SUBACK, packet.UNSUBACK:
		return c.handleSuback(f)
	case packet.PINGRESP:
		c.mu.Lock()
		c.pinged = false
		c.mu.Unlock()
		return packet.ParseEmpty(f.Body)
	case packet.DISCONNECT:
		d, err := packet.ParseDisconnect(f.Body, c.version, packet.FromServer)
		if err != nil {
			return err
		}
		return serverSaid{packet.Refuse(d.Code, why(d.Reason))}
	case packet.AUTH:
		answer, err := c.answerAuth(f)
		if answer != nil {
			c.push(func(dst []byte) []byte { return packet.AppendAuth(dst, answer, 0) })
		}
		return err
	default:
		return packet.Refuse(packet.ProtocolError, "a server sends no "+f.Type.String())
	}
}

// errServerSaid marks a refusal that came from the server.
var errServerSaid = errors.New("said by the server")

type serverSaid struct{ *packet.Refusal }

func (e serverSaid) Unwrap() []error { return []error{e.Refusal, errServerSaid} }

func (c *Client) handlePublish(f packet.Frame) error {
	c.takeMu.Lock()
	defer c.takeMu.Unlock()
	if c.drained.Load() {
		return nil
	}
	p := &c.parsed
	if err := packet.ParsePublish(p, f.Flags, f.Body, c.version, packet.FromServer); err != nil {
		return err
	}
	topic, err := c.resolve(p)
	if err != nil {
		return err
	}
	if p.QoS == 2 {
		if _, known := c.inbound[p.ID]; known { // a resend: [MQTT-4.3.3-10]
			c.acknowledge(packet.PUBREC, p.ID, packet.Success)
			return nil
		}
		c.inbound[p.ID] = struct{}{}
	}
	if c.opts.OnMessage != nil {
		m := &Message{
			Topic: topic, Payload: slices.Clone(p.Payload), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, ID: p.ID,
			Alias: p.Alias, Expiry: p.Expiry, HasExpiry: p.HasExpiry, SubscriptionIDs: slices.Clone(p.SubscriptionIDs),
		}
		if m.ForwardProperties, err = packet.ParseForward(p.Forward); err != nil {
			return err
		}
		m.CorrelationData = slices.Clone(m.CorrelationData)
		c.opts.OnMessage(m)
	}
	switch p.QoS {
	case 1:
		c.acknowledge(packet.PUBACK, p.ID, packet.Success)
	case 2:
		c.acknowledge(packet.PUBREC, p.ID, packet.Success)
	}
	return nil
}

// resolve is the topic of p, which a topic alias may stand for.
func (c *Client) resolve(p *packet.Publish) (string, error) {
	topic := string(p.Topic)
	if p.Alias == 0 {
		if topic == "" {
			return "", packet.Refuse(packet.ProtocolError, "PUBLISH has neither a topic nor an alias")
		}
		return topic, nil
	}
	if p.Alias > c.opts.Properties.TopicAliasMaximum { // [MQTT-3.1.2-26]
		return "", packet.Refuse(packet.TopicAliasInvalid, "topic alias is above our maximum")
	}
	if topic != "" {
		c.aliases[p.Alias] = topic
		return topic, nil
	}
	topic, ok := c.aliases[p.Alias]
	if !ok {
		return "", packet.Refuse(packet.ProtocolError, "topic alias is not known")
	}
	return topic, nil
}

func (c *Client) handleRelease(f packet.Frame) error {
	a, err := packet.ParseAck(f.Type, f.Body, c.version)
	if err != nil {
		return err
	}
	code := packet.Success
	if _, known := c.inbound[a.ID]; !known {
		code = packet.PacketIdentifierNotFound
	}
	delete(c.inbound, a.ID)
	c.acknowledge(packet.PUBCOMP, a.ID, code)
	return nil
}

func (c *Client) acknowledge(t packet.Type, id uint16, code packet.Code) {
	c.push(func(dst []byte) []byte {
		return packet.AppendAck(dst, t, &packet.Ack{ID: id, Code: code}, c.version, 0)
	})
}

func (c *Client) answerAuth(f packet.Frame) (*packet.Auth, error) {
	a, err := packet.ParseAuth(f.Body, packet.FromServer)
	if err != nil {
		return nil, err
	}
	if c.opts.OnAuth == nil {
		return nil, packet.Refuse(packet.ProtocolError, "server asks for an authentication that was not offered")
	}
	answer, err := c.opts.OnAuth(&a)
	if err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return answer, nil
}
