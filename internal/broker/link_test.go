package broker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// link is a connection that keeps what is written.
type link struct {
	info Info

	mu     sync.Mutex // guards the rest
	in     []byte     // written, not taken yet
	full   bool       // Write returns false
	keeps  bool       // and keeps what it was given
	kept   [][]byte
	left   []byte // what was pending when it was kicked
	owed   bool   // Writable is to come
	again  bool
	kicked *packet.Refusal
}

func newLink(id string, v packet.Version) *link {
	return &link{info: Info{ClientID: id, Version: v, Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}}}
}

func (l *link) Write(parts [][]byte) (flushed, kept bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed = l.owed || l.full
	if l.full && l.keeps {
		l.kept = append(l.kept, parts...)
		return false, true
	}
	for _, p := range parts {
		l.in = append(l.in, p...)
	}
	return !l.full, false
}

// release makes what was kept leave.
func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.kept {
		l.in = append(l.in, p...)
	}
	l.kept = nil
}

func (l *link) Gathers() bool { return true }

func (l *link) Kick(pending []byte, why *packet.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kicked, l.left = why, bytes.Clone(pending)
}

func (l *link) Due(int64) int64 { return 0 }

func (l *link) Again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = true
}

func (l *link) Join(*Client) {}

func (l *link) Info() *Info { return &l.info }

func (*link) Standing() (known, ruled bool) { return false, false }

func (l *link) Version() packet.Version { return l.info.Version }

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
	slow   bool     // records are safe once commit says so
	before [][]byte // what was safe of earlier processes, each as a frame

	mu      sync.Mutex // guards the rest
	frame   record.Frame
	safe    int // bytes of the frame
	waiting []promise
	inside  int   // how many have entered
	ends    []int // where a frame could have ended
}

// promise is what to call once that many bytes of records are safe.
type promise struct {
	bytes int
	done  func(error)
}

func (l *ledger) Append(records []byte, body *message.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frame.Append(records, body)
	l.mayEnd()
}

// mayEnd notes that a frame may end here, unless somebody has entered. The caller
// holds l.mu.
func (l *ledger) mayEnd() {
	if l.inside == 0 {
		l.ends = append(l.ends, l.frame.Len())
	}
}

func (l *ledger) After(done func(error)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.slow || l.safe == l.frame.Len() && len(l.waiting) == 0 {
		return true
	}
	l.waiting = append(l.waiting, promise{l.frame.Len(), done})
	return false
}

func (l *ledger) Enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside++
}

func (l *ledger) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside--
	l.mayEnd()
}

// keep makes more safe than has been promised, up to the n-th end of a frame
// behind that; false if there are not so many.
func (l *ledger) keep(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearch(l.ends, l.safe+1)
	if n > len(l.ends)-i {
		return false
	}
	if n > 0 {
		l.safe = l.ends[i+n-1]
	}
	return true
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
	return l.frame.Len(), l.safe
}

// keeps says whether a message is safe, if it is in the records at all.
func (l *ledger) keeps(payload []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := bytes.Index(l.frame.Bytes(), payload)
	return !l.slow || at < l.safe
}

// has says whether a message is in the records.
func (l *ledger) has(payload []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.frame.Bytes(), payload)
}

// replay is the state that the records add up to.
func (l *ledger) replay() (*record.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state(l.frame.Len())
}

// state is what the records up to a byte add up to. The caller holds l.mu.
func (l *ledger) state(end int) (*record.State, error) {
	s := &record.State{}
	for _, f := range l.before {
		if err := s.Apply(f); err != nil {
			return s, err
		}
	}
	return s, s.Apply(l.frame.Bytes()[:end])
}

// logs are the kinds of logs that a broker has to work with.
func logs() map[string]func() Log {
	return map[string]func() Log{
		"records are safe at once": func() Log { return &ledger{} },
		"records are safe later":   func() Log { return &ledger{slow: true} },
		"records are in a store":   func() Log { return archive{&ledger{slow: true}} },
	}
}

// ledgerOf is the ledger that a log is.
func ledgerOf(l Log) *ledger {
	if a, ok := l.(archive); ok {
		return a.ledger
	}
	own, _ := l.(*ledger)
	return own
}

var _ Store = archive{}

