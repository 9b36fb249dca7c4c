// Package load drives one MQTT broker with one traffic pattern and measures
// what the broker spends on it.
//
// The main figure is the broker's CPU time per million messages delivered, so
// the generator must cost far less than the broker and must not wait for it in
// a way that hides a stall. It is one loop: packets prepared before the start
// and only stamped when sent, one write per connection and turn,
// acknowledgements gathered into that write. Nothing is allocated once the
// messages flow, except to remember faults.
//
// A turn of the loop is: stamp what is due, write to each connection with
// pending bytes, wait, take in what has arrived. The loop knows its
// connections by a [transport] only: on Linux TCP is one epoll descriptor, read
// and written without the Go scheduler; TLS, WebSocket and other systems have
// two goroutines for each connection, which cost more and count the same.
//
// Every payload carries the run, its publisher, a sequence number and the time
// it was (or should have been) sent; the receiving side counts what is lost,
// duplicated, out of order or changed for each publisher and subscriber.
//
//   - Closed loop (Rate 0): a publisher keeps at most Window messages that are
//     not yet delivered to all subscribers and, above QoS 0, acknowledged; it
//     sends again when half of them are done.
//   - Open loop: message k is due at start + k/Rate (rounded up to a tick)
//     whatever the broker does, and its latency counts from that moment, so a
//     slow broker cannot slow its own clock.
//
// [Run] is for traffic, [RunIdle] for connections that are only held,
// [RunDurable] for sessions whose clients are away, [RunRetained] for retained
// messages, [Listen] for the messages of another process.
package load

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// Shape says who talks to whom.
type Shape int

// The shapes, each with its own bottleneck.
const (
	Pairs  Shape = iota // publisher i to subscriber i, a topic each
	Fanout              // every publisher to every subscriber, one topic
	Fanin               // every publisher, a topic each, to wildcard subscribers
	Share               // every publisher, a topic each, to one of a shared group
	Wild                // every publisher to one of many wildcard filters, in turn
	Alone               // publishers only
)

func (s Shape) String() string {
	names := []string{"pairs", "fanout", "fanin", "share", "wild", "pub"}
	if s < 0 || int(s) >= len(names) {
		return "shape " + strconv.Itoa(int(s))
	}
	return names[s]
}

// Scenario is one traffic pattern.
type Scenario struct {
	Shape       Shape
	Publishers  int
	Subscribers int
	QoS         byte
	Retain      bool
	Window      int     // unfinished messages per publisher in the closed loop
	Sizes       []int   // bytes of the payloads, in turn; each at least StampSize
	Rate        float64 // deliveries per second, all together; 0 is the closed loop
	Filters     int     // Wild: of all subscribers together

	// Topics is a pattern for topic names; the shape has its own if it is empty.
	// %i stands for the number of the publisher, %c for its client id, %u for
	// the user name and %r for the run.
	Topics string

	// Threads is how many loops share the clients of Pairs and Alone, each on a
	// thread of its own; 0 is one.
	Threads int

	first int // the number of the first publisher, where others have the ones before

	// Tick is the grain of the open loop's schedule: what falls due within a tick
	// is due at its end, each message from another publisher. 0 spaces messages
	// evenly, which gives the broker one wake-up for each at low rates.
	Tick time.Duration

	// Stalled is how many further subscribers subscribe to what the others do, and
	// stop reading when messages begin to flow. What is sent to them is not counted.
	Stalled int

	// Churn is how many further clients a second connect, subscribe, publish,
	// receive and leave, beside the traffic; 0 is none.
	Churn float64
}

const (
	maxPayload = 16 << 20
	maxPeers   = 1 << 20

	// maxPrepared bounds the bytes of all prepared packets.
	maxPrepared = 1 << 30
)

// maxOpen bounds what a publisher of the open loop may have unacknowledged,
// well below the 65,535 packet identifiers: beyond it the schedule is held back
// (and the latency of what waits goes on counting).
const maxOpen = 16384

