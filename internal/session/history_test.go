package session_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// TestHistories plays random histories of one client against a naive model.
// At any time: the changes add up to the session's state; what goes out keeps
// the order, the window and the terms; identifiers are unique; nothing goes out
// twice but with DUP on a later connection. At the end everything that was
// accepted has arrived, QoS 2 once, or was dropped for a reason and counted.
func TestHistories(t *testing.T) {
	large := session.Limits{ReceiveMaximum: 100, TopicAliasMaximum: 2, InFlight: 32, QueueMessages: 1000, QueueBytes: 1 << 20, PendingBytes: 1 << 20}
	narrow, slow, short, light, all := large, large, large, large, large
	narrow.InFlight = 1
	slow.PendingBytes, slow.InFlight = 40, 5
	short.QueueMessages, short.InFlight = 2, 2
	light.QueueBytes, light.InFlight = 300, 2
	all.InFlight, all.PendingBytes, all.QueueMessages = 2, 1, 3
	patient, both, crowded := slow, all, light
	patient.QueueQoS0, both.QueueQoS0, crowded.QueueQoS0 = true, true, true
	crowded.PendingBytes = 40
	for name, limits := range map[string]session.Limits{
		"large": large, "narrow window": narrow, "slow client": slow, "short queue": short, "light queue": light, "all small": all,
		"slow client, QoS 0 waits": patient, "all small, QoS 0 waits": both, "light queue, QoS 0 waits": crowded,
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { newHistory(t, limits).run(t) })
		})
	}
}

func (h *history) run(t *rapid.T) {
	for range 10 { // each is some thirty steps
		t.Repeat(map[string]func(*rapid.T){
			"deliver":     h.deliver,
			"deliver 2":   h.deliver, // so that more is under way
			"read":        h.read,
			"acknowledge": h.acknowledge,
			"publish":     h.publish,
			"pubrel":      h.pubrel,
			"connect":     h.connect,
			"disconnect": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "now") {
					h.disconnect(t)
				}
			},
			"fill": func(t *rapid.T) { h.work.Full = rapid.IntRange(0, 3).Draw(t, "no queue may grow") == 0 },
			"wait": func(t *rapid.T) { h.work.Now += rapid.Int64Range(1, 2500).Draw(t, "ms") },
			"trim": func(*rapid.T) { h.session.Trim() },
			"":     h.check,
		})
		h.settle(t)
	}
}

// topicOf is the topic of a message, by its payload.
func topicOf(payload string) string {
	return [...]string{"t", "plant/1", "plant/2"}[len(payload)%3]
}

// fact is what the model knows of a message.
type fact struct {
	index   int  // among those of QoS 1 and 2 that were accepted
	queued  bool // at QoS 0
	qos     byte
	expires int64 // 0: never
	size    int   // of the packet without alias
	sent    int   // how often
	on      int   // the connection that it was last sent on
}

type history struct {
	session *session.Session
	limits  session.Limits
	work    session.Work
	device  device
	ledger  *ledger // nil: the session is not durable

	connection int // counts them
	seen       int // how much of work.Out has been looked at
	accepted   []*fact
	facts      map[string]*fact // by payload
	last       int              // index of the newest message sent on this connection
	flying     map[uint16]bool  // sent on this connection, not finished
	dropped    int              // that the session has counted
	waiting0   []*fact          // QoS 0 messages that were queued, and no newer one was sent
	missed     int              // QoS 0 messages that were queued, and a newer one was sent
	smallest   uint32           // of all Maximum Packet Sizes so far
	messages   int
	open       map[uint16]bool // incoming QoS 2; true: on this connection
}

func newHistory(t *rapid.T, limits session.Limits) *history {
	h := &history{limits: limits}
	h.work.Limits, h.work.Now = &h.limits, 1_700_000_000_000
	h.renew(t)
	return h
}

