package load

import (
	"fmt"
	"strings"
	"time"
)

// Result is what one run measured. Counts, bytes and CPU times are those of
// the measured window; the latencies hold every message sent in the window,
// also when it arrived after its end.
type Result struct {
	Window   time.Duration
	Sent     uint64 // published
	Acked    uint64
	Received uint64 // delivered
	BytesOut uint64 // of MQTT, to the broker
	BytesIn  uint64
	Clients  int

	Connect Histogram // from the connect to the CONNACK, of all clients
	Ack     Histogram // from a PUBLISH to the end of its acknowledgement
	Latency Histogram // from a PUBLISH to its delivery
	Cycle   Histogram // of churn: from the connect to the end

	Behind uint64    // open loop: due in the window, not even sent at its end
	Late   Histogram // open loop: how late the generator itself was
	Churn  uint64    // clients that came and went in the window

	BrokerCPU time.Duration // user + system, all threads
	OwnCPU    time.Duration // of the process that generates the load
	OtherCPU  time.Duration // of everything else on the machine: how quiet it was
	RSS       int64         // resident bytes of the broker at the window's end

	Stalled  Stalled
	EmptyRSS int64 // with Stalled: before messages flowed
	PeakRSS  int64 // with Stalled: the most while they did

	All         Totals
	Faults      Faults // of the whole run, warm-up and drain included
	Interrupted bool   // the window is shorter than it should be
}

// Totals are the messages of the whole run.
type Totals struct {
	Sent     uint64
	Acked    uint64
	Expected uint64 // what a faultless broker delivers
	Received uint64
}

// CPUPerMillion is broker CPU seconds per million deliveries; 0 if there were none.
func (r *Result) CPUPerMillion() float64 { return perMillion(r.BrokerCPU, r.moved()) }

// OwnPerMillion is the generator's CPU seconds per million deliveries.
func (r *Result) OwnPerMillion() float64 { return perMillion(r.OwnCPU, r.moved()) }

// moved is what CPU time is put in relation to: what was delivered, or
// published where nobody receives.
func (r *Result) moved() uint64 {
	if r.All.Expected == 0 && r.Received == 0 {
		return r.Sent
	}
	return r.Received
}

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
	Refused    uint64 // publishes that the broker answered with an error
	Closed     uint64 // connections that ended early
	Trouble    string // why the run ended early, or the first connection did
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
	add(f.Refused, "refused")
	add(f.Closed, "connections lost")
	if f.Trouble != "" {
		parts = append(parts, f.Trouble)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
