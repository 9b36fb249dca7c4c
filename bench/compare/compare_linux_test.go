package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

const mosquitto = "/usr/sbin/mosquitto"

func TestMatches(t *testing.T) {
	cases := map[string]struct {
		word, name string
		want       bool
	}{
		"the whole name":           {"pairs-q0-closed", "pairs-q0-closed", true},
		"the first word":           {"pairs", "pairs-q0-closed", true},
		"the first two":            {"pairs-q0", "pairs-q0-10000", true},
		"half a word":              {"pair", "pairs-q0-closed", false},
		"a rate that starts alike": {"pairs-q0-1000", "pairs-q0-10000", false},
		"another word":             {"fanin", "pairs-q0-closed", false},
		"nothing":                  {"", "pairs-q0-closed", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := matches(c.word, c.name); got != c.want {
				t.Errorf("matches(%q, %q) = %v", c.word, c.name, got)
			}
		})
	}
}

// Some file that exists stands for the brokers: nothing is started here.
func parse(args ...string) (*options, error) {
	return parseOptions(append([]string{"-mosquitto", "/bin/sh", "-fantail", "/bin/sh"}, args...), io.Discard)
}

func TestOptions(t *testing.T) {
	everything := "pairs-q0-closed pairs-q1-closed pairs-q2-closed fanout-q0-closed fanout-q1-closed fanin-q0-closed fanin-q1-closed share-q1-closed wild-q0-closed " +
		"pairs-q0-10000 pairs-q1-10000 pairs-q2-10000 fanout-q0-10000 fanout-q1-10000 fanin-q0-10000 fanin-q1-10000"
	cases := map[string]struct {
		args         []string
		scenarios    string
		idle, rounds int
		seconds      time.Duration
	}{
		"all":             {nil, everything, 15000, 3, 3 * time.Second},
		"quick":           {[]string{"-quick"}, "pairs-q0-closed pairs-q1-closed pairs-q0-10000 pairs-q1-10000", 0, 1, 2 * time.Second},
		"quick but twice": {[]string{"-quick", "-rounds", "2"}, "pairs-q0-closed pairs-q1-closed pairs-q0-10000 pairs-q1-10000", 0, 2, 2 * time.Second},
		"quick and idle":  {[]string{"-quick", "-idle", "100"}, "pairs-q0-closed pairs-q1-closed pairs-q0-10000 pairs-q1-10000", 100, 1, 2 * time.Second},
		"only idle":       {[]string{"-only", "idle"}, "", 15000, 3, 3 * time.Second},
		"only some":       {[]string{"-only", "fanin-q0,pairs-q1-closed"}, "pairs-q1-closed fanin-q0-closed fanin-q0-10000", 0, 3, 3 * time.Second},
		"another rate":    {[]string{"-rate", "500", "-only", "pairs-q0"}, "pairs-q0-closed pairs-q0-500", 0, 3, 3 * time.Second},
		"no open loop":    {[]string{"-rate", "0", "-only", "pairs-q0"}, "pairs-q0-closed", 0, 3, 3 * time.Second},
		"half a second":   {[]string{"-seconds", "0.5", "-only", "idle"}, "", 15000, 3, time.Second / 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o, err := parse(c.args...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, sc := range o.scenarios {
				got = append(got, sc.Name())
			}
			if strings.Join(got, " ") != c.scenarios {
				t.Errorf("scenarios %q, want %q", got, c.scenarios)
			}
			if o.idle != c.idle || o.rounds != c.rounds || o.seconds != c.seconds {
				t.Errorf("idle %d, rounds %d, seconds %v", o.idle, o.rounds, o.seconds)
			}
		})
	}
}

