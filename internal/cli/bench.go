package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fantail-mqtt/fantail/internal/load"
)

// reportFlags say what is told of a bench, and what is wanted of it.
type reportFlags struct {
	pid       int
	json, csv string
	assert    string
	allowLoss bool
	wanted    []assertion
}

// bench is one run of a load scenario: its flags, and what they come to.
type bench struct {
	link
	reportFlags

	scenario string
	tlsOn    bool
	ws       bool

	clients, publishers, subscribers int
	group                            int // of share
	count, filters, stalled          int
	topics, sizes, rate, churn       string
	qos, inflight, threads           int
	retain, subscribe                bool
	duration, warmup, ramp           time.Duration
	patience, tick, settle           time.Duration

	perSecond, comes float64 // of rate and churn
	watch            func(load.Snapshot)
	payloads         []int
}

// benchScenario is one of the subcommands.
type benchScenario struct {
	name, short, long, example string
	flags                      string // those it has, beside the ones that all have
	preset                     bench  // defaults
	run                        func(b *bench, ctx context.Context, p *plan) (*benchReport, error)
}

func benchScenarios() []benchScenario {
	second := time.Second
	const traffic = "warmup ramp topics size qos inflight rate tick retain drain"
	return []benchScenario{
		{
			name: "conn", short: "Hold connections: connects per second, their latency, and memory per connection",
			flags: "rate subscribe settle", preset: bench{clients: 1000, duration: 10 * second}, run: (*bench).runConn,
			example: "  fantail bench conn --clients 10000 --pid $(pidof mosquitto)\n  fantail bench conn --clients 5000 --subscribe --rate 500/s --duration 1m",
		},
		{
			name: "pub", short: "Publish only",
			long:  "At QoS 0 nothing says whether the broker has taken a message in: the closed loop then sends what the sockets take.",
			flags: traffic + " threads", preset: bench{clients: 50, topics: "bench/%i", inflight: 32}, run: (*bench).runTraffic,
			example: "  fantail bench pub --clients 100 --rate 20k --qos 1\n  fantail bench pub --topics 'plant/%i/state' --retain --size 64,1k,16k",
		},
		{
			name: "sub", short: "Subscribe only: counts the messages of a bench in another process",
			long: "Counts messages that carry the stamp of this program. What was sent before and after is not known, so lost is what is missing in\n" +
				"between. Latencies compare the clocks of the two processes: they mean something if both are on one machine.",
			flags: "warmup ramp topics qos", preset: bench{clients: 1, topics: "bench/#"}, run: (*bench).runSub,
			example: "  fantail bench sub --clients 10 --topics 'bench/#' --duration 30s",
		},
		{
			name: "pairs", short: "Publisher i to subscriber i, a topic each", flags: traffic + " threads stalled",
			preset: bench{clients: 50, topics: "bench/%r/pair/%i"}, run: (*bench).runTraffic,
			example: "  fantail bench pairs --duration 5s\n  fantail bench pairs --clients 100 --rate 10k --qos 1 --assert 'e2e.p99<20ms,lost=0'",
		},
		{
			name: "fanout", short: "One publisher to many subscribers (--clients)", flags: traffic + " publishers stalled",
			preset: bench{clients: 200, publishers: 1, topics: "bench/%r/out", inflight: 16}, run: (*bench).runTraffic,
			example: "  fantail bench fanout --clients 1000 --rate 100/s",
		},
		{
			name: "fanin", short: "Many publishers (--clients) to few wildcard subscribers", flags: traffic + " subscribers stalled",
			preset: bench{clients: 500, subscribers: 2, topics: "bench/%r/in/%i", inflight: 4}, run: (*bench).runTraffic,
			example: "  fantail bench fanin --clients 2000 --subscribers 4 --qos 1",
		},
		{
			name: "share", short: "Publishers to one group of --share subscribers: exactly one copy of each message", flags: traffic + " share stalled",
			preset: bench{clients: 50, group: 10, topics: "bench/%r/share/%i", inflight: 32, qos: 1}, run: (*bench).runTraffic,
			example: "  fantail bench share --clients 20 --share 10",
		},
		{
			name: "retained", short: "Set --count retained messages, then fetch them all with a wildcard",
			long:  "Each of --clients subscribes to all of them at the same time. At the end they are removed.",
			flags: "size qos inflight drain publishers count", preset: bench{clients: 10, publishers: 1, count: 10_000, inflight: 64, qos: 1, duration: time.Minute}, run: (*bench).runRetained,
			example: "  fantail bench retained --count 100000 --clients 4",
		},
		{
			name: "offline", short: "Queue for sessions whose clients are away, then drain",
			long: "Each of --clients makes a durable session and leaves; --count messages of QoS 1 are published to them, or as many as there is\n" +
				"--duration for; then all come back at once. At the end the sessions are removed.",
			flags: "size inflight drain count settle", preset: bench{clients: 100, count: 100_000, inflight: 64, qos: 1, duration: 10 * second}, run: (*bench).runOffline,
			example: "  fantail bench offline --clients 100 --count 500000 --size 128",
		},
		{
			name: "wild", short: "Publish among --filters wildcard subscriptions, each message to one of them",
			flags: "warmup ramp size qos inflight rate tick drain subscribers filters stalled", preset: bench{clients: 50, subscribers: 10, filters: 10_000, inflight: 32}, run: (*bench).runTraffic,
			example: "  fantail bench wild --filters 100000 --subscribers 100 --clients 100",
		},
		{
			name: "churn", short: "Clients that come and go (--churn a second) beside steady pairs", flags: traffic + " churn",
			long:   "Each connects, subscribes to a topic of its own, publishes to it, waits until its message has come back, and leaves.",
			preset: bench{clients: 10, topics: "bench/%r/pair/%i", rate: "1000", churn: "100"}, run: (*bench).runTraffic,
			example: "  fantail bench churn --churn 500/s --rate 10k",
		},
	}
}

func benchCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench SCENARIO",
		Short: "Put a broker under load and measure it: latency, loss, CPU",
		Long: "Puts any MQTT broker under load, checks every message, and tells what was lost, duplicated or out of order, the latencies, and with\n" +
			"--pid what the broker spent. Without --rate it keeps a window of messages open for each publisher (closed loop) and shows what the\n" +
			"broker can do; with it, messages are due at fixed moments and their latency counts from then (open loop).",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("%q is no scenario: there are %s", args[0], scenarioNames())
			}
			return misuse("which scenario is missing: there are %s", scenarioNames())
		},
	}
	for _, s := range benchScenarios() {
		cmd.AddCommand(scenarioCommand(e, s))
	}
	return cmd
}

func scenarioNames() string {
	all := benchScenarios()
	names := make([]string, 0, len(all))
	for _, s := range all {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

func scenarioCommand(e *env, s benchScenario) *cobra.Command {
	b := s.preset
	b.scenario = s.name
	cmd := &cobra.Command{
		Use:     s.name + " [-h HOST] [-p PORT] [flags]",
		Short:   s.short,
		Long:    strings.TrimSpace(s.short + ".\n" + s.long),
		Example: s.example,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(e, cmd, s.run)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&b.clients, "clients", b.clients, "how many `N`; what they do depends on the scenario")
	if b.duration == 0 {
		b.duration = 10 * time.Second
	}
	f.DurationVar(&b.duration, "duration", b.duration, "measure, or hold, for so long")
	all := b.optionalFlags()
	for name := range strings.FieldsSeq(s.flags) {
		f.AddFlag(all.Lookup(name))
	}
	b.addReportFlags(f)
	b.addTargetFlags(f)
	return cmd
}

// optionalFlags are those that only some scenarios have.
func (b *bench) optionalFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.IntVar(&b.publishers, "publishers", b.publishers, "`N` of them publish")
	f.IntVar(&b.subscribers, "subscribers", b.subscribers, "`N` of them subscribe")
	f.IntVar(&b.group, "share", b.group, "the shared group has `N` members")
	f.IntVar(&b.count, "count", b.count, "`N` messages, all together")
	f.IntVar(&b.filters, "filters", b.filters, "`N` wildcard filters, all together")
	f.IntVar(&b.stalled, "stalled", 0, "`N` further subscribers that stop reading when the messages begin to flow")
	f.StringVar(&b.churn, "churn", b.churn, "clients that come and go a second, at this `RATE`, as in 100/s")
	f.BoolVar(&b.subscribe, "subscribe", false, "each connection also has one subscription")
	f.StringVar(&b.rate, "rate", b.rate, "open loop: so many a second, all together, at this `RATE`, as in 10k or 50k/s; 0: closed loop")
	f.DurationVar(&b.tick, "tick", 200*time.Microsecond, "open loop: what is due within a tick is due at its end; 0 spaces messages evenly")
	f.StringVar(&b.topics, "topics", b.topics, "`PATTERN` of topics: %i is the number of the publisher, %c its client id, %u the user, %r the run")
	if b.sizes = "128"; b.scenario == "sub" {
		b.sizes = "24"
	}
	f.StringVar(&b.sizes, "size", b.sizes, "`BYTES` of a payload; several, as in 64,1k,16k, take turns")
	f.IntVarP(&b.qos, "qos", "q", b.qos, "`QOS` 0, 1 or 2")
	if b.inflight == 0 {
		b.inflight = 64
	}
	f.IntVarP(&b.inflight, "inflight", "M", b.inflight, "closed loop: each publisher has at most `N` messages that are not delivered and acknowledged")
	f.IntVar(&b.threads, "threads", 1, "`N` loops share the clients, each on a processor of its own")
	f.BoolVarP(&b.retain, "retain", "r", false, "publish with the retain flag")
	f.DurationVar(&b.warmup, "warmup", time.Second, "traffic that is not measured, before")
	f.DurationVar(&b.ramp, "ramp", 0, "spread the connects over so long (default: as fast as the broker accepts)")
	b.patience = 5 * time.Second
	f.DurationVar(&b.patience, "drain", b.patience, "what has not come is lost once nothing arrives for so long")
	f.DurationVar(&b.settle, "settle", time.Second, "rest for so long before a look at the broker's memory")
	return f
}

func (b *bench) addReportFlags(f *pflag.FlagSet) {
	f.IntVar(&b.pid, "pid", 0, "measure CPU and memory of the broker, `PID` on this machine (Linux)")
	f.StringVar(&b.json, "json", "", "write the figures as JSON to `FILE`, - is standard output")
	f.StringVar(&b.csv, "csv", "", "add the figures as a line of CSV to `FILE`, - is standard output")
	f.StringVar(&b.assert, "assert", "", "`LIST` of what must hold, as in 'e2e.p99<20ms,lost=0'; the exit status is 3 if it does not")
	f.BoolVar(&b.allowLoss, "allow-loss", false, "what is lost at QoS 0 is counted, but no failure")
}

// addTargetFlags takes over the flags of pub that say where the broker is.
func (b *bench) addTargetFlags(f *pflag.FlagSet) {
	scratch := &cobra.Command{Use: "pub"}
	b.addFlags(scratch, asFantail)
	all := scratch.Flags()
	f.BoolVar(&b.tlsOn, "tls", false, "use TLS; without --cafile and its like with the authorities of the system")
	f.BoolVar(&b.ws, "ws", false, "use WebSocket; -L ws://host:port/path asks for another path than /mqtt")
	for _, name := range []string{
		"help", "host", "port", "unix", "url", "username", "pw", "keepalive", "protocol-version", "bind",
		"cafile", "capath", "cert", "key", "tls-alpn", "tls-version", "tls-use-os-certs", "insecure",
	} {
		f.AddFlag(all.Lookup(name))
	}
}

// run does all of one bench; its error carries the exit status.
func (b *bench) run(e *env, cmd *cobra.Command, scenario func(*bench, context.Context, *plan) (*benchReport, error)) error {
	p, err := b.prepare(cmd)
	if err != nil {
		return err
	}
	c, err := connect(e.ctx, e, p) // who may not connect hears why, and the version is agreed on
	if err != nil {
		return err
	}
	if err := disconnect(c, &p.properties.disconnect); err != nil {
		return err
	}
	live := newLive(e, b.scenario)
	b.watch = live.take
	report, err := scenario(b, e.ctx, p)
	live.stop()
	if err != nil {
		if e.ctx.Err() != nil {
			return &status{code: exitInterrupted}
		}
		return &status{exitFailed, err}
	}
	report.describe(b, p)
	report.judge(b.wanted)
	if err := report.publish(e, b); err != nil {
		return &status{exitFailed, err}
	}
	return report.status(b)
}

// prepare checks the flags and names every mistake.
func (b *bench) prepare(cmd *cobra.Command) (*plan, error) {
	var wrong []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, misuse(format, args...))
		}
	}
	var err error
	if b.perSecond, err = parseRate(b.rate); err != nil {
		check(true, "--rate %s: %v", b.rate, err)
	}
	if b.comes, err = parseRate(b.churn); err != nil {
		check(true, "--churn %s: %v", b.churn, err)
	}
	if b.payloads, err = parseSizes(b.sizes); err != nil {
		check(true, "--size %s: %v", b.sizes, err)
	}
	if b.wanted, err = parseAssertions(b.assert); err != nil {
		check(true, "--assert: %v", err)
	}
	check(b.clients < 1, "--clients %d: this is below 1", b.clients)
	check(cmd.Flags().Lookup("publishers") != nil && b.publishers < 1, "--publishers %d: this is below 1", b.publishers)
	check(cmd.Flags().Lookup("subscribers") != nil && b.subscribers < 1, "--subscribers %d: this is below 1", b.subscribers)
	check(b.scenario == "share" && b.group < 1, "--share %d: this is below 1", b.group)
	check(b.scenario == "wild" && b.filters < b.subscribers, "--filters %d: this is less than one for each of %d subscribers", b.filters, b.subscribers)
	check(b.scenario == "wild" && b.subscribers > 0 && b.clients%b.subscribers != 0, "--clients %d: this is no multiple of the %d subscribers", b.clients, b.subscribers)
	check(cmd.Flags().Lookup("count") != nil && b.count < 1, "--count %d: this is below 1", b.count)
	check(b.scenario == "churn" && b.comes == 0, "--churn 0: nobody would come")
	check(b.qos < 0 || b.qos > 2, "-q %d: a QoS is 0, 1 or 2", b.qos)
	check(b.inflight < 1 || b.inflight > 16_384, "--inflight %d: this is not from 1 to 16384", b.inflight)
	check(b.duration <= 0, "--duration %v: this is not above 0", b.duration)
	check(b.patience <= 0, "--drain %v: this is not above 0", b.patience)
	check(min(b.warmup, b.ramp, b.tick, b.settle) < 0, "--warmup, --ramp, --tick and --settle cannot be below 0")
	check(b.threads < 1, "--threads %d: this is below 1", b.threads)
	check(b.stalled < 0, "--stalled %d: this is below 0", b.stalled)
	check(b.pid < 0, "--pid %d: this is no process", b.pid)
	check(b.json == "-" && b.csv == "-", "--json - and --csv -: standard output takes one of them")
	p, err := b.target(cmd)
	if err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) == 0 {
		if err := b.checkScenario(); err != nil {
			wrong = append(wrong, misuse("%v", err))
		}
	}
	if len(wrong) == 1 {
		return nil, wrong[0]
	}
	if len(wrong) > 1 {
		return nil, &status{exitUsage, errors.Join(wrong...)}
	}
	return p, nil
}

// target is where the flags lead.
func (b *bench) target(cmd *cobra.Command) (*plan, error) {
	if b.tlsOn && !b.tls.wanted() {
		b.tls.osCerts = true
	}
	p, err := b.plan(cmd)
	if err != nil {
		return nil, err
	}
	if p.topic != "" {
		if cmd.Flags().Changed("topics") || cmd.Flags().Lookup("topics") == nil {
			return nil, misuse("-L %s: a topic in the URL does not go with --topics, nor with a scenario that has none", b.url)
		}
		b.topics = p.topic
	}
	scheme, rest, _ := strings.Cut(p.options.URL, "://")
	switch {
	case !b.ws:
	case scheme == "mqtt":
		p.options.URL = "ws://" + rest
	case scheme == "mqtts":
		p.options.URL = "wss://" + rest
	case scheme == "unix":
		return nil, misuse("--ws does not go with a unix socket")
	}
	return p, nil
}
