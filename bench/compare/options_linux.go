package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
)

// options is the command line, checked.
type options struct {
	brokers   []broker.Kind
	against   string       // the yardstick's name
	floor     *broker.Kind // nil: it is not measured
	scenarios []load.Scenario
	ladders   []ladder
	durables  []load.Durable
	data      string // where brokers keep their state in the durable scenarios
	promise   string // Fantail's durability in them
	idle      int    // connections; 0 leaves the idle scenario out
	rounds    int
	seconds   time.Duration
	quick     bool
	out       string
}

// flags is the command line as written.
type flags struct {
	fantail, floor, mosquitto, against string
	only, out                          string
	data, durability                   string
	brokers                            []broker.Kind
	rounds, idle, payload              int
	seconds, rate, size                float64
	tick                               time.Duration
	quick                              bool
}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	var f flags
	set := f.define(stderr)
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	given := map[string]bool{}
	set.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	if f.quick {
		f.hurry(given)
	}
	return f.check()
}

func (f *flags) define(stderr io.Writer) *flag.FlagSet {
	set := flag.NewFlagSet("compare", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&f.fantail, "fantail", "./bin/fantail", "our broker's `file`; '' leaves it out")
	set.StringVar(&f.floor, "floor", "", "bench/floor's `file`, to show beside the brokers the least that messages can cost")
	set.StringVar(&f.mosquitto, "mosquitto", "/usr/sbin/mosquitto", "mosquitto's `file`; '' leaves it out")
	set.Func("broker", "a further broker, `name=command` with {port}, or {mosquitto.conf} for a mosquitto; {dir} is an empty directory (repeatable)",
		func(s string) error {
			k, err := broker.Parse(s)
			f.brokers = append(f.brokers, k)
			return err
		})
	set.StringVar(&f.against, "against", "mosquitto", "the broker that ratios are to, by `name`")
	set.IntVar(&f.rounds, "rounds", 3, "measurements of each scenario and broker")
	set.Float64Var(&f.seconds, "seconds", 3, "length of a measurement, after 0.5 s of warm-up")
	set.Float64Var(&f.rate, "rate", 10_000, "deliveries per second of the open loop; 0 leaves it out")
	set.DurationVar(&f.tick, "tick", 200*time.Microsecond, "grain of the open loop's schedule; 0 spaces messages evenly")
	set.IntVar(&f.payload, "payload", 128, "bytes of a message")
	set.StringVar(&f.only, "only", "", "comma-separated scenario `names` or the first words of them: pairs,fanin-q1,pairs-q0-closed,grow,durable,idle; grow only runs if it is named")
	set.IntVar(&f.idle, "idle", 15_000, "connections of the idle scenario; 0 leaves it out")
	set.Float64Var(&f.size, "durable-size", 1, "messages and sessions of the durable scenarios, in terms of those that the goals were set with")
	set.StringVar(&f.data, "data-dir", ".", "`directory`, on a disk, under which brokers keep their state in the durable scenarios")
	set.StringVar(&f.durability, "durability", "fsync", "what Fantail promises in the durable scenarios: fsync or memory")
	set.BoolVar(&f.quick, "quick", false, "pairs QoS 0 and 1, closed and open loop, one round of 2 s, neither durable nor idle (each unless given)")
	set.StringVar(&f.out, "out", "bench/results", "`directory` for the table; '' writes none")
	return set
}

// hurry sets what -quick means for all flags not given by hand.
func (f *flags) hurry(given map[string]bool) {
	if !given["only"] {
		f.only = "pairs-q0,pairs-q1"
		if given["idle"] && f.idle > 0 {
			f.only += ",idle"
		}
	}
	if !given["rounds"] {
		f.rounds = 1
	}
	if !given["seconds"] {
		f.seconds = 2
	}
	if !given["durable-size"] {
		f.size = 0.1
	}
}

