package client

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// Subscribe subscribes to the filters of s, whose ID it sets, and waits for
// the server's answer. If the server refuses one of them, the error is the
// [*packet.Refusal] of the first, and the answer has the code of each.
func (c *Client) Subscribe(ctx context.Context, s *packet.Subscribe) (*packet.Suback, error) {
	if len(s.Filters) == 0 {
		return nil, errors.New("subscribe: no topic filter")
	}
	for _, f := range s.Filters {
		if err := checkFilter(f.Filter); err != nil {
			return nil, fmt.Errorf("subscribe to %q: %w", f.Filter, err)
		}
	}
	ack, err := c.ask(ctx, func(dst []byte, id uint16) []byte {
		s.ID = id
		return packet.AppendSubscribe(dst, s, c.version)
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", s.Filters[0].Filter, err)
	}
	if len(ack.Codes) != len(s.Filters) { // [MQTT-3.8.4-6]
		return ack, packet.Refuse(packet.ProtocolError, fmt.Sprintf("%d filters were answered by %d codes", len(s.Filters), len(ack.Codes)))
	}
	for i, code := range ack.Codes {
		if code.Failed() {
			refusal := packet.Refuse(code, why(ack.Reason))
			return ack, fmt.Errorf("subscribe to %q: %w", s.Filters[i].Filter, refusal)
		}
	}
	return ack, nil
}

// Unsubscribe ends the subscriptions to the filters of u, whose ID it sets,
// and waits for the server's answer, as Subscribe does.
func (c *Client) Unsubscribe(ctx context.Context, u *packet.Unsubscribe) (*packet.Suback, error) {
	if len(u.Filters) == 0 {
		return nil, errors.New("unsubscribe: no topic filter")
	}
	for _, f := range u.Filters {
		if err := checkFilter(f); err != nil {
			return nil, fmt.Errorf("unsubscribe from %q: %w", f, err)
		}
	}
	ack, err := c.ask(ctx, func(dst []byte, id uint16) []byte {
		u.ID = id
		return packet.AppendUnsubscribe(dst, u, c.version)
	})
	if err != nil {
		return nil, fmt.Errorf("unsubscribe from %q: %w", u.Filters[0], err)
	}
	for i, code := range ack.Codes {
		if code.Failed() && i < len(u.Filters) {
			refusal := packet.Refuse(code, why(ack.Reason))
			return ack, fmt.Errorf("unsubscribe from %q: %w", u.Filters[i], refusal)
		}
	}
	return ack, nil
}

// ask sends what a SUBACK or UNSUBACK answers, and waits for that.
func (c *Client) ask(ctx context.Context, encode func(dst []byte, id uint16) []byte) (*packet.Suback, error) {
	answered := make(chan answer, 1)
	x := &exchange{finish: func(a answer) { answered <- a }}
	if err := c.begin(ctx, x, encode); err != nil {
		return nil, err
	}
	select {
	case a := <-answered:
		return a.suback, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Client) handleSuback(f packet.Frame) error {
	s, err := packet.ParseSuback(f.Type, f.Body, c.version)
	if err != nil {
		return err
	}
	c.mu.Lock()
	x := c.open[s.ID]
	if x != nil && !x.publish {
		delete(c.open, s.ID)
	}
	c.mu.Unlock()
	if x != nil && !x.publish {
		x.finish(answer{id: s.ID, suback: s})
	}
	return nil
}

// Reauthenticate begins a new authentication with the method of the CONNECT
// (5.0, section 4.12.1). OnAuth gets the server's answers.
func (c *Client) Reauthenticate(ctx context.Context, a *packet.Auth) error {
	if c.version != packet.V5 {
		return errors.New("authenticate again: MQTT 3 has no AUTH")
	}
	again := *a
	again.Code = packet.ReAuthenticate
	return c.enqueue(ctx, func(dst []byte) []byte { return packet.AppendAuth(dst, &again, c.connack.MaximumPacketSize) })
}

func checkFilter(filter string) error {
	if _, err := topic.ParseFilter(filter, 0); err != nil {
		return err
	}
	if !utf8.ValidString(filter) {
		return errNotText
	}
	return nil
}