func TestMosquittoTakesTheFirstTurn(t *testing.T) {
	o, err := parse("-broker", "x=/opt/x {port}")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range o.brokers {
		got = append(got, k.Name)
	}
	if want := []string{"mosquitto", "fantail", "x"}; !slices.Equal(got, want) {
		t.Errorf("brokers %q, want %q", got, want)
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	cases := map[string]struct {
		args []string
		want string
	}{
		"an unknown flag":       {[]string{"-fast"}, "-fast"},
		"an argument":           {[]string{"mosquitto"}, `"mosquitto"`},
		"an unknown scenario":   {[]string{"-only", "pears"}, "no such scenario; there are pairs-q0-closed"},
		"no rounds":             {[]string{"-rounds", "0"}, "-rounds"},
		"too small a payload":   {[]string{"-payload", "8"}, "payload of 8"},
		"no such fantail":       {[]string{"-fantail", "/nonexistent"}, "go build"},
		"no such floor":         {[]string{"-floor", "/nonexistent"}, "go build -o bin/floor"},
		"half a ladder's name":  {[]string{"-only", "grow-conn"}, "grow-connections-closed, grow-connections-10000, grow-filters-closed"},
		"no such mosquitto":     {[]string{"-mosquitto", "/nonexistent"}, "apt-get install mosquitto"},
		"no such data dir":      {[]string{"-data-dir", "/nonexistent"}, "no such directory"},
		"no such durability":    {[]string{"-durability", "hope"}, "fsync or memory"},
		"durable without size":  {[]string{"-durable-size", "0"}, "-durable-size 0"},
		"half a durable name":   {[]string{"-only", "offl"}, "durable (offline-queue, offline-drain, fanout-offline"},
		"a broker without port": {[]string{"-broker", "x=y"}, "{port}"},
		"two of the same name":  {[]string{"-broker", "fantail=x {port}"}, "two brokers"},
		"no yardstick":          {[]string{"-mosquitto", ""}, "-against mosquitto"},
		"no broker at all":      {[]string{"-mosquitto", "", "-fantail", ""}, "no broker to measure"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := parse(c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	cases := map[string]struct {
		in   []float64
		want float64
	}{
		"none":  {nil, 0},
		"one":   {[]float64{7}, 7},
		"three": {[]float64{9, 1, 2}, 2},
		"four":  {[]float64{9, 1, 2, 3}, 2.5},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := median(c.in); got != c.want {
				t.Errorf("median(%v) = %g, want %g", c.in, got, c.want)
			}
		})
	}
}

// example is a report of two brokers, two rounds, a scenario and an idle crowd.
func example() *report {
	sc := load.Scenario{Shape: load.Pairs, Publishers: 50, Subscribers: 50, Window: 64, Sizes: []int{128}}
	result := func(cpu time.Duration, faults load.Faults) *load.Result {
		r := &load.Result{
			Window: time.Second, Sent: 100_000, Received: 200_000, BrokerCPU: cpu,
			OwnCPU: 100 * time.Millisecond, OtherCPU: 200 * time.Millisecond, RSS: 8 << 20, Faults: faults,
		}
		r.Latency.Record(50 * time.Microsecond)
		return r
	}
	t := &loadTable{scenario: sc, rows: map[string]*loadRow{}}
	t.add("mosquitto", result(time.Second, load.Faults{}), nil)
	t.add("mosquitto", result(3*time.Second, load.Faults{}), nil)
	t.add("fantail", result(time.Second, load.Faults{}), nil)
	t.add("fantail", nil, errors.New("it | broke\noff"))
	idle := &idleTable{idle: load.Idle{Connections: 1000, Subscribe: true}, rows: map[string]*idleRow{}}
	idle.add("mosquitto", &load.IdleResult{Connections: 1000, Elapsed: time.Second, BrokerCPU: 40 * time.Millisecond, Empty: 1 << 20, Full: 1<<20 + 800_000}, nil)
	idle.add("fantail", &load.IdleResult{Connections: 1000, Elapsed: 2 * time.Second, BrokerCPU: 20 * time.Millisecond, Empty: 1 << 20, Full: 1<<20 + 400_000, Closed: 3}, nil)
	return &report{
		when:     time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		machine:  machine{cpu: "AMD EPYC(tm) 7", cores: 2, memory: "24 GiB", kernel: "Linux 6", load: "0.10"},
		args:     []string{"-broker", "x=y {port}", "-fantail", ""},
		rounds:   2,
		seconds:  time.Second,
		brokers:  []string{"mosquitto", "fantail"},
		versions: []string{"2.0.11", "0.1"},
		against:  "mosquitto",
		loads:    []*loadTable{t},
		idles:    []*idleTable{idle},
	}
}

func TestMarkdown(t *testing.T) {
	text := example().markdown()
	for _, want := range []string{
		"- command: `go run ./bench/compare -broker 'x=y {port}' -fantail ''`\n",
		"- fantail: 0.1\n",
		"| scenario | mosquitto | fantail | fantail ÷ mosquitto | faults |\n|---|---|---|---|---|\n",
		"| pairs-q0-closed | 10.0 | 5.00 | 0.500 | **fantail** |\n",
		"| mosquitto | 100000 | 200000 | 10.0 (5.00–15.0) | 1.000 | 49.9 | 49.9 | 49.9 | 8.00 | 0.50 | 10 % | none |\n",
		"| fantail | 100000 | 200000 | 5.00 | 0.500 | 49.9 | 49.9 | 49.9 | 8.00 | 0.50 | 10 % | **not measured: it / broke; off** |\n",
		"| fantail | 400 | 0.500 | 20.0 | 0.500 | 500 | 1.00 | 1.38 | **3 connections closed** |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestExitCode(t *testing.T) {
	if got := example().exitCode(); got != exitFailed {
		t.Errorf("with an error: %d, want %d", got, exitFailed)
	}
	r := example()
	r.loads[0].add("fantail", &load.Result{Faults: load.Faults{Lost: 1}}, nil)
	if got := r.exitCode(); got != exitFaulty {
		t.Errorf("with a loss: %d, want %d", got, exitFaulty)
	}
	r = example()
	r.loads, r.idles = nil, nil
	if got := r.exitCode(); got != 0 {
		t.Errorf("without anything: %d, want 0", got)
	}
}

func TestTablesAreNotReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	name := example().fileName()
	if want := "2026-01-02-amd-epyc-tm-7-2cores"; name != want {
		t.Errorf("file name %q, want %q", name, want)
	}
	for i, want := range []string{name + ".md", name + "-2.md", name + "-3.md"} {
		path, err := keep(dir, name, strings.Repeat("x", i))
		if err != nil || filepath.Base(path) != want {
			t.Errorf("kept as %q, %v; want %q", path, err, want)
		}
	}
	if path, err := keep("", name, ""); err != nil || path != "no file" {
		t.Errorf("without a directory: %q, %v", path, err)
	}
}

func TestAWholeRun(t *testing.T) {
	if _, err := os.Stat(mosquitto); err != nil {
		t.Fatalf("no %s: install mosquitto (apt-get install mosquitto); make test does", mosquitto)
	}
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{
		"-fantail", "", "-broker", "again=" + mosquitto + " -c {mosquitto.conf}",
		"-rounds", "1", "-seconds", "0.2", "-only", "pairs-q1-closed,idle", "-idle", "50", "-out", dir,
	}, &stdout, &stderr)
	if code != 0 {
		t.Fatalf("exit code %d: %s%s", code, &stderr, &stdout)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %q, %v", files, err)
	}
	kept, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(stdout.Bytes(), kept) {
		t.Error("what was printed is not what was kept")
	}
	for _, want := range []string{"| pairs-q1-closed |", "| again |", "## idle, subscribed: 50 connections", "- again: mosquitto version 2"} {
		if !bytes.Contains(kept, []byte(want)) {
			t.Errorf("missing: %s\n%s", want, kept)
		}
	}
}

func TestRunRefusesAWrongCommandLine(t *testing.T) {
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-only", "pears"}, io.Discard, &stderr); code != exitUsage {
		t.Errorf("exit code %d, want %d: %s", code, exitUsage, &stderr)
	}
	if code := run(t.Context(), []string{"-h"}, io.Discard, &stderr); code != 0 {
		t.Errorf("-h: exit code %d, want 0", code)
	}
}
