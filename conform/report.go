package conform

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Failed returns the lines that did not pass.
func Failed(results []Result) []Result {
	return slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return r.Outcome != Fail })
}

// Summary counts the outcomes in one line.
func Summary(results []Result) string {
	counts := map[Outcome]int{}
	for _, r := range results {
		counts[r.Outcome]++
	}
	var parts []string
	for _, o := range []Outcome{Pass, Fail, Unseen, ClientSide, NetworkSide, Skipped} {
		if counts[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[o], o))
		}
	}
	return strings.Join(parts, ", ")
}

// WriteText prints a line for each result, and what went wrong where one
// failed; with all false it leaves out what passed.
func WriteText(w io.Writer, results []Result, all bool) error {
	for _, r := range results {
		quiet := r.Outcome == Pass || r.Outcome == ClientSide || r.Outcome == NetworkSide || r.Outcome == Skipped
		if quiet && !all {
			continue
		}
		if err := writeLine(w, r, all); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, Summary(results))
	return err
}

func writeLine(w io.Writer, r Result, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-5s %-14s %-5s %s", r.Version, r.ID, r.Outcome, r.What)
	if all && r.Took > 0 {
		fmt.Fprintf(&b, " (%d ms)", r.Took.Milliseconds())
	}
	b.WriteByte('\n')
	if r.Why != "" {
		fmt.Fprintf(&b, "      because %s\n", r.Why)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "      note: %s\n", n)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "      %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the report that is kept with the documentation. It
// holds nothing that changes from run to run.
func WriteMarkdown(w io.Writer, results []Result) error {
	var b strings.Builder
	b.WriteString("# Conformance\n\nWritten by `make conform`; do not edit. Each line is a normative statement of MQTT 3.1.1 or 5.0, by its\n" +
		"number in the standard, with what is checked of it over connections to a running broker. The side says\n" +
		"whom the statement binds: where it is the client, a check looks at what the broker answers to a client\n" +
		"that breaks it.\n\n")
	fmt.Fprintf(&b, "%s.\n", Summary(results))
	for _, version := range []string{"3.1.1", "5.0"} {
		own := slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return r.Version != version || !r.Numbered })
		fmt.Fprintf(&b, "\n## MQTT %s\n\n%s.\n\n| id | side | what is checked | result |\n| --- | --- | --- | --- |\n", version, Summary(own))
		for _, r := range own {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.ID, r.Side, cell(r.checked()), cell(r.verdict()))
		}
	}
	extra := slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return r.Numbered })
	fmt.Fprintf(&b, "\n## Known mistakes and MQTT 3.1\n\nMistakes that other brokers were seen to make, and MQTT 3.1, whose text numbers no statements. %s.\n\n"+
		"| name | version | what is checked | result |\n| --- | --- | --- | --- |\n", Summary(extra))
	for _, r := range extra {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.ID, r.Version, cell(r.checked()), cell(r.verdict()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Result) checked() string {
	if r.What == "" {
		return "–"
	}
	return r.What
}

func (r Result) verdict() string {
	switch {
	case r.Outcome == Unseen:
		return string(r.Outcome) + ": " + r.Why
	case r.Outcome == Fail && len(r.Failures) == 1:
		return "**fail**: " + r.Failures[0]
	case r.Outcome == Fail:
		return fmt.Sprintf("**fail**: %s (and %d more)", r.Failures[0], len(r.Failures)-1)
	case len(r.Notes) > 0:
		return string(r.Outcome) + " (" + strings.Join(r.Notes, "; ") + ")"
	default:
		return string(r.Outcome)
	}
}

func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}