// renew begins a new session.
func (h *history) renew(t *rapid.T) {
	h.session, h.device, h.ledger = &session.Session{}, device{}, newLedger()
	h.session.SetLastID(rapid.SampledFrom([]uint16{0, 65_530}).Draw(t, "last id"))
	h.accepted, h.facts, h.open = nil, map[string]*fact{}, map[uint16]bool{}
	h.dropped, h.missed, h.smallest, h.waiting0 = 0, 0, 0, nil
	h.work.Out, h.seen = nil, 0
}

func (h *history) deliver(t *rapid.T) {
	for range rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 40}).Draw(t, "count") {
		h.deliverOne(t)
		h.check(t)
	}
}

func (h *history) deliverOne(t *rapid.T) {
	h.messages++
	d := message.Draft{
		Payload: []byte(strconv.Itoa(h.messages)), QoS: rapid.ByteMax(2).Draw(t, "qos"), Arrived: h.work.Now,
		Expiry: rapid.SampledFrom([]uint32{0, 0, 1, 3}).Draw(t, "expiry"),
	}
	if rapid.IntRange(0, 9).Draw(t, "large") == 0 {
		d.Payload = fmt.Appendf(nil, "%040d", h.messages)
	}
	d.HasExpiry = d.Expiry > 0
	d.Name = []byte(topicOf(string(d.Payload)))
	to := drawRoute(t)
	qos := min(d.QoS, to.QoS)
	p := packet.Publish{Topic: d.Name, QoS: qos, Payload: d.Payload, HasExpiry: d.HasExpiry, SubscriptionIDs: to.IDs}
	f := &fact{index: len(h.accepted) + 1, qos: qos, size: p.Size(packet.V5)}
	if d.HasExpiry {
		f.expires = d.Arrived + int64(d.Expiry)*1000
	}
	h.facts[string(d.Payload)] = f
	queued, bytes := h.session.Queued()
	queued0, bytes0 := h.session.Queued0() // all of which would make room
	full := h.work.Full || queued-queued0 >= h.limits.QueueMessages || bytes-bytes0 >= h.limits.QueueBytes
	pending := len(h.work.Out)
	h.work.Message(&d, rapid.Bool().Draw(t, "many"))
	o := h.session.Deliver(&h.work, &d, &to)
	right := false
	online := h.session.Online()
	switch o {
	case session.Sent:
		right = online && (qos > 0 || queued0 == 0)
	case session.Queued:
		right = qos > 0 || h.limits.QueueQoS0 && (h.session.Outlives() || online)
		h.joined(t, &d, queued, bytes)
	case session.DroppedOffline:
		right = !online && (qos == 0 || !h.session.Durable()) && !(h.limits.QueueQoS0 && h.session.Outlives())
	case session.DroppedSlow:
		right = online && qos == 0 && pending >= h.limits.PendingBytes && !h.limits.QueueQoS0
	case session.DroppedFull:
		right = qos > 0 && full
	case session.DroppedFull0:
		right = qos == 0 && full
	case session.DroppedTooLarge:
		right = online && h.session.MaximumPacket > 0 && p.Size(h.session.Version) > int(h.session.MaximumPacket)
	}
	if !right {
		t.Fatalf("%s, which is wrong", outcomeText(o))
	}
	if qos > 0 && (o == session.Sent || o == session.Queued) {
		h.accepted = append(h.accepted, f)
	}
	if qos == 0 && o == session.Queued {
		f.queued = true
		h.waiting0 = append(h.waiting0, f)
	}
}

// joined checks the bounds after a message has joined those that wait.
func (h *history) joined(t *rapid.T, d *message.Draft, queued, bytes int) {
	messages, now := h.session.Queued()
	switch {
	case messages > h.limits.QueueMessages && messages > queued:
		t.Fatalf("%d messages wait, at most %d may", messages, h.limits.QueueMessages)
	case now-d.Size() >= h.limits.QueueBytes && now > bytes:
		t.Fatalf("%d bytes wait, %d had room", now, h.limits.QueueBytes)
	case h.work.Full && now > bytes:
		t.Fatalf("the queue has grown from %d to %d bytes, and there is no room", bytes, now)
	}
}

