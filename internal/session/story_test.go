package session_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// TestStories plays the files of testdata: packets in, work out. The words of
// a story are the cases of story.step. In what comes out, ">" marks a packet
// to the client, "log" a change of durable state; #3 is the third message that
// the session took on. With -rewrite the files are written anew: read the
// difference before you commit it.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			t.Skip("not a story")
		}
		s := newStory()
		datadriven.RunTest(t, path, s.play)
	})
}

// story is a session that a text drives, with all that is around it.
type story struct {
	session *session.Session
	limits  session.Limits
	work    session.Work
	full    bool           // the client does not read: bytes stay in work.Out
	shown   int            // how much of work.Out has been told
	told    int            // messages without a payload of their own so far
	stored  []session.Item // what a store has, with the word "store"
	waits   []uint64       // what "safe" is for
	asked   uint64         // the Seq that "load" is for
	by      uint32         // the connection that asked
	out     strings.Builder
}

func newStory() *story {
	s := &story{
		session: &session.Session{},
		limits: session.Limits{
			ReceiveMaximum: 100, TopicAliasMaximum: 64, InFlight: 32, QueueMessages: 100_000, QueueBytes: 64 << 20, PendingBytes: 4 << 20,
			HeadMessages: 256, HeadBytes: 32 << 10,
		},
	}
	s.work.Limits, s.work.Now = &s.limits, 1_700_000_000_000
	return s
}

func (s *story) play(t *testing.T, d *datadriven.TestData) string {
	a := args{t: t, d: d}
	s.step(&a)
	s.finish()
	if s.out.Len() == 0 {
		return "nothing\n"
	}
	text := s.out.String()
	s.out.Reset()
	return text
}

func (s *story) step(a *args) {
	switch a.d.Cmd {
	case "limits":
		s.setLimits(a)
	case "connect":
		s.session.Begin(a.terms())
		s.work.Out = make([]byte, a.num("behind", 0)) // its CONNACK
		s.shown, s.full = len(s.work.Out), false
		s.session.Drain(&s.work)
	case "disconnect": // what the client has not read is lost
		s.session.End(&s.work)
		s.work.Out, s.shown = nil, 0
	case "store": // from here on there is one
		s.work.Stores = true
	case "safe": // so are all changes so far
		for _, seq := range s.waits {
			s.session.Safe(&s.work, seq)
		}
		s.waits = nil
	case "load": // the store answers
		s.load(a.num("count", 100))
	case "expire": // the store says that messages have expired
		s.expire(a.num("first", 0), a.num("last", 0))
	case "lose": // the store's files are damaged
		s.stored = nil
	case "restart": // a new process finds what the store has
		s.restart(a)
	case "wait":
		s.work.Now += a.duration().Milliseconds()
	case "deliver":
		for range a.num("count", 1) {
			s.deliver(a)
		}
	case "exchange": // QoS 1 messages, each acknowledged, untold
		s.exchange(a)
	case "exhaust": // QoS 2 messages of the client's, untold
		for id := a.num("from", 1); id <= a.num("to", 0); id++ {
			p := packet.Publish{Topic: []byte("t"), QoS: 2, ID: uint16(id)}
			if fresh, err := s.session.Admit(&s.work, &p, 0); !fresh || err != nil {
				a.t.Fatalf("%s: id %d: fresh %v, %v", a.d.Pos, id, fresh, err)
			}
		}
		s.work.Changes = nil
	case "forbid": // the client to receive from a topic, of what waits
		forbidden := a.text("topic", "t")
		s.work.May = func(topic string) bool { return topic != forbidden }
	case "no-room": // in the queues of all sessions together
		s.work.Full = true
	case "room":
		s.work.Full = false
	case "full": // the client stops to read
		s.full = true
	case "flush": // the client has read everything
		s.full = false
		s.finish()
		s.session.Drain(&s.work)
	case "puback", "pubrec", "pubcomp":
		s.acknowledge(a)
	case "publish", "pubrel", "refuse":
		s.incoming(a)
	case "subscribe", "unsubscribe", "subscriptions":
		s.subscriptions(a)
	case "state":
		s.state()
	case "memory": // as it is
		s.tell("keeps memory: %v", !s.session.Idle())
	case "trim":
		s.session.Trim()
		s.tell("keeps memory: %v", !s.session.Idle())
	default:
		a.t.Fatalf("%s: no such word: %s", a.d.Pos, a.d.Cmd)
	}
}

