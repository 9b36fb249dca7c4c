package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

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
		Args:    noArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return takeOptions(cmd, as) },
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.quietly(p.run(e, cmd)) },
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
		err = o.sendLines(e, plan, message)
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