// read lets what has been sent arrive. Writable comes, or not.
func (h *history) read(t *rapid.T) {
	h.look(t)
	if err := h.device.read(h.work.Out); err != nil {
		t.Fatal(err)
	}
	h.work.Out, h.seen = nil, 0
	if h.session.Online() && rapid.Bool().Draw(t, "writable") {
		h.session.Drain(&h.work)
	}
}

// acknowledge makes the device send one of the packets that it owes.
func (h *history) acknowledge(t *rapid.T) {
	if n := len(h.device.owes); n > 0 && h.session.Online() {
		h.pay(t, rapid.IntRange(0, n-1).Draw(t, "owed"), rapid.IntRange(0, 5).Draw(t, "fail") == 0)
	}
}

func (h *history) pay(t *rapid.T, i int, fail bool) {
	h.look(t)
	o := h.device.owes[i]
	h.device.owes = slices.Delete(h.device.owes, i, i+1)
	a := packet.Ack{ID: o.id}
	var err error
	switch o.typ {
	case packet.PUBACK:
		delete(h.flying, o.id)
		err = h.session.Puback(&h.work, &a)
	case packet.PUBREC:
		if fail && h.mayRefuse(o) {
			a.Code = packet.QuotaExceeded
			delete(h.device.held, o.id)
			delete(h.flying, o.id)
		}
		err = h.session.Pubrec(&h.work, &a)
	default:
		delete(h.flying, o.id)
		err = h.session.Pubcomp(&h.work, &a)
	}
	if err != nil {
		t.Fatalf("%v %d: %v", o.typ, o.id, err)
	}
}

// mayRefuse says whether the device can still refuse a QoS 2 message with
// PUBREC: not if it has acknowledged it before, or if anything is on its way.
func (h *history) mayRefuse(o owed) bool {
	for it := range h.session.Unfinished {
		if it.ID == o.id && it.Released {
			return false
		}
	}
	return h.session.Version == packet.V5 && len(h.work.Out) == 0 && h.device.held[o.id] && !slices.Contains(h.device.owes, o)
}

func (h *history) connect(t *rapid.T) {
	if h.session.Online() && rapid.IntRange(0, 3).Draw(t, "take over") > 0 {
		return // connections last longer than that
	}
	terms := drawTerms(t)
	if terms.Expiry == 0 && rapid.IntRange(0, 3).Draw(t, "ephemeral") > 0 {
		terms.Expiry = 60
	}
	h.begin(t, terms)
}

// begin ends the connection, if there is one, and starts another.
func (h *history) begin(t *rapid.T, terms session.Terms) {
	if h.session.Online() {
		h.disconnect(t)
	}
	if m := terms.MaximumPacket; m > 0 && (h.smallest == 0 || m < h.smallest) {
		h.smallest = m
	}
	h.session.Begin(terms)
	if terms.Expiry == 0 {
		h.ledger = nil
	}
	h.device.connect(terms.Version)
	h.connection++
	h.last, h.flying = 0, map[uint16]bool{}
	for id := range h.open {
		h.open[id] = false
	}
	h.session.Drain(&h.work)
}

// disconnect loses what is on its way, both ways, or some of it.
func (h *history) disconnect(t *rapid.T) {
	if !h.session.Online() {
		return
	}
	h.look(t)
	if rapid.Bool().Draw(t, "the last bytes arrive") {
		if err := h.device.read(h.work.Out); err != nil {
			t.Fatal(err)
		}
	}
	h.work.Out, h.seen = nil, 0
	if rapid.Bool().Draw(t, "the device forgets what it owes") {
		h.device.owes = nil
	}
	h.session.End(&h.work)
	if !h.session.Durable() {
		h.renew(t)
	}
}

