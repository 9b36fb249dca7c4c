package cli

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

func TestParseAssertions(t *testing.T) {
	cases := map[string]struct {
		in   string
		want []assertion
		err  string // part of it
	}{
		"nothing":               {"", nil, ""},
		"two":                   {"e2e.p99<20ms, lost=0", []assertion{{"e2e.p99<20ms", "e2e.p99", "<", 0.02}, {"lost=0", "lost", "=", 0}}, ""},
		"the other operators":   {"ack.max<=1s,rate.received>=10k,received>5,closed!=1", []assertion{{"ack.max<=1s", "ack.max", "<=", 1}, {"rate.received>=10k", "rate.received", ">=", 10_000}, {"received>5", "received", ">", 5}, {"closed!=1", "closed", "!=", 1}}, ""},
		"two equals signs":      {"lost==0", []assertion{{"lost==0", "lost", "=", 0}}, ""},
		"a rate with its unit":  {"rate.sent>1.5M/s", []assertion{{"rate.sent>1.5M/s", "rate.sent", ">", 1_500_000}}, ""},
		"seconds":               {"connect.p50<0.5", []assertion{{"connect.p50<0.5", "connect.p50", "<", 0.5}}, ""},
		"p99.9 as one says it":  {"e2e.p99.9<1s", []assertion{{"e2e.p99.9<1s", "e2e.p999", "<", 1}}, ""},
		"bytes":                 {"memory.after<25MiB", []assertion{{"memory.after<25MiB", "memory.after", "<", 25 << 20}}, ""},
		"a share":               {"cpu.generator_share<90%", []assertion{{"cpu.generator_share<90%", "cpu.generator_share", "<", 0.9}}, ""},
		"CPU":                   {"cpu.broker_per_million<=0.35", []assertion{{"cpu.broker_per_million<=0.35", "cpu.broker_per_million", "<=", 0.35}}, ""},
		"no such figure":        {"loss=0", nil, `there is no figure "loss"`},
		"nothing is compared":   {"lost", nil, "compares nothing"},
		"a lone !":              {"lost!0", nil, "a lone !"},
		"no value":              {"lost=", nil, `"" is no number`},
		"no time":               {"e2e.p99<fast", nil, `"fast" is no time`},
		"an empty one":          {"lost=0,,received>0", nil, "compares nothing"},
		"all that are wrong":    {"loss=0,e2e.p98<1s", nil, `no figure "e2e.p98"`},
		"what is not a number":  {"lost<NaN", nil, `"NaN" is no number`},
		"a unit too much":       {"lost<5ms", nil, `"5ms" is no number`},
		"hexadecimal is no use": {"lost<0x10", nil, `"0x10" is no number`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseAssertions(c.in)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("err = %v, want %q in it", err, c.err)
			}
			if err == nil && !slices.Equal(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func FuzzParseAssertions(f *testing.F) {
	for _, s := range []string{"e2e.p99<20ms,lost=0", "rate.sent>=10k/s", "memory.after!=1GiB", "cpu.generator_share==90%", "x", "lost<", ",", "e2e.p99.9>1e400"} {
		f.Add(s)
	}
	known := units()
	f.Fuzz(func(t *testing.T, s string) {
		all, err := parseAssertions(s)
		if err != nil {
			return
		}
		for _, a := range all {
			if _, ok := known[a.name]; !ok {
				t.Errorf("%q is about %q, which is no figure", s, a.name)
			}
			if a.want != a.want {
				t.Errorf("%q wants what is no number", s)
			}
			if (a.op == "=" || a.op == "<=" || a.op == ">=") != a.holds(a.want) {
				t.Errorf("%q: %q does not mean what it says", s, a.op)
			}
			again, err := parseAssertions(a.text)
			if err != nil || len(again) != 1 || again[0] != a {
				t.Errorf("%q, read again: %v, %v", a.text, again, err)
			}
		}
	})
}

func TestJudge(t *testing.T) {
	x := &benchReport{figures: []figure{{"lost", 2}, {"e2e.p99", 0.01}}}
	wanted, err := parseAssertions("lost=0,e2e.p99<20ms,cpu.broker<1")
	if err != nil {
		t.Fatal(err)
	}
	x.judge(wanted)
	var held []bool
	for _, v := range x.verdicts {
		held = append(held, v.Holds)
	}
	if !slices.Equal(held, []bool{false, true, false}) {
		t.Errorf("%v; want that only the second holds: the third was not measured", held)
	}
}

func TestStatusOfABench(t *testing.T) {
	missed := []verdict{{Assertion: "lost=0"}}
	cases := map[string]struct {
		faults      load.Faults
		verdicts    []verdict
		interrupted bool
		b           bench
		want        int
	}{
		"all is well":                          {want: 0},
		"lost":                                 {faults: load.Faults{Lost: 1}, want: 4},
		"lost at QoS 0, which is allowed":      {faults: load.Faults{Lost: 1}, b: bench{reportFlags: reportFlags{allowLoss: true}}, want: 0},
		"lost at QoS 1, which cannot be":       {faults: load.Faults{Lost: 1}, b: bench{reportFlags: reportFlags{allowLoss: true}, qos: 1}, want: 4},
		"duplicated, with loss allowed":        {faults: load.Faults{Duplicated: 1}, b: bench{reportFlags: reportFlags{allowLoss: true}}, want: 4},
		"out of order":                         {faults: load.Faults{Disordered: 1}, want: 4},
		"stalled, and so lost":                 {faults: load.Faults{Lost: 1, Trouble: "stalled"}, want: 4},
		"a connection ended":                   {faults: load.Faults{Closed: 1, Trouble: "ended"}, want: 1},
		"an assertion":                         {verdicts: missed, want: 3},
		"an assertion and a loss":              {verdicts: missed, faults: load.Faults{Lost: 1}, want: 4},
		"interrupted":                          {interrupted: true, want: 130},
		"interrupted before it could hold":     {interrupted: true, verdicts: missed, want: 130},
		"interrupted after a loss":             {interrupted: true, faults: load.Faults{Lost: 1}, want: 4},
		"a connection ended, messages with it": {faults: load.Faults{Closed: 1, Lost: 3, Protocol: 2, Trouble: "ended"}, want: 1},
		"a connection ended after a duplicate": {faults: load.Faults{Closed: 1, Duplicated: 1, Trouble: "ended"}, want: 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x := &benchReport{faults: c.faults, verdicts: c.verdicts, interrupted: c.interrupted}
			got := 0
			if s, ok := errors.AsType[*status](x.status(&c.b)); ok {
				got = s.code
			}
			if got != c.want {
				t.Errorf("exit status %d, want %d", got, c.want)
			}
		})
	}
}

func TestParseRateAndSizes(t *testing.T) {
	for in, want := range map[string]float64{"": 0, "500": 500, "10k": 10_000, "50k/s": 50_000, "1.5M/s": 1_500_000} {
		if got, err := parseRate(in); err != nil || got != want {
			t.Errorf("parseRate(%q) = %g, %v; want %g", in, got, err, want)
		}
	}
	for _, in := range []string{"-1", "fast", "10k/m", "1e300", "k", "/s"} {
		if got, err := parseRate(in); err == nil {
			t.Errorf("parseRate(%q) = %g; want an error", in, got)
		}
	}
	got, err := parseSizes("64, 1k,16K,2m,100KiB,1kb")
	if want := []int{64, 1024, 16384, 2 << 20, 100 << 10, 1000}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, in := range []string{"", "23", "1g", "64,,64", "17m", "-64", "k"} {
		if got, err := parseSizes(in); err == nil {
			t.Errorf("parseSizes(%q) = %v; want an error", in, got)
		}
	}
}

func TestLiveLine(t *testing.T) {
	before := load.Snapshot{Phase: "measuring", Elapsed: time.Second, Connected: 20, Sent: 1000, Received: 900}
	now := load.Snapshot{Phase: "measuring", Elapsed: 3 * time.Second, Connected: 20, Sent: 5000, Received: 2900, Faults: load.Faults{Duplicated: 1}}
	if got, want := liveLine("pairs", before, now), "pairs: measuring 3 s, 20 connected, 2,000 sent/s, 1,000 received/s, 1 duplicated"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := liveLine("pairs", load.Snapshot{Phase: "connecting"}, before), "pairs: measuring 1 s, 20 connected"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheManualNamesEveryFigure(t *testing.T) {
	manual, err := os.ReadFile("../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range units() {
		if latency, q, ok := strings.Cut(name, "."); ok && slices.Contains(latencies(), latency) {
			if !strings.Contains(string(manual), "`"+latency+"`") || !strings.Contains(string(manual), "`"+q+"`") {
				t.Errorf("docs/bench.md does not name %s", name)
			}
			continue
		}
		if !strings.Contains(string(manual), "`"+name+"`") {
			t.Errorf("docs/bench.md does not name %s", name)
		}
	}
	for _, s := range benchScenarios() {
		if !strings.Contains(string(manual), "`"+s.name+"`") {
			t.Errorf("docs/bench.md does not name the scenario %s", s.name)
		}
	}
}

func TestJSONNestsFiguresAtTheirDots(t *testing.T) {
	x := &benchReport{scenario: "pairs", figures: []figure{{"lost", 0}, {"e2e.p99", 0.25}, {"e2e.max", 1}}}
	var b strings.Builder
	if err := x.writeJSON(&b, true); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Scenario string
		Lost     *float64
		E2E      struct{ P99, Max float64 }
		Warnings []string
	}
	if err := json.Unmarshal([]byte(b.String()), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Scenario != "pairs" || doc.Lost == nil || doc.E2E.P99 != 0.25 || doc.E2E.Max != 1 || doc.Warnings == nil {
		t.Errorf("%+v from %s", doc, b.String())
	}
}
