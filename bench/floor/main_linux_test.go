package main

import (
	"os"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
)

const portEnv = "FANTAIL_TEST_FLOOR"

// TestMain lets this binary be the floor: a process of its own, because its
// thread does not listen to the Go scheduler.
func TestMain(m *testing.M) {
	if port := os.Getenv(portEnv); port != "" {
		if err := run([]string{port}); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestTrafficThroughTheFloor(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]load.Scenario{
		"pairs at QoS 0":           {Shape: load.Pairs, Publishers: 10, Subscribers: 10, Window: 64},
		"pairs at QoS 1":           {Shape: load.Pairs, Publishers: 10, Subscribers: 10, QoS: 1, Window: 32},
		"fan-out":                  {Shape: load.Fanout, Publishers: 1, Subscribers: 50, QoS: 1, Window: 16},
		"fan-in by a wildcard":     {Shape: load.Fanin, Publishers: 50, Subscribers: 2, QoS: 1, Window: 4},
		"more topics than one":     {Shape: load.Wild, Publishers: 10, Subscribers: 10, Window: 4, Filters: 1000},
		"by the clock":             {Shape: load.Fanin, Publishers: 50, Subscribers: 2, QoS: 1, Rate: 2000},
		"messages of 16 KiB":       {Shape: load.Pairs, Publishers: 10, Subscribers: 10, QoS: 1, Window: 32, Sizes: []int{16 << 10}},
		"a socket without room":    {Shape: load.Fanout, Publishers: 4, Subscribers: 4, Window: 1000, Sizes: []int{16 << 10}},
		"clients that come and go": {Shape: load.Fanin, Publishers: 10, Subscribers: 2, Window: 4, Churn: 200},
	}
	for name, sc := range cases {
		t.Run(name, func(t *testing.T) {
			floor := broker.Kind{Name: "floor", Argv: []string{"/usr/bin/env", portEnv + "={port}", self}}
			p, err := floor.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if sc.Sizes == nil {
				sc.Sizes = []int{128}
			}
			timing := load.Timing{Measure: 100 * time.Millisecond, Drain: 10 * time.Second}
			result, err := load.Run(t.Context(), load.Target{Addr: p.Addr, PID: p.PID}, sc, timing)
			if err != nil {
				t.Fatal(err)
			}
			if result.Received == 0 || result.Faults.Any() {
				t.Errorf("%d delivered, faults: %v", result.Received, result.Faults)
			}
			if err := p.Running(); err != nil {
				t.Error(err)
			}
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACommandLineWithoutAPort(t *testing.T) {
	for _, args := range [][]string{nil, {"x"}, {"70000"}, {"1", "2"}} {
		if run(args) == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
