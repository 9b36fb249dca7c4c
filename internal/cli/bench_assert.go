package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// assertion is one condition of --assert.
type assertion struct {
	text string // as it was given
	name string // of the figure
	op   string
	want float64
}

// parseAssertions reads conditions such as 'e2e.p99<20ms,lost=0'. All that
// are wrong are named.
func parseAssertions(text string) ([]assertion, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var all []assertion
	var wrong []error
	known := units()
	for word := range strings.SplitSeq(text, ",") {
		a, err := parseAssertion(strings.TrimSpace(word), known)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		all = append(all, a)
	}
	return all, errors.Join(wrong...)
}

func parseAssertion(text string, known map[string]unit) (assertion, error) {
	at := strings.IndexAny(text, "<>=!")
	if at < 0 {
		return assertion{}, fmt.Errorf("%q compares nothing: write figure<value, with <, <=, =, !=, >= or >", text)
	}
	a := assertion{text: text, name: strings.TrimSpace(text[:at])}
	a.name = strings.Replace(a.name, ".p99.9", ".p999", 1)
	rest := text[at:]
	for _, op := range []string{"<=", ">=", "!=", "==", "<", ">", "="} {
		if after, ok := strings.CutPrefix(rest, op); ok {
			a.op, rest = op, strings.TrimSpace(after)
			break
		}
	}
	u, ok := known[a.name]
	if !ok {
		return assertion{}, fmt.Errorf("%q: there is no figure %q; there are %s", text, a.name, strings.Join(sortedNames(known), ", "))
	}
	if a.op == "" {
		return assertion{}, fmt.Errorf("%q: a lone ! compares nothing; write !=", text)
	}
	if a.op == "==" {
		a.op = "="
	}
	var err error
	if a.want, err = parseValue(rest, u); err != nil {
		return assertion{}, fmt.Errorf("%q: %w", text, err)
	}
	return a, nil
}

// parseValue reads a value as its unit is written.
func parseValue(text string, u unit) (float64, error) {
	switch u {
	case inSeconds:
		if d, err := time.ParseDuration(text); err == nil {
			return d.Seconds(), nil
		}
		n, err := parseDecimal(text)
		if err != nil {
			return 0, fmt.Errorf("%q is no time; write 20ms, or a number of seconds", text)
		}
		return n, nil
	case inBytes:
		if n, err := config.ParseSize(text); err == nil {
			return float64(n), nil
		}
	case inShare:
		if digits, ok := strings.CutSuffix(text, "%"); ok {
			n, err := parseDecimal(digits)
			return n / 100, err
		}
	case inRate:
		text = strings.TrimSuffix(text, "/s")
	case inNumbers:
	}
	return parseDecimal(text)
}

// holds says whether a value is as the assertion wants it.
func (a assertion) holds(value float64) bool {
	switch a.op {
	case "<":
		return value < a.want
	case "<=":
		return value <= a.want
	case ">":
		return value > a.want
	case ">=":
		return value >= a.want
	case "!=":
		return value != a.want
	default:
		return value == a.want
	}
}

// verdict is an assertion and what came of it.
type verdict struct {
	Assertion string   `json:"assertion"`
	Value     *float64 `json:"value"` // null: it was not measured
	Holds     bool     `json:"holds"`

	unit unit
}

// judge looks at all assertions. What was not measured does not hold.
func (x *benchReport) judge(all []assertion) {
	known := units()
	for _, a := range all {
		v := verdict{Assertion: a.text, unit: known[a.name]}
		if value, ok := x.find(a.name); ok {
			v.Value, v.Holds = &value, a.holds(value)
		}
		x.verdicts = append(x.verdicts, v)
	}
}
