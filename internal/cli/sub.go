package cli

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// printFlags say which messages are printed, how, and when it is enough.
type printFlags struct {
	format      string
	count       int
	seconds     int
	bare        bool
	verbose     bool
	noRetained  bool
	pretty      bool
	filterOut   []string
	percent     float64
	onlyKept    bool
	removeKept  bool
	parsedPrint format
}

func (p *printFlags) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&p.format, "format", "F", "", "print messages in this `FORMAT`: %t topic, %p payload, %j JSON, ...")
	f.IntVarP(&p.count, "count", "C", 0, "end after `N` messages")
	f.IntVarP(&p.seconds, "timeout", "W", 0, "end after `SECONDS`, with status 27")
	f.BoolVarP(&p.bare, "no-newline", "N", false, "print no end of line after a message")
	f.BoolVarP(&p.verbose, "verbose", "v", false, "print the topic before the payload")
	f.BoolVarP(&p.noRetained, "no-retained", "R", false, "leave out messages that were retained before")
	f.BoolVar(&p.pretty, "pretty", false, "print JSON on several lines")
}

func (p *printFlags) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("count") && p.count < 1 {
		return misuse("-C %d: this is below 1", p.count)
	}
	if cmd.Flags().Changed("timeout") && p.seconds < 1 {
		return misuse("-W %d: this is below 1", p.seconds)
	}
	if p.format == "" {
		return nil
	}
	parsed, err := parseFormat(p.format)
	if err != nil {
		return misuse("-F %s: %v", p.format, err)
	}
	p.parsedPrint = parsed
	return nil
}

// append writes m as the flags ask for. A message without a payload is
// nothing to print, unless its topic is.
func (p *printFlags) append(dst []byte, m *client.Message, now time.Time) []byte {
	switch {
	case p.parsedPrint != nil:
		dst = p.parsedPrint.append(dst, m, now, p.pretty)
	case len(m.Payload) == 0 && !p.verbose, len(m.Payload) == 0 && p.bare:
		return dst
	case len(m.Payload) == 0:
		dst = append(append(dst, m.Topic...), " (null)"...)
	case p.verbose:
		dst = append(append(append(dst, m.Topic...), ' '), m.Payload...)
	default:
		dst = append(dst, m.Payload...)
	}
	if p.bare {
		return dst
	}
	return append(dst, '\n')
}

// wanted says whether m is to be printed.
func (p *printFlags) wanted(m *client.Message) bool {
	if p.noRetained && m.Retain {
		return false
	}
	for _, filter := range p.filterOut {
		if topic.Match(filter, m.Topic) {
			return false
		}
	}
	return p.percent >= 100 || rand.Float64()*100 < p.percent
}

type subFlags struct {
	link
	printFlags
	topics      []string
	unsubscribe []string
	qos         int
	exitEarly   bool
	asPublished bool
}

func subCommand(e *env, as guise) *cobra.Command {
	var s subFlags
	cmd := &cobra.Command{
		Use:   "sub [-h HOST] [-p PORT] -t FILTER... [flags]",
		Short: "Print messages; takes the flags of mosquitto_sub",
		Long: "Prints the payload of each message that arrives, one on a line, until it is interrupted. If the connection is lost,\n" +
			"it says so on standard error and connects again.",
		Example: "  fantail sub -t 'plant/#' -v\n" +
			"  fantail sub -h broker.example -u ann -P secret -t 'plant/+/temp' -F '%I %t %p'\n" +
			"  fantail sub -t jobs -q 1 -c -i worker-1 -C 10\n" +
			"  fantail sub -t '#' -F %j | jq .topic",
		Args:    noArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return takeOptions(cmd, as) },
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.quietly(s.run(e, cmd)) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&s.topics, "topic", "t", nil, "subscribe to `FILTER`; may be repeated")
	f.IntVarP(&s.qos, "qos", "q", 0, "`QOS` 0, 1 or 2 at most")
	s.printFlags.addFlags(cmd)
	f.StringArrayVarP(&s.filterOut, "filter-out", "T", nil, "do not print what matches `FILTER`; may be repeated")
	f.StringArrayVarP(&s.unsubscribe, "unsubscribe", "U", nil, "unsubscribe from `FILTER`, as is of use with -c; may be repeated")
	f.BoolVarP(&s.exitEarly, "exit-early", "E", false, "end once the broker has acknowledged the subscriptions")
	f.Float64Var(&s.percent, "random-filter", 100, "print only `PERCENT` of the messages")
	f.BoolVar(&s.onlyKept, "retained-only", false, "print retained messages only, and end with the first that is not")
	f.BoolVar(&s.removeKept, "remove-retained", false, "make the broker forget the retained messages that arrive; -T spares some")
	f.BoolVar(&s.asPublished, "retain-as-published", false, "let messages keep the retain flag they were published with")
	s.link.addFlags(cmd, as)
	return cmd
}

