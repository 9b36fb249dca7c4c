package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

// report holds every measurement of one run of the command.
type report struct {
	when     time.Time
	machine  machine
	args     []string
	quick    bool
	rounds   int
	seconds  time.Duration
	brokers  []string // in the order of their turns
	versions []string // of each
	against  string
	floor    bool // is measured too
	loads    []*loadTable
	ladders  []*ladderTable
	durables []*durableTable
	disk     disk   // of the durable scenarios
	promise  string // Fantail's durability in them
	idles    []*idleTable
}

// loadTable is one scenario with the rounds of each broker.
type loadTable struct {
	scenario load.Scenario
	rows     map[string]*loadRow
}

type loadRow struct {
	results []*load.Result
	errs    []error
}

// idleTable is the idle scenario with or without subscriptions, or over a layer.
type idleTable struct {
	idle load.Idle
	over string // overWebSocket or overTLS; empty: plain TCP
	rows map[string]*idleRow
}

type idleRow struct {
	results []*load.IdleResult
	errs    []error
}

func newReport(ctx context.Context, o *options, args []string) *report {
	r := &report{
		when:    time.Now(),
		machine: thisMachine(),
		args:    args,
		quick:   o.quick,
		rounds:  o.rounds,
		seconds: o.seconds,
		against: o.against,
		floor:   o.floor != nil,
		promise: o.promise,
	}
	for _, k := range o.brokers {
		r.brokers = append(r.brokers, k.Name)
		r.versions = append(r.versions, k.VersionLine(ctx))
	}
	for _, sc := range o.scenarios {
		r.loads = append(r.loads, &loadTable{scenario: sc, rows: map[string]*loadRow{}})
	}
	for _, l := range o.ladders {
		r.ladders = append(r.ladders, newLadderTable(l))
	}
	for _, sc := range o.durables {
		r.durables = append(r.durables, &durableTable{scenario: sc, rows: map[string]*durableRow{}})
	}
	if len(o.durables) > 0 {
		r.disk = diskOf(o.data)
	}
	if o.idle > 0 {
		for _, subscribe := range []bool{false, true} {
			idle := load.Idle{Connections: o.idle, Subscribe: subscribe, Settle: idleSettle}
			r.idles = append(r.idles, &idleTable{idle: idle, rows: map[string]*idleRow{}})
		}
		for _, over := range layers(o.brokers) {
			idle := load.Idle{Connections: o.idle, Settle: idleSettle}
			r.idles = append(r.idles, &idleTable{idle: idle, over: over, rows: map[string]*idleRow{}})
		}
	}
	return r
}

func (t *loadTable) row(name string) *loadRow {
	if t.rows[name] == nil {
		t.rows[name] = &loadRow{}
	}
	return t.rows[name]
}

func (t *loadTable) add(name string, result *load.Result, err error) {
	row := t.row(name)
	if err != nil {
		row.errs = append(row.errs, err)
		return
	}
	row.results = append(row.results, result)
}

func (t *idleTable) row(name string) *idleRow {
	if t.rows[name] == nil {
		t.rows[name] = &idleRow{}
	}
	return t.rows[name]
}

func (t *idleTable) add(name string, result *load.IdleResult, err error) {
	row := t.row(name)
	if err != nil {
		row.errs = append(row.errs, err)
		return
	}
	row.results = append(row.results, result)
}

func (t *idleTable) name() string {
	switch {
	case t.over != "":
		return "idle, over " + t.over
	case t.idle.Subscribe:
		return "idle, subscribed"
	default:
		return "idle"
	}
}

// exitCode is what the shell hears: a broker's faults before a run's.
func (r *report) exitCode() int {
	code := 0
	for _, t := range r.traffic() {
		for _, row := range t.rows {
			if row.faulty() {
				return exitFaulty
			}
			if len(row.errs) > 0 {
				code = exitFailed
			}
		}
	}
	for _, t := range r.durables {
		for _, row := range t.rows {
			if row.faulty() {
				return exitFaulty
			}
			if len(row.errs) > 0 {
				code = exitFailed
			}
		}
	}
	for _, t := range r.idles {
		for _, row := range t.rows {
			if row.closed() > 0 || len(row.errs) > 0 {
				code = exitFailed
			}
		}
	}
	return code
}

func (row *loadRow) faulty() bool {
	for _, res := range row.results {
		if res.Faults.Any() {
			return true
		}
	}
	return false
}

func (row *idleRow) closed() int {
	n := 0
	for _, res := range row.results {
		n += res.Closed
	}
	return n
}

// fileName is DATE-machine, with -quick if it was.
func (r *report) fileName() string {
	name := r.when.Format(time.DateOnly) + "-" + r.machine.slug()
	if r.quick {
		name += "-quick"
	}
	return name
}

// keep writes text as name.md, or name-2.md and so on: it never replaces the
// figures of an earlier run.
func keep(dir, name, text string) (string, error) {
	if dir == "" {
		return "no file", nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("keep the table: %w", err)
	}
	path := filepath.Join(dir, name+".md")
	for n := 2; ; n++ {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			path = filepath.Join(dir, fmt.Sprintf("%s-%d.md", name, n))
			continue
		}
		if err != nil {
			return "", fmt.Errorf("keep the table: %w", err)
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("keep the table: %w", err)
		}
		return path, nil
	}
}

// commandLine is how to repeat the run.
func (r *report) commandLine() string {
	words := make([]string, 0, 1+len(r.args))
	words = append(words, "go run ./bench/compare")
	for _, a := range r.args {
		if a == "" || strings.ContainsAny(a, " {}'\"$*") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
