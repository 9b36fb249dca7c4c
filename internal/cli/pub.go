package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// payload holds the flags that say what to send.
type payload struct {
	text, file         string
	lines, stdin, null bool
}

func (s *payload) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.text, "message", "m", "", "send `TEXT`")
	f.StringVarP(&s.file, "file", "f", "", "send what is in `FILE`")
	f.BoolVarP(&s.null, "null-message", "n", false, "send an empty message; with -r it removes a retained one")
	f.BoolVarP(&s.stdin, "stdin-file", "s", false, "send all of standard input as one message")
}

// check makes sure that exactly one of the flags is given.
func (s *payload) check(cmd *cobra.Command) error {
	given := 0
	for _, name := range []string{"message", "file", "null-message", "stdin-file", "stdin-line"} {
		if cmd.Flags().Changed(name) {
			given++
		}
	}
	switch {
	case given == 0 && cmd.Flags().Lookup("stdin-line") == nil:
		return misuse("what to send is missing: give -m, -f, -s or -n")
	case given == 0:
		return misuse("what to send is missing: give -m, -f, -l, -s or -n")
	case given > 1:
		return misuse("-m, -f, -l, -s and -n exclude one another")
	}
	return nil
}

// read is the payload, but for -l.
func (s *payload) read(e *env) ([]byte, error) {
	const most = packet.MaxLength
	var from io.Reader
	switch {
	case s.null:
		return nil, nil
	case s.file != "":
		file, err := os.Open(s.file)
		if err != nil {
			return nil, &status{exitFailed, err}
		}
		defer file.Close()
		from = file
	case s.stdin:
		from = e.stdin
	default:
		return []byte(s.text), nil
	}
	b, err := io.ReadAll(io.LimitReader(from, most+1))
	if err != nil {
		return nil, &status{exitFailed, fmt.Errorf("read the message: %w", err)}
	}
	if len(b) > most {
		return nil, &status{exitFailed, fmt.Errorf("the message is longer than the %d bytes that MQTT can carry", most)}
	}
	return b, nil
}

// pubFlags are the flags of pub.
type pubFlags struct {
	link
	payload
	topic       string
	qos         int
	retain      bool
	repeat      int
	repeatDelay float64
	inFlight    int
}

func pubCommand(e *env, as guise) *cobra.Command {
	var p pubFlags
	cmd := &cobra.Command{
		Use:   "pub [-h HOST] [-p PORT] -t TOPIC {-m TEXT | -f FILE | -l | -s | -n} [flags]",
		Short: "Send messages; takes the flags of mosquitto_pub",
		Long: "Connects, sends one message or several, and ends. With QoS 1 and 2 it ends after the broker has acknowledged them;\n" +
			"if the broker refuses one, with the reason code as its exit status.",
		Example: "  fantail pub -t plant/1/temp -m 21.5\n" +
			"  fantail pub -h broker.example -u ann -P secret -t plant/1/mode -m on -q 1 -r\n" +
			"  sensor | fantail pub -t plant/1/raw -l\n" +
			"  fantail pub -L mqtts://ann:secret@broker.example/plant/1/temp -m 21.5",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.quietly(p.run(e, cmd)) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&p.topic, "topic", "t", "", "publish to `TOPIC`")
	p.payload.addFlags(cmd)
	f.BoolVarP(&p.lines, "stdin-line", "l", false, "send each line of standard input as a message of its own")
	f.IntVarP(&p.qos, "qos", "q", 0, "`QOS` 0, 1 or 2")
	f.BoolVarP(&p.retain, "retain", "r", false, "let the broker keep the message for those who subscribe later")
	f.IntVar(&p.repeat, "repeat", 1, "send the message `N` times")
	f.Float64Var(&p.repeatDelay, "repeat-delay", 0, "wait `SECONDS` between the times")
	f.IntVarP(&p.inFlight, "max-inflight", "M", 20, "have at most `N` messages of QoS 1 and 2 open")
	p.link.addFlags(cmd, as)
	return cmd
}

