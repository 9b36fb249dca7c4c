package crash

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

type kind string

// What can happen. Where a packet is meant, who is the client, and it went the way
// that the name says.
const (
	connected    kind = "connected"     // CONNACK came; present
	sending      kind = "PUBLISH sent"  // about to be
	recorded     kind = "PUBREC came"   // for the log alone
	releasing    kind = "PUBREL sent"   // for the log alone
	acknowledged kind = "acknowledged"  // PUBACK or PUBCOMP came
	refused      kind = "refused"       // an acknowledgement with a failure came
	abandoned    kind = "abandoned"     // who will not continue what is not acknowledged
	subscribing  kind = "SUBSCRIBE out" // about to be
	subscribed   kind = "SUBACK came"
	unsubscribed kind = "UNSUBACK came"
	ended        kind = "session ended" // who is forgotten by both sides
	received     kind = "PUBLISH came"
	released     kind = "PUBREL came"
	armed        kind = "will armed"     // key, topic, qos, delay: who is about to connect with it
	bequeathed   kind = "will stored"    // it is durable now
	vanished     kind = "vanishes"       // who is about to close its socket without DISCONNECT
	returned     kind = "will recalled"  // who is back, and this is durable
	returning    kind = "will in flight" // who is about to come back
	crashed      kind = "the server is killed"
	ready        kind = "the server is ready"
	broken       kind = "broken" // what must never be seen; why
)

type event struct {
	n    int // its place in the history
	at   time.Time
	who  string
	kind kind

	key, topic  string // of the message; topic also the filter of a subscription
	id          uint16
	qos         byte
	dup, retain bool
	present     bool
	delay       time.Duration
	why         string
}

func (e event) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "#%-7d %s  %-14s %s", e.n, e.at.Format("15:04:05.000000"), e.who, e.kind)
	if e.key != "" {
		fmt.Fprintf(&s, " %q", e.key)
	}
	if e.topic != "" {
		fmt.Fprintf(&s, " on %s at QoS %d", e.topic, e.qos)
	}
	if e.id != 0 {
		fmt.Fprintf(&s, " id %d", e.id)
	}
	for text, set := range map[string]bool{" DUP": e.dup, " RETAIN": e.retain} {
		if set {
			s.WriteString(text)
		}
	}
	if e.kind == connected {
		fmt.Fprintf(&s, " session present %t", e.present)
	}
	return s.String() + " " + e.why
}

// history is what happened in a run, in the order in which it did.
type history struct {
	mu      sync.Mutex // guards the rest
	events  []event
	judge   *judge
	changed chan struct{} // closed at the next event; nil while nobody waits
}

func newHistory() *history { return &history{judge: newJudge()} }

func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.at = time.Now()
	e.n = len(h.events) + 1
	h.events = append(h.events, e)
	h.judge.see(e)
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// ask reads the judge.
func (h *history) ask(question func(*judge)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	question(h.judge)
}

// until waits until the judge says so.
func (h *history) until(ctx context.Context, so func(*judge) bool) error {
	for {
		h.mu.Lock()
		if so(h.judge) {
			h.mu.Unlock()
			return nil
		}
		if h.changed == nil {
			h.changed = make(chan struct{})
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell writes all that happened to a message, and what happened to the server and to
// the connections and sessions of its publisher and of one more.
func (h *history) tell(w io.Writer, key, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	whom := []string{who}
	if m := h.judge.messages[key]; m != nil {
		whom = append(whom, m.from)
	}
	for _, e := range h.events {
		about := slices.Contains(whom, e.who) && slices.Contains([]kind{
			connected, subscribing, subscribed, unsubscribed, ended, vanished, returning, returned, abandoned, broken,
		}, e.kind)
		if key != "" && e.key == key || e.who == "" || about {
			fmt.Fprintln(w, "   ", e)
		}
	}
}
