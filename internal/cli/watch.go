package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// watch prints messages until it is enough: the heart of sub and rr. It
// connects again when the connection is lost.
type watch struct {
	env   *env
	plan  *plan
	flags *printFlags
	// setUp does what is to be done on a new connection.
	setUp func(ctx context.Context, w *watch, c *client.Client, again bool) error

	ended chan error // gets why the watch ends

	// Owned by the reader of the client that is connected.
	line []byte
	seen int
}

// run connects and prints; its error carries the exit status.
func (w *watch) run() error {
	ctx := w.env.ctx
	if w.flags.seconds > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, time.Duration(w.flags.seconds)*time.Second, errTimeUp)
		defer cancel()
		ctx = limited
	}
	c, err := w.open(ctx, nil)
	for err == nil {
		select {
		case err = <-w.ended:
			return w.leave(ctx, c, err)
		case <-ctx.Done():
			return w.leave(ctx, c, context.Cause(ctx))
		case <-c.Done():
			select {
			case err = <-w.ended:
				return w.leave(ctx, c, err)
			default:
			}
			c, err = w.again(ctx, c)
		}
	}
	return w.leave(ctx, c, err)
}

var errTimeUp = errors.New("time is up")

// open connects once. The client before, if there was one, hands its session on.
func (w *watch) open(ctx context.Context, before *client.Client) (*client.Client, error) {
	ready := make(chan struct{})
	var c *client.Client
	w.plan.options.Resume = before
	w.plan.options.OnMessage = func(m *client.Message) {
		<-ready // a resumed session may deliver before Dial has returned
		w.take(c, m)
	}
	c, err := connect(ctx, w.env, w.plan)
	close(ready)
	if err != nil {
		return nil, err
	}
	return c, w.setUp(ctx, w, c, before != nil)
}

// again connects until it succeeds.
func (w *watch) again(ctx context.Context, before *client.Client) (*client.Client, error) {
	var c *client.Client
	err := redial(ctx, w.env, w.plan, before.Err(), func() (err error) {
		c, err = w.open(ctx, before)
		if err != nil && c != nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// take handles one message, on the reader's goroutine.
func (w *watch) take(c *client.Client, m *client.Message) {
	if w.flags.onlyKept && !m.Retain {
		w.end(c, nil)
		return
	}
	if !w.flags.wanted(m) {
		return
	}
	if w.flags.removeKept && m.Retain {
		err := c.Send(w.env.ctx, kept(m.Topic), func(client.Result, error) {})
		if err != nil {
			w.env.say("Warning: %v", err)
		}
	}
	w.line = w.flags.append(w.line[:0], m, time.Now())
	if len(w.line) > 0 {
		if _, err := w.env.stdout.Write(w.line); err != nil {
			w.end(c, fmt.Errorf("print: %w", err))
			return
		}
	}
	w.seen++
	if w.flags.count > 0 && w.seen >= w.flags.count {
		w.end(c, nil)
	}
}

// end makes run return err, or success for nil. Messages that come later stay
// with the broker.
func (w *watch) end(c *client.Client, err error) {
	c.Drain()
	if err == nil {
		err = errEnough
	}
	select {
	case w.ended <- err:
	default:
	}
}

// leave says goodbye and finds the exit status.
func (w *watch) leave(ctx context.Context, c *client.Client, err error) error {
	if c != nil {
		// All that counts has arrived: a connection that is lost now is no failure.
		_ = disconnect(c, &w.plan.properties.disconnect)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	var s *status
	code, refused := refusal(err)
	switch {
	case errors.Is(context.Cause(ctx), errTimeUp):
		return &status{code: exitTimeout}
	case w.env.ctx.Err() != nil:
		return &status{code: exitInterrupted}
	case errors.As(err, &s):
		return err
	case refused && code == packet.SessionTakenOver:
		return &status{int(code), fmt.Errorf("another client has connected with the same id %q: give each its own with -i", w.plan.options.ClientID)}
	case refused:
		return &status{refusedStatus(code, packet.V5, false), err}
	default:
		return &status{exitFailed, err}
	}
}
