package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

const none = "–" // no figure

// markdown is the report as a page: where and how, the ratios, then a table for
// each scenario.
func (r *report) markdown() string {
	var b strings.Builder
	r.writeHead(&b)
	if len(r.loads) > 0 {
		r.writeSummary(&b)
	}
	for _, t := range r.loads {
		r.writeLoad(&b, t)
	}
	r.writeLadders(&b)
	r.writeDurables(&b)
	for _, t := range r.idles {
		r.writeIdle(&b, t)
	}
	return b.String()
}

func (r *report) writeHead(b *strings.Builder) {
	fmt.Fprintf(b, "# Brokers compared, %s\n\n", r.when.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(b, "- command: `%s`\n", r.commandLine())
	fmt.Fprintf(b, "- machine: %v; load average at the start %s\n", r.machine, r.machine.load)
	length := ""
	if len(r.loads)+len(r.ladders) > 0 {
		length = fmt.Sprintf(" × %v after %v of warm-up", r.seconds, warmUp)
	}
	fmt.Fprintf(b, "- rounds: %d%s, of which the tables show medians; brokers in turns, a fresh process each time\n", r.rounds, length)
	for i, name := range r.brokers {
		fmt.Fprintf(b, "- %s: %s\n", name, r.versions[i])
	}
	if r.floor {
		fmt.Fprintf(b, "- %s: %s\n", floorName, floorIs)
	}
	b.WriteString("\nThe columns are explained in bench/README.md.\n\n")
}

// writeSummary is the table one looks at first.
func (r *report) writeSummary(b *strings.Builder) {
	b.WriteString("## Broker CPU seconds per million deliveries\n\n")
	heads := slices.Concat([]string{"scenario"}, r.columns(), r.heads(), []string{"faults"})
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, t := range r.loads {
		cells := make([]string, 0, len(heads))
		cells = append(cells, t.scenario.Name())
		for _, name := range r.columns() {
			cells = append(cells, number(t.row(name).median((*load.Result).CPUPerMillion)))
		}
		cells = append(cells, r.ratios(t)...)
		cells = append(cells, r.whoFailed(t))
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteString("\n")
}

func (r *report) others() []string {
	return slices.DeleteFunc(slices.Clone(r.brokers), func(s string) bool { return s == r.against })
}

// ratio is the CPU per message of a broker in terms of another's.
func (t *loadTable) ratio(name, to string) string {
	return quotient(t.row(name).median((*load.Result).CPUPerMillion), t.row(to).median((*load.Result).CPUPerMillion))
}

func (r *report) whoFailed(t *loadTable) string {
	var who []string
	for _, name := range r.columns() {
		if row := t.row(name); row.faulty() || len(row.errs) > 0 {
			who = append(who, name)
		}
	}
	if len(who) == 0 {
		return "none"
	}
	return "**" + strings.Join(who, ", ") + "**"
}

func (r *report) writeLoad(b *strings.Builder, t *loadTable) {
	fmt.Fprintf(b, "## %s: %v\n\n", t.scenario.Name(), t.scenario)
	fmt.Fprintf(b, "| broker | sent/s | delivered/s | CPU s/M (min–max) | ÷ %s | p50 µs | p99 µs | p99.9 µs | RSS MiB | generator CPU s/M | others' CPU | faults |\n", r.against)
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range r.columns() {
		row := t.row(name)
		if len(row.results)+len(row.errs) == 0 {
			continue // the floor cannot do it
		}
		cells := []string{
			name,
			number(row.median(func(x *load.Result) float64 { return perSecond(x.Sent, x.Window) })),
			number(row.median(func(x *load.Result) float64 { return perSecond(x.Received, x.Window) })),
			row.spread((*load.Result).CPUPerMillion),
			t.ratio(name, r.against),
			number(row.quantile(0.5)),
			number(row.quantile(0.99)),
			number(row.quantile(0.999)),
			number(row.median(func(x *load.Result) float64 { return float64(x.RSS) / (1 << 20) })),
			number(row.median((*load.Result).OwnPerMillion)),
			percent(r.noise(row)),
			row.trouble(),
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteString("\n")
}

// noise is the share of the machine that neither broker nor generator used.
func (r *report) noise(row *loadRow) float64 {
	return row.median(func(x *load.Result) float64 {
		if x.Window <= 0 {
			return 0
		}
		return x.OtherCPU.Seconds() / x.Window.Seconds() / float64(r.machine.cores)
	})
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// trouble tells every fault of every round.
func (row *loadRow) trouble() string {
	var parts []string
	for _, res := range row.results {
		if res.Faults.Any() {
			parts = append(parts, "**"+res.Faults.String()+"**")
		}
		if res.Behind > 0 {
			parts = append(parts, fmt.Sprintf("could not hold the rate: %d messages behind", res.Behind))
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

func oneLine(err error) string {
	return strings.NewReplacer("\n", "; ", "|", "/").Replace(err.Error())
}

func (r *report) writeIdle(b *strings.Builder, t *idleTable) {
	what := "no subscription"
	if t.idle.Subscribe {
		what = "one subscription each"
	}
	fmt.Fprintf(b, "## %s: %d connections, %s\n\n", t.name(), t.idle.Connections, what)
	fmt.Fprintf(b, "| broker | B per connection (min–max) | ÷ %s | CPU ms per 1,000 connects | ÷ %s | connects/s | RSS empty MiB | RSS full MiB | faults |\n", r.against, r.against)
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	base := t.row(r.against)
	for _, name := range r.brokers {
		row := t.row(name)
		if len(row.results)+len(row.errs) == 0 {
			continue // it is not measured over this layer
		}
		cells := []string{
			name,
			row.spread((*load.IdleResult).PerConnection),
			quotient(row.median((*load.IdleResult).PerConnection), base.median((*load.IdleResult).PerConnection)),
			number(1000 * row.median((*load.IdleResult).PerThousand)),
			quotient(row.median((*load.IdleResult).PerThousand), base.median((*load.IdleResult).PerThousand)),
			number(row.median(func(x *load.IdleResult) float64 { return perSecond(uint64(x.Connections), x.Elapsed) })),
			number(row.median(func(x *load.IdleResult) float64 { return float64(x.Empty) / (1 << 20) })),
			number(row.median(func(x *load.IdleResult) float64 { return float64(x.Full) / (1 << 20) })),
			row.trouble(),
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteString("\n")
}

func (row *idleRow) trouble() string {
	var parts []string
	if n := row.closed(); n > 0 {
		parts = append(parts, fmt.Sprintf("**%d connections closed**", n))
	}
	for _, err := range row.errs {
		parts = append(parts, "**not measured: "+oneLine(err)+"**")
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, "; ")
}

func (row *loadRow) median(of func(*load.Result) float64) float64 {
	return median(each(row.results, of))
}

func (row *idleRow) median(of func(*load.IdleResult) float64) float64 {
	return median(each(row.results, of))
}

func (row *loadRow) spread(of func(*load.Result) float64) string {
	return spread(each(row.results, of))
}

func (row *idleRow) spread(of func(*load.IdleResult) float64) string {
	return spread(each(row.results, of))
}

func (row *loadRow) quantile(q float64) float64 {
	return row.median(func(x *load.Result) float64 {
		return float64(x.Latency.Quantile(q)) / float64(time.Microsecond)
	})
}

func each[T any](results []*T, of func(*T) float64) []float64 {
	list := make([]float64, len(results))
	for i, x := range results {
		list[i] = of(x)
	}
	return list
}

// median is 0 for an empty list.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// spread is the median, with the least and the greatest if there are several.
func spread(list []float64) string {
	if len(list) < 2 {
		return number(median(list))
	}
	return fmt.Sprintf("%s (%s–%s)", number(median(list)), number(slices.Min(list)), number(slices.Max(list)))
}

func quotient(mine, theirs float64) string {
	if mine == 0 || theirs == 0 {
		return none
	}
	return fmt.Sprintf("%.3f", mine/theirs)
}

// number has about three digits that mean something.
func number(x float64) string {
	switch {
	case x == 0:
		return none
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}
