package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

const mib = 1 << 20

// column is one figure of a durable scenario.
type column struct {
	head   string
	of     func(*durableResult) float64
	spread bool // with the least and the greatest of the rounds
	ratio  bool // followed by what it is in terms of the yardstick's
}

// writeDurables is the section about sessions whose clients are away.
func (r *report) writeDurables(b *strings.Builder) {
	if len(r.durables) == 0 {
		return
	}
	b.WriteString("## Durable sessions\n\n")
	fmt.Fprintf(b, "Sessions whose clients are away. Data on %v; fantail with `--durability %s`, mosquitto with persistence, which it writes at its end.\n\n",
		r.disk, r.promise)
	for _, t := range r.durables {
		for _, name := range t.scenario.Pattern.Names() {
			r.writeDurable(b, t, name)
		}
	}
}

func (r *report) writeDurable(b *strings.Builder, t *durableTable, name string) {
	columns := columnsOf(name)
	heads := []string{"broker"}
	for _, c := range columns {
		heads = append(heads, c.head)
		if c.spread {
			heads[len(heads)-1] += " (min–max)"
		}
		if c.ratio {
			heads = append(heads, "÷ "+r.against)
		}
	}
	heads = append(heads, "others' CPU", "faults")
	fmt.Fprintf(b, "### %s: %v\n\n", name, t.scenario)
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, who := range r.brokers {
		row := t.row(who)
		cells := make([]string, 0, len(heads))
		cells = append(cells, who)
		for _, c := range columns {
			cells = append(cells, c.cells(row, t.row(r.against))...)
		}
		cells = append(cells, r.durableNoise(row, name), row.trouble())
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteString("\n")
}

func (c column) cells(row, base *durableRow) []string {
	mine := each(row.results, c.of)
	cells := []string{number(median(mine))}
	if c.spread {
		cells[0] = spread(mine)
	}
	if c.ratio {
		cells = append(cells, quotient(median(mine), median(each(base.results, c.of))))
	}
	return cells
}

// columnsOf are the figures that the table of that name shows.
func columnsOf(name string) []column {
	switch name {
	case "offline-queue":
		return append(stageColumns("queued", queued), growth("RSS growth, MiB per million"))
	case "offline-drain":
		return stageColumns("drained", drained)
	case "fanout-offline":
		return []column{
			{head: "p50 ms", of: quantile(0.5, time.Millisecond), spread: true, ratio: true},
			{head: "slowest ms", of: quantile(1, time.Millisecond)},
			{head: "CPU ms per message", of: func(x *durableResult) float64 { return 1000 * x.Queue.CPUPerMillion() / 1e6 }},
		}
	case "one-in-flight":
		return []column{
			{head: "messages", of: func(x *durableResult) float64 { return float64(x.Queue.Messages) }},
			{head: "p50 µs", of: quantile(0.5, time.Microsecond), spread: true},
			{head: "p99 µs", of: quantile(0.99, time.Microsecond), spread: true},
			{head: "fdatasync p50 µs", of: bare(0.5)},
			{head: "fdatasync p99 µs", of: bare(0.99)},
			{head: "p50 ÷ fdatasync", of: overBare(0.5), spread: true},
			{head: "p99 ÷ fdatasync", of: overBare(0.99)},
		}
	default: // queue-memory
		return []column{
			{head: "queued", of: func(x *durableResult) float64 { return float64(x.Queue.Messages) }},
			{head: "queued/s", of: func(x *durableResult) float64 { return perSecond(x.Queue.Messages, x.Queue.Elapsed) }},
			{head: "RSS before MiB", of: func(x *durableResult) float64 { return float64(x.Empty) / mib }},
			{head: "RSS after MiB", of: func(x *durableResult) float64 { return float64(x.Full) / mib }},
			{head: "RSS peak MiB", of: func(x *durableResult) float64 { return float64(x.Peak) / mib }},
			growth("growth, MiB per million"),
		}
	}
}

func queued(x *durableResult) *load.Stage  { return &x.Queue }
func drained(x *durableResult) *load.Stage { return &x.Drain }

// stageColumns are the figures of throughput, for what is done to messages.
func stageColumns(done string, stage func(*durableResult) *load.Stage) []column {
	return []column{
		{head: done, of: func(x *durableResult) float64 { return float64(stage(x).Messages) }},
		{head: done + "/s", of: func(x *durableResult) float64 { return perSecond(stage(x).Messages, stage(x).Elapsed) }, spread: true, ratio: true},
		{head: "CPU s/M", of: func(x *durableResult) float64 { return stage(x).CPUPerMillion() }, spread: true, ratio: true},
		{head: "generator CPU s/M", of: func(x *durableResult) float64 { return stage(x).OwnPerMillion() }},
	}
}

func growth(head string) column {
	return column{head: head, of: func(x *durableResult) float64 { return x.GrowthPerMillion() / mib }, spread: true, ratio: true}
}

func quantile(q float64, unit time.Duration) func(*durableResult) float64 {
	return func(x *durableResult) float64 { return float64(x.Latency.Quantile(q)) / float64(unit) }
}

func bare(q float64) func(*durableResult) float64 {
	return func(x *durableResult) float64 { return float64(x.Bare.Quantile(q)) / float64(time.Microsecond) }
}

func overBare(q float64) func(*durableResult) float64 {
	return func(x *durableResult) float64 {
		b := x.Bare.Quantile(q)
		if b == 0 {
			return 0
		}
		return float64(x.Latency.Quantile(q)) / float64(b)
	}
}

// durableNoise is the share of the machine that neither broker nor generator
// used in the part that the table is about.
func (r *report) durableNoise(row *durableRow, name string) string {
	if len(row.results) == 0 {
		return none
	}
	stage := queued
	if name == "offline-drain" {
		stage = drained
	}
	share := median(each(row.results, func(x *durableResult) float64 {
		s := stage(x)
		if s.Span <= 0 {
			return 0
		}
		return s.OtherCPU.Seconds() / s.Span.Seconds() / float64(r.machine.cores)
	}))
	return fmt.Sprintf("%.0f %%", 100*share)
}

// trouble tells every fault of every round.
func (row *durableRow) trouble() string {
	var parts []string
	for _, res := range row.results {
		if res.Faults.Any() {
			parts = append(parts, "**"+res.Faults.String()+"**")
		}
	}
	for _, err := range row.errs {
		parts = append(parts, "**not measured: "+oneLine(err)+"**")
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, "; ")
}