// publish is a message of the device's, with an identifier that it may use.
func (h *history) publish(t *rapid.T) {
	if !h.session.Online() {
		return
	}
	p := packet.Publish{QoS: rapid.Byte().Filter(func(b byte) bool { return b == 1 || b == 2 }).Draw(t, "qos"), Topic: []byte("t")}
	p.ID = rapid.Uint16Range(1, 4).Draw(t, "id")
	here, open := h.open[p.ID]
	if here && p.QoS == 1 {
		return
	}
	fresh, err := h.session.Admit(&h.work, &p, 0)
	if want := p.QoS == 1 || !open; err != nil || fresh != want {
		t.Fatalf("QoS %d, id %d: fresh %v, %v, want %v", p.QoS, p.ID, fresh, err, want)
	}
	if p.QoS == 2 {
		h.open[p.ID] = true
	} else {
		delete(h.open, p.ID)
	}
}

func (h *history) pubrel(t *rapid.T) {
	if !h.session.Online() {
		return
	}
	id := rapid.Uint16Range(1, 4).Draw(t, "id")
	want := packet.PacketIdentifierNotFound
	if _, open := h.open[id]; open {
		want = packet.Success
	}
	delete(h.open, id)
	if got := h.session.Pubrel(&h.work, &packet.Ack{ID: id}); got != want {
		t.Fatalf("PUBREL %d: %v, want %v", id, got, want)
	}
}