func (s *subFlags) run(e *env, cmd *cobra.Command) error {
	plan, err := s.prepare(cmd)
	if err != nil {
		return err
	}
	w := &watch{env: e, plan: plan, flags: &s.printFlags, setUp: s.setUp, ended: make(chan error, 1)}
	if s.debug {
		plan.options.Trace = tracer(e, plan.options.ClientID)
	}
	return w.run()
}

func (s *subFlags) prepare(cmd *cobra.Command) (*plan, error) {
	if err := s.check(cmd); err != nil {
		return nil, err
	}
	plan, err := s.plan(cmd)
	if err != nil {
		return nil, err
	}
	if plan.topic != "" {
		s.topics = append(s.topics, plan.topic)
	}
	if len(s.topics) == 0 && len(s.unsubscribe) == 0 {
		return nil, misuse("what to subscribe to is missing: give -t")
	}
	for name, filters := range map[string][]string{"-t": s.topics, "-U": s.unsubscribe, "-T": s.filterOut} {
		for _, f := range filters {
			if _, err := topic.ParseFilter(f, 0); err != nil {
				return nil, misuse("%s %s: %v", name, f, err)
			}
		}
	}
	if s.noRetained && s.onlyKept {
		return nil, misuse("-R and --retained-only leave nothing to print")
	}
	return plan, checkQoS("-q", s.qos)
}

// setUp subscribes. Where the broker has kept the session of a client that
// connects again, there is nothing to do.
func (s *subFlags) setUp(ctx context.Context, w *watch, c *client.Client, again bool) error {
	if again && c.Connack().SessionPresent {
		return nil
	}
	if len(s.topics) > 0 {
		if err := s.subscribe(ctx, w, c); err != nil {
			return err
		}
	}
	if len(s.unsubscribe) > 0 {
		u := w.plan.properties.unsubscribe
		u.Filters = s.unsubscribe
		if _, err := c.Unsubscribe(ctx, &u); err != nil {
			return err
		}
	}
	if s.exitEarly {
		w.end(c, nil)
	}
	return nil
}

// subscribe fails if the broker refuses every subscription; of one among
// others it only tells.
func (s *subFlags) subscribe(ctx context.Context, w *watch, c *client.Client) error {
	sub := w.plan.properties.subscribe
	for _, filter := range s.topics {
		f := packet.Subscription{Filter: filter, QoS: byte(s.qos), RetainAsPublished: s.asPublished}
		if s.noRetained {
			f.RetainHandling = 2
		}
		sub.Filters = append(sub.Filters, f)
	}
	ack, err := c.Subscribe(ctx, &sub)
	if ack == nil {
		return err
	}
	failed := slices.IndexFunc(ack.Codes, packet.Code.Failed) >= 0
	if failed && slices.IndexFunc(ack.Codes, func(c packet.Code) bool { return !c.Failed() }) < 0 {
		return err
	}
	for i, code := range ack.Codes {
		if code.Failed() && i < len(s.topics) {
			w.env.say("Warning: the broker refused the subscription to %q: %v", s.topics[i], code)
		}
	}
	if s.debug {
		w.env.say("Subscribed (mid: %d): %v", ack.ID, ack.Codes)
	}
	if failed {
		return nil
	}
	return err
}

// errEnough ends a watch that has seen all it was asked for.
var errEnough = errors.New("enough")

// kept is what a retained message is answered with, to make the broker forget it.
func kept(name string) *client.Message { return &client.Message{Topic: name, QoS: 0, Retain: true} }