// quietly leaves only the exit status of err where --quiet is given, except
// for a mistake on the command line.
func (l *link) quietly(err error) error {
	var s *status
	if l.quiet && errors.As(err, &s) && s.code != exitUsage {
		return &status{code: s.code}
	}
	return err
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse("%q is not a flag", args[0])
	}
	return nil
}

func (p *pubFlags) run(e *env, cmd *cobra.Command) error {
	plan, err := p.prepare(cmd)
	if err != nil {
		return err
	}
	message := plan.properties.publish
	message.Topic, message.QoS, message.Retain = p.topic, byte(p.qos), p.retain
	if !p.lines {
		if message.Payload, err = p.read(e); err != nil {
			return err
		}
	}
	if p.debug {
		plan.options.Trace = tracer(e, plan.options.ClientID)
	}
	c, err := connect(e.ctx, e, plan)
	if err != nil {
		return err
	}
	o := &outbox{client: c, window: make(chan struct{}, p.inFlight)}
	if p.lines {
		err = o.sendLines(e.ctx, e.stdin, message)
	} else {
		err = o.repeat(e.ctx, &message, p.repeat, time.Duration(p.repeatDelay*float64(time.Second)))
	}
	o.wait(e.ctx)
	return o.end(e, plan, err)
}

func (p *pubFlags) prepare(cmd *cobra.Command) (*plan, error) {
	if err := p.check(cmd); err != nil {
		return nil, err
	}
	plan, err := p.plan(cmd)
	if err != nil {
		return nil, err
	}
	if plan.topic != "" {
		if p.topic != "" {
			return nil, misuse("the URL has a topic: it does not go with -t")
		}
		p.topic = plan.topic
	}
	if p.topic == "" && plan.properties.publish.Alias == 0 {
		return nil, misuse("where to is missing: give -t")
	}
	if p.topic != "" {
		if err := topic.ValidName(p.topic, 0); err != nil {
			return nil, misuse("-t %s: %v", p.topic, err)
		}
	}
	switch {
	case p.repeat < 1:
		return nil, misuse("--repeat %d: this is below 1", p.repeat)
	case p.repeatDelay < 0 || p.repeatDelay > 1e9:
		return nil, misuse("--repeat-delay %v: this is no number of seconds", p.repeatDelay)
	case p.inFlight < 1 || p.inFlight > 65_535:
		return nil, misuse("-M %d: this is not from 1 to 65535", p.inFlight)
	}
	return plan, checkQoS("-q", p.qos)
}

// outbox sends messages without waiting for each to be acknowledged, and
// remembers what was refused.
type outbox struct {
	client *client.Client
	window chan struct{} // one token for each message that is open
	open   sync.WaitGroup

	mu      sync.Mutex
	refused error // the first
	count   int   // how many
}

func (o *outbox) send(ctx context.Context, m *client.Message) error {
	select {
	case o.window <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	o.open.Add(1)
	err := o.client.Send(ctx, m, func(_ client.Result, err error) { o.done(err) })
	if err == nil {
		return nil
	}
	if _, refused := refusal(err); refused && o.client.Err() == nil {
		o.done(err) // this message cannot be sent, another may
		return nil
	}
	o.done(nil)
	return err
}

func (o *outbox) done(err error) {
	o.mu.Lock()
	if err != nil {
		o.count++
	}
	if o.refused == nil {
		o.refused = err
	}
	o.mu.Unlock()
	<-o.window
	o.open.Done()
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

func (o *outbox) sendLines(ctx context.Context, from io.Reader, m client.Message) error {
	lines, failed := readLines(ctx, from)
	for {
		select {
		case line, more := <-lines:
			if !more {
				return <-failed
			}
			m.Payload = line
			if err := o.send(ctx, &m); err != nil {
				return err
			}
		case <-o.client.Done():
			return o.client.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
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
	if err == nil {
		err = o.refused
	}
	if err == nil {
		return goodbye
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
