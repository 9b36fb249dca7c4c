package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// outbox sends messages without waiting for each to be acknowledged, and
// remembers what was refused.
type outbox struct {
	client *client.Client
	window chan struct{} // one token for each message that is open
	open   sync.WaitGroup
	last   int // the number of the message sent last

	mu      sync.Mutex // guards the rest
	refused error      // the first
	count   int        // how many
	unsent  []letter   // those that the end of a connection left open
}

// letter is a message with its place in the order.
type letter struct {
	number  int
	message client.Message
}

func (o *outbox) send(ctx context.Context, m *client.Message) error {
	o.last++
	return o.post(ctx, letter{o.last, *m})
}

func (o *outbox) post(ctx context.Context, l letter) error {
	select {
	case o.window <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	o.open.Add(1)
	err := o.client.Send(ctx, &l.message, func(_ client.Result, err error) { o.done(l, err) })
	if err == nil {
		return nil
	}
	o.done(l, err)
	if _, refused := refusal(err); refused && o.client.Err() == nil {
		return nil // this message cannot be sent, another may
	}
	return err
}

// done takes in what became of a message.
func (o *outbox) done(l letter, err error) {
	o.mu.Lock()
	if _, refused := refusal(err); refused && o.client.Err() == nil {
		o.count++
		if o.refused == nil {
			o.refused = err
		}
	} else if err != nil {
		o.unsent = append(o.unsent, l)
	}
	o.mu.Unlock()
	<-o.window
	o.open.Done()
}

// resend connects again and sends what the last connection left open, in its
// order.
func (o *outbox) resend(e *env, p *plan) error {
	for {
		o.open.Wait() // the end of the connection has answered all
		err := redial(e.ctx, e, p, o.client.Err(), func() error {
			c, err := connect(e.ctx, e, p)
			if err == nil {
				o.client = c
			}
			return err
		})
		if err != nil {
			return err
		}
		o.mu.Lock()
		letters := o.unsent
		o.unsent = nil
		o.mu.Unlock()
		slices.SortFunc(letters, func(a, b letter) int { return a.number - b.number })
		for i, l := range letters {
			if err = o.post(e.ctx, l); err != nil {
				o.mu.Lock()
				o.unsent = append(o.unsent, letters[i+1:]...)
				o.mu.Unlock()
				break
			}
		}
		if err == nil || e.ctx.Err() != nil {
			return err
		}
	}
}

func (o *outbox) repeat(ctx context.Context, m *client.Message, times int, pause time.Duration) error {
	tick := time.NewTimer(pause)
	defer tick.Stop()
	for i := range times {
		if err := o.send(ctx, m); err != nil {
			return err
		}
		if i == times-1 || pause == 0 {
			continue
		}
		tick.Reset(pause)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sendLines sends each line. It goes on over the end of a connection: what
// the broker has not acknowledged is sent again.
func (o *outbox) sendLines(e *env, p *plan, m client.Message) error {
	lines, failed := readLines(e.ctx, e.stdin)
	for {
		err := o.nextLine(e.ctx, lines, &m)
		if errors.Is(err, io.EOF) {
			o.wait(e.ctx)
			if err := <-failed; err != nil || o.settled() {
				return err
			}
			err = o.client.Err()
		}
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		if err == nil {
			continue
		}
		if o.client.Err() == nil {
			return err // the connection stands: it is the message that cannot be sent
		}
		if err := o.resend(e, p); err != nil {
			return err
		}
	}
}

// settled says whether nothing waits to be sent again.
func (o *outbox) settled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.unsent) == 0
}

// nextLine sends one line; its error is io.EOF after the last.
func (o *outbox) nextLine(ctx context.Context, lines <-chan []byte, m *client.Message) error {
	select {
	case line, more := <-lines:
		if !more {
			return io.EOF
		}
		m.Payload = line
		return o.send(ctx, m)
	case <-o.client.Done():
		return o.client.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readLines reads on a goroutine of its own, since nothing can end a read of a
// terminal or a pipe: it ends with the input, or with ctx at the next line, or
// with the program.
func readLines(ctx context.Context, from io.Reader) (<-chan []byte, <-chan error) {
	lines, failed := make(chan []byte), make(chan error, 1)
	go func() {
		defer close(lines)
		defer close(failed)
		for r := bufio.NewReader(from); ; {
			line, err := r.ReadBytes('\n')
			if len(line) > 0 {
				select {
				case lines <- bytes.TrimSuffix(line, []byte("\n")):
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					failed <- fmt.Errorf("read standard input: %w", err)
				}
				return
			}
		}
	}()
	return lines, failed
}

// wait returns once all messages are answered, or ctx has ended.
func (o *outbox) wait(ctx context.Context) {
	answered := make(chan struct{})
	go func() { // ends at the latest with the client, which answers all
		o.open.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-ctx.Done():
	}
}

// end says goodbye, and what the exit status is.
func (o *outbox) end(e *env, p *plan, err error) error {
	goodbye := disconnect(o.client, &p.properties.disconnect)
	if e.ctx.Err() != nil {
		return &status{code: exitInterrupted}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil && len(o.unsent) > 0 {
		err = fmt.Errorf("wait for the broker's answer: %w", o.client.Err())
	}
	if err == nil {
		err = o.refused
	}
	if err == nil {
		return goodbye
	}
	if _, own := errors.AsType[*status](err); own {
		return err
	}
	code, refused := refusal(err)
	s := &status{exitFailed, err}
	if refused {
		s.code = refusedStatus(code, packet.V5, false)
	}
	if o.count > 1 {
		s.err = fmt.Errorf("%w (and %d more messages)", err, o.count-1)
	}
	return s
}
