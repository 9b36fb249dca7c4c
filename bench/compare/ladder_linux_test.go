package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

func TestLaddersOnlyIfNamed(t *testing.T) {
	cases := map[string]struct {
		args []string
		want string
	}{
		"nothing named": {nil, ""},
		"all of them":   {[]string{"-only", "grow"}, "grow-connections-closed, grow-connections-10000, grow-filters-closed"},
		"no open loop":  {[]string{"-only", "grow", "-rate", "0"}, "grow-connections-closed, grow-filters-closed"},
		"one":           {[]string{"-only", "pairs,grow-filters"}, "grow-filters-closed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o, err := parse(c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if got := ladderNames(o.ladders); got != c.want {
				t.Errorf("ladders %q, want %q", got, c.want)
			}
		})
	}
}

func TestEachStepIsTenTimesTheOneBelow(t *testing.T) {
	all, err := planLadders(10_000, 200*time.Microsecond, 128)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int{"connections": {10, 100, 1000, 10_000}, "filters": {1000, 10_000, 100_000, 1_000_000}}
	for _, l := range all {
		var sizes []int
		for _, s := range l.steps {
			sizes = append(sizes, s.size)
			if got := s.scenario.Publishers + s.scenario.Subscribers; l.what == "connections" && got != s.size {
				t.Errorf("%s: %d connections on the step of %d", l.name, got, s.size)
			}
			if l.what == "filters" && s.scenario.Filters != s.size {
				t.Errorf("%s: %d filters on the step of %d", l.name, s.scenario.Filters, s.size)
			}
		}
		if !slices.Equal(sizes, want[l.what]) {
			t.Errorf("%s: steps %v", l.name, sizes)
		}
	}
}

func spent(cpu time.Duration) *load.Result {
	return &load.Result{Window: time.Second, Sent: 100_000, Received: 100_000, BrokerCPU: cpu, OtherCPU: 100 * time.Millisecond}
}

func TestALadderShowsWhatAStepCosts(t *testing.T) {
	r := example()
	l := newLadderTable(ladder{name: "grow-x", what: "filters", why: "Why", steps: []step{{size: 10}, {size: 100}}})
	l.loads[0].add("mosquitto", spent(time.Second), nil)
	l.loads[0].add("fantail", spent(100*time.Millisecond), nil)
	l.loads[1].add("mosquitto", spent(2*time.Second), nil)
	lost := spent(300 * time.Millisecond)
	lost.Faults.Lost = 7
	l.loads[1].add("fantail", lost, nil)
	r.ladders = []*ladderTable{l}
	want := `## grow-x: CPU seconds per million deliveries

Why.

| filters | mosquitto (min–max) | step | fantail (min–max) | step | others' CPU | faults |
|---|---|---|---|---|---|---|
| 10 | 10.0 | – | 1.00 | – | 5 % | none |
| 100 | 20.0 | 2.000 | 3.00 | 3.000 | 5 % | fantail: **7 lost** |
`
	if text := r.markdown(); !strings.Contains(text, want) {
		t.Errorf("missing: %s\n%s", want, text)
	}
	if got := r.exitCode(); got != exitFaulty {
		t.Errorf("exit code %d with a loss on a step, want %d", got, exitFaulty)
	}
}

func TestTheFloorStandsBesideTheBrokers(t *testing.T) {
	r := example()
	r.floor = true
	r.loads[0].add(floorName, spent(250*time.Millisecond), nil)
	text := r.markdown()
	for _, want := range []string{
		"- floor: no broker: ",
		"| scenario | mosquitto | fantail | floor | fantail ÷ mosquitto | fantail ÷ floor | faults |\n|---|---|---|---|---|---|---|\n",
		"| pairs-q0-closed | 10.0 | 5.00 | 2.50 | 0.500 | 2.000 | **fantail** |\n",
		"| floor | 100000 | 100000 | 2.50 | 0.250 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	r.loads[0].rows[floorName] = nil
	text = r.markdown()
	if want := "| pairs-q0-closed | 10.0 | 5.00 | – | 0.500 | – | **fantail** |\n"; !strings.Contains(text, want) {
		t.Errorf("where the floor was not measured, missing: %s", want)
	}
	if strings.Contains(text, "| floor | – ") {
		t.Error("the scenario's table has a row of nothing")
	}
}

func TestTheFloorIsLeftOutWhereItCannotFollow(t *testing.T) {
	o, err := parse("-floor", "/bin/sh", "-only", "pairs,share,wild,fanin")
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range o.scenarios {
		var names []string
		for _, k := range o.under(sc) {
			names = append(names, k.Name)
		}
		want := []string{"mosquitto", "fantail", "floor"}
		if sc.QoS == 2 || sc.Shape == load.Share || sc.Shape == load.Wild {
			want = want[:2]
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: %q, want %q", sc.Name(), names, want)
		}
	}
	if len(o.brokers) != 2 {
		t.Errorf("%d brokers in what is not traffic, want 2", len(o.brokers))
	}
}
