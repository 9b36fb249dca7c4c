package record

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// queued is a frame of one queued message.
func queued(client string, q Queued) []byte {
	var f Frame
	f.Append(AppendQueued(nil, client, q), q.Message)
	return f.Bytes()
}

func apply(t *testing.T, s *State, batches ...[]byte) {
	t.Helper()
	for _, b := range batches {
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALifeInRecords(t *testing.T) {
	var s State
	m := func(topic string) *message.Message {
		return &message.Message{Topic: topic, Payload: []byte(topic), Forward: []byte{1, 1}, QoS: 2}
	}
	first := Opened{At: 1000, Expiry: 60, Version: packet.V5, UserName: "ann"}
	second := Opened{At: 9000, Expiry: 5, Version: packet.V311, UserName: "ann"}
	sub := Subscription{Filter: "$share/g/a/+", QoS: 2, ID: 4}
	apply(t, &s,
		AppendSessionOpened(nil, "c", first),
		AppendSubscribed(nil, "c", Subscription{Filter: "b", QoS: 1}),
		AppendSubscribed(nil, "c", Subscription{Filter: "$share/g/a/+"}),
		AppendSubscribed(nil, "c", sub),
		AppendUnsubscribed(nil, "c", "b"),
		AppendWillArmed(nil, "c", Will{Message: m("will"), Delay: 3}),
		queued("c", Queued{Seq: 2, QoS: 2, Message: m("a/2")}),
		queued("c", Queued{Seq: 4, QoS: 1, IDs: []uint32{4}, Shared: sub.Filter, Message: m("a/4")}),
		queued("c", Queued{Seq: 3, ID: 8, QoS: 1, Retain: true, Message: m("a/3")}),
		queued("c", Queued{Seq: 5, QoS: 1, Message: m("a/5")}),
		AppendSent(nil, "c", 2, 7, m("a/2").Size()),
		AppendReleased(nil, "c", 2),
		AppendAcked(nil, "c", 5, m("a/5").Size()),
		AppendReceived(nil, "c", 20),
		AppendReceived(nil, "c", 21),
		AppendCompleted(nil, "c", 20),
		AppendRetained(nil, Retained{Message: m("r"), By: message.Source{Client: "c"}}),
		AppendRetained(nil, Retained{Message: m("gone")}),
		AppendRetainCleared(nil, "gone"),
		AppendRetainCleared(nil, "never was"),
		AppendSettingPut(nil, Setting{Place: Place{"s", "k"}, Value: []byte("1"), At: 4000}),
		AppendSettingPut(nil, Setting{Place: Place{"s", "k"}, Value: []byte("2"), At: 4001}),
		AppendSettingPut(nil, Setting{Place: Place{"s", "gone"}, Value: []byte("3"), At: 4002}),
		AppendSettingPut(nil, Setting{Place: Place{"sk", ""}, At: 4003}),
		AppendSettingGone(nil, Place{"s", "gone"}),
		AppendSessionClosed(nil, "c", 5000, 90, 4),
		AppendWillArmed(nil, "c", Will{Message: m("will"), Delay: 3, FireAt: 8000}),
	)
	session := &Session{
		Opened:        Opened{At: 1000, Expiry: 90, Version: packet.V5, UserName: "ann"},
		ClosedAt:      5000,
		Doubt:         4,
		Subscriptions: map[string]Subscription{sub.Filter: sub},
		Queue: []*Item{
			{Queued: Queued{Seq: 2, ID: 7, QoS: 2}, Released: true},
			{Queued: Queued{Seq: 3, ID: 8, QoS: 1, Retain: true, Message: m("a/3")}},
			{Queued: Queued{Seq: 4, QoS: 1, IDs: []uint32{4}, Shared: sub.Filter, Message: m("a/4")}},
		},
		Received: map[uint16]bool{21: true},
		Will:     &Will{Message: m("will"), Delay: 3, FireAt: 8000},
	}
	want := State{
		Sessions: map[string]*Session{"c": session}, Retained: map[string]Retained{"r": {m("r"), message.Source{Client: "c"}}},
		Settings: map[Place]Setting{
			{"s", "k"}: {Place: Place{"s", "k"}, Value: []byte("2"), At: 4001},
			{"sk", ""}: {Place: Place{"sk", ""}, At: 4003},
		},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Fatalf("while the client is away (-want +got):\n%s", diff)
	}

	apply(t, &s, AppendSessionOpened(nil, "c", second), AppendWillGone(nil, "c"))
	session.Opened, session.ClosedAt, session.Doubt, session.Will = second, 0, 0, nil
	if diff := cmp.Diff(want, s); diff != "" {
		t.Fatalf("after it came back (-want +got):\n%s", diff)
	}

	apply(t, &s, AppendSessionEnded(nil, "c"), AppendSessionOpened(nil, "c", first))
	want.Sessions["c"] = &Session{Opened: first, Subscriptions: map[string]Subscription{}, Received: map[uint16]bool{}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Fatalf("after a clean start (-want +got):\n%s", diff)
	}
}

func TestApplyNamesWhatIsNotThere(t *testing.T) {
	m := &message.Message{Topic: "t"}
	stands := AppendSessionOpened(nil, "c", Opened{})
	stands = AppendQueued(stands, "c", Queued{Seq: 1, ID: 4})
	stands = AppendReceived(stands, "c", 6)
	cases := map[string]struct {
		in  []byte
		err string
	}{
		"closing an unknown session":        {AppendSessionClosed(nil, "d", 1, 0, 0), `session closed: no session of client "d"`},
		"ending an unknown session":         {AppendSessionEnded(nil, "d"), `session ended: no session of client "d"`},
		"a message for an unknown session":  {AppendQueued(nil, "d", Queued{}), `queued: no session of client "d"`},
		"a body that is not there":          {AppendQueued(nil, "c", Queued{Seq: 2, Message: m}), `queued: client "c": no body stands before it`},
		"a body of another frame":           {AppendUse(nil, 0), `use of a body: no body 0 in this frame`},
		"a will of an unknown session":      {AppendWillArmed(nil, "d", Will{Message: m}), `will armed: no session of client "d"`},
		"sending an unknown message":        {AppendSent(nil, "c", 2, 1, 0), `sent: client "c": no message 2 in the queue`},
		"releasing an unknown message":      {AppendReleased(nil, "c", 2), `released: client "c": no message 2 in the queue`},
		"acknowledging an unknown message":  {AppendAcked(nil, "c", 2, 0), `acked: client "c": no message 2 in the queue`},
		"expiring a message that was sent":  {AppendExpired(nil, Run{Client: "c", First: 1, Last: 1, Messages: 1}), `expired: client "c": message 1 was sent`},
		"expiring more than there is":       {AppendExpired(nil, Run{Client: "c", First: 2, Last: 9, Messages: 1}), `expired: client "c": 0 messages from 2 to 9, not 1`},
		"acknowledging more than waited":    {AppendAcked(nil, "c", 1, 9), `acked: client "c": message 1 takes 0 bytes off what waits, not 9`},
		"queueing a message twice":          {AppendQueued(nil, "c", Queued{Seq: 1}), `queued: client "c": message 1 is in the queue already`},
		"receiving an identifier twice":     {AppendReceived(nil, "c", 6), `received: client "c": incoming packet identifier 6 is stored already`},
		"completing an unknown identifier":  {AppendCompleted(nil, "c", 7), `completed: client "c": no incoming packet identifier 7`},
		"unsubscribing from what is not":    {AppendUnsubscribed(nil, "c", "x"), `unsubscribed: client "c": no subscription "x"`},
		"removing a will that is not":       {AppendWillGone(nil, "c"), `will gone: client "c": no will`},
		"a setting gone that is not there":  {AppendSettingGone(nil, Place{"s", "k"}), `setting gone: no setting "k" in "s"`},
		"closing at the time for connected": {AppendSessionClosed(nil, "c", 0, 0, 0), `session closed: client "c": closed at time 0, which stands for connected`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var s, before State
			apply(t, &s, stands)
			apply(t, &before, stands, AppendRetained(nil, Retained{Message: m}))
			batch := append(AppendRetained(nil, Retained{Message: m}), c.in...)
			batch = AppendRetainCleared(batch, "t") // behind the fault: not applied
			err := s.Apply(batch)
			want := fmt.Sprintf("apply records, at byte %d: %s", len(AppendRetained(nil, Retained{Message: m})), c.err)
			if err == nil || err.Error() != want {
				t.Fatalf("err = %v\nwant  %s", err, want)
			}
			if diff := cmp.Diff(before, s); diff != "" {
				t.Errorf("the faulty record left a trace (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStateDoesNotAliasTheBatch(t *testing.T) {
	m := &message.Message{Topic: "t", Payload: []byte("payload"), Forward: []byte("forward")}
	batch := AppendSessionOpened(nil, "c", Opened{UserName: "u"})
	batch = append(batch, queued("c", Queued{Seq: 1, Message: m})...)
	batch = AppendWillArmed(batch, "c", Will{Message: m})
	batch = AppendRetained(batch, Retained{Message: m})
	batch = AppendSettingPut(batch, Setting{Place: Place{"s", "k"}, Value: []byte("value")})
	var s, want State
	apply(t, &s, batch)
	apply(t, &want, bytes.Clone(batch))
	clear(batch)
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("changed with the batch (-want +got):\n%s", diff)
	}
}

func TestExpiresAt(t *testing.T) {
	cases := map[string]struct {
		in     Session
		at     int64
		expiry bool
	}{
		"connected":            {Session{Opened: Opened{Expiry: 5}}, 0, false},
		"gone":                 {Session{Opened: Opened{Expiry: 5}, ClosedAt: 1000}, 6000, true},
		"gone for the longest": {Session{Opened: Opened{Expiry: Never - 1}, ClosedAt: 1000}, 1000 + 4294967294000, true},
		"gone, never expires":  {Session{Opened: Opened{Expiry: Never}, ClosedAt: 1000}, 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if at, ok := c.in.ExpiresAt(); at != c.at || ok != c.expiry {
				t.Errorf("%d, %v, want %d, %v", at, ok, c.at, c.expiry)
			}
		})
	}
}

// history is a run of a broker, drawn at random: records that fit one
// another, and beside them what they should add up to, kept the naive way.
type history struct {
	steps []step
	batch []byte           // the records of the step that is being drawn
	body  *message.Message // of those
	sent  []*message.Message
	naive map[string]*naive
	topic map[string]string // retained payloads
	value map[Place]string  // of settings
	seq   uint64
	sizes map[uint64]int // of what was not sent, by seq
}

// step is what is appended to a frame at once.
type step struct {
	records []byte
	body    *message.Message
}

// frame is all of some steps as one frame.
func frame(steps []step) []byte {
	var f Frame
	for _, s := range steps {
		f.Append(s.records, s.body)
	}
	return f.Bytes()
}

type naive struct {
	filters map[string]byte
	queue   map[uint64]string // seq → topic, "released" once it is
	ids     map[uint64]uint16
	open    map[uint16]bool
	will    string
	away    int64
}

func newNaive() *naive {
	return &naive{filters: map[string]byte{}, queue: map[uint64]string{}, ids: map[uint64]uint16{}, open: map[uint16]bool{}}
}

func histories() *rapid.Generator[*history] {
	return rapid.Custom(func(t *rapid.T) *history {
		h := &history{naive: map[string]*naive{}, topic: map[string]string{}, value: map[Place]string{}, sizes: map[uint64]int{}}
		for range rapid.IntRange(0, 120).Draw(t, "records") {
			h.batch, h.body = nil, nil
			h.step(t)
			if len(h.batch) > 0 {
				h.steps = append(h.steps, step{h.batch, h.body})
			}
		}
		return h
	})
}

func (h *history) step(t *rapid.T) {
	topic := rapid.SampledFrom([]string{"a", "b", "c/d"}).Draw(t, "topic")
	m := &message.Message{Topic: topic, Payload: []byte(rapid.StringN(1, 4, -1).Draw(t, "payload")), QoS: 2}
	switch rapid.IntRange(0, 10).Draw(t, "about") {
	case 0:
		h.batch, h.topic[topic] = AppendRetained(h.batch, Retained{Message: m}), string(m.Payload)
		return
	case 1:
		h.batch = AppendRetainCleared(h.batch, topic)
		delete(h.topic, topic)
		return
	case 2:
		h.stepSetting(t, m.Payload)
		return
	}
	client := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "client")
	n := h.naive[client]
	if n == nil || rapid.IntRange(0, 9).Draw(t, "open") == 0 {
		if n == nil {
			n = newNaive()
			h.naive[client] = n
		}
		n.away = 0
		h.batch = AppendSessionOpened(h.batch, client, Opened{At: 1, Expiry: Never})
		return
	}
	if rapid.IntRange(0, 19).Draw(t, "end") == 0 {
		h.batch = AppendSessionEnded(h.batch, client)
		delete(h.naive, client)
		return
	}
	h.stepSession(t, client, n, m)
}

func (h *history) stepSetting(t *rapid.T, value []byte) {
	p := Place{rapid.SampledFrom([]string{"s", "sk"}).Draw(t, "space"), rapid.SampledFrom([]string{"", "k"}).Draw(t, "key")}
	if _, ok := h.value[p]; ok && rapid.Bool().Draw(t, "gone") {
		delete(h.value, p)
		h.batch = AppendSettingGone(h.batch, p)
		return
	}
	h.value[p] = string(value)
	h.batch = AppendSettingPut(h.batch, Setting{Place: p, Value: value})
}

func (h *history) stepSession(t *rapid.T, client string, n *naive, m *message.Message) {
	id := rapid.Uint16Range(1, 4).Draw(t, "id")
	switch rapid.IntRange(0, 6).Draw(t, "session") {
	case 0:
		n.away = rapid.Int64Range(1, 1<<40).Draw(t, "at")
		h.batch = AppendSessionClosed(h.batch, client, n.away, Never, 0)
	case 1:
		if _, ok := n.filters[m.Topic]; ok {
			delete(n.filters, m.Topic)
			h.batch = AppendUnsubscribed(h.batch, client, m.Topic)
			return
		}
		n.filters[m.Topic] = byte(id) % 3
		h.batch = AppendSubscribed(h.batch, client, Subscription{Filter: m.Topic, QoS: n.filters[m.Topic]})
	case 2:
		if n.open[id] {
			delete(n.open, id)
			h.batch = AppendCompleted(h.batch, client, id)
			return
		}
		n.open[id] = true
		h.batch = AppendReceived(h.batch, client, id)
	case 3:
		if n.will != "" {
			n.will = ""
			h.batch = AppendWillGone(h.batch, client)
			return
		}
		n.will = string(m.Payload)
		h.batch = AppendWillArmed(h.batch, client, Will{Message: m})
	case 4, 5:
		if len(h.sent) > 0 && id > 2 { // one that others have too
			m = rapid.SampledFrom(h.sent).Draw(t, "message")
		}
		h.sent = append(h.sent, m)
		h.body = m
		h.seq++
		n.queue[h.seq], h.sizes[h.seq] = string(m.Payload), m.Size()
		h.batch = AppendQueued(h.batch, client, Queued{Seq: h.seq, QoS: 2, Message: m})
	case 6:
		h.stepQueue(t, client, n, id)
	}
}

func (h *history) stepQueue(t *rapid.T, client string, n *naive, id uint16) {
	if len(n.queue) == 0 {
		return
	}
	seq := rapid.SampledFrom(slices.Sorted(maps.Keys(n.queue))).Draw(t, "seq")
	switch rapid.IntRange(0, 2).Draw(t, "queue") {
	case 0:
		n.ids[seq] = id
		h.batch = AppendSent(h.batch, client, seq, id, h.sizes[seq])
		delete(h.sizes, seq)
	case 1:
		n.queue[seq] = "released"
		delete(h.sizes, seq)
		h.batch = AppendReleased(h.batch, client, seq)
	case 2:
		delete(n.queue, seq)
		delete(n.ids, seq)
		h.batch = AppendAcked(h.batch, client, seq, h.sizes[seq])
		delete(h.sizes, seq)
	}
}

func TestStateIsWhatANaiveModelSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := histories().Draw(t, "history")
		var s State
		if err := s.Apply(frame(h.steps)); err != nil {
			t.Fatal(err)
		}
		retained := map[string]string{}
		for topic, m := range s.Retained {
			retained[topic] = string(m.Payload)
		}
		if diff := cmp.Diff(h.topic, retained); diff != "" {
			t.Fatalf("retained (-want +got):\n%s", diff)
		}
		settings := map[Place]string{}
		for p, set := range s.Settings {
			settings[p] = string(set.Value)
		}
		if diff := cmp.Diff(h.value, settings); diff != "" {
			t.Fatalf("settings (-want +got):\n%s", diff)
		}
		got := map[string]*naive{}
		for client, session := range s.Sessions {
			got[client] = simplify(session)
			if !slices.IsSortedFunc(session.Queue, func(a, b *Item) int { return int(a.Seq) - int(b.Seq) }) {
				t.Fatalf("the queue of %q is out of order", client)
			}
		}
		if diff := cmp.Diff(h.naive, got, cmp.AllowUnexported(naive{})); diff != "" {
			t.Fatalf("sessions (-want +got):\n%s", diff)
		}
	})
}

