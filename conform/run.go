package conform

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options says which broker to check, and how.
type Options struct {
	Addr     string         // host:port of a TCP listener
	WS       string         // ws://host:port/path; without it, /mqtt on Addr
	Match    *regexp.Regexp // only checks whose "version id" or "version name" it matches
	Parallel int            // checks at once; 32 without it
	Wait     time.Duration  // how long something may take to come; 5 s without it
	Quiet    time.Duration  // how long nothing may come for nothing to have come; 200 ms without it
	Codes    bool           // a 5.0 connection closed without a reason code fails, though the standard allows it
	Offers   bool           // a feature that the broker may leave out, and does, fails
}

func (o Options) filled() Options {
	if o.WS == "" {
		o.WS = "ws://" + o.Addr + "/mqtt"
	}
	if o.Parallel == 0 {
		o.Parallel = 32
	}
	if o.Wait == 0 {
		o.Wait = 5 * time.Second
	}
	if o.Quiet == 0 {
		o.Quiet = 200 * time.Millisecond
	}
	return o
}

// Outcome is how a line of the report ends.
type Outcome string

// The outcomes.
const (
	Pass        Outcome = "pass"
	Fail        Outcome = "fail"
	Unseen      Outcome = "not observable from outside"
	ClientSide  Outcome = "client side"
	NetworkSide Outcome = "network side"
	Skipped     Outcome = "not run"
)

// Result is one line of the report.
type Result struct {
	Version  string
	ID       string // or the name of a check without one
	Numbered bool   // it is a statement of the standard
	Side     Side
	What     string
	Outcome  Outcome
	Why      string   // why it is not observable
	Failures []string // what went wrong: sent, expected, got
	Notes    []string
	Took     time.Duration
}

// Name is how -run and the tests call the line.
func (r Result) Name() string { return r.Version + " " + r.ID }

// Run checks a broker and returns a line for every statement, in the order
// of the standard, then one for every check without a number.
func Run(ctx context.Context, o Options) ([]Result, error) {
	lines, checks, err := plan()
	if err != nil {
		return nil, err
	}
	o = o.filled()
	if err := answers(ctx, o); err != nil {
		return nil, err
	}
	token := strings.ToLower(rand.Text()[:5])
	var alone, together []int
	for i := range lines {
		switch {
		case checks[i].Run == nil:
		case o.Match != nil && !o.Match.MatchString(lines[i].Name()):
			lines[i].Outcome = Skipped
		case checks[i].alone:
			alone = append(alone, i)
		default:
			together = append(together, i)
		}
	}
	one := func(i int) {
		prefix := token + strconv.FormatInt(int64(i)+1296, 36) // always three more characters
		runOne(ctx, o, checks[i], prefix, &lines[i])
	}
	for _, i := range alone {
		one(i)
	}
	sideBySide(o.Parallel, together, one)
	return lines, nil
}

// answers reports that nobody listens at the address, once and not per check.
func answers(ctx context.Context, o Options) error {
	d := net.Dialer{Timeout: o.Wait}
	conn, err := d.DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return fmt.Errorf("no broker at %s: %w", o.Addr, err)
	}
	return conn.Close()
}

func sideBySide(n int, work []int, do func(int)) {
	queue := make(chan int)
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for i := range queue {
				do(i)
			}
		})
	}
	for _, i := range work {
		queue <- i
	}
	close(queue)
	workers.Wait()
}

// plan pairs each line of the report with its check.
func plan() ([]Result, []Check, error) {
	statements, err := Statements()
	if err != nil {
		return nil, nil, err
	}
	byID := map[string]Check{}
	var extra []Check
	for _, c := range Checks() {
		if c.ID == "" {
			extra = append(extra, c)
			continue
		}
		byID[c.Version+" "+c.ID] = c
	}
	var lines []Result
	var checks []Check
	for _, s := range statements {
		c := byID[s.Version+" "+s.ID]
		line := Result{Version: s.Version, ID: s.ID, Numbered: true, Side: s.Side, What: c.What, Outcome: Unseen, Why: c.Unseen}
		if c.What == "" {
			line.Outcome = sideOutcome(s.Side)
		}
		lines, checks = append(lines, line), append(checks, c)
	}
	for _, c := range extra {
		lines = append(lines, Result{Version: c.Version, ID: c.Name, Side: Server, What: c.What})
		checks = append(checks, c)
	}
	return lines, checks, nil
}

func sideOutcome(s Side) Outcome {
	switch s {
	case Client:
		return ClientSide
	case Network:
		return NetworkSide
	default:
		return Skipped // the test of the lists does not let this happen
	}
}

func runOne(ctx context.Context, o Options, c Check, prefix string, line *Result) {
	t := &T{ctx: ctx, opts: o, level: levelOf(c.Version), prefix: prefix}
	start := time.Now()
	guard(t, c.Run)
	t.cleanUp()
	line.Took = time.Since(start)
	line.Notes = t.notes
	line.Failures = t.failures
	slices.Sort(line.Failures) // the cases of a check come in any order
	line.Outcome = Pass
	if t.unseen != "" {
		line.Outcome, line.Why = Unseen, t.unseen
	}
	if len(t.failures) > 0 {
		line.Outcome = Fail
	}
}

// guard runs a check and turns a mistake of its own into a failure.
func guard(t *T, run func(*T)) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if _, ours := r.(stop); ours {
			return
		}
		t.failures = append(t.failures, fmt.Sprintf("the check itself broke: %v", r))
	}()
	run(t)
}
