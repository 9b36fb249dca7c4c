package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// link is a connection that keeps what is written.
type link struct {
	info Info

	mu     sync.Mutex // guards the rest
	in     []byte     // written, not taken yet
	full   bool       // Write returns false
	owed   bool       // Writable is to come
	again  bool
	kicked *packet.Refusal
}

func newLink(id string, v packet.Version) *link {
	return &link{info: Info{ClientID: id, Version: v, Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}}}
}

func (l *link) Write(b []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = append(l.in, b...)
	l.owed = l.owed || l.full
	return !l.full
}

func (l *link) Kick(_ []byte, why *packet.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kicked = why
}

func (l *link) Again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = true
}

func (l *link) Info() *Info { return &l.info }

// frames takes the packets that were written.
func (l *link) frames() (list []packet.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.in) > 0 {
		f, n, err := packet.Split(l.in, packet.MaxLength)
		if err != nil || n == 0 {
			panic(fmt.Sprintf("not a packet: % x", l.in))
		}
		list = append(list, f)
		l.in = l.in[n:]
	}
	l.in = nil
	return list
}

// ledger is a log that says when its records are safe.
type ledger struct {
	slow bool // records are safe once commit says so

	mu      sync.Mutex // guards the rest
	records []byte
	safe    int // bytes of records
	waiting []promise
}

// promise is what to call once that many bytes of records are safe.
type promise struct {
	bytes int
	done  func(error)
}

func (l *ledger) Append(records []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, records...)
}

func (l *ledger) After(done func(error)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.slow || l.safe == len(l.records) && len(l.waiting) == 0 {
		return true
	}
	l.waiting = append(l.waiting, promise{len(l.records), done})
	return false
}

// commit keeps the first of the promises; false if there is none.
func (l *ledger) commit() bool {
	l.mu.Lock()
	if len(l.waiting) == 0 {
		l.mu.Unlock()
		return false
	}
	p := l.waiting[0]
	l.safe = p.bytes
	l.mu.Unlock()
	p.done(nil)
	l.mu.Lock()
	l.waiting = l.waiting[1:]
	l.mu.Unlock()
	return true
}

// size is how many bytes of records there are, and how many of them are safe.
func (l *ledger) size() (all, safe int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records), l.safe
}

// keeps says whether a message is safe, if it is in the records at all.
func (l *ledger) keeps(payload []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := bytes.Index(l.records, payload)
	return !l.slow || at < l.safe
}

// replay is the state that the records add up to.
func (l *ledger) replay() (*record.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &record.State{}
	return s, s.Apply(l.records)
}

// testLimits are small, so that a short history meets them.
func testLimits() Limits {
	return Limits{
		Limits: session.Limits{
			ReceiveMaximum: 4, TopicAliasMaximum: 4, InFlight: 3, QueueMessages: 6, QueueBytes: 4000, PendingBytes: 1000,
		},
		TopicLevels: 5, Subscriptions: 6, WildcardSubscriptions: 4, MatchNodes: 1000, RetainedMessages: 3, RetainedBytes: 2000,
	}
}

// newBroker makes a broker of small limits; stop ends it.
func newBroker(log Log, setup func(*Options)) (b *Broker, stop func()) {
	o := Options{
		Node: "n", Limits: testLimits(), Strategy: route.RoundRobin, Log: log,
		Logger: slog.New(slog.DiscardHandler), Wheel: wheel.New(),
	}
	if setup != nil {
		setup(&o)
	}
	b = New(o)
	return b, func() {
		b.Close()
		o.Wheel.Close()
	}
}
