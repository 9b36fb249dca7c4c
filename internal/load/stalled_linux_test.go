package load_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
	"github.com/fantail-mqtt/fantail/packet"
)

// Subscribers that read nothing are nobody's loss, whatever a broker does about
// them; who is closed is told apart from who stays.
func TestStalledSubscribersAreNotCounted(t *testing.T) {
	_, target := start(t)
	shapes := map[string]load.Scenario{
		"pairs":   {Shape: load.Pairs, Publishers: 4, Subscribers: 4, QoS: 1, Stalled: 7, Threads: 2},
		"fan-out": {Shape: load.Fanout, Publishers: 1, Subscribers: 3, Stalled: 2},
		"fan-in":  {Shape: load.Fanin, Publishers: 5, Subscribers: 2, QoS: 2, Stalled: 3},
		"share":   {Shape: load.Share, Publishers: 2, Subscribers: 2, QoS: 1, Stalled: 2},
		"wild":    {Shape: load.Wild, Publishers: 4, Subscribers: 2, Filters: 20, Stalled: 3},
	}
	for way, target := range ways(target) {
		for name, sc := range shapes {
			t.Run(way+"/"+name, func(t *testing.T) {
				sc.Window, sc.Sizes = 4, []int{2048}
				r, err := load.Run(t.Context(), target, sc, load.Timing{Measure: 50 * time.Millisecond, Drain: 5 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				if want := r.All.Sent * uint64(sc.Copies()); r.Faults.Any() || r.All.Received != want || r.Clients != sc.Publishers+sc.Subscribers {
					t.Errorf("%d received of %d by %d clients, faults: %v", r.All.Received, want, r.Clients, r.Faults)
				}
				if want := (load.Stalled{Clients: sc.Stalled, Connected: sc.Stalled}); r.Stalled != want {
					t.Errorf("%+v, want %+v", r.Stalled, want)
				}
				if r.EmptyRSS == 0 || r.PeakRSS < r.EmptyRSS/2 {
					t.Errorf("memory: %d before, %d at most", r.EmptyRSS, r.PeakRSS)
				}
			})
		}
	}
}

// A broker that ends the connection of who reads nothing is seen to do so, though
// nobody reads that it did.
func TestStalledSubscribersThatAreClosed(t *testing.T) {
	_, target := start(t)
	target.Addr = cutting(t, target.Addr)
	for way, target := range ways(target) {
		if target.Version == packet.V5 {
			continue // whose CONNECT looks different
		}
		sc := load.Scenario{Shape: load.Pairs, Publishers: 3, Subscribers: 3, Window: 4, Sizes: []int{2048}, Stalled: 2}
		r, err := load.Run(t.Context(), target, sc, load.Timing{Measure: 300 * time.Millisecond, Drain: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if want := (load.Stalled{Clients: 2, Closed: 2}); r.Stalled != want || r.Faults.Any() {
			t.Errorf("%s: %+v, want %+v; faults: %v", way, r.Stalled, want, r.Faults)
		}
	}
}

// cutting passes connections on to a broker, and closes those of stalled
// subscribers after a moment.
func cutting(t *testing.T, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	pass := func(near net.Conn) {
		defer near.Close()
		far, err := net.Dial("tcp", to.String())
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		connect := make([]byte, 64)
		n, err := near.Read(connect)
		if _, wrong := far.Write(connect[:n]); err != nil || wrong != nil {
			return
		}
		if connect[14] == 'x' { // the first letter of the client id
			defer time.AfterFunc(200*time.Millisecond, func() { _ = near.Close() }).Stop()
		}
		go func() { _, _ = io.Copy(far, near); _ = far.Close() }() // ends with near
		_, _ = io.Copy(near, far)
	}
	go func() { // ends with ln, at the end of the test
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go pass(near) // ends with its connections
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String())
}
