// Package load drives one MQTT broker with one traffic pattern and measures
// what the broker spends on it.
//
// The main figure is the broker's CPU time per million messages delivered, so
// the generator must cost far less than the broker and must not wait for it in
// a way that hides a stall. It is one thread around one epoll descriptor: no
// goroutine per connection, packets prepared before the start and only stamped
// when sent, one read buffer for everybody, one write per connection and turn,
// acknowledgements gathered into that write. Nothing is allocated once the
// messages flow, except to remember faults.
//
// Every payload carries the run, its publisher, a sequence number and the time
// it was (or should have been) sent; the receiving side counts what is lost,
// duplicated, out of order or changed for each publisher and subscriber.
//
// A turn of the loop is: stamp what is due, write to each connection with
// pending bytes, wait, read each ready connection once.
//
//   - Closed loop (Rate 0): a publisher keeps at most Window messages that are
//     not yet delivered to all subscribers and, above QoS 0, acknowledged; it
//     sends again when half of them are done.
//   - Open loop: message k is due at start + k/Rate (rounded up to a tick)
//     whatever the broker does, and its latency counts from that moment, so a
//     slow broker cannot slow its own clock.
package load

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Shape says who talks to whom.
type Shape int

// The three shapes, each with its own bottleneck: reads and writes in balance,
// writes only, and many readers' bytes merging into two sockets.
const (
	Pairs  Shape = iota // publisher i to subscriber i, a topic each
	Fanout              // every publisher to every subscriber, one topic
	Fanin               // every publisher, a topic each, to wildcard subscribers
)

func (s Shape) String() string {
	switch s {
	case Pairs:
		return "pairs"
	case Fanout:
		return "fanout"
	case Fanin:
		return "fanin"
	}
	return "shape " + strconv.Itoa(int(s))
}

// Scenario is one traffic pattern.
type Scenario struct {
	Shape       Shape
	Publishers  int
	Subscribers int
	QoS         byte
	Window      int     // unfinished messages per publisher in the closed loop
	Payload     int     // bytes, at least StampSize
	Rate        float64 // deliveries per second, all together; 0 is the closed loop

	// Tick is the grain of the open loop's schedule: what falls due within a tick
	// is due at its end, each message from another publisher. 0 spaces messages
	// evenly, which gives the broker one wake-up for each at low rates.
	Tick time.Duration
}

const maxPayload = 16 << 10 // several packets fit the read buffer

// maxOpen bounds what a publisher of the open loop may have unacknowledged,
// well below the 65,535 packet identifiers: beyond it the schedule is held back
// (and the latency of what waits goes on counting).
const maxOpen = 16384

// Validate names the first mistake of a scenario.
func (s Scenario) Validate() error {
	switch {
	case s.Shape < Pairs || s.Shape > Fanin:
		return fmt.Errorf("scenario: unknown %v", s.Shape)
	case s.Publishers < 1 || s.Subscribers < 1:
		return fmt.Errorf("scenario: %d publishers and %d subscribers: at least one of each", s.Publishers, s.Subscribers)
	case s.Shape == Pairs && s.Publishers != s.Subscribers:
		return fmt.Errorf("scenario: pairs of %d publishers and %d subscribers", s.Publishers, s.Subscribers)
	case s.QoS > 2:
		return fmt.Errorf("scenario: QoS %d", s.QoS)
	case s.Rate < 0 || s.Tick < 0:
		return fmt.Errorf("scenario: rate %g, tick %v", s.Rate, s.Tick)
	case s.Rate == 0 && (s.Window < 1 || s.Window > maxOpen):
		return fmt.Errorf("scenario: window %d is not in 1..%d", s.Window, maxOpen)
	case s.Payload < StampSize || s.Payload > maxPayload:
		return fmt.Errorf("scenario: payload of %d bytes is not in %d..%d", s.Payload, StampSize, maxPayload)
	}
	return nil
}