// archive is a ledger that is a store as well.
type archive struct{ *ledger }

// crashed is what a crash leaves of the archive: what is safe.
func (a archive) crashed() archive {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := append(slices.Clone(a.before), slices.Clone(a.frame.Bytes()[:a.safe]))
	return archive{&ledger{slow: true, before: before}}
}

// settle makes all safe, and what comes of that.
func (a archive) settle() {
	for synctest.Wait(); a.commit(); synctest.Wait() {
		continue
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.safe = a.frame.Len()
}

func (a archive) Load(client string, from uint64, size int, done func([]record.Queued, error)) {
	load := func(err error) {
		state, broken := a.replay()
		if err = errors.Join(err, broken); err != nil {
			done(nil, err)
			return
		}
		var items []record.Queued
		total := 0
		if s := state.Sessions[client]; s != nil {
			for _, it := range s.Queue {
				if it.Seq >= from && it.Message != nil && total < size {
					items = append(items, it.Queued)
					total += it.Message.Size()
				}
			}
		}
		done(items, nil)
	}
	if a.After(load) {
		go load(nil)
	}
}

// Overdue makes a run of each message.
func (a archive) Overdue(now int64, behind record.Run, done func([]record.Run, int64, error)) {
	go func() {
		state, err := a.replay()
		var runs []record.Run
		next := int64(0)
		for client, s := range state.Sessions {
			for _, it := range s.Queue {
				at := int64(0)
				if it.Message != nil {
					at = it.Message.ExpiresAt()
				}
				switch {
				case it.ID > 0 || at == 0 || at < behind.At:
				case at > now:
					next = earliest(next, at)
				default:
					runs = append(runs, record.Run{Client: client, First: it.Seq, Last: it.Seq, At: at, Messages: 1, Bytes: it.Message.Size()})
				}
			}
		}
		done(runs, next, err)
	}()
}

func earliest(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// Standing leaves out what has left its queue, or was sent.
func (a archive) Standing(runs []record.Run, done func([]record.Run, error)) {
	look := func(err error) {
		state, broken := a.replay()
		standing := slices.DeleteFunc(slices.Clone(runs), func(r record.Run) bool {
			s := state.Sessions[r.Client]
			return s == nil || !slices.ContainsFunc(s.Queue, func(it *record.Item) bool { return it.Seq == r.First && it.ID == 0 })
		})
		done(standing, errors.Join(err, broken))
	}
	if a.After(look) {
		go look(nil)
	}
}

func (a archive) Room(func()) bool { return true }

func (a archive) Failing() error { return nil }

// recover is what a process finds that starts on what is safe.
func (l *ledger) recover(setting func(record.Setting) error, session func(*record.Recovered) error, retained func(record.Retained) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.state(l.safe)
	if err != nil {
		return err
	}
	for _, v := range s.Settings {
		if err := setting(v); err != nil {
			return err
		}
	}
	for id, found := range s.Sessions {
		r := &record.Recovered{Client: id, Session: *found}
		r.Queue = nil
		for _, it := range found.Queue {
			r.Last = it.Seq
			if it.ID > 0 {
				r.Window = append(r.Window, record.Sent{Seq: it.Seq, ID: it.ID, Released: it.Released})
				continue
			}
			if r.Unsent == 0 {
				r.Unsent = it.Seq
			}
			r.Messages++
			r.Bytes += int64(it.Message.Size())
		}
		if r.Unsent == 0 {
			r.Unsent = r.Last + 1
		}
		if err := session(r); err != nil {
			return err
		}
	}
	for _, m := range s.Retained {
		if err := retained(m); err != nil {
			return err
		}
	}
	return nil
}

// testLimits are small, so that a short history meets them.
func testLimits() Limits {
	return Limits{
		Limits: session.Limits{
			ReceiveMaximum: 4, TopicAliasMaximum: 4, InFlight: 3, QueueMessages: 6, QueueBytes: 4000, HeadMessages: 2, HeadBytes: 4 << 10, PendingBytes: 1000,
		},
		TopicLevels: 5, Subscriptions: 6, WildcardSubscriptions: 4, MatchNodes: 1000, RetainedMessages: 3, RetainedBytes: 2000,
		QueuedBytes: 8000, QueuedMemory: 4000, AllPendingBytes: 6000,
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
