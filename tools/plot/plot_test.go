package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const sample = `# Brokers compared, 2026-01-02 03:04 UTC

- machine: A CPU, 2 cores, 1 GiB, Linux 6, go1.26; load average at the start 0.10

## grow-connections-closed: CPU seconds per million deliveries

Why.

| connections | mosquitto (min–max) | step | fantail (min–max) | step | floor (min–max) | step | others' CPU | faults |
|---|---|---|---|---|---|---|---|---|
| 10 | 9.74 (9.50–9.80) | – | 0.61 (0.60–0.70) | – | 0.50 | – | 0 % | none |
| 10000 | 18.6 (18.0–19.0) | 1.910 | 0.80 (0.70–0.90) | 1.311 | 0.60 | 1.2 | 0 % | none |

## grow-connections-10000: CPU seconds per million deliveries

| connections | mosquitto (min–max) | step | fantail (min–max) | step | floor (min–max) | step | others' CPU | faults |
|---|---|---|---|---|---|---|---|---|
| 10 | 20.0 | – | 14.0 | – | 13.0 | – | 0 % | none |
| 10000 | 23.0 | 1.150 | 21.0 | 1.500 | 14.0 | 1.1 | 0 % | none |

## grow-filters-closed: CPU seconds per million deliveries

| filters | mosquitto (min–max) | step | fantail (min–max) | step | floor (min–max) | step | others' CPU | faults |
|---|---|---|---|---|---|---|---|---|
| 1000 | 12.4 | – | 0.54 | – | – | – | 0 % | none |
| 1000000 | 14.4 | 1.161 | 1.69 | 3.130 | – | – | 0 % | none |
`

func TestParse(t *testing.T) {
	r := parse("x.md", sample)
	if r.when != "2026-01-02 03:04 UTC" || r.machine != "A CPU, 2 cores, 1 GiB, Linux 6, go1.26" {
		t.Errorf("when %q, machine %q", r.when, r.machine)
	}
	ladders := r.ladders("connections")
	if len(ladders) != 2 || !r.hasGrowth() || r.hasTraffic() {
		t.Fatalf("%d ladders of connections, growth %v, traffic %v", len(ladders), r.hasGrowth(), r.hasTraffic())
	}
	if got := ladders[0].brokers(); !slices.Equal(got, []string{"mosquitto", "fantail", "floor"}) {
		t.Errorf("brokers %q", got)
	}
	for name, want := range map[string][]float64{"connections": {10, 10000}, "fantail": {0.61, 0.80}} {
		if got, err := ladders[0].column(name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if got, err := r.ladders("filters")[0].column("floor"); err != nil || !slices.Equal(got, []float64{0, 0}) {
		t.Errorf("what was not measured: %v, %v", got, err)
	}
}

func TestATableThatIsNone(t *testing.T) {
	for name, text := range map[string]string{
		"no number":   strings.ReplaceAll(sample, "| 0.61 (0.60–0.70) |", "| cheap |"),
		"a cell less": strings.ReplaceAll(sample, "| 10 | 20.0 | – | 14.0 | – | 13.0 | – | 0 % | none |", "| 10 | 20.0 |"),
	} {
		if _, err := drawGrowth(parse("x.md", text)); err == nil {
			t.Errorf("%s: drawn all the same", name)
		}
	}
}

func TestTheSameResultsMakeTheSamePicture(t *testing.T) {
	one, err := drawGrowth(parse("x.md", sample))
	if err != nil {
		t.Fatal(err)
	}
	two, err := drawGrowth(parse("x.md", sample))
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("another picture, or %v", err)
	}
	for _, want := range []string{">connections, saturated<", ">connections, 10000 messages/s<", ">1 million<", ">0.61<", ">21<", "A CPU, 2 cores", "bench/results/x.md"} {
		if !bytes.Contains(one, []byte(want)) {
			t.Errorf("%s is not in the picture as text", want)
		}
	}
}

func TestTheNewestResultsAreDrawn(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"a.md":      strings.Replace(sample, "2026-01-02", "2026-01-03", 1),
		"b.md":      sample,
		"later.md":  "# Brokers compared, 2026-09-09 00:00 UTC\n\nwithout ladders\n",
		"README.md": "# Something else\n",
	} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(from, to, io.Discard); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(to, "growth.svg"))
	if err != nil || !bytes.Contains(svg, []byte("bench/results/a.md")) {
		t.Errorf("not of a.md, or %v", err)
	}
	if _, err := os.Stat(filepath.Join(to, "traffic.svg")); err == nil {
		t.Error("traffic was drawn of nothing")
	}
}

// What is in the READMEs is what the results say that it names. It need not be
// the newest: a run of one's own is no reason to fail.
func TestThePicturesAreOfTheirResults(t *testing.T) {
	source := regexp.MustCompile(`bench/results/([^<]+\.md)`)
	for _, p := range pictures() {
		committed, err := os.ReadFile(filepath.Join("../../docs/img", p.file))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		named := source.FindSubmatch(committed)
		if named == nil {
			t.Errorf("%s names no results", p.file)
			continue
		}
		name := string(named[1])
		if p.file == "traffic.svg" {
			theReadmesName(t, name)
		}
		text, err := os.ReadFile(filepath.Join("../../bench/results", name))
		if err != nil {
			t.Errorf("%s: %v", p.file, err)
			continue
		}
		drawn, err := p.draw(parse(name, string(text)))
		if err != nil || !bytes.Equal(drawn, committed) {
			t.Errorf("%s is not what %s makes (make plots), or %v", p.file, name, err)
		}
	}
}

func theReadmesName(t *testing.T, results string) {
	t.Helper()
	for _, file := range []string{"README.md", "README.zh-CN.md"} {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil || !bytes.Contains(text, []byte("(bench/results/"+results+")")) {
			t.Errorf("%s says that the picture is of other results than %s, or %v", file, results, err)
		}
	}
}