func simplify(s *Session) *naive {
	n := newNaive()
	n.away = s.ClosedAt
	n.open = s.Received
	for filter, sub := range s.Subscriptions {
		n.filters[filter] = sub.QoS
	}
	if s.Will != nil {
		n.will = string(s.Will.Message.Payload)
	}
	for _, it := range s.Queue {
		if n.queue[it.Seq] = "released"; !it.Released {
			n.queue[it.Seq] = string(it.Message.Payload)
		}
		if it.ID != 0 {
			n.ids[it.Seq] = it.ID
		}
	}
	return n
}

func TestAFrameMayEndBetweenAnyTwoSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := histories().Draw(t, "history")
		var whole, split State
		if err := whole.Apply(frame(h.steps)); err != nil {
			t.Fatal(err)
		}
		var f Frame
		for _, s := range h.steps {
			f.Append(s.records, s.body)
			if rapid.Bool().Draw(t, "split here") {
				if err := split.Apply(f.Bytes()); err != nil {
					t.Fatal(err)
				}
				f.Reset()
			}
		}
		if err := split.Apply(f.Bytes()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, split); diff != "" {
			t.Fatalf("(-whole +split):\n%s", diff)
		}
	})
}

// A message that all share stands in a frame once.
func TestAFrameHoldsABodyOnce(t *testing.T) {
	first := &message.Message{Topic: "first", Payload: bytes.Repeat([]byte("x"), 1000)}
	second := &message.Message{Topic: "second", Payload: bytes.Repeat([]byte("y"), 1000)}
	var f Frame
	var want State
	for seq := range uint64(10) {
		for _, client := range []string{"c", "d"} {
			if seq == 0 {
				f.Append(AppendSessionOpened(nil, client, Opened{}), nil)
				apply(t, &want, AppendSessionOpened(nil, client, Opened{}))
			}
			for i, m := range []*message.Message{first, second} {
				q := Queued{Seq: seq*2 + uint64(i) + 1, QoS: 1, Message: m}
				f.Append(AppendQueued(nil, client, q), m)
				apply(t, &want, queued(client, q))
			}
		}
	}
	if n := f.Len(); n < 2000 || n > 2500 {
		t.Errorf("%d bytes, want little more than two messages", n)
	}
	var got State
	apply(t, &got, f.Bytes())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	queue := got.Sessions["c"].Queue
	if queue[0].Message != queue[2].Message || queue[0].Message == queue[1].Message {
		t.Error("the sessions do not share the messages")
	}
	f.Reset()
	f.Append(AppendQueued(nil, "c", Queued{Seq: 100, Message: first}), first)
	apply(t, &got, f.Bytes())
}

