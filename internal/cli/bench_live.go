package cli

import (
	"fmt"
	"sync"

	"github.com/fantail-mqtt/fantail/internal/load"
)

// live is the line on a terminal that says how a bench is going.
type live struct {
	env      *env
	scenario string
	seen     chan load.Snapshot // nil: nobody would see it
	all      sync.WaitGroup
}

func newLive(e *env, scenario string) *live {
	l := &live{env: e, scenario: scenario}
	if !isTerminal(e.stderr) {
		return l
	}
	l.seen = make(chan load.Snapshot, 1)
	l.all.Go(l.print) // ends with stop, which waits for it
	return l
}

// take is called by the loop and never waits: a terminal may.
func (l *live) take(s load.Snapshot) {
	select {
	case l.seen <- s:
	default:
	}
}

func (l *live) print() {
	var before load.Snapshot
	for s := range l.seen {
		fmt.Fprint(l.env.stderr, clearLine+liveLine(l.scenario, before, s))
		before = s
	}
	fmt.Fprint(l.env.stderr, clearLine)
}

func (l *live) stop() {
	if l.seen == nil {
		return
	}
	close(l.seen)
	l.all.Wait()
}

// liveLine tells what has happened between two moments.
func liveLine(scenario string, before, s load.Snapshot) string {
	line := fmt.Sprintf("%s: %s %.0f s, %s connected", scenario, s.Phase, s.Elapsed.Seconds(), count(int64(s.Connected)))
	span := (s.Elapsed - before.Elapsed).Seconds()
	if s.Phase == before.Phase && span > 0 {
		perSecond := func(now, then uint64) string { return count(int64(float64(now-then) / span)) }
		line += fmt.Sprintf(", %s sent/s, %s received/s", perSecond(s.Sent, before.Sent), perSecond(s.Received, before.Received))
	}
	if s.Faults.Any() {
		line += ", " + s.Faults.String()
	}
	return line
}