// Validate names the first mistake of a scenario.
func (s Scenario) Validate() error {
	switch {
	case s.Shape < Pairs || s.Shape > Alone:
		return fmt.Errorf("scenario: unknown %v", s.Shape)
	case s.Publishers < 1 || s.Subscribers < 1 && s.Shape != Alone:
		return fmt.Errorf("scenario: %d publishers and %d subscribers: at least one of each", s.Publishers, s.Subscribers)
	case s.Publishers > maxPeers || s.Subscribers > maxPeers:
		return fmt.Errorf("scenario: %d publishers and %d subscribers: at most %d of each", s.Publishers, s.Subscribers, maxPeers)
	case s.Shape == Alone && s.Subscribers != 0:
		return fmt.Errorf("scenario: %d subscribers where there is none", s.Subscribers)
	case s.Shape == Pairs && s.Publishers != s.Subscribers:
		return fmt.Errorf("scenario: pairs of %d publishers and %d subscribers", s.Publishers, s.Subscribers)
	case s.Shape == Wild && s.Publishers%s.Subscribers != 0:
		return fmt.Errorf("scenario: %d publishers are no multiple of %d subscribers", s.Publishers, s.Subscribers)
	case s.Shape == Wild && s.Filters < s.Subscribers:
		return fmt.Errorf("scenario: %d filters for %d subscribers: at least one each", s.Filters, s.Subscribers)
	case s.Stalled < 0 || s.Stalled > maxPeers || s.Stalled > 0 && s.Subscribers == 0:
		return fmt.Errorf("scenario: %d stalled beside %d subscribers", s.Stalled, s.Subscribers)
	case s.QoS > 2:
		return fmt.Errorf("scenario: QoS %d", s.QoS)
	case s.Rate < 0 || s.Tick < 0 || s.Churn < 0:
		return fmt.Errorf("scenario: rate %g, tick %v, churn %g", s.Rate, s.Tick, s.Churn)
	case s.Rate == 0 && (s.Window < 1 || s.Window > maxOpen):
		return fmt.Errorf("scenario: window %d is not in 1..%d", s.Window, maxOpen)
	}
	if err := checkSizes(s.Sizes); err != nil {
		return err
	}
	if err := s.checkThreads(); err != nil {
		return err
	}
	return s.checkTopics()
}

func (s Scenario) checkThreads() error {
	switch {
	case s.Threads < 0 || s.Threads > s.Publishers:
		return fmt.Errorf("scenario: %d threads for %d publishers", s.Threads, s.Publishers)
	case s.Threads > 1 && (s.Shape != Pairs && s.Shape != Alone || s.Churn > 0):
		return fmt.Errorf("scenario: %v is for one thread", s.Shape)
	}
	return nil
}

func checkSizes(sizes []int) error {
	if len(sizes) == 0 {
		return fmt.Errorf("scenario: no size of payload")
	}
	for _, n := range sizes {
		if n < StampSize || n > maxPayload {
			return fmt.Errorf("scenario: payload of %d bytes is not in %d..%d", n, StampSize, maxPayload)
		}
	}
	return nil
}

func (s Scenario) checkTopics() error {
	if s.Topics == "" {
		return nil
	}
	if s.Shape == Wild {
		return fmt.Errorf("scenario: wild has topics of its own")
	}
	if s.Shape == Pairs && !varies(s.Topics) {
		return fmt.Errorf("scenario: topics %q are one for all pairs: %%i makes one each", s.Topics)
	}
	if err := topic.ValidName(s.names("run", "user").topic("id", s.Publishers), 0); err != nil {
		return fmt.Errorf("scenario: topics %q: %w", s.Topics, err)
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
	what := "deliveries"
	if s.Shape == Alone {
		what = "messages"
	}
	if s.Rate > 0 {
		pace = fmt.Sprintf("open loop, %g %s/s in ticks of %v", s.Rate, what, s.Tick)
	}
	beside := ""
	if s.Stalled > 0 {
		beside = fmt.Sprintf(" and %d stalled", s.Stalled)
	}
	return fmt.Sprintf("%d → %d%s, QoS %d, %s, %s B", s.Publishers, s.Subscribers, beside, s.QoS, pace, list(s.Sizes))
}

func list(sizes []int) string {
	words := make([]string, len(sizes))
	for i, n := range sizes {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// Copies is the number of subscribers that one message reaches.
func (s Scenario) Copies() int {
	switch s.Shape {
	case Fanout, Fanin:
		return s.Subscribers
	case Alone:
		return 0
	default:
		return 1
	}
}

// Target is the broker under load, and how to get in.
type Target struct {
	Login

	Addr   netip.AddrPort // plain TCP
	Source netip.Addr     // to connect from; the system's choice if not valid
	// Dial opens a connection where plain TCP will not do: TLS, WebSocket, a
	// unix socket. It is called by many goroutines at once. Addr does not count
	// where it is set.
	Dial func(context.Context) (net.Conn, error)

	// PID is the broker's process. It is read in /proc, so it runs on this
	// machine, and that is a Linux; 0 leaves the broker's own figures out.
	PID int

	// Watch, if set, hears about twice a second how far a run is. It is called by
	// the loop and must not wait.
	Watch func(Snapshot)
}

// Login is what all clients have in common.
type Login struct {
	Version     packet.Version // 0 is 3.1.1
	HasUserName bool
	UserName    string
	Password    []byte
	KeepAlive   time.Duration
	Properties  packet.ConnectProperties // 5.0
}

// Timing says how long the parts of a run last.
type Timing struct {
	Ramp    time.Duration // to spread the connects over; 0: as fast as the broker accepts them
	Warm    time.Duration // traffic before anything counts
	Measure time.Duration
	Drain   time.Duration // how long nothing may arrive before the rest is lost
}

// Snapshot is how far a run is. Counts are of all since its beginning.
type Snapshot struct {
	Phase     string
	Elapsed   time.Duration
	Connected int
	Sent      uint64
	Acked     uint64
	Received  uint64
	Faults    Faults // without what is lost: that shows at the end
}
