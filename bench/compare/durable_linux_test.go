package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

func TestDurableOptions(t *testing.T) {
	cases := map[string]struct {
		args      []string
		durables  string // by their first names and messages
		scenarios int
	}{
		"all":              {nil, "offline-queue 500000, fanout-offline 20.0, one-in-flight 10000, queue-memory 1000000", 16},
		"only durable":     {[]string{"-only", "durable"}, "offline-queue 500000, fanout-offline 20.0, one-in-flight 10000, queue-memory 1000000", 0},
		"one":              {[]string{"-only", "queue-memory"}, "queue-memory 1000000", 0},
		"one of two names": {[]string{"-only", "offline-drain"}, "offline-queue 500000", 0},
		"the first word":   {[]string{"-only", "offline,pairs-q0-closed"}, "offline-queue 500000", 1},
		"smaller":          {[]string{"-only", "offline", "-durable-size", "0.1"}, "offline-queue 50000", 0},
		"none in a hurry":  {[]string{"-quick"}, "", 4},
		"some in a hurry":  {[]string{"-quick", "-only", "offline"}, "offline-queue 50000", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o, err := parse(c.args...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, sc := range o.durables {
				got = append(got, sc.Pattern.Names()[0]+" "+number(float64(sc.Messages)))
			}
			if strings.Join(got, ", ") != c.durables || len(o.scenarios) != c.scenarios {
				t.Errorf("durable scenarios %q and %d others, want %q and %d", got, len(o.scenarios), c.durables, c.scenarios)
			}
			if wd, err := os.Getwd(); err != nil || o.data != wd || o.promise != "fsync" {
				t.Errorf("data under %s, durability %s", o.data, o.promise)
			}
		})
	}
}

// exampleDurable is a report of two brokers, the second with a lost message and
// a round that could not be measured.
func exampleDurable(p load.Pattern) *report {
	result := func(cpu time.Duration, lost uint64) *durableResult {
		x := &durableResult{DurableResult: load.DurableResult{
			Queue:  load.Stage{Messages: 200_000, Elapsed: time.Second, Span: 2 * time.Second, BrokerCPU: cpu, OwnCPU: 100 * time.Millisecond, OtherCPU: 400 * time.Millisecond},
			Drain:  load.Stage{Messages: 200_000, Elapsed: 500 * time.Millisecond, Span: time.Second, BrokerCPU: cpu / 2, OwnCPU: 100 * time.Millisecond},
			Empty:  8 * mib,
			Full:   28 * mib,
			Peak:   30 * mib,
			Faults: load.Faults{Lost: lost},
		}}
		x.Latency.Record(260 * time.Microsecond)
		x.Bare.Record(200 * time.Microsecond)
		return x
	}
	t := &durableTable{
		scenario: load.Durable{Pattern: p, Sessions: 100, Messages: 1000, Window: 64, Sizes: []int{128}, Limit: time.Second},
		rows:     map[string]*durableRow{},
	}
	t.add("mosquitto", result(time.Second, 0), nil)
	t.add("mosquitto", result(3*time.Second, 0), nil)
	t.add("fantail", result(time.Second, 7), nil)
	t.add("fantail", nil, errors.New("no | answer"))
	r := example()
	r.loads, r.idles = nil, nil
	r.durables, r.disk, r.promise = []*durableTable{t}, disk{fs: "xfs"}, "fsync"
	return r
}

func TestDurableMarkdown(t *testing.T) {
	faults := "**7 lost**; **not measured: no / answer** |\n"
	cases := map[load.Pattern][]string{
		load.Backlog: {
			"## Durable sessions\n\nSessions whose clients are away. Data on xfs; fantail with `--durability fsync`",
			"### offline-queue: 100 → 100 offline sessions, QoS 1, window 64, up to 1000 messages or 1s, 128 B\n",
			"| mosquitto | 200000 | 200000 (200000–200000) | 1.000 | 10.0 (5.00–15.0) | 1.000 | 0.50 | 100 (100–100) | 1.000 | 10 % | none |\n",
			"| fantail | 200000 | 200000 | 1.000 | 5.00 | 0.500 | 0.50 | 100 | 1.000 | 10 % | " + faults,
			"### offline-drain: ",
			"| fantail | 200000 | 400000 | 1.000 | 2.50 | 0.500 | 0.50 | 0 % | " + faults,
		},
		load.Growth:      {"### queue-memory: ", "| fantail | 200000 | 200000 | 8.00 | 28.0 | 30.0 | 100 | 1.000 | 10 % | " + faults},
		load.ToMany:      {"### fanout-offline: 1 → 100 offline", "| fantail | 0.26 | 1.000 | 0.26 | 0.01 | 10 % | " + faults},
		load.OneInFlight: {"### one-in-flight: 1 → 1 offline", "| fantail | 200000 | 259 | 259 | 200 | 200 | 1.30 | 1.30 | 10 % | " + faults},
	}
	for p, wanted := range cases {
		text := exampleDurable(p).markdown()
		for _, want := range wanted {
			if !strings.Contains(text, want) {
				t.Errorf("%s: missing: %s\n%s", p.Names()[0], want, text)
			}
		}
	}
}

func TestDurableFaultsReachTheShell(t *testing.T) {
	r := exampleDurable(load.Backlog)
	if got := r.exitCode(); got != exitFaulty {
		t.Errorf("with a loss: %d, want %d", got, exitFaulty)
	}
	r.durables[0].row("fantail").results = nil
	if got := r.exitCode(); got != exitFailed {
		t.Errorf("with an error: %d, want %d", got, exitFailed)
	}
	r.durables[0].row("fantail").errs = nil
	if got := r.exitCode(); got != 0 {
		t.Errorf("without: %d, want 0", got)
	}
}

func TestMemoryIsNoDisk(t *testing.T) {
	if d := (disk{fs: "tmpfs", volatile: true}); !strings.Contains(d.String(), "**tmpfs, which is memory") {
		t.Errorf("tmpfs is told as %s", d)
	}
	if d := diskOf("/proc"); d.volatile || !strings.Contains(d.String(), "type 0x9fa0") {
		t.Errorf("proc is told as %s", d)
	}
	if d := diskOf("/nonexistent"); !strings.Contains(d.String(), "unknown") {
		t.Errorf("nothing is told as %s", d)
	}
}

func TestAWholeDurableRun(t *testing.T) {
	if _, err := os.Stat(mosquitto); err != nil {
		t.Fatalf("no %s: install mosquitto (apt-get install mosquitto); make test does", mosquitto)
	}
	data := t.TempDir()
	o, err := parseOptions([]string{"-fantail", "", "-rounds", "1", "-only", "durable", "-durable-size", "0.002", "-data-dir", data}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for i := range o.durables {
		o.durables[i].Settle = 10 * time.Millisecond
	}
	r := newReport(t.Context(), o, nil)
	if err := measureAll(t.Context(), o, r, io.Discard); err != nil {
		t.Fatal(err)
	}
	text := r.markdown()
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"### offline-queue", "| mosquitto | 1000 | ", "### fanout-offline: 1 → 20", "### one-in-flight", "### queue-memory"} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if left, err := filepath.Glob(filepath.Join(data, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
