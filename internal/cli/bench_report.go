package cli

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

// benchReport is what a bench has measured, ready to be told.
type benchReport struct {
	what        string
	faults      load.Faults
	interrupted bool
	figures     []figure
	warnings    []string
	verdicts    []verdict

	scenario, broker, protocol string
	ended                      time.Time
}

func newReport(what string, f load.Faults, interrupted bool) *benchReport {
	return &benchReport{what: what, faults: f, interrupted: interrupted, ended: time.Now()}
}

// describe adds what does not come from the run.
func (x *benchReport) describe(b *bench, p *plan) {
	x.scenario, x.broker, x.protocol = b.scenario, p.address, p.options.Version.String()
	if b.pid > 0 && !b.seesBroker() {
		x.warn("--pid: CPU and memory of the broker are read in /proc, which only Linux has; they were not measured")
	}
}

// faulty says whether messages went wrong in a way that counts. What is
// missing where a connection ended went with it.
func (x *benchReport) faulty(b *bench) bool {
	f := x.faults
	if f.Closed > 0 {
		f.Lost, f.Protocol = 0, 0
	}
	if b.allowLoss && b.qos == 0 && b.scenario != "offline" {
		f.Lost = 0
	}
	return f.Lost+f.Duplicated+f.Disordered+f.Damaged+f.Protocol+f.Refused > 0
}

// status is the exit status. The gravest comes first; an interrupt comes before
// assertions, which then speak of less than was asked for.
func (x *benchReport) status(b *bench) error {
	switch {
	case x.faulty(b):
		return &status{exitFaulty, fmt.Errorf("faults: %v", x.faults)}
	case x.faults.Closed > 0, x.faults.Trouble != "" && x.faults.Lost == 0:
		return &status{exitFailed, fmt.Errorf("%v", x.faults)}
	case x.interrupted:
		return &status{code: exitInterrupted}
	}
	var missed []string
	for _, v := range x.verdicts {
		if !v.Holds {
			missed = append(missed, v.Assertion)
		}
	}
	if len(missed) > 0 {
		return &status{exitAssertion, fmt.Errorf("does not hold: %s", strings.Join(missed, ", "))}
	}
	return nil
}

// publish writes the report where it is wanted. Standard output is for one form
// of it; the table makes way for the others.
func (x *benchReport) publish(e *env, b *bench) error {
	table := e.stdout
	if b.json == "-" || b.csv == "-" {
		table = e.stderr
	}
	err := x.writeTable(table)
	if b.json != "" {
		err = errors.Join(err, toFile(e, b.json, os.O_TRUNC, x.writeJSON))
	}
	if b.csv != "" {
		err = errors.Join(err, toFile(e, b.csv, os.O_APPEND, x.writeCSV))
	}
	return err
}

