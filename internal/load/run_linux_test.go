package load_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
	"github.com/fantail-mqtt/fantail/packet"
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

// ways are the transports: each counts the same.
func ways(target load.Target) map[string]load.Target {
	pipes := target
	pipes.Dial = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", target.Addr.String())
	}
	five := target
	five.Version = packet.V5
	five.KeepAlive = time.Second
	return map[string]load.Target{"epoll": target, "pipes": pipes, "epoll, MQTT 5": five}
}

func scenarios() []load.Scenario {
	few := load.Scenario{Shape: load.Pairs, Publishers: 5, Subscribers: 5, Window: 16, Sizes: []int{128}}
	with := func(change func(*load.Scenario)) load.Scenario { sc := few; change(&sc); return sc }
	return []load.Scenario{
		few,
		with(func(s *load.Scenario) { s.QoS = 1 }),
		with(func(s *load.Scenario) { s.QoS = 2 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers = load.Fanout, 1, 20 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers, s.QoS = load.Fanin, 20, 2, 1 }),
		with(func(s *load.Scenario) { s.Rate = 1000 }),
		with(func(s *load.Scenario) { s.Rate, s.Tick, s.QoS = 1000, 5*time.Millisecond, 2 }),
		with(func(s *load.Scenario) { s.Window, s.Sizes, s.QoS = 64, []int{16 << 10}, 1 }), // fills the sockets
		with(func(s *load.Scenario) { s.Sizes, s.QoS = []int{24, 100, 300 << 10}, 2 }),     // more than a read takes
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers, s.QoS = load.Share, 4, 3, 1 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers, s.Filters = load.Wild, 6, 3, 500 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers, s.QoS = load.Alone, 3, 0, 1 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers = load.Alone, 3, 0 }),
		with(func(s *load.Scenario) { s.Topics, s.Retain = "a/%i/%c/%r", true }),
		with(func(s *load.Scenario) { s.Threads, s.Topics, s.QoS, s.Rate = 3, "threads/%i", 1, 1000 }),
		with(func(s *load.Scenario) { s.Shape, s.Publishers, s.Subscribers, s.Threads = load.Alone, 3, 0, 2 }),
		with(func(s *load.Scenario) { s.Rate, s.Churn, s.QoS = 200, 200, 2 }),
	}
}

func TestScenarios(t *testing.T) {
	_, target := start(t)
	timing := load.Timing{Warm: 10 * time.Millisecond, Measure: 60 * time.Millisecond, Drain: 5 * time.Second}
	for way, target := range ways(target) {
		for _, sc := range scenarios() {
			t.Run(way+"/"+sc.String(), func(t *testing.T) {
				r, err := load.Run(t.Context(), target, sc, timing)
				if err != nil {
					t.Fatal(err)
				}
				checkTraffic(t, sc, r)
				if r.Window < timing.Measure {
					t.Errorf("the window was %v, want %v", r.Window, timing.Measure)
				}
			})
		}
	}
}

func checkTraffic(t *testing.T, sc load.Scenario, r *load.Result) {
	t.Helper()
	if r.Faults.Any() {
		t.Errorf("faults: %v", r.Faults)
	}
	if r.All.Sent == 0 || r.RSS == 0 || r.Connect.Count() < uint64(sc.Publishers+sc.Subscribers) {
		t.Errorf("nothing was measured: %d sent, %d in the window, %d B, %d connects", r.All.Sent, r.Sent, r.RSS, r.Connect.Count())
	}
	if want := r.All.Sent * uint64(sc.Copies()); r.All.Received != want || r.All.Expected != want {
		t.Errorf("%d sent, %d expected, %d received; want %d", r.All.Sent, r.All.Expected, r.All.Received, want)
	}
	// What is stamped in the turn that opens the window counts as sent in it, but
	// its time is before.
	first := uint64(sc.Publishers * sc.Window)
	if want := (max(r.Sent, first) - first) * uint64(sc.Copies()); sc.Rate == 0 && r.Latency.Count() < want {
		t.Errorf("%d latencies of %d messages sent in the window, want %d", r.Latency.Count(), r.Sent, want)
	}
	acked := uint64(0)
	if sc.QoS > 0 {
		acked = r.All.Sent
	}
	if r.All.Acked != acked {
		t.Errorf("%d acknowledged, want %d", r.All.Acked, acked)
	}
	if visits := int(r.Connect.Count()) - sc.Publishers - sc.Subscribers; (visits > 0) != (sc.Churn > 0) {
		t.Errorf("%d clients came and went at %g a second", visits, sc.Churn)
	}
}

