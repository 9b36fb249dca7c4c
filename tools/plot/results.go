package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// results is one file of bench/results.
type results struct {
	name    string // of the file
	when    string // 2026-11-21 17:39 UTC, which sorts as text
	machine string
	tables  []table
}

// table is one of its tables, below its heading.
type table struct {
	title string
	head  []string
	rows  [][]string
}

const (
	overview = "Broker CPU seconds per million deliveries"
	growing  = "grow-"
	fewest   = 10 // scenarios that are worth a picture
)

func readAll(dir string) ([]*results, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return nil, err
	}
	all := make([]*results, 0, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, parse(filepath.Base(file), string(text)))
	}
	return all, nil
}

// newestOf is the newest of those that fit; nil if none does.
func newestOf(all []*results, fits func(*results) bool) *results {
	var newest *results
	for _, r := range all {
		if fits(r) && (newest == nil || r.when > newest.when) {
			newest = r
		}
	}
	return newest
}

func parse(name, text string) *results {
	r := &results{name: name}
	title := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "# "):
			_, r.when, _ = strings.Cut(line, ", ")
		case strings.HasPrefix(line, "- machine: "):
			r.machine, _, _ = strings.Cut(strings.TrimPrefix(line, "- machine: "), ";")
		case strings.HasPrefix(line, "#"):
			title = strings.TrimLeft(line, "# ")
		case strings.HasPrefix(line, "|---"):
		case strings.HasPrefix(line, "|"):
			r.add(title, cells(line))
			title = ""
		}
	}
	return r
}

// add takes in a line of a table: its head, if it is the first below a heading.
func (r *results) add(title string, cells []string) {
	if title != "" {
		r.tables = append(r.tables, table{title: title, head: cells})
		return
	}
	if len(r.tables) > 0 {
		t := &r.tables[len(r.tables)-1]
		t.rows = append(t.rows, cells)
	}
}

func cells(line string) []string {
	list := strings.Split(strings.Trim(line, "|"), "|")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func (r *results) hasTraffic() bool {
	t := r.table(overview)
	return t != nil && len(t.rows) >= fewest
}

func (r *results) hasGrowth() bool {
	return len(r.ladders("connections")) > 0 && len(r.ladders("filters")) > 0
}

func (r *results) table(title string) *table {
	i := slices.IndexFunc(r.tables, func(t table) bool { return t.title == title })
	if i < 0 {
		return nil
	}
	return &r.tables[i]
}

// ladders are the tables about what grows.
func (r *results) ladders(what string) []table {
	var list []table
	for _, t := range r.tables {
		if strings.HasPrefix(t.title, growing+what) {
			list = append(list, t)
		}
	}
	return list
}

// brokers are the heads of the columns that hold CPU seconds, in their order.
func (t *table) brokers() []string {
	var list []string
	for _, head := range t.head[1:] {
		switch {
		case strings.Contains(head, "÷") || head == "step" || head == "faults" || head == "others' CPU":
		default:
			list = append(list, strings.TrimSuffix(head, " (min–max)"))
		}
	}
	return list
}

// column is a broker's figures, 0 where there is none.
func (t *table) column(broker string) ([]float64, error) {
	at := slices.IndexFunc(t.head, func(head string) bool { return strings.TrimSuffix(head, " (min–max)") == broker })
	values := make([]float64, len(t.rows))
	for i, row := range t.rows {
		if at >= len(row) {
			return nil, fmt.Errorf("%s: row %q has no cell of %s", t.title, row, broker)
		}
		median, _, _ := strings.Cut(row[at], " ")
		if median == "–" {
			continue
		}
		v, err := strconv.ParseFloat(median, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.title, err)
		}
		values[i] = v
	}
	return values, nil
}

// source says where the figures are from.
func (r *results) source() string {
	return fmt.Sprintf("%s. Medians of bench/results/%s", r.machine, r.name)
}
