package load_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
)

const mosquitto = "/usr/sbin/mosquitto"

// start runs a mosquitto for the length of a test.
func start(t *testing.T) (*broker.Process, load.Target) {
	t.Helper()
	if _, err := os.Stat(mosquitto); err != nil {
		t.Fatalf("no %s: install mosquitto (apt-get install mosquitto); make test does", mosquitto)
	}
	p, err := broker.Mosquitto(mosquitto).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p, load.Target{Addr: p.Addr, PID: p.PID}
}

func TestScenarios(t *testing.T) {
	_, target := start(t)
	timing := load.Timing{Warm: 50 * time.Millisecond, Measure: 200 * time.Millisecond, Drain: 5 * time.Second}
	few := load.Scenario{Shape: load.Pairs, Publishers: 5, Subscribers: 5, Window: 16, Sizes: []int{128}}
	with := func(change func(*load.Scenario)) load.Scenario { sc := few; change(&sc); return sc }
	scenarios := []load.Scenario{
		few,
		with(func(s *load.Scenario) { s.QoS = 1 }),
		with(func(s *load.Scenario) { s.QoS = 2 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers = load.Fanout, 1, 20 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers, s.QoS = load.Fanin, 20, 2, 1 }),
		with(func(s *load.Scenario) { s.Rate = 1000 }),
		with(func(s *load.Scenario) { s.Rate, s.Tick, s.QoS = 1000, 5*time.Millisecond, 2 }),
		with(func(s *load.Scenario) { s.Window, s.Sizes, s.QoS = 64, []int{16 << 10}, 1 }), // fills the sockets
	}
	for _, sc := range scenarios {
		t.Run(sc.Name(), func(t *testing.T) {
			r, err := load.Run(t.Context(), target, sc, timing)
			if err != nil {
				t.Fatal(err)
			}
			if r.Faults.Any() {
				t.Errorf("faults: %v", r.Faults)
			}
			if r.Sent == 0 || r.Received == 0 || r.Latency.Count() == 0 || r.RSS == 0 || r.OwnCPU == 0 {
				t.Errorf("nothing was measured: %d sent, %d received, %d latencies, %d B, own CPU %v",
					r.Sent, r.Received, r.Latency.Count(), r.RSS, r.OwnCPU)
			}
			if r.Window < timing.Measure {
				t.Errorf("the window was %v, want %v", r.Window, timing.Measure)
			}
		})
	}
}

func TestAStalledBrokerIsToldApart(t *testing.T) {
	p, target := start(t)
	t.Cleanup(func() { signal(t, p, syscall.SIGCONT) }) // before Stop
	sc := load.Scenario{Shape: load.Pairs, Publishers: 2, Subscribers: 2, QoS: 1, Window: 4, Sizes: []int{64}}
	freeze := time.AfterFunc(300*time.Millisecond, func() { signal(t, p, syscall.SIGSTOP) })
	defer freeze.Stop()
	r, err := load.Run(t.Context(), target, sc, load.Timing{Measure: 10 * time.Second, Drain: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Faults.Trouble, "stalled") || r.Faults.Lost == 0 {
		t.Errorf("faults: %v; want a stall", r.Faults)
	}
}

func TestABrokerThatDiesIsToldApart(t *testing.T) {
	p, target := start(t)
	sc := load.Scenario{Shape: load.Fanout, Publishers: 1, Subscribers: 3, Window: 4, Sizes: []int{64}}
	kill := time.AfterFunc(300*time.Millisecond, func() { signal(t, p, syscall.SIGKILL) })
	defer kill.Stop()
	_, err := load.Run(t.Context(), target, sc, load.Timing{Measure: 10 * time.Second, Drain: 200 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "connection of") {
		t.Errorf("err = %v, want the connection that ended", err)
	}
}

func TestARunThatIsInterruptedTellsWhatItHas(t *testing.T) {
	_, target := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	target.Watch = func(s load.Snapshot) {
		if s.Phase == "measuring" && s.Received > 0 {
			cancel()
		}
	}
	sc := load.Scenario{Shape: load.Pairs, Publishers: 1, Subscribers: 1, Window: 1, Sizes: []int{64}}
	r, err := load.Run(ctx, target, sc, load.Timing{Measure: time.Hour, Drain: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Interrupted || r.Received == 0 || r.Faults.Any() || r.Window > time.Minute {
		t.Errorf("interrupted %v, %d received in %v, faults: %v", r.Interrupted, r.Received, r.Window, r.Faults)
	}
}

func TestARunThatIsInterruptedWhileConnectingFails(t *testing.T) {
	_, target := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	sc := load.Scenario{Shape: load.Pairs, Publishers: 1, Subscribers: 1, Window: 1, Sizes: []int{64}}
	if _, err := load.Run(ctx, target, sc, load.Timing{Measure: time.Hour, Drain: time.Second}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestIdle(t *testing.T) {
	_, target := start(t)
	for _, subscribe := range []bool{false, true} {
		r, err := load.RunIdle(t.Context(), target, load.Idle{Connections: 300, Subscribe: subscribe})
		if err != nil {
			t.Fatal(err)
		}
		if r.Closed != 0 || r.Empty == 0 || r.Full < r.Empty {
			t.Errorf("subscribe %v: %+v", subscribe, r)
		}
	}
	if _, err := load.RunIdle(t.Context(), target, load.Idle{Connections: 1 << 30}); err == nil {
		t.Error("more connections than descriptors were accepted")
	}
}

func signal(t *testing.T, p *broker.Process, s syscall.Signal) {
	if err := syscall.Kill(p.PID, s); err != nil {
		t.Errorf("signal %v: %v", s, err)
	}
}