// toFile calls write with the file of a flag. It is told whether it is empty.
func toFile(e *env, name string, mode int, write func(w io.Writer, empty bool) error) (err error) {
	if name == "-" {
		return write(e.stdout, true)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|mode, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return write(f, info.Size() == 0)
}

// benchJSON is the frame of what --json writes; the figures stand beside it.
func (x *benchReport) writeJSON(w io.Writer, _ bool) error {
	doc := map[string]any{
		"scenario": x.scenario, "what": x.what, "broker": x.broker, "protocol": x.protocol, "fantail": version(),
		"ended": x.ended.UTC().Format(time.RFC3339Nano), "interrupted": x.interrupted, "trouble": x.faults.Trouble,
		"warnings": append([]string{}, x.warnings...), "assertions": append([]verdict{}, x.verdicts...),
	}
	for _, f := range x.figures {
		group, key, ok := strings.Cut(f.name, ".")
		if !ok {
			doc[f.name] = f.value
			continue
		}
		if doc[group] == nil {
			doc[group] = map[string]any{}
		}
		doc[group].(map[string]any)[key] = f.value
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(doc)
}

// writeCSV writes a line with every figure of this kind of scenario, under its
// header where there is none yet.
func (x *benchReport) writeCSV(w io.Writer, empty bool) error {
	columns := csvColumns()
	head := append(make([]string, 0, 5+len(columns)), "ended", "scenario", "broker", "protocol", "interrupted")
	line := append(make([]string, 0, 5+len(columns)), x.ended.UTC().Format(time.RFC3339), x.scenario, x.broker, x.protocol, strconv.FormatBool(x.interrupted))
	for _, name := range columns {
		head = append(head, name)
		cell := ""
		if v, ok := x.find(name); ok {
			cell = strconv.FormatFloat(v, 'g', -1, 64)
		}
		line = append(line, cell)
	}
	out := csv.NewWriter(w)
	if empty {
		if err := out.Write(head); err != nil {
			return err
		}
	}
	if err := out.Write(line); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// writeTable is for people.
func (x *benchReport) writeTable(to io.Writer) error {
	w := &strings.Builder{}
	fmt.Fprintf(w, "%s  %s\n%s, MQTT %s\n", x.scenario, x.what, x.broker, x.protocol)
	if x.interrupted {
		fmt.Fprintf(w, "interrupted: this is what there is until then\n")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t)
	for _, row := range tableRows() {
		x.row(t, row.head, row.names...)
	}
	x.writeLatencies(t)
	if err := t.Flush(); err != nil {
		return err
	}
	for _, text := range x.warnings {
		fmt.Fprintf(w, "\nNote: %s.\n", text)
	}
	if x.faults.Trouble != "" {
		fmt.Fprintf(w, "\nTrouble: %s.\n", x.faults.Trouble)
	}
	for _, v := range x.verdicts {
		fmt.Fprintf(w, "\n%s  %s\n", map[bool]string{true: "holds", false: "FAILS"}[v.Holds], v.told())
	}
	_, err := io.WriteString(to, w.String())
	return err
}

func (v verdict) told() string {
	if v.Value == nil {
		return v.Assertion + " (it was not measured)"
	}
	if v.unit == inSeconds {
		return fmt.Sprintf("%s (%s)", v.Assertion, tell(time.Duration(*v.Value*1e9)))
	}
	return fmt.Sprintf("%s (%.6g)", v.Assertion, *v.Value)
}

type tableRow struct {
	head  string
	names []string
}

func tableRows() []tableRow {
	return []tableRow{
		{"clients", []string{"clients", "rate.connected"}},
		{"sent", []string{"sent", "rate.sent", "bytes.sent"}},
		{"acknowledged", []string{"acked", "rate.acked"}},
		{"set", []string{"set", "rate.set", "cpu.broker_set_per_million"}},
		{"fetched", []string{"fetched", "rate.fetched", "cpu.broker_fetched_per_million"}},
		{"queued", []string{"queued", "rate.queued", "cpu.broker_queued_per_million"}},
		{"drained", []string{"drained", "rate.drained", "cpu.broker_drained_per_million"}},
		{"received", []string{"received", "rate.received", "bytes.received"}},
		{"came and went", []string{"churned", "rate.churned"}},
		{"lost", []string{"lost"}},
		{"duplicated", []string{"duplicated"}},
		{"out of order", []string{"disordered"}},
		{"damaged", []string{"damaged"}},
		{"against the protocol", []string{"protocol"}},
		{"refused", []string{"refused"}},
		{"connections lost", []string{"closed"}},
		{"stalled", []string{"stalled.clients", "stalled.connected", "stalled.closed"}},
		{"broker CPU", []string{"cpu.broker", "cpu.broker_per_million", "cpu.broker_per_kconn"}},
		{"generator CPU", []string{"cpu.generator", "cpu.generator_per_million"}},
		{"broker memory", []string{"memory.before", "memory.after", "memory.peak", "memory.per_client"}},
	}
}

// always are the faults that a table shows also where there are none.
func always(name string) bool { return name == "lost" || name == "duplicated" || name == "disordered" }

// row writes the figures of a line that were measured.
func (x *benchReport) row(w io.Writer, head string, names ...string) {
	var cells []string
	known := units()
	for i, name := range names {
		v, ok := x.find(name)
		if !ok {
			continue
		}
		if i == 0 && v == 0 && !always(name) && known[name] == inNumbers {
			return
		}
		cells = append(cells, toldAs(name, v, known[name]))
	}
	if len(cells) > 0 {
		fmt.Fprintf(w, "%s\t%s\n", head, strings.Join(cells, ", "))
	}
}

// toldAs is a figure with its unit, and what it is if that is not the head of
// its line.
func toldAs(name string, v float64, u unit) string {
	_, key, _ := strings.Cut(name, ".")
	switch {
	case strings.HasSuffix(name, "_per_million"):
		return fmt.Sprintf("%.3g s per million", v)
	case strings.HasSuffix(name, "_per_kconn"):
		return fmt.Sprintf("%.3g s per 1,000 connects", v)
	case name == "memory.per_client":
		return fmt.Sprintf("%.0f B per connection", v)
	case name == "stalled.connected" || name == "stalled.closed":
		return count(int64(v+0.5)) + " " + key
	case u == inRate:
		return count(int64(v+0.5)) + "/s"
	case strings.HasPrefix(name, "memory."):
		return inUnits(int64(v)) + " " + key
	case u == inBytes:
		return inUnits(int64(v))
	case u == inSeconds:
		return fmt.Sprintf("%.2f s", v)
	default:
		return count(int64(v + 0.5))
	}
}

// writeLatencies writes a table of their quantiles.
func (x *benchReport) writeLatencies(w io.Writer) {
	heads := map[string]string{
		"connect": "connect", "ack": "acknowledgement", "e2e": "end to end", "all": "all of them", "cycle": "visit",
	}
	first := true
	for _, name := range latencies() {
		if _, ok := x.find(name + ".count"); !ok {
			continue
		}
		if first {
			fmt.Fprint(w, "\nlatency")
			for _, q := range quantiles() {
				fmt.Fprintf(w, "\t%s", strings.Replace(q.name, "p999", "p99.9", 1))
			}
			fmt.Fprintln(w)
			first = false
		}
		fmt.Fprint(w, heads[name])
		for _, q := range quantiles() {
			v, _ := x.find(name + "." + q.name)
			fmt.Fprintf(w, "\t%s", tell(time.Duration(v*1e9)))
		}
		fmt.Fprintln(w)
	}
}

// tell is a duration with three digits.
func tell(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.*f µs", digits(float64(d)/1e3), float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.*f ms", digits(float64(d)/1e6), float64(d)/1e6)
	default:
		return fmt.Sprintf("%.*f s", digits(d.Seconds()), d.Seconds())
	}
}

// csvColumns are all figures, so that lines of different scenarios fit under
// one header.
func csvColumns() []string { return sortedNames(units()) }