// Name is how tables and -only call the scenario, such as pairs-q1-closed or
// fanin-q0-10000.
func (s Scenario) Name() string {
	pace := "closed"
	if s.Rate > 0 {
		pace = strconv.FormatFloat(s.Rate, 'f', -1, 64)
	}
	return fmt.Sprintf("%s-q%d-%s", s.Shape, s.QoS, pace)
}

func (s Scenario) String() string {
	pace := fmt.Sprintf("closed loop, window %d", s.Window)
	if s.Rate > 0 {
		pace = fmt.Sprintf("open loop, %g deliveries/s in ticks of %v", s.Rate, s.Tick)
	}
	return fmt.Sprintf("%d → %d, QoS %d, %s, %d B", s.Publishers, s.Subscribers, s.QoS, pace, s.Payload)
}

// Copies is the number of subscribers that one message reaches.
func (s Scenario) Copies() int {
	if s.Shape == Pairs {
		return 1
	}
	return s.Subscribers
}

func (s Scenario) topic(publisher int) string {
	switch s.Shape {
	case Fanout:
		return "bench/fan/out/topic"
	case Fanin:
		return "bench/in/" + strconv.Itoa(publisher)
	default:
		return "bench/pair/" + strconv.Itoa(publisher)
	}
}

func (s Scenario) filter(subscriber int) string {
	if s.Shape == Fanin {
		return "bench/in/#"
	}
	return s.topic(subscriber)
}

func (s Scenario) reaches(publisher, subscriber int) bool {
	return s.Shape != Pairs || publisher == subscriber
}

// Target is the broker under load. Its process is read in /proc, so it runs on
// this machine.
type Target struct {
	Addr netip.AddrPort
	PID  int
}

// Timing says how long the parts of a run last.
type Timing struct {
	Warm    time.Duration // traffic before anything counts
	Measure time.Duration
	Drain   time.Duration // how long nothing may arrive before the rest is lost
}

// Result is what one run measured. Counts and CPU times are those of the
// measured window; Latency holds every message sent in the window, also when it
// arrived after its end.
type Result struct {
	Window    time.Duration
	Sent      uint64 // published
	Received  uint64 // delivered
	Behind    uint64 // open loop: due in the window, not even sent at its end
	Latency   Histogram
	BrokerCPU time.Duration // user + system, all threads
	OwnCPU    time.Duration // of the process that generates the load
	OtherCPU  time.Duration // of everything else on the machine: how quiet it was
	RSS       int64         // resident bytes of the broker at the window's end
	Faults    Faults        // of the whole run, warm-up and drain included
}

// CPUPerMillion is broker CPU seconds per million deliveries; 0 if there were none.
func (r *Result) CPUPerMillion() float64 { return perMillion(r.BrokerCPU, r.Received) }

// OwnPerMillion is the generator's CPU seconds per million deliveries.
func (r *Result) OwnPerMillion() float64 { return perMillion(r.OwnCPU, r.Received) }

func perMillion(cpu time.Duration, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return cpu.Seconds() * 1e6 / float64(n)
}

// Faults counts what a broker must never do on connections that stay up. At
// QoS 1 duplicates are allowed only after a reconnect, and nobody reconnects
// here.
type Faults struct {
	Lost       uint64
	Duplicated uint64
	Disordered uint64
	Damaged    uint64 // wrong topic, payload or addressee
	Protocol   uint64 // wrong flags, or acknowledgements missing or out of order
	Trouble    string // why the run ended early, if it did
}

// Any says whether there is something to show.
func (f Faults) Any() bool { return f != Faults{} }

func (f Faults) String() string {
	var parts []string
	add := func(n uint64, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(f.Lost, "lost")
	add(f.Duplicated, "duplicated")
	add(f.Disordered, "out of order")
	add(f.Damaged, "damaged")
	add(f.Protocol, "against the protocol")
	if f.Trouble != "" {
		parts = append(parts, f.Trouble)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
