package crash

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

var (
	cycles     = flag.Int("cycles", 0, "how often to kill the server; 0: a short run")
	program    = flag.String("bin", "", "the fantail binary; empty: build it")
	durability = flag.String("durability", "fsync", "of the server")
	start      = flag.String("start", "", "a command that starts another broker; {dir} and {port} are filled in")
	kill       = flag.Bool("kill", true, "kill the server; false: cut the connections only")
	gently     = flag.Bool("gently", false, "end the server with SIGTERM instead of SIGKILL")
	seed       = flag.Uint64("seed", 0, "of what is random; 0: a new one")
	spread     = flag.Duration("spread", 400*time.Millisecond, "the latest moment of a kill, from the start of the load")
)

const (
	shortCycles = 5
	// runCycles is how many cycles go on one data directory.
	runCycles = 10
	// shown is how many findings of a kind are told with their history.
	shown = 2
)

// TestCrash is the harness: with -cycles 200 the long run of `make crash`.
func TestCrash(t *testing.T) {
	n := *cycles
	if n == 0 {
		n = shortCycles
	}
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	command := shell(*start)
	if *start == "" {
		command = fantail(build(t), *durability)
	}
	c := &campaign{t: t, out: os.Stdout, command: command, random: rand.New(rand.NewPCG(*seed, 0))}
	fmt.Fprintf(c.out, "seed %d\n", *seed)
	for c.done < n && !t.Failed() {
		c.run(min(runCycles, n-c.done))
	}
	fmt.Fprintln(c.out, c.summary())
}

// campaign is all runs.
type campaign struct {
	t       *testing.T
	out     io.Writer
	command func(string, int) *exec.Cmd
	random  *rand.Rand
	done    int // cycles
	kills   int
	total   totals
	found   map[string]int
}

// run is some cycles on a new data directory, which stays if anything is found.
func (c *campaign) run(n int) {
	dir, err := os.MkdirTemp("", "fantail-crash-")
	if err != nil {
		c.t.Fatal(err)
	}
	s, err := newServer(c.command, *start == "", dir)
	if err != nil {
		c.t.Fatal(err)
	}
	if *gently {
		s.signal = syscall.SIGTERM
	}
	w := &world{
		history: newHistory(), server: s, random: c.random,
		cut: !*kill, spread: *spread, deadline: 15 * time.Second,
	}
	err = c.play(w, n)
	w.end()
	c.count(w)
	if err == nil {
		_ = os.RemoveAll(dir)
		return
	}
	c.t.Errorf("cycle %d of seed %d: %v", c.done, *seed, err)
	c.report(w)
	fmt.Fprintf(c.out, "the data directory and the server's output are in %s\n", dir)
}

func (c *campaign) play(w *world, n int) error {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	if err := w.begin(ctx); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for range n {
		c.done++
		began := time.Now()
		err := w.cycle(ctx)
		c.progress(w, began)
		if err != nil {
			return err
		}
	}
	return w.testament(ctx)
}

func (c *campaign) progress(w *world, began time.Time) {
	w.history.ask(func(j *judge) {
		fmt.Fprintf(c.out, "cycle %d: %s, %d acknowledged, %d resent by publishers, %d delivered, %d repeated with DUP, %d sessions, %d findings\n",
			c.done, time.Since(began).Round(time.Millisecond), j.totals.Acknowledged, j.totals.Again, j.totals.Deliveries, j.totals.WithDUP, len(w.members()), len(j.findings))
	})
}

// count adds a run to the whole.
func (c *campaign) count(w *world) {
	if c.found == nil {
		c.found = map[string]int{}
	}
	c.kills += w.kills
	w.history.ask(func(j *judge) {
		for _, f := range j.findings {
			c.found[f.what]++
		}
		for _, m := range j.wills {
			if len(m.copies) > 0 {
				j.totals.Wills++
			}
		}
		c.total.add(j.totals)
	})
}

func (t *totals) add(o totals) {
	t.Acknowledged += o.Acknowledged
	t.Deliveries += o.Deliveries
	t.Again += o.Again
	t.WithDUP += o.WithDUP
	t.Resumed += o.Resumed
	t.Retained += o.Retained
	t.Wills += o.Wills
	t.Unknown += o.Unknown
}

// report tells the first finding of each kind with its history.
func (c *campaign) report(w *world) {
	var findings []finding
	w.history.ask(func(j *judge) { findings = j.findings })
	told := map[string]int{}
	for _, f := range findings {
		if told[f.what]++; told[f.what] > shown {
			continue
		}
		fmt.Fprintln(c.out, f)
		w.history.tell(c.out, f.key, f.who)
	}
	for what, n := range told {
		if n > shown {
			fmt.Fprintf(c.out, "%d more: %s\n", n-shown, what)
		}
	}
}

func (c *campaign) summary() string {
	dup := "all with DUP"
	if n := c.found[repeated]; n > 0 {
		dup = fmt.Sprintf("%d without DUP", n)
	}
	text := fmt.Sprintf("%d cycles: %d acknowledged, %d lost, %d reordered, %d duplicated at QoS 2, %d repeated at QoS 1, %s\n",
		c.done, c.total.Acknowledged, c.found[lost], c.found[reordered], c.found[duplicated], c.total.WithDUP+c.found[repeated], dup)
	text += fmt.Sprintf("%d kills, %d delivered, %d resent by publishers, %d QoS 2 handshakes resumed by the server, %d of unknown outcome, %d refused\n",
		c.kills, c.total.Deliveries, c.total.Again, c.total.Resumed, c.total.Unknown, c.found[denied])
	text += fmt.Sprintf("%d retained messages looked at, %d wills published; %d sessions or retained messages forgotten, %d wills lost, %d early, %d twice, %d never acknowledged, %d phantoms, %d against the protocol",
		c.total.Retained, c.total.Wills, c.found[forgotten], c.found[willLost], c.found[willEarly], c.found[willTwice], c.found[stuck], c.found[phantom], c.found[misbehaved])
	return text
}