func TestRetained(t *testing.T) {
	_, target := start(t)
	for way, target := range ways(target) {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("%s, QoS %d", way, qos), func(t *testing.T) {
				r, err := load.RunRetained(t.Context(), target, load.Retained{
					Messages: 300, Publishers: 2, Subscribers: 3, QoS: qos, Window: 8, Sizes: []int{24, 50},
					Limit: 10 * time.Second, Patience: 5 * time.Second, CleanUp: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				if r.Faults.Any() || r.Set.Messages != 300 || r.Fetched.Messages != 900 || r.Expected != 900 || r.All.Count() != 3 {
					t.Errorf("%d set, %d fetched of %d by %d, faults: %v", r.Set.Messages, r.Fetched.Messages, r.Expected, r.All.Count(), r.Faults)
				}
			})
		}
	}
	// All that was set has been removed: a subscriber to everything hears nothing.
	r, err := load.Listen(t.Context(), target, load.Listening{Subscribers: 1, Filter: "bench/#"}, load.Timing{Measure: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.All.Received != 0 || r.Faults.Any() {
		t.Errorf("%d are still retained, faults: %v", r.All.Received, r.Faults)
	}
}

// What one run publishes another one hears, wherever in it it begins.
func TestListen(t *testing.T) {
	_, target := start(t)
	for qos := range byte(3) {
		ctx, enough := context.WithCancel(t.Context())
		heard := make(chan *load.Result, 1)
		listener := target
		listener.Watch = func(s load.Snapshot) {
			if s.Received > 0 {
				enough()
			}
		}
		go func() { // ends with the test, which waits for it
			r, err := load.Listen(ctx, listener, load.Listening{Subscribers: 2, Filter: "talk/#", QoS: qos}, load.Timing{Measure: time.Minute})
			if err != nil {
				t.Error(err)
			}
			heard <- r
		}()
		var r *load.Result
		for r == nil {
			sc := load.Scenario{Shape: load.Alone, Publishers: 2, QoS: qos, Window: 4, Rate: 2000, Sizes: []int{24, 64}, Topics: "talk/%i"}
			if _, err := load.Run(t.Context(), target, sc, load.Timing{Measure: 50 * time.Millisecond, Drain: 5 * time.Second}); err != nil {
				t.Fatal(err)
			}
			select {
			case r = <-heard:
			default:
			}
		}
		enough()
		if r.All.Received == 0 || r.Faults.Any() || r.Latency.Count() == 0 || !r.Interrupted {
			t.Errorf("QoS %d: %d received, %d latencies, faults: %v", qos, r.All.Received, r.Latency.Count(), r.Faults)
		}
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
	for way, target := range ways(target) {
		for _, subscribe := range []bool{false, true} {
			r, err := load.RunIdle(t.Context(), target, load.Idle{Connections: 300, Subscribe: subscribe, Rate: 10_000})
			if err != nil {
				t.Fatal(err)
			}
			if r.Closed != 0 || r.Protocol != 0 || r.Empty == 0 || r.Full == 0 || r.Connect.Count() != 300 {
				t.Errorf("%s, subscribe %v: %d closed, %d B, %d B, %d connects", way, subscribe, r.Closed, r.Empty, r.Full, r.Connect.Count())
			}
		}
	}
	if _, err := load.RunIdle(t.Context(), target, load.Idle{Connections: 1 << 30}); err == nil {
		t.Error("more connections than descriptors were accepted")
	}
}

func TestWhoIsNotLetInHearsWhy(t *testing.T) {
	p, err := broker.Kind{Name: "closed", Argv: []string{mosquitto, "-c", "{mosquitto.conf}"}}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	sc := load.Scenario{Shape: load.Pairs, Publishers: 2, Subscribers: 2, Window: 1, Sizes: []int{64}, Threads: 2}
	for way, target := range ways(load.Target{Addr: p.Addr}) {
		_, err := load.Run(t.Context(), target, sc, load.Timing{Measure: time.Second, Drain: time.Second})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: err = %v, want that the connection was refused", way, err)
		}
	}
}

func signal(t *testing.T, p *broker.Process, s syscall.Signal) {
	if err := syscall.Kill(p.PID, s); err != nil {
		t.Errorf("signal %v: %v", s, err)
	}
}
