package load_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
)

func durable(p load.Pattern) load.Durable {
	return load.Durable{
		Pattern: p, Sessions: 1, Messages: 200, Window: 1, Sizes: []int{128},
		Limit: 5 * time.Second, Settle: 20 * time.Millisecond, Patience: 5 * time.Second,
	}
}

func backlog(sessions, messages int) load.Durable {
	sc := durable(load.Backlog)
	sc.Sessions, sc.Messages, sc.Window = sessions, messages, 16
	return sc
}

func TestDurable(t *testing.T) {
	_, target := start(t)
	toMany := durable(load.ToMany)
	toMany.Sessions, toMany.Messages = 150, 10 // more than come back, in several batches
	growth := backlog(5, 1000)
	growth.Pattern = load.Growth
	cut := backlog(2, 1<<30)
	cut.Limit = 100 * time.Millisecond
	cases := map[string]struct {
		sc             load.Durable
		queued         uint64 // 0: as many as there is time for
		drainedPerEach uint64
	}{
		"a backlog":              {backlog(5, 1000), 1000, 1},
		"a backlog cut by time":  {cut, 0, 1},
		"a backlog that remains": {growth, 1000, 0},
		"one to many":            {toMany, 10, 50},
		"one in flight":          {durable(load.OneInFlight), 200, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := load.RunDurable(t.Context(), target, c.sc)
			if err != nil {
				t.Fatal(err)
			}
			if r.Faults.Any() {
				t.Errorf("faults: %v", r.Faults)
			}
			if r.Queue.Messages == 0 || c.queued > 0 && r.Queue.Messages != c.queued {
				t.Errorf("%d queued, want %d", r.Queue.Messages, c.queued)
			}
			if want := r.Queue.Messages * c.drainedPerEach; r.Drain.Messages != want {
				t.Errorf("%d drained, want %d", r.Drain.Messages, want)
			}
			if got := r.Latency.Count(); got != r.Queue.Messages {
				t.Errorf("%d latencies, want %d", got, r.Queue.Messages)
			}
			if r.Queue.Elapsed <= 0 || r.Queue.Span < r.Queue.Elapsed+c.sc.Settle || r.Empty == 0 || r.Peak < r.Full || r.Full == 0 {
				t.Errorf("nothing was measured: %+v, %d B before, %d B after, %d B at most", r.Queue, r.Empty, r.Full, r.Peak)
			}
		})
	}
}

func TestWhatWasQueuedIsDrainedAfterAnInterrupt(t *testing.T) {
	_, target := start(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	target.Watch = func(s load.Snapshot) {
		if s.Phase == "queueing" && s.Acked > 0 {
			interrupt()
		}
	}
	sc := backlog(2, 1<<30)
	sc.Limit, sc.CleanUp = time.Hour, true
	r, err := load.RunDurable(ctx, target, sc)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Interrupted || r.Queue.Messages == 0 || r.Drain.Messages != r.Queue.Messages || r.Faults.Any() {
		t.Errorf("interrupted %v, %d queued, %d drained, faults: %v", r.Interrupted, r.Queue.Messages, r.Drain.Messages, r.Faults)
	}
}

// Without a configuration mosquitto keeps about 1,000 messages for a client that
// is away and acknowledges them all.
func TestWhatABrokerDropsIsLost(t *testing.T) {
	p, err := broker.Kind{Name: "small", Argv: []string{mosquitto, "-p", "{port}"}}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	sc := backlog(1, 1200)
	sc.Window = 400 // it waits for 40 ms now and then: Nagle's delay
	sc.Patience = 300 * time.Millisecond
	r, err := load.RunDurable(t.Context(), load.Target{Addr: p.Addr, PID: p.PID}, sc)
	if err != nil {
		t.Fatal(err)
	}
	if lost := r.Faults.Lost; r.Queue.Messages != 1200 || lost < 100 || lost > 200 {
		t.Errorf("%d queued; faults: %v; want 200 of 1200 lost", r.Queue.Messages, r.Faults)
	}
}

func TestABrokerThatStallsWithABacklogIsToldApart(t *testing.T) {
	p, target := start(t)
	t.Cleanup(func() { signal(t, p, syscall.SIGCONT) }) // before Stop
	sc := backlog(2, 1<<30)
	sc.Patience = 200 * time.Millisecond
	freeze := time.AfterFunc(200*time.Millisecond, func() { signal(t, p, syscall.SIGSTOP) })
	defer freeze.Stop()
	r, err := load.RunDurable(t.Context(), target, sc)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Faults.Trouble, "stalled") || r.Faults.Lost == 0 {
		t.Errorf("faults: %v; want a stall", r.Faults)
	}
}
