package client

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// Message is an application message, to be published or received.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	// The rest is of 5.0 only and left out for a server of 3.x.

	Expiry    uint32 // message expiry interval, seconds; with HasExpiry
	HasExpiry bool
	// Alias stands for the topic from the message on that carries both.
	Alias uint16
	packet.ForwardProperties

	// Of a received message only.

	Dup             bool
	ID              uint16 // packet identifier; 0 with QoS 0
	SubscriptionIDs []uint32
}

// Result is what the server answered to a publish of QoS 1 or 2.
type Result struct {
	ID     uint16 // packet identifier; 0 with QoS 0
	Code   packet.Code
	Reason string
	User   []packet.UserProperty
}

// maxText is the longest string that MQTT can carry.
const maxText = 65_535

var (
	errTooLong = errors.New("string is longer than 65535 bytes")
	errNotText = errors.New("topic is not UTF-8 text") // [MQTT-1.5.4-1]
)

// exchange is what waits for the server's answer under a packet identifier.
type exchange struct {
	publish  bool
	qos      byte
	released bool // PUBREL is sent: only a PUBCOMP ends it
	finish   func(answer)
}

type answer struct {
	id     uint16
	ack    packet.Ack
	suback *packet.Suback
	err    error // the connection ended before
}

// Publish publishes m and waits for the server's answer: with QoS 0 until it
// is handed to the writer, with QoS 1 and 2 until the server has taken it. A
// message that the server refuses is a [*packet.Refusal], with its Result.
// When ctx ends the wait, the message may still arrive.
func (c *Client) Publish(ctx context.Context, m *Message) (Result, error) {
	type outcome struct {
		Result
		error
	}
	done := make(chan outcome, 1)
	if err := c.Send(ctx, m, func(r Result, err error) { done <- outcome{r, err} }); err != nil {
		return Result{}, err
	}
	select {
	case o := <-done:
		return o.Result, o.error
	case <-ctx.Done():
		return Result{}, fmt.Errorf("publish to %q: %w", m.Topic, ctx.Err())
	}
}