func (s *story) tell(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

// finish tells what the step has left, as the broker would take it.
func (s *story) finish() {
	for _, line := range wire(s.work.Out[s.shown:], s.session.Version) {
		s.tell("> %s", line)
	}
	s.shown = len(s.work.Out)
	if !s.full {
		s.work.Out, s.shown = s.work.Out[:0], 0
	}
	for _, c := range s.work.Changes {
		s.tell("log %s", changeText(c))
		s.store(&c)
	}
	s.work.Changes = nil
	if n := s.work.Evicted; n > 0 {
		s.tell("made room: %d", n)
	}
	if n := s.work.Expired; n > 0 {
		s.tell("expired: %d", n)
	}
	if n := s.work.TooLarge; n > 0 {
		s.tell("too large: %d", n)
	}
	if n := s.work.Barred; n > 0 {
		s.tell("barred: %d", n)
	}
	if n := s.work.Lost; n > 0 {
		s.tell("lost: %d", n)
	}
	s.work.Evicted, s.work.Expired, s.work.TooLarge, s.work.Barred, s.work.Lost = 0, 0, 0, 0, 0
	if from := s.work.Load; from > 0 {
		s.tell("load from #%d", from)
		s.asked, s.by, s.work.Load = from, s.session.Connection(), 0
	}
	for _, seq := range s.work.Waits {
		s.tell("#%d waits until that is safe", seq)
	}
	s.waits = append(s.waits, s.work.Waits...)
	s.work.Waits = nil
}

// store does with a change what a store does.
func (s *story) store(c *session.Change) {
	i := slices.IndexFunc(s.stored, func(it session.Item) bool { return it.Seq == c.Item.Seq })
	switch c.Kind {
	case session.Queue:
		s.stored = append(s.stored, c.Item)
	case session.Send:
		s.stored[i].ID = c.Item.ID
	case session.Release:
		s.stored[i].Released, s.stored[i].Message = true, nil
	case session.Expire:
		s.stored = slices.DeleteFunc(s.stored, func(it session.Item) bool { return it.Seq >= c.Run.First && it.Seq <= c.Run.Last })
	case session.Finish:
		s.stored = slices.DeleteFunc(s.stored, func(it session.Item) bool { return it.Seq == c.Item.Seq })
	default:
	}
}

func (s *story) expire(first, last int) {
	r := session.Run{First: uint64(first), Last: uint64(last), At: s.work.Now}
	for _, it := range s.stored {
		if it.Seq >= r.First && it.Seq <= r.Last {
			r.Messages++
			r.Bytes += it.Message.Size()
		}
	}
	if !s.session.Expire(&s.work, r) {
		s.tell("not now")
	}
}

// load answers what was asked for.
func (s *story) load(count int) {
	var items []session.Item
	for _, it := range s.stored {
		if it.Seq >= s.asked && it.Message != nil && len(items) < count {
			items = append(items, session.Item{Seq: it.Seq, Message: it.Message, QoS: it.QoS, Retain: it.Retain, IDs: it.IDs, Shared: it.Shared})
		}
	}
	s.session.Loaded(&s.work, s.by, items)
}

// restart makes the session anew out of what the store has; with online, its
// client was connected.
func (s *story) restart(a *args) {
	from := &session.Stored{Terms: s.session.Terms, Doubt: s.session.Doubt()}
	for _, it := range s.stored {
		from.Last = it.Seq
		if it.ID > 0 {
			from.Window = append(from.Window, session.Unacked{Seq: it.Seq, ID: it.ID, Released: it.Released})
			continue
		}
		if from.Messages == 0 {
			from.Unsent = it.Seq
		}
		from.Messages++
		from.Bytes += it.Message.Size()
	}
	if from.Messages == 0 {
		from.Unsent = from.Last + 1
	}
	if a.d.HasArg("online") {
		from.Doubt = from.Last
	}
	s.waits, s.work.Out, s.shown = nil, nil, 0
	s.session = &session.Session{}
	s.session.Restore(from)
}

func (s *story) setLimits(a *args) {
	l := &s.limits
	l.ReceiveMaximum = uint16(a.num("receive-maximum", int(l.ReceiveMaximum)))
	l.TopicAliasMaximum = uint16(a.num("alias-maximum", int(l.TopicAliasMaximum)))
	l.InFlight = uint16(a.num("in-flight", int(l.InFlight)))
	l.QueueMessages = a.num("queue-messages", l.QueueMessages)
	l.QueueBytes = a.num("queue-bytes", l.QueueBytes)
	l.PendingBytes = a.num("pending-bytes", l.PendingBytes)
	l.HeadMessages = a.num("head", l.HeadMessages)
	l.QueueQoS0 = a.num("queue-qos0", btoi(l.QueueQoS0)) > 0
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *story) deliver(a *args) {
	s.told++
	payload := a.text("payload", "m"+strconv.Itoa(s.told))
	if n := a.num("size", 0); n > 0 {
		payload = strings.Repeat("x", n)
	}
	qos := a.num("qos", 0)
	d := message.Draft{
		Name: []byte(a.text("topic", "t")), Payload: []byte(payload), Arrived: s.work.Now, QoS: byte(qos),
		Expiry: uint32(a.num("expiry", 0)), HasExpiry: a.d.HasArg("expiry"),
	}
	to := session.Route{
		QoS: byte(a.num("granted", qos)), Retain: a.d.HasArg("retain"), IDs: a.ids(), Shared: a.text("shared", ""),
	}
	s.work.Message(&d, a.d.HasArg("many"))
	s.tell("%s", outcomeText(s.session.Deliver(&s.work, &d, &to)))
}

func (s *story) exchange(a *args) {
	for i := range a.num("count", 1) {
		d := message.Draft{Name: []byte("t"), QoS: 1, Arrived: s.work.Now}
		s.work.Message(&d, false)
		if o := s.session.Deliver(&s.work, &d, &session.Route{QoS: 1}); o != session.Sent {
			a.t.Fatalf("%s: message %d: %s", a.d.Pos, i, outcomeText(o))
		}
		for _, p := range publishes(s.work.Out, s.session.Version) {
			if err := s.session.Puback(&s.work, &packet.Ack{ID: p.ID}); err != nil {
				a.t.Fatal(err)
			}
		}
		s.work.Out, s.work.Changes = s.work.Out[:0], nil
	}
}

func (s *story) acknowledge(a *args) {
	f := map[string]func(*session.Work, *packet.Ack) error{
		"puback": s.session.Puback, "pubrec": s.session.Pubrec, "pubcomp": s.session.Pubcomp,
	}[a.d.Cmd]
	for _, id := range a.list("id") {
		s.tellError(f(&s.work, &packet.Ack{ID: uint16(id), Code: packet.Code(a.num("code", 0))}))
	}
}

func (s *story) incoming(a *args) {
	switch a.d.Cmd {
	case "pubrel":
		code := s.session.Pubrel(&s.work, &packet.Ack{ID: uint16(a.num("id", 0))})
		s.tell("> PUBCOMP id=%d%s", a.num("id", 0), codeText(code))
	case "refuse":
		s.session.Refuse(&s.work, uint16(a.num("id", 0)))
	default:
		s.publish(a)
	}
}

func (s *story) publish(a *args) {
	p := packet.Publish{
		Topic: []byte(a.text("topic", "")), QoS: byte(a.num("qos", 0)), ID: uint16(a.num("id", 0)), Alias: uint16(a.num("alias", 0)),
	}
	if err := s.session.Topic(&s.work, &p); err != nil {
		s.tellError(err)
		return
	}
	if p.QoS == 0 {
		s.tell("to %s", p.Topic)
		return
	}
	fresh, err := s.session.Admit(&s.work, &p, a.num("held", 0))
	switch {
	case err != nil:
		s.tellError(err)
	case fresh:
		s.tell("to %s", p.Topic)
	default:
		s.tell("came before: not to be routed")
	}
}

func (s *story) tellError(err error) {
	if r, ok := errors.AsType[*packet.Refusal](err); ok {
		s.tell("refused 0x%02X: %v", byte(r.Code), r)
	}
}

func (s *story) subscriptions(a *args) {
	switch filter := a.text("filter", ""); a.d.Cmd {
	case "subscribe":
		sub := session.Subscription{ID: uint32(a.num("id", 0))}
		sub.Filter, sub.QoS = filter, byte(a.num("qos", 0))
		s.tell("existed: %v", s.session.Subscribe(sub))
	case "unsubscribe":
		s.tell("existed: %v", s.session.Unsubscribe(filter))
	default:
		for sub := range s.session.Subscriptions {
			s.tell("%s qos=%d id=%d", sub.Filter, sub.QoS, sub.ID)
		}
	}
}

// state tells what the session holds.
func (s *story) state() {
	for it := range s.session.Unfinished {
		place := "in flight"
		if it.ID == 0 {
			place = "queued"
		}
		line := fmt.Sprintf("%s #%d qos=%d", place, it.Seq, it.QoS)
		if it.ID != 0 {
			line += fmt.Sprintf(" id=%d", it.ID)
		}
		if it.Released {
			line += " released"
		}
		if it.Message != nil {
			line += " keeps " + payloadText(it.Message.Payload)
		}
		s.tell("%s", line)
	}
	var open []uint16
	for id := range s.session.Open {
		open = append(open, id)
	}
	slices.Sort(open)
	if len(open) > 12 {
		s.tell("open: %d", len(open))
	} else if len(open) > 0 {
		s.tell("open: %v", open)
	}
	if n, _ := s.session.Queued0(); n > 0 {
		s.tell("%d of QoS 0", n)
	}
	if n, _ := s.session.Queued(); n > 0 {
		s.tell("%d in flight, %d queued", s.session.InFlight(), n)
	}
}

// args are the arguments of one step.
type args struct {
	t *testing.T
	d *datadriven.TestData
}

func (a *args) text(key, otherwise string) string {
	if arg, ok := a.d.Arg(key); ok {
		return arg.SingleVal(a.t)
	}
	return otherwise
}

func (a *args) num(key string, otherwise int) int {
	text := a.text(key, "")
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		a.t.Fatalf("%s: %s: %v", a.d.Pos, key, err)
	}
	return int(n)
}

