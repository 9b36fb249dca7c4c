package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

// ladder is one pattern of traffic in several sizes, each ten times the one
// before: what does a message cost when there is more of everything else?
type ladder struct {
	name  string
	what  string // that grows
	why   string // it is measured, and what stays the same
	steps []step
}

type step struct {
	size     int
	scenario load.Scenario
}

const (
	ladderWindow = 16   // of each publisher, so that the same number of messages comes at once whatever the size
	wildClients  = 1000 // with the most filters, each has as many with wildcards as Fantail allows by default
)

// planLadders lists what grows: the connections, closed and open loop, and the
// filters.
func planLadders(rate float64, tick time.Duration, payload int) ([]ladder, error) {
	pairs := func(n int) load.Scenario {
		return load.Scenario{Shape: load.Pairs, Publishers: n / 2, Subscribers: n / 2, Window: ladderWindow}
	}
	all := []ladder{{
		name: "grow-connections-closed", what: "connections", steps: steps(10, 10_000, pairs),
		why: fmt.Sprintf("Pairs, closed loop, window %d: a publisher sends %d messages at once, however many publishers there are", ladderWindow, ladderWindow/2),
	}}
	if rate > 0 {
		all = append(all, ladder{
			name: "grow-connections-" + strconv.FormatFloat(rate, 'f', -1, 64), what: "connections",
			why: fmt.Sprintf("Pairs, open loop, %g deliveries/s in ticks of %v, however many publishers they come from: each message is read and written by itself", rate, tick),
			steps: steps(10, 10_000, func(n int) load.Scenario {
				sc := pairs(n)
				sc.Rate, sc.Tick = rate, tick
				return sc
			}),
		})
	}
	all = append(all, ladder{
		name: "grow-filters-closed", what: "filters",
		why: fmt.Sprintf("%d → %d, closed loop, window %d. The filters, divided among the subscribers, all have wildcards; the messages go to one after the other", wildClients, wildClients, ladderWindow),
		steps: steps(1000, 1_000_000, func(n int) load.Scenario {
			return load.Scenario{Shape: load.Wild, Publishers: wildClients, Subscribers: wildClients, Window: ladderWindow, Filters: n}
		}),
	})
	for _, l := range all {
		for i := range l.steps {
			sc := &l.steps[i].scenario
			sc.Sizes = []int{payload}
			if err := sc.Validate(); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// steps are the sizes from first to last.
func steps(first, last int, of func(int) load.Scenario) []step {
	var list []step
	for n := first; n <= last; n *= 10 {
		list = append(list, step{n, of(n)})
	}
	return list
}

func ladderNames(all []ladder) string {
	list := make([]string, len(all))
	for i, l := range all {
		list[i] = l.name
	}
	return strings.Join(list, ", ")
}

// ladderTable is a ladder with what was measured at each step.
type ladderTable struct {
	ladder

	loads []*loadTable // of each step
}

func newLadderTable(l ladder) *ladderTable {
	t := &ladderTable{ladder: l}
	for _, s := range l.steps {
		t.loads = append(t.loads, &loadTable{scenario: s.scenario, rows: map[string]*loadRow{}})
	}
	return t
}

// traffic is every table of traffic, those of the ladders included.
func (r *report) traffic() []*loadTable {
	all := slices.Clip(r.loads)
	for _, t := range r.ladders {
		all = append(all, t.loads...)
	}
	return all
}

// measureLadders does one round of all steps.
func measureLadders(ctx context.Context, o *options, r *report, round int, progress io.Writer) error {
	for _, t := range r.ladders {
		for i, s := range t.steps {
			if err := measureTurns(ctx, o, t.loads[i], fmt.Sprintf("%s %d", t.name, s.size), round, progress); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeLadders is a table for each ladder, with what each step costs in terms
// of the one below.
func (r *report) writeLadders(b *strings.Builder) {
	for _, t := range r.ladders {
		fmt.Fprintf(b, "## %s: CPU seconds per million deliveries\n\n%s.\n\n", t.name, t.why)
		heads := make([]string, 0, 2*len(r.columns())+3)
		heads = append(heads, t.what)
		for _, name := range r.columns() {
			heads = append(heads, name+" (min–max)", "step")
		}
		heads = append(heads, "others' CPU", "faults")
		fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
		for i := range t.steps {
			fmt.Fprintf(b, "| %s |\n", strings.Join(r.ladderCells(t, i), " | "))
		}
		b.WriteString("\n")
	}
}

func (r *report) ladderCells(t *ladderTable, i int) []string {
	cells := []string{strconv.Itoa(t.steps[i].size)}
	var faults []string
	noise := 0.0
	for _, name := range r.columns() {
		row := t.loads[i].row(name)
		before := 0.0
		if i > 0 {
			before = t.loads[i-1].row(name).median((*load.Result).CPUPerMillion)
		}
		cells = append(cells, row.spread((*load.Result).CPUPerMillion), quotient(row.median((*load.Result).CPUPerMillion), before))
		noise = max(noise, r.noise(row))
		if trouble := row.trouble(); trouble != "none" {
			faults = append(faults, name+": "+trouble)
		}
	}
	if len(faults) == 0 {
		faults = []string{"none"}
	}
	return append(cells, percent(noise), strings.Join(faults, "; "))
}