func (f *flags) check() (*options, error) {
	o := &options{
		against: f.against,
		idle:    f.idle,
		rounds:  f.rounds,
		seconds: time.Duration(f.seconds * float64(time.Second)),
		quick:   f.quick,
		out:     f.out,
		promise: f.durability,
	}
	if f.durability != "fsync" && f.durability != "memory" {
		return nil, fmt.Errorf("-durability %s: choose fsync or memory", f.durability)
	}
	if f.rounds < 1 || f.seconds <= 0 || f.idle < 0 || f.rate < 0 {
		return nil, errors.New("-rounds, -seconds must be above 0, -idle and -rate not below")
	}
	all, err := plan(f.rate, f.tick, f.payload)
	if err != nil {
		return nil, err
	}
	durables, err := planDurable(f.size)
	if err != nil {
		return nil, err
	}
	ladders, err := planLadders(f.rate, f.tick, f.payload)
	if err != nil {
		return nil, err
	}
	if err := o.choose(all, ladders, durables, f.only); err != nil {
		return nil, err
	}
	if o.data, err = filepath.Abs(f.data); err != nil {
		return nil, fmt.Errorf("-data-dir %s: %w", f.data, err)
	}
	if info, err := os.Stat(o.data); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("-data-dir %s: no such directory", f.data)
	}
	return o, o.gather(f)
}

// choose keeps the scenarios that -only names.
func (o *options) choose(all []load.Scenario, ladders []ladder, durables []load.Durable, only string) error {
	if only == "" {
		o.scenarios, o.durables = all, durables
		return nil
	}
	words := strings.Split(only, ",")
	for _, sc := range all {
		if slices.ContainsFunc(words, func(w string) bool { return matches(w, sc.Name()) }) {
			o.scenarios = append(o.scenarios, sc)
		}
	}
	for _, l := range ladders {
		if slices.ContainsFunc(words, func(w string) bool { return matches(w, l.name) }) {
			o.ladders = append(o.ladders, l)
		}
	}
	for _, sc := range durables {
		if slices.ContainsFunc(words, func(w string) bool { return matchesDurable(w, sc) }) {
			o.durables = append(o.durables, sc)
		}
	}
	for _, w := range words {
		known := w == idleName ||
			slices.ContainsFunc(all, func(sc load.Scenario) bool { return matches(w, sc.Name()) }) ||
			slices.ContainsFunc(ladders, func(l ladder) bool { return matches(w, l.name) }) ||
			slices.ContainsFunc(durables, func(sc load.Durable) bool { return matchesDurable(w, sc) })
		if !known {
			return fmt.Errorf("-only %s: no such scenario; there are %s, %s, %s (%s) and %s", w, names(all), ladderNames(ladders), durableName, durableNames(durables), idleName)
		}
	}
	if !slices.Contains(words, idleName) {
		o.idle = 0
	}
	return nil
}

// gather puts the brokers in the order of their turns, the yardstick first.
func (o *options) gather(f *flags) error {
	if f.mosquitto != "" {
		if _, err := os.Stat(f.mosquitto); err != nil {
			return fmt.Errorf("no mosquitto at %s: install it (apt-get install mosquitto), or say where by -mosquitto", f.mosquitto)
		}
		o.brokers = append(o.brokers, broker.Mosquitto(f.mosquitto))
	}
	if f.fantail != "" {
		if _, err := os.Stat(f.fantail); err != nil {
			return fmt.Errorf("no broker at %s: build it (go build -o bin/fantail ./cmd/fantail), say where by -fantail, or leave it out by -fantail ''", f.fantail)
		}
		o.brokers = append(o.brokers, broker.Fantail(f.fantail, f.durability))
	}
	o.brokers = append(o.brokers, f.brokers...)
	if f.floor != "" {
		if _, err := os.Stat(f.floor); err != nil {
			return fmt.Errorf("no floor at %s: build it (go build -o bin/floor ./bench/floor)", f.floor)
		}
		floor := broker.Floor(f.floor)
		o.floor = &floor
	}
	if len(o.brokers) == 0 {
		return errors.New("no broker to measure")
	}
	seen := map[string]bool{}
	for _, k := range o.brokers {
		if seen[k.Name] {
			return fmt.Errorf("two brokers are called %s", k.Name)
		}
		seen[k.Name] = true
	}
	if !seen[o.against] {
		return fmt.Errorf("-against %s: no such broker", o.against)
	}
	return nil
}