// Send is Publish without the wait for the answer: done gets that, at once
// with QoS 0, else on the reader's goroutine. If Send itself fails, done is
// not called. Send waits while as many messages are open as the server allows
// (its Receive Maximum), and while much is still to be written.
func (c *Client) Send(ctx context.Context, m *Message, done func(Result, error)) error {
	p, err := c.prepare(m)
	if err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	if m.QoS == 0 {
		if err := c.enqueue(ctx, func(dst []byte) []byte { return packet.AppendPublish(dst, p, c.version) }); err != nil {
			return fmt.Errorf("publish to %q: %w", m.Topic, err)
		}
		done(Result{}, nil)
		return nil
	}
	select {
	case c.window <- struct{}{}:
	case <-c.dying:
		return fmt.Errorf("publish to %q: %w", m.Topic, c.Err())
	case <-ctx.Done():
		return fmt.Errorf("publish to %q: %w", m.Topic, ctx.Err())
	}
	x := &exchange{publish: true, qos: m.QoS, finish: func(a answer) {
		<-c.window
		r, err := resultOf(a)
		if err != nil {
			err = fmt.Errorf("publish to %q: %w", m.Topic, err)
		}
		done(r, err)
	}}
	err = c.begin(ctx, x, func(dst []byte, id uint16) []byte {
		p.ID = id
		return packet.AppendPublish(dst, p, c.version)
	})
	if err != nil {
		<-c.window
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	return nil
}

func resultOf(a answer) (Result, error) {
	r := Result{ID: a.id, Code: a.ack.Code, Reason: a.ack.Reason, User: a.ack.User}
	if a.err != nil {
		return r, a.err
	}
	if r.Code.Failed() {
		return r, packet.Refuse(r.Code, why(r.Reason))
	}
	return r, nil
}

// prepare checks m against what MQTT and the server allow.
func (c *Client) prepare(m *Message) (*packet.Publish, error) {
	if err := checkTopic(m.Topic); err != nil && (m.Topic != "" || m.Alias == 0) {
		return nil, err
	}
	p := &packet.Publish{QoS: m.QoS, Retain: m.Retain, Topic: []byte(m.Topic), Payload: m.Payload}
	if c.version == packet.V5 {
		p.Alias, p.Expiry, p.HasExpiry = m.Alias, m.Expiry, m.HasExpiry
		p.Forward = packet.AppendForward(nil, &m.ForwardProperties)
	}
	switch {
	case m.QoS > 2:
		return nil, fmt.Errorf("QoS is %d", m.QoS)
	case c.connack.HasMaximumQoS && m.QoS > c.connack.MaximumQoS: // [MQTT-3.2.2-11]
		return nil, packet.Refuse(packet.QoSNotSupported, fmt.Sprintf("the server takes QoS %d at most", c.connack.MaximumQoS))
	case m.Retain && c.connack.WithoutRetain: // [MQTT-3.2.2-14]
		return nil, packet.Refuse(packet.RetainNotSupported, "the server does not retain messages")
	case p.Alias > c.connack.TopicAliasMaximum: // [MQTT-3.2.2-17]
		return nil, packet.Refuse(packet.TopicAliasInvalid, fmt.Sprintf("the server takes topic aliases up to %d", c.connack.TopicAliasMaximum))
	}
	size := p.Size(c.version)
	if size-5 > packet.MaxLength || c.connack.MaximumPacketSize > 0 && size > int(c.connack.MaximumPacketSize) { // [MQTT-3.2.2-15]
		return nil, packet.Refuse(packet.PacketTooLarge, fmt.Sprintf("the message takes %d bytes, more than the server allows", size))
	}
	return p, nil
}

func checkTopic(name string) error {
	if err := topic.ValidName(name, 0); err != nil {
		return err
	}
	if !utf8.ValidString(name) {
		return errNotText
	}
	return nil
}

// begin gives x a packet identifier and leaves its packet to the writer.
func (c *Client) begin(ctx context.Context, x *exchange, encode func(dst []byte, id uint16) []byte) error {
	id, err := c.register(x)
	if err != nil {
		return err
	}
	err = c.enqueue(ctx, func(dst []byte) []byte { return encode(dst, id) })
	if err == nil {
		return nil
	}
	c.mu.Lock()
	_, ours := c.open[id]
	delete(c.open, id)
	c.mu.Unlock()
	if !ours {
		return nil // fail was faster and has told x
	}
	return err
}

func (c *Client) register(x *exchange) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.ending {
		return 0, c.gone()
	}
	for range 65_535 {
		c.last++
		if _, used := c.open[c.last]; c.last != 0 && !used {
			c.open[c.last] = x
			return c.last, nil
		}
	}
	return 0, errors.New("all packet identifiers are in use")
}

// handleAck takes in a PUBACK, PUBREC or PUBCOMP.
func (c *Client) handleAck(f packet.Frame) error {
	a, err := packet.ParseAck(f.Type, f.Body, c.version)
	if err != nil {
		return err
	}
	c.mu.Lock()
	x := c.open[a.ID]
	known := x != nil && x.publish && (f.Type == packet.PUBACK) == (x.qos == 1)
	again := known && f.Type == packet.PUBREC && !a.Code.Failed()
	if again {
		x.released = true
	} else if known {
		delete(c.open, a.ID)
	}
	c.mu.Unlock()
	switch {
	case again:
		c.acknowledge(packet.PUBREL, a.ID, packet.Success)
	case known:
		x.finish(answer{id: a.ID, ack: a})
	case f.Type == packet.PUBREC && !a.Code.Failed():
		c.acknowledge(packet.PUBREL, a.ID, packet.PacketIdentifierNotFound)
	}
	return nil
}
