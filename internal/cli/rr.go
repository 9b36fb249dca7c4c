package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

type rrFlags struct {
	link
	payload
	printFlags
	topic, response string
	qos             int
	retain          bool
}

func rrCommand(e *env, as guise) *cobra.Command {
	var r rrFlags
	cmd := &cobra.Command{
		Use:   "rr [-h HOST] [-p PORT] -t TOPIC -e TOPIC {-m TEXT | -f FILE | -s | -n} [flags]",
		Short: "Send a request and print its response; takes the flags of mosquitto_rr",
		Long: "Subscribes to the response topic, publishes the request with it as its response topic (MQTT 5), prints the first\n" +
			"message that comes, and ends.",
		Example: "  fantail rr -t plant/1/ask -e answers/me -m state -W 5\n" +
			"  fantail rr -t plant/1/ask -e answers/me -f request.json -F %j",
		Args:    noArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return takeOptions(cmd, as) },
		RunE:    func(cmd *cobra.Command, _ []string) error { return r.quietly(r.run(e, cmd)) },
	}
	r.percent = 100
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&r.topic, "topic", "t", "", "publish the request to `TOPIC`")
	f.StringVarP(&r.response, "response-topic", "e", "", "wait for the response on `TOPIC`")
	f.IntVarP(&r.qos, "qos", "q", 0, "`QOS` 0, 1 or 2, both ways")
	f.BoolVarP(&r.retain, "retain", "r", false, "let the broker keep the request")
	r.payload.addFlags(cmd)
	r.printFlags.addFlags(cmd)
	r.link.addFlags(cmd, as)
	return cmd
}

func (r *rrFlags) run(e *env, cmd *cobra.Command) error {
	plan, err := r.prepare(cmd)
	if err != nil {
		return err
	}
	request := plan.properties.publish
	request.Topic, request.QoS, request.Retain = r.topic, byte(r.qos), r.retain
	request.ResponseTopic = r.response
	if request.Payload, err = r.read(e); err != nil {
		return err
	}
	if r.debug {
		plan.options.Trace = tracer(e, plan.options.ClientID)
	}
	if r.count == 0 {
		r.count = 1
	}
	w := &watch{env: e, plan: plan, flags: &r.printFlags, ended: make(chan error, 1)}
	w.setUp = func(ctx context.Context, w *watch, c *client.Client, _ bool) error {
		sub := plan.properties.subscribe
		sub.Filters = []packet.Subscription{{Filter: r.response, QoS: byte(r.qos)}}
		if _, err := c.Subscribe(ctx, &sub); err != nil {
			return err
		}
		_, err := c.Publish(ctx, &request)
		return err
	}
	return w.run()
}

func (r *rrFlags) prepare(cmd *cobra.Command) (*plan, error) {
	if err := r.payload.check(cmd); err != nil {
		return nil, err
	}
	if err := r.printFlags.check(cmd); err != nil {
		return nil, err
	}
	plan, err := r.plan(cmd)
	if err != nil {
		return nil, err
	}
	if plan.topic != "" {
		r.topic = plan.topic
	}
	if err := topic.ValidName(r.topic, 0); err != nil {
		return nil, misuse("-t %s: %v", r.topic, err)
	}
	if r.response == "" {
		return nil, misuse("where the response comes is missing: give -e")
	}
	if err := topic.ValidName(r.response, 0); err != nil {
		return nil, misuse("-e %s: %v", r.response, err)
	}
	return plan, checkQoS("-q", r.qos)
}