func TestAFrameIsFilledWithoutAllocating(t *testing.T) {
	m := &message.Message{Topic: "a/b", Payload: make([]byte, 100)}
	r := AppendQueued(nil, "client", Queued{Seq: 9, QoS: 1, Message: m})
	var f Frame
	if n := testing.AllocsPerRun(100, func() {
		f.Reset()
		f.Append(r, m)
		f.Append(r, m)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// A torn tail changes nothing: what stands before it is applied, as recovery
// needs it to be.
func TestATornTailLeavesWhatStandsBeforeIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := histories().Filter(func(h *history) bool { return len(h.steps) > 0 }).Draw(t, "history")
		b := frame(h.steps)
		starts := []int{0}
		for at := 0; at < len(b); {
			_, n, err := Parse(b[at:])
			if err != nil {
				t.Fatal(err)
			}
			at += n
			starts = append(starts, at)
		}
		i := rapid.IntRange(0, len(starts)-2).Draw(t, "torn record")
		from := starts[i]
		cut := rapid.IntRange(from+1, starts[i+1]-1).Draw(t, "cut")
		var whole, torn State
		if err := whole.Apply(b[:from]); err != nil {
			t.Fatal(err)
		}
		err := torn.Apply(b[:cut])
		if want := fmt.Sprintf("at byte %d:", from); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("err = %v, want %s", err, want)
		}
		if diff := cmp.Diff(whole, torn); diff != "" {
			t.Fatalf("(-before +torn):\n%s", diff)
		}
	})
}

func FuzzApply(f *testing.F) {
	for i := range 32 {
		f.Add(frame(histories().Example(i).steps))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var once, again State
		first := once.Apply(b)
		second := again.Apply(bytes.Clone(b))
		if fmt.Sprint(first) != fmt.Sprint(second) {
			t.Fatalf("errors differ: %v, %v", first, second)
		}
		if diff := cmp.Diff(once, again); diff != "" {
			t.Fatalf("states differ:\n%s", diff)
		}
	})
}

// A long queue is taken from its front, one message after another; moving
// the rest each time would make recovery quadratic.
func TestDrainingMovesTheShorterPart(t *testing.T) {
	var s Session
	for seq := range uint64(1000) {
		if err := s.enqueue(Queued{Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	array := &s.Queue[999]
	for seq := range uint64(999) {
		i, ok := s.find(seq)
		if !ok || i != 0 {
			t.Fatalf("message %d at %d, %v, want the front", seq, i, ok)
		}
		s.dequeue(i)
		if last := &s.Queue[len(s.Queue)-1]; len(s.Queue) > 1 && last != array {
			t.Fatalf("taking message %d moved the %d behind it", seq, len(s.Queue))
		}
	}
}
