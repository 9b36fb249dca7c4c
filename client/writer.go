package client

import (
	"context"
	"errors"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// outLimit is how many bytes may wait for the writer before a publisher waits
// too.
const outLimit = 1 << 20

// write is the writer's goroutine. It ends when the connection has failed, or
// when it has written the DISCONNECT that Disconnect left.
func (c *Client) write() {
	defer close(c.flushed)
	idle := time.NewTimer(c.idleTime())
	defer idle.Stop()
	var b []byte
	for {
		select {
		case <-c.dying:
			return
		case <-c.wake:
		case <-idle.C:
			if !c.ping() {
				c.fail(errors.New("server did not answer a PINGREQ in time"))
				return
			}
		}
		var last bool
		b, last = c.take(b[:0])
		if len(b) > 0 {
			if _, err := c.conn.Write(b); err != nil {
				c.fail(err)
				return
			}
			idle.Reset(c.idleTime())
		}
		if last {
			close(c.said)
			return
		}
		if cap(b) > 2*outLimit {
			b = nil
		}
	}
}

// idleTime is how long the connection may be silent [MQTT-3.1.2-20].
func (c *Client) idleTime() time.Duration {
	if c.opts.KeepAlive > 0 {
		return c.opts.KeepAlive
	}
	return 1<<63 - 1
}

// take swaps what waits against the empty b, and says whether that ends with
// a DISCONNECT.
func (c *Client) take(b []byte) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, c.out = c.out, b
	close(c.drained)
	c.drained = make(chan struct{})
	return b, c.ending
}

// ping leaves a PINGREQ to the writer; false if the one before has no answer.
func (c *Client) ping() bool {
	c.mu.Lock()
	if c.pinged {
		c.mu.Unlock()
		return false
	}
	c.pinged = true
	c.mu.Unlock()
	c.push(packet.AppendPingreq)
	return true
}

// push leaves a packet to the writer without waiting. It is for the reader's
// answers, whose number the protocol bounds.
func (c *Client) push(encode func(dst []byte) []byte) {
	var traced []byte
	if c.opts.Trace != nil {
		traced = encode(nil)
		c.trace(traced)
	}
	c.mu.Lock()
	if c.err == nil && !c.ending {
		c.out = encode(c.out)
	}
	c.mu.Unlock()
	c.poke()
}

// enqueue is push for a caller who can wait until there is room.
func (c *Client) enqueue(ctx context.Context, encode func(dst []byte) []byte) error {
	for {
		c.mu.Lock()
		if c.err != nil || c.ending {
			defer c.mu.Unlock()
			return c.gone()
		}
		if len(c.out) < outLimit {
			c.mu.Unlock()
			c.push(encode)
			return nil
		}
		drained := c.drained
		c.mu.Unlock()
		select {
		case <-drained:
		case <-c.dying:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gone is what ended the connection; mu is held.
func (c *Client) gone() error {
	if c.err == nil {
		return ErrClosed // a DISCONNECT is on its way
	}
	return c.err
}

// poke wakes the writer.
func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