// check looks at what the last step has left.
func (h *history) check(t *rapid.T) {
	h.look(t)
	if h.ledger == nil && len(h.work.Changes) > 0 {
		t.Fatalf("change of a session that is not durable: %s", changeText(h.work.Changes[0]))
	}
	for _, c := range h.work.Changes {
		if err := h.ledger.apply(c); err != nil {
			t.Fatal(err)
		}
	}
	h.work.Changes = h.work.Changes[:0]
	h.dropped += h.work.Evicted + h.work.Expired + h.work.TooLarge
	h.work.Evicted, h.work.Expired, h.work.TooLarge = 0, 0, 0
	if n, _ := h.session.Queued0(); h.missed+len(h.waiting0)-n > h.dropped {
		t.Fatalf("%d of QoS 0 wait, %d did, and %d were dropped", n, h.missed+len(h.waiting0), h.dropped)
	}
	if h.ledger != nil {
		if err := h.ledger.compare(h.session); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[uint16]bool{}
	for it := range h.session.Unfinished {
		if it.ID != 0 && ids[it.ID] {
			t.Fatalf("identifier %d is in use twice", it.ID)
		}
		ids[it.ID] = true
	}
	if wrong := h.session.Miscounted(); wrong != "" {
		t.Fatal(wrong)
	}
	n, open := 0, map[uint16]bool{}
	for id := range h.session.Open {
		n, open[id] = n+1, true
	}
	if n != len(h.open) || len(open) != n {
		t.Fatalf("%d incoming messages open, want %d", n, len(h.open))
	}
}

// look checks what the session has sent since the last look.
func (h *history) look(t *rapid.T) {
	for _, p := range publishes(h.work.Out[h.seen:], h.session.Version) {
		f := h.facts[string(p.Payload)]
		if f == nil {
			t.Fatalf("nobody has published %q", p.Payload)
		}
		if m := h.session.MaximumPacket; m > 0 && p.Size(h.session.Version) > int(m) {
			t.Fatalf("a packet of %d bytes, Maximum Packet Size %d", p.Size(h.session.Version), m)
		}
		if p.HasExpiry {
			if left := max(f.expires-h.work.Now, 0); int64(p.Expiry) != (left+999)/1000 {
				t.Fatalf("expiry %d, but %d ms are left", p.Expiry, left)
			}
		}
		if p.QoS != f.qos {
			t.Fatalf("QoS %d, want %d", p.QoS, f.qos)
		}
		if p.QoS > 0 {
			h.lookAt(t, &p, f)
		} else {
			h.lookAt0(t, &p, f)
		}
		f.sent, f.on = f.sent+1, h.connection
	}
	h.seen = len(h.work.Out)
}

// lookAt0 checks a QoS 0 message that has just been sent: those that waited before
// it were dropped, since none of them may come behind it.
func (h *history) lookAt0(t *rapid.T, p *packet.Publish, f *fact) {
	if f.sent > 0 || p.Dup {
		t.Fatalf("%q: dup %v, sent %d times before, at QoS 0", p.Payload, p.Dup, f.sent)
	}
	if !f.queued {
		return
	}
	i := slices.Index(h.waiting0, f)
	if i < 0 {
		t.Fatalf("%q comes behind a newer one", p.Payload)
	}
	if f.expires > 0 && h.work.Now >= f.expires {
		t.Fatalf("%q had expired", p.Payload)
	}
	h.missed += i
	h.waiting0 = h.waiting0[i+1:]
}

// lookAt checks a QoS 1 or 2 message that has just been sent.
func (h *history) lookAt(t *rapid.T, p *packet.Publish, f *fact) {
	if p.Dup != (f.sent > 0) || f.sent > 0 && f.on == h.connection {
		t.Fatalf("%q: dup %v, sent %d times before, last on connection %d of %d", p.Payload, p.Dup, f.sent, f.on, h.connection)
	}
	if f.sent == 0 && f.expires > 0 && h.work.Now >= f.expires {
		t.Fatalf("%q had expired", p.Payload)
	}
	if f.index <= h.last {
		t.Fatalf("%q, number %d, comes after number %d", p.Payload, f.index, h.last)
	}
	h.last = f.index
	if h.flying[p.ID] {
		t.Fatalf("identifier %d is in flight", p.ID)
	}
	h.flying[p.ID] = true
	if window := min(h.session.ReceiveMaximum, h.limits.InFlight); len(h.flying) > int(window) {
		t.Fatalf("%d in flight, want at most %d", len(h.flying), window)
	}
}

// settle lets everything arrive and be acknowledged, and checks that nothing is
// lost. Writable comes for QoS 0 only, which no acknowledgement sends.
func (h *history) settle(t *rapid.T) {
	if !h.session.Online() {
		h.begin(t, session.Terms{Version: packet.V311, Expiry: 60})
	}
	waits0 := func() bool {
		n, _ := h.session.Queued0()
		return n > 0
	}
	for len(h.work.Out) > 0 || len(h.device.owes) > 0 || waits0() {
		if len(h.work.Out) == 0 && waits0() {
			h.session.Drain(&h.work)
		}
		h.check(t)
		if err := h.device.read(h.work.Out); err != nil {
			t.Fatal(err)
		}
		h.work.Out, h.seen = nil, 0
		for len(h.device.owes) > 0 {
			h.pay(t, 0, false)
		}
	}
	h.check(t)
	if queued, bytes := h.session.Queued(); h.session.InFlight() > 0 || queued > 0 || bytes != 0 {
		t.Fatalf("%d in flight and %d queued (%d bytes), but nothing moves", h.session.InFlight(), queued, bytes)
	}
	h.arrived(t)
}

// arrived checks what the device has got.
func (h *history) arrived(t *rapid.T) {
	times := map[*fact]int{}
	for _, r := range h.device.got {
		f := h.facts[r.payload]
		if times[f]++; times[f] > 1 && (f.qos == 2 || !r.dup) {
			t.Fatalf("%q arrived %d times, QoS %d, dup %v", r.payload, times[f], f.qos, r.dup)
		}
	}
	lost := h.missed + len(h.waiting0)
	for _, f := range h.accepted {
		if times[f] > 0 {
			continue
		}
		lost++
		expired := f.expires > 0 && h.work.Now >= f.expires
		tooLarge := h.smallest > 0 && f.size > int(h.smallest)
		if !expired && !tooLarge {
			t.Fatalf("number %d was lost", f.index)
		}
	}
	if lost > h.dropped {
		t.Fatalf("%d were lost, %d counted as dropped", lost, h.dropped)
	}
}
