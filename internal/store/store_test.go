package store

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func open(t fataler, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open("data/store", Options{FS: fs, Logger: slog.New(faults{slog.DiscardHandler, t}), Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// faults fails the test when the store reports a record that does not fit.
type faults struct {
	slog.Handler
	t fataler
}

func closeStore(t fataler, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func sameState(t fataler, what string, want *record.State, s *Store) {
	t.Helper()
	got, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if !equal(want, got) {
		t.Fatalf("%s (-want +got):\n%s", what, cmp.Diff(want, got, cmpopts.EquateEmpty()))
	}
}

// equal compares two states; it makes empty queues nil.
func equal(a, b *record.State) bool {
	for _, s := range []*record.State{a, b} {
		for _, session := range s.Sessions {
			if len(session.Queue) == 0 {
				session.Queue = nil
			}
		}
	}
	return reflect.DeepEqual(a, b)
}

func newState() *record.State {
	return &record.State{Sessions: map[string]*record.Session{}, Retained: map[string]record.Retained{}, Settings: map[record.Place]record.Setting{}}
}

func apply(t fataler, want *record.State, f *record.Frame) {
	t.Helper()
	if err := want.Apply(f.Bytes()); err != nil {
		t.Fatal(err)
	}
	f.Reset()
}

// settle waits until all is committed.
func settle(t fataler, s *Store) {
	t.Helper()
	if err := s.wait(s.life); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsAppendedIsWhatIsStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		s := open(t, fs)
		defer func() { _ = s.Close() }()
		want := newState()
		h := newHistory()
		var f record.Frame
		for range rapid.IntRange(1, 30).Draw(t, "frames") {
			var steps []step
			for range rapid.IntRange(1, 25).Draw(t, "steps") {
				steps = append(steps, h.steps(t)...)
			}
			s.Enter()
			for _, st := range steps {
				s.Append(st.records, st.body)
				f.Append(st.records, st.body)
			}
			s.Leave()
			settle(t, s)
			apply(t, want, &f)
			if s.t.faults > 0 {
				t.Fatalf("%d records did not fit", s.t.faults)
			}
			switch rapid.IntRange(0, 7).Draw(t, "then") {
			case 0:
				sameState(t, "while it is open", want, s)
				loadsAgree(t, want, s)
			case 1:
				closeStore(t, s)
				s = open(t, fs)
				recoversAs(t, want, s)
				sameState(t, "opened again", want, s)
			case 2: // tables instead of the log
				if err := s.handles.db.Flush(); err != nil {
					t.Fatal(err)
				}
			case 3, 4:
				h.overdue = overdueNow(t, s, rapid.Int64Range(0, 2*int64(h.n)).Draw(t, "now"))
			}
		}
		sameState(t, "at the end", want, s)
		noGarbage(t, want, s)
	})
}

// recoversAs checks what Recover hands on.
func recoversAs(t *rapid.T, want *record.State, s *Store) {
	retained := map[string]record.Retained{}
	found := map[string]*record.Recovered{}
	settings := map[record.Place]record.Setting{}
	err := s.Recover(func(v record.Setting) error {
		settings[v.Place] = v
		return nil
	}, func(r *record.Recovered) error {
		found[r.Client] = r
		return nil
	}, func(m record.Retained) error {
		retained[m.Topic] = m
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Retained, retained, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("retained (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Settings, settings, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("settings (-want +got):\n%s", diff)
	}
	if len(found) != len(want.Sessions) {
		t.Fatalf("%d sessions, want %d", len(found), len(want.Sessions))
	}
	for client, session := range want.Sessions {
		got := found[client]
		expect := record.Recovered{Client: client, Session: *session, Unsent: got.Unsent, Last: got.Last}
		expect.Queue = nil
		for _, it := range session.Queue {
			if it.Seq > got.Last {
				t.Fatalf("%s: message %d is behind the last, %d", client, it.Seq, got.Last)
			}
			if it.ID == 0 {
				expect.Messages++
				expect.Bytes += int64(it.Message.Size())
				if it.Seq < got.Unsent {
					t.Fatalf("%s: message %d waits and %d is the first that was not sent", client, it.Seq, got.Unsent)
				}
				continue
			}
			expect.Window = append(expect.Window, record.Sent{Seq: it.Seq, ID: it.ID, Released: it.Released})
			if it.Seq >= got.Unsent {
				t.Fatalf("%s: message %d is sent and %d is not", client, it.Seq, got.Unsent)
			}
		}
		if diff := cmp.Diff(&expect, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", client, diff)
		}
	}
}

// loadsAgree reads each queue from a random point in small pieces.
func loadsAgree(t *rapid.T, want *record.State, s *Store) {
	for client, session := range want.Sessions {
		from := uint64(0)
		if n := len(session.Queue); n > 0 {
			from = session.Queue[rapid.IntRange(0, n-1).Draw(t, "from")].Seq
		}
		var expect, got []record.Queued
		for _, it := range session.Queue {
			if it.Seq >= from {
				q := it.Queued
				q.ID = 0
				expect = append(expect, q)
			}
		}
		for {
			items := load1(t, s, client, from, rapid.SampledFrom([]int{1, 300, 100000}).Draw(t, "budget"))
			if len(items) == 0 {
				break
			}
			got = append(got, items...)
			from = items[len(items)-1].Seq + 1
		}
		if !reflect.DeepEqual(expect, got) {
			t.Fatalf("load %s (-want +got):\n%s", client, cmp.Diff(expect, got))
		}
	}
}

// overdueNow is all that has expired and stands.
func overdueNow(t fataler, s *Store, now int64) (all []record.Run) {
	t.Helper()
	type answer struct {
		runs []record.Run
		next int64
		err  error
	}
	c := make(chan answer, 1)
	for behind := (record.Run{}); ; {
		s.Overdue(now, behind, func(runs []record.Run, next int64, err error) { c <- answer{runs, next, err} })
		a := <-c
		if a.err != nil {
			t.Fatal(a.err)
		}
		s.Standing(a.runs, func(runs []record.Run, err error) { c <- answer{runs, 0, err} })
		b := <-c
		if b.err != nil || len(b.runs) != len(a.runs) {
			t.Fatalf("%d of %d runs stand, %v", len(b.runs), len(a.runs), b.err)
		}
		all = append(all, a.runs...)
		if a.next == 0 || a.next > now {
			return all
		}
		behind = a.runs[len(a.runs)-1]
	}
}

func load1(t fataler, s *Store, client string, from uint64, budget int) []record.Queued {
	t.Helper()
	type answer struct {
		items []record.Queued
		err   error
	}
	c := make(chan answer, 1)
	s.Load(client, from, budget, func(items []record.Queued, err error) { c <- answer{items, err} })
	a := <-c
	if a.err != nil {
		t.Fatal(a.err)
	}
	return a.items
}

// waiting is the size of a message that was never sent, else 0.
func waiting(it *record.Item) int {
	if it.ID != 0 {
		return 0
	}
	return it.Message.Size()
}

// noGarbage ends all sessions and clears all topics: nothing may be left.
func noGarbage(t *rapid.T, want *record.State, s *Store) {
	for client, session := range want.Sessions {
		if rapid.Bool().Draw(t, "drain") {
			for _, it := range session.Queue {
				s.Append(record.AppendAcked(nil, client, it.Seq, waiting(it)), nil)
			}
		}
		if rapid.Bool().Draw(t, "next frame") {
			settle(t, s)
		}
		s.Append(record.AppendSessionEnded(nil, client), nil)
	}
	for topic := range want.Retained {
		s.Append(record.AppendRetainCleared(nil, topic), nil)
	}
	for place := range want.Settings {
		s.Append(record.AppendSettingGone(nil, place), nil)
	}
	settle(t, s)
	it, err := s.handles.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		t.Fatalf("key %q is left", it.Key())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if n := s.Figures().Backlogs; n != 0 {
		t.Fatalf("%d sessions have messages still", n)
	}
}

// A long queue is drained in order, over more chunks than are remembered, with
// one message that stays unfinished.
func TestALongQueueDrains(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	want := newState()
	var f record.Frame
	put := func(b []byte, m *message.Message) {
		s.Append(b, m)
		f.Append(b, m)
	}
	put(record.AppendSessionOpened(nil, "c", record.Opened{Expiry: 9}), nil)
	const all = 1000
	sized := func(seq uint64) *message.Message {
		return &message.Message{Topic: "t", Payload: fmt.Append(nil, "message ", seq)}
	}
	for seq := uint64(1); seq <= all; seq++ {
		m := sized(seq)
		put(record.AppendQueued(nil, "c", record.Queued{Seq: seq, QoS: 1, Message: m}), m)
		if seq%2 == 0 {
			settle(t, s)
		}
	}
	closeStore(t, s)
	s = open(t, fs)
	if err := s.Recover(nil, func(r *record.Recovered) error {
		if r.Messages != all || r.Last != all {
			t.Errorf("%d messages up to %d, want %d", r.Messages, r.Last, all)
		}
		return nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= all; seq++ {
		put(record.AppendSent(nil, "c", seq, uint16(seq), sized(seq).Size()), nil)
		if seq != 5 {
			put(record.AppendAcked(nil, "c", seq, 0), nil)
		}
		if rand.IntN(3) == 0 {
			settle(t, s)
		}
		if seq%100 == 0 {
			apply(t, want, &f)
			sameState(t, fmt.Sprint("after ", seq), want, s)
		}
	}
	if n := len(s.t.sessions["c"].chunks); n != 1 {
		t.Errorf("%d chunks are left, want 1", n)
	}
	put(record.AppendAcked(nil, "c", 5, 0), nil)
	apply(t, want, &f)
	sameState(t, "at the end", want, s)
	if !s.t.sessions["c"].idle() {
		t.Error("a chunk is left")
	}
	closeStore(t, s)
}