func (a *args) list(key string) (list []int) {
	arg, _ := a.d.Arg(key)
	for _, v := range arg.Vals {
		n, err := strconv.Atoi(v)
		if err != nil {
			a.t.Fatalf("%s: %s: %v", a.d.Pos, key, err)
		}
		list = append(list, n)
	}
	return list
}

// ids are subscription identifiers.
func (a *args) ids() (ids []uint32) {
	for _, n := range a.list("ids") {
		ids = append(ids, uint32(n))
	}
	return ids
}

func (a *args) duration() time.Duration {
	d, err := time.ParseDuration(a.text("for", ""))
	if err != nil {
		a.t.Fatalf("%s: %v", a.d.Pos, err)
	}
	return d
}

func (a *args) terms() session.Terms {
	versions := map[string]packet.Version{"3.1": packet.V31, "3.1.1": packet.V311, "5": packet.V5}
	t := session.Terms{
		Version: versions[a.text("version", "5")], ReceiveMaximum: uint16(a.num("receive-maximum", 0)),
		MaximumPacket: uint32(a.num("maximum-packet", 0)), AliasMaximum: uint16(a.num("alias-maximum", 0)),
	}
	if t.Version == 0 {
		a.t.Fatalf("%s: no such version", a.d.Pos)
	}
	if a.text("expiry", "") == "never" {
		t.Expiry = session.Never
		return t
	}
	t.Expiry = uint32(a.num("expiry", 0))
	return t
}
