package load

import (
	"fmt"
	"strconv"
	"time"
)

// Pattern says what is done around sessions that outlive their connections.
type Pattern int

// The four patterns: throughput, memory, one message for everybody, and the
// shortest way to the disk.
const (
	Backlog     Pattern = iota // publisher i queues for session i, then all sessions come back
	Growth                     // as Backlog, but nobody comes back: how much memory a backlog takes
	ToMany                     // one message at a time to all sessions
	OneInFlight                // one message at a time to one session
)

// Names are what tables and -only call the pattern: a table for each.
func (p Pattern) Names() []string {
	switch p {
	case Backlog:
		return []string{"offline-queue", "offline-drain"}
	case Growth:
		return []string{"queue-memory"}
	case ToMany:
		return []string{"fanout-offline"}
	case OneInFlight:
		return []string{"one-in-flight"}
	}
	return []string{"pattern " + strconv.Itoa(int(p))}
}

// Durable is traffic at QoS 1 for sessions whose clients are away.
type Durable struct {
	Pattern  Pattern
	Sessions int
	Messages int           // published all together, unless Limit ends it
	Window   int           // unacknowledged messages per publisher; 1 for ToMany and OneInFlight
	Sizes    []int         // bytes of the payloads, in turn; each at least StampSize
	Limit    time.Duration // nothing is published after
	Settle   time.Duration // after each part; what the broker does meanwhile counts as its CPU
	Patience time.Duration // how long nothing may arrive before the rest is lost
	Topics   string        // as in Scenario
	CleanUp  bool          // the broker is to forget the sessions at the end
}

// sampled is how many sessions of ToMany come back to show that they got
// everything.
const sampled = 50

// Validate names the first mistake of a scenario.
func (d Durable) Validate() error {
	switch {
	case d.Pattern < Backlog || d.Pattern > OneInFlight:
		return fmt.Errorf("durable scenario: unknown %v", d.Pattern.Names()[0])
	case d.Sessions < 1 || d.Messages < 1:
		return fmt.Errorf("durable scenario: %d sessions and %d messages: at least one of each", d.Sessions, d.Messages)
	case d.Limit <= 0 || d.Patience <= 0:
		return fmt.Errorf("durable scenario: limit %v and patience %v must be above 0", d.Limit, d.Patience)
	case d.oneAtATime() && d.Window != 1:
		return fmt.Errorf("durable scenario: window %d where one message is in flight", d.Window)
	case d.Pattern == OneInFlight && d.Sessions != 1:
		return fmt.Errorf("durable scenario: %d sessions where one is", d.Sessions)
	}
	return d.traffic().Validate()
}

func (d Durable) oneAtATime() bool { return d.Pattern == ToMany || d.Pattern == OneInFlight }

// traffic is the scenario of those that publish and of those that come back.
func (d Durable) traffic() Scenario {
	sc := Scenario{Shape: Pairs, Publishers: d.Sessions, Subscribers: d.Sessions, QoS: 1, Window: d.Window, Sizes: d.Sizes, Topics: d.Topics}
	if d.Pattern == ToMany {
		sc.Shape, sc.Publishers, sc.Subscribers = Fanout, 1, min(sampled, d.Sessions)
	}
	return sc
}

func (d Durable) String() string {
	switch d.Pattern {
	case ToMany:
		return fmt.Sprintf("1 → %d offline sessions, QoS 1, one message in flight, %d messages, %s B", d.Sessions, d.Messages, list(d.Sizes))
	case OneInFlight:
		return fmt.Sprintf("1 → 1 offline session, QoS 1, one message in flight, up to %d messages or %v, %s B", d.Messages, d.Limit, list(d.Sizes))
	default:
		return fmt.Sprintf("%d → %d offline sessions, QoS 1, window %d, up to %d messages or %v, %s B",
			d.Sessions, d.Sessions, d.Window, d.Messages, d.Limit, list(d.Sizes))
	}
}

// DurableResult is what one run measured.
type DurableResult struct {
	Queue Stage // published and acknowledged
	Drain Stage // delivered to sessions that came back

	Empty int64 // resident bytes of the broker with its sessions, before any message
	Full  int64 // the same after Settle with all messages
	Peak  int64 // the most it had until then

	Connect Histogram
	Latency Histogram // while queueing: from PUBLISH to PUBACK
	Faults  Faults

	Interrupted bool // while queueing: what was queued was drained
}

// GrowthPerMillion is what a million queued messages add to resident memory, in
// bytes.
func (r *DurableResult) GrowthPerMillion() float64 {
	if r.Queue.Messages == 0 {
		return 0
	}
	return float64(r.Full-r.Empty) * 1e6 / float64(r.Queue.Messages)
}

// Stage is one part of a run: so many messages in so much time. Work that the
// broker puts off counts: the CPU times go on to the end of Settle.
type Stage struct {
	Messages  uint64
	Elapsed   time.Duration // without Settle
	Span      time.Duration // with it
	BrokerCPU time.Duration
	OwnCPU    time.Duration
	OtherCPU  time.Duration // of the machine, stolen time included
}

// CPUPerMillion is the broker's CPU seconds per million messages.
func (s *Stage) CPUPerMillion() float64 { return perMillion(s.BrokerCPU, s.Messages) }

// OwnPerMillion is the generator's CPU seconds per million messages.
func (s *Stage) OwnPerMillion() float64 { return perMillion(s.OwnCPU, s.Messages) }
