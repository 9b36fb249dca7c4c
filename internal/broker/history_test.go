package broker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// step is one event of a history. What its numbers mean hangs from kind.
type step struct {
	Kind   kind
	Client int
	Flag   [4]bool
	N      [4]int
}

type kind int

const (
	connects kind = iota
	disconnects
	loses
	subscribes
	unsubscribes
	publishes
	acknowledges
	releases
	waits
	blocks
	commits
	kinds
)

func (k kind) String() string {
	return [...]string{
		"connects", "disconnects", "loses", "subscribes", "unsubscribes", "publishes", "acknowledges", "releases", "waits", "blocks", "commits",
	}[k]
}

func (s step) String() string { return fmt.Sprintf("%d %v %v %v", s.Client, s.Kind, s.Flag, s.N) }

const historyClients = 4

// steps draws a history in which the common events are common.
func steps() *rapid.Generator[[]step] {
	likely := []kind{
		connects, connects, disconnects, loses, subscribes, subscribes, unsubscribes, publishes, publishes, publishes, publishes,
		acknowledges, acknowledges, acknowledges, releases, waits, blocks, commits, commits,
	}
	one := rapid.Custom(func(t *rapid.T) step {
		s := step{Kind: rapid.SampledFrom(likely).Draw(t, "kind"), Client: rapid.IntRange(0, historyClients-1).Draw(t, "client")}
		for i := range s.Flag {
			s.Flag[i] = rapid.Bool().Draw(t, "flag")
		}
		for i := range s.N {
			s.N[i] = rapid.IntRange(0, 30).Draw(t, "n")
		}
		return s
	})
	return rapid.Custom(func(t *rapid.T) []step {
		n := rapid.SampledFrom([]int{5, 20, 60, 150, 150, 150}).Draw(t, "steps")
		return rapid.SliceOfN(one, n, n).Draw(t, "list")
	})
}

func pick[T any](list []T, i int) T { return list[i%len(list)] }

// history plays steps on a broker.
type history struct {
	b       *Broker
	log     *ledger
	t       *Tick
	devices [historyClients]*device
}

// device is a client as its own side sees it.
type device struct {
	h    *history
	id   string
	link *link // nil: not connected
	c    *Client

	lastID   uint16
	said     int             // own publishes so far
	open     map[uint16]byte // own publishes that are not finished, by QoS
	received []packet.Publish
	released []uint16       // outgoing QoS 2 that wait for our PUBCOMP
	due      []due          // answers, in the order of what they answer
	inbound  map[uint16]int // own QoS 2 identifiers → size of the log when they came in
}

// due is an answer that has to come: not before that many bytes are safe, nor
// before the message is, if anything durable came of it.
type due struct {
	t       packet.Type
	id      uint16
	safe    int
	message []byte
}

func newHistory(log Log, setup func(*Options)) (*history, func()) {
	b, stop := newBroker(log, setup)
	return historyOf(b, ledgerOf(log)), stop
}

func historyOf(b *Broker, log *ledger) *history {
	h := &history{b: b, log: log, t: b.NewTick()}
	for i := range h.devices {
		h.devices[i] = &device{h: h, id: fmt.Sprint("c", i), inbound: map[uint16]int{}}
	}
	return h
}

// play carries one step out.
func (h *history) play(s step) error {
	d := h.devices[s.Client]
	if d.link == nil && s.Kind != connects && s.Kind != waits && s.Kind != commits {
		return nil
	}
	switch s.Kind {
	case connects:
		d.connect(s)
	case disconnects:
		e := Ending{Reason: "left", DropWill: s.Flag[0]}
		if s.Flag[1] && d.c.session.Expiry > 0 {
			expiry := pick([]uint32{0, 1, 3, session.Never}, s.N[0])
			e.NewExpiry = &expiry
		}
		d.end(e)
	case loses:
		d.end(Ending{Reason: "lost"})
	case waits:
		<-time.After(time.Duration(s.N[0]) * 100 * time.Millisecond)
		synctest.Wait() // what was due has happened
	case commits:
		h.log.commit()
	case blocks:
		d.link.mu.Lock()
		d.link.full = s.Flag[0]
		d.link.mu.Unlock()
	default:
		if err := d.work(s); err != nil {
			return err
		}
	}
	return h.settle()
}

// tick runs f as a loop would.
func (h *history) tick(f func(t *Tick)) {
	h.t.Begin()
	f(h.t)
	h.t.End()
}

// settle lets all connections do what they owe, and looks at what came.
func (h *history) settle() error {
	synctest.Wait() // nothing goes on beside this
	for _, d := range h.devices {
		if err := d.settle(); err != nil {
			return fmt.Errorf("client %s: %w", d.id, err)
		}
	}
	return nil
}

func (d *device) settle() error {
	for d.link != nil {
		if err := d.look(); err != nil {
			return err
		}
		l := d.link
		l.mu.Lock()
		again, owed, kicked := l.again, l.owed && !l.full, l.kicked
		l.again = false
		l.owed = l.owed && l.full
		l.mu.Unlock()
		switch {
		case kicked != nil:
			d.end(Ending{Reason: "kicked"})
		case owed:
			d.h.tick(func(t *Tick) { d.h.b.Writable(t, d.c, l) })
		case again:
			d.h.tick(func(t *Tick) { d.h.b.Resume(t, d.c, l) })
		default:
			return nil
		}
	}
	return nil
}

// look takes in what the broker sent.
func (d *device) look() error {
	for _, f := range d.link.frames() {
		switch f.Type {
		case packet.PUBLISH:
			var p packet.Publish
			if err := packet.ParsePublish(&p, f.Flags, f.Body, d.link.info.Version, packet.FromServer); err != nil {
				return err
			}
			if p.QoS > 0 {
				d.received = append(d.received, p)
			}
			if p.QoS == 2 && !d.remembered(p.ID, false) {
				return fmt.Errorf("PUBLISH with %d at QoS 2 came before that was safe", p.ID)
			}
		case packet.PUBREL:
			a, err := packet.ParseAck(f.Type, f.Body, d.link.info.Version)
			if err != nil {
				return err
			}
			d.released = append(d.released, a.ID)
			if !d.remembered(a.ID, true) {
				return fmt.Errorf("PUBREL of %d came before PUBREC was safe", a.ID)
			}
		case packet.PUBACK, packet.PUBREC, packet.PUBCOMP, packet.SUBACK, packet.UNSUBACK:
			if err := d.answered(f); err != nil {
				return err
			}
		default:
		}
	}
	return nil
}

// remembered says whether what is safe knows of an outgoing packet identifier;
// where records are in a store, and while the session is.
func (d *device) remembered(id uint16, released bool) bool {
	if d.h.b.store == nil || !d.c.session.Durable() {
		return true
	}
	l := d.h.log
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.state(l.safe)
	if err != nil || s.Sessions[d.id] == nil {
		return false
	}
	return slices.ContainsFunc(s.Sessions[d.id].Queue, func(it *record.Item) bool { return it.ID == id && it.Released == released })
}

// answered checks an answer against what is due.
func (d *device) answered(f packet.Frame) error {
	id := uint16(f.Body[0])<<8 | uint16(f.Body[1])
	if len(d.due) == 0 || d.due[0].t != f.Type || d.due[0].id != id {
		return fmt.Errorf("%v of %d came, due are %v", f.Type, id, d.due) // [MQTT-4.6.0-2]
	}
	if _, safe := d.h.log.size(); d.h.log.slow && safe < d.due[0].safe {
		return fmt.Errorf("%v of %d came when %d bytes were safe, it promises %d", f.Type, id, safe, d.due[0].safe)
	}
	if m := d.due[0].message; len(m) > 0 && !d.h.log.keeps(m) {
		return fmt.Errorf("%v of %d came before %q was safe", f.Type, id, m)
	}
	d.due = d.due[1:]
	failed := d.link.info.Version == packet.V5 && len(f.Body) > 2 && packet.Code(f.Body[2]).Failed()
	switch f.Type {
	case packet.PUBACK, packet.PUBCOMP:
		delete(d.open, id)
	case packet.PUBREC:
		if failed {
			delete(d.open, id)
			delete(d.inbound, id)
		}
	default:
	}
	return nil
}

func (d *device) connect(s step) {
	v := pick([]packet.Version{packet.V5, packet.V311, packet.V5}, s.N[0])
	r := &Connect{
		CleanStart: s.Flag[0] && s.Flag[1],
		Terms: session.Terms{
			Version: v, Expiry: pick([]uint32{session.Never, 3, 0, 1}, s.N[1]),
			ReceiveMaximum: pick([]uint16{0, 1, 2}, s.N[2]), MaximumPacket: pick([]uint32{0, 0, 60}, s.N[3]),
		},
	}
	if s.Flag[2] {
		r.Will = &packet.Will{
			Topic: pick([]string{"a", "a/b"}, s.N[1]), Payload: []byte("will of " + d.id), QoS: byte(s.N[2] % 3), Retain: s.Flag[3],
			Delay: pick([]uint32{0, 1, 5}, s.N[3]),
		}
	}
	old := d.link
	l := newLink(d.id, v)
	r.Info = l.info
	d.h.tick(func(t *Tick) {
		d.h.b.Admit(0)
		d.c, _ = d.h.b.Connect(t, l, r)
		if old != nil {
			d.h.b.Disconnect(t, d.c, old, Ending{Reason: "taken over"}) // as its loop will
		}
	})
	d.link, d.received, d.released, d.due, d.open = l, nil, nil, nil, map[uint16]byte{}
	f := l.frames()
	if len(f) == 0 || f[0].Type != packet.CONNACK {
		panic("CONNACK is not the first packet")
	}
	if f[0].Body[0] == 0 { // no session present
		clear(d.inbound)
	}
	l.mu.Lock()
	for _, later := range f[1:] {
		l.in = append(l.in, byte(later.Type)<<4|later.Flags)
		n := len(later.Body)
		for ; n >= 0x80; n >>= 7 {
			l.in = append(l.in, byte(n)|0x80)
		}
		l.in = append(append(l.in, byte(n)), later.Body...)
	}
	l.mu.Unlock()
}

func (d *device) end(e Ending) {
	l := d.link
	d.link = nil
	d.h.tick(func(t *Tick) { d.h.b.Disconnect(t, d.c, l, e) })
}

// work sends a packet.
func (d *device) work(s step) error {
	before, _ := d.h.log.size()
	var err error
	var answer due
	d.h.tick(func(t *Tick) {
		answer, err = d.packet(t, s)
		if after, _ := d.h.log.size(); after > before {
			answer.safe = after
		}
		if !d.h.log.has(answer.message) { // what comes of it later, the answer does not promise
			answer.message = nil
		}
	})
	if answer.t != 0 {
		d.due = append(d.due, answer)
	}
	if _, known := d.inbound[answer.id]; answer.t == packet.PUBREC && !known {
		d.inbound[answer.id] = answer.safe
	}
	var refusal *packet.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Code != packet.ReceiveMaximumExceeded:
		d.end(Ending{Reason: "refused"}) // as conn does
	case err != nil:
		return fmt.Errorf("%v: %w", s, err)
	}
	return nil
}

func (d *device) packet(t *Tick, s step) (due, error) {
	b := d.h.b
	switch s.Kind {
	case subscribes:
		id := d.nextID()
		return due{t: packet.SUBACK, id: id}, b.Subscribe(t, d.c, d.link, &packet.Subscribe{
			ID: id, SubscriptionID: uint32(s.N[3] % 3),
			Filters: []packet.Subscription{
				{Filter: pick(filters(), s.N[0]), QoS: byte(s.N[1] % 3), RetainAsPublished: s.Flag[0], RetainHandling: byte(s.N[2] % 3)},
				{Filter: pick(filters(), s.N[2]), QoS: 1, RetainHandling: 2},
			},
		})
	case unsubscribes:
		id := d.nextID()
		return due{t: packet.UNSUBACK, id: id}, b.Unsubscribe(t, d.c, d.link, &packet.Unsubscribe{
			ID: id, Filters: []string{pick(filters(), s.N[0]), pick(filters(), s.N[1])},
		})
	case publishes:
		return d.publish(t, s)
	case acknowledges:
		return due{}, d.acknowledge(t, s)
	default:
		return d.release(t, s)
	}
}

func filters() []string {
	return []string{"a", "a/#", "+/b", "#", "a/+", "$share/g/a", "$share/g/+/b", "$queue/a", "$local/a/b", "a/b/c/d/e/f"}
}

func (d *device) nextID() uint16 {
	for {
		d.lastID = d.lastID%20 + 1
		_, open := d.open[d.lastID]
		if _, unfinished := d.inbound[d.lastID]; !open && !unfinished {
			return d.lastID
		}
	}
}

// publish publishes as far as the receive maximum lets it.
func (d *device) publish(t *Tick, s step) (due, error) {
	d.said++
	p := &packet.Publish{
		Topic: []byte(pick([]string{"a", "a/b", "a/c", "b", "c/b"}, s.N[0])), QoS: byte(s.N[1] % 3), Retain: s.Flag[0],
	}
	if s.N[2] > 0 {
		p.Payload = slices.Repeat(fmt.Appendf(nil, "<%s %d>", d.id, d.said), s.N[2]%7+1)
	}
	if s.Flag[1] && s.Flag[2] {
		p.Expiry, p.HasExpiry = uint32(s.N[3]%3), true
	}
	if p.QoS == 0 {
		return due{}, d.h.b.Publish(t, d.c, d.link, p)
	}
	answer := due{t: packet.PUBACK, message: p.Payload}
	if p.QoS == 2 {
		answer.t = packet.PUBREC
	}
	if id, again := d.resend(s); again && p.QoS == 2 {
		p.ID, p.Dup, answer.safe = id, true, d.inbound[id]
	} else {
		if len(d.unfinished()) >= int(testLimits().ReceiveMaximum) {
			return due{}, nil
		}
		p.ID = d.nextID()
	}
	d.open[p.ID] = p.QoS
	answer.id = p.ID
	return answer, d.h.b.Publish(t, d.c, d.link, p)
}

// unfinished are the identifiers that count against the receive maximum.
func (d *device) unfinished() map[uint16]bool {
	ids := map[uint16]bool{}
	for id := range d.open {
		ids[id] = true
	}
	for id := range d.inbound {
		ids[id] = true
	}
	return ids
}

// resend is a QoS 2 message of an earlier connection that was not answered.
func (d *device) resend(s step) (uint16, bool) {
	for id := range uint16(21) {
		if _, ok := d.inbound[id]; ok && s.Flag[3] && d.open[id] == 0 {
			return id, true
		}
	}
	return 0, false
}

// release sends a PUBREL for an own QoS 2 message.
func (d *device) release(t *Tick, s step) (due, error) {
	for id := range uint16(21) {
		safe, ok := d.inbound[id]
		pending := slices.ContainsFunc(d.due, func(x due) bool { return x.id == id })
		if !ok || pending {
			continue
		}
		delete(d.inbound, id)
		d.open[id] = 2
		return due{t: packet.PUBCOMP, id: id, safe: safe}, d.h.b.Acknowledge(t, d.c, d.link, packet.PUBREL, &packet.Ack{ID: id})
	}
	return due{}, nil
}

// acknowledge answers one of the broker's messages, not always the oldest.
func (d *device) acknowledge(t *Tick, s step) error {
	ack := func(typ packet.Type, id uint16, code packet.Code) error {
		return d.h.b.Acknowledge(t, d.c, d.link, typ, &packet.Ack{ID: id, Code: code})
	}
	if len(d.released) > 0 && s.Flag[0] {
		id := d.released[0]
		d.released = d.released[1:]
		return ack(packet.PUBCOMP, id, 0)
	}
	if len(d.received) == 0 {
		return nil
	}
	i := 0
	if s.Flag[1] {
		i = s.N[0] % len(d.received)
	}
	p := d.received[i]
	d.received = slices.Delete(d.received, i, i+1)
	code := packet.Success
	if d.link.info.Version == packet.V5 && s.N[1] == 0 {
		code = packet.UnspecifiedError
	}
	if p.QoS == 1 {
		return ack(packet.PUBACK, p.ID, code)
	}
	return ack(packet.PUBREC, p.ID, code)
}

// differ compares the broker's state with what its records add up to.
//
// The broker does not keep when a session was opened and closed, nor by which
// user: nothing here hangs from it. That a session is closed is compared.
func (h *history) differ() error {
	replayed, err := h.log.replay()
	if err != nil {
		return err
	}
	held := h.b.Snapshot()
	for id, s := range replayed.Sessions {
		c := h.b.client(id)
		if c == nil {
			continue // the comparison will tell
		}
		if h.b.store != nil {
			if err := sameQueue(&c.session, held.Sessions[id], s); err != nil {
				return fmt.Errorf("session %s: %w", id, err)
			}
		}
		away := c.link == nil
		if away != (s.ClosedAt > 0) {
			return fmt.Errorf("session %s: closed at %d, its client is away: %v", id, s.ClosedAt, away)
		}
		if doubt := c.session.Doubt(); away && doubt > 0 && doubt != s.Doubt {
			return fmt.Errorf("session %s: in doubt up to %d, in the log up to %d", id, doubt, s.Doubt)
		}
		s.At, s.UserName, s.ClosedAt, s.Doubt = 0, "", 0, 0
	}
	if diff := cmp.Diff(held, replayed, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("the broker's state (-) is not that of its records (+):\n%s", diff)
	}
	return h.count(held)
}

// sameQueue compares what is in memory of a queue, and how much is not, with the
// whole queue, and leaves both empty.
func sameQueue(s *session.Session, held, whole *record.Session) error {
	if held == nil {
		return nil // the comparison will tell
	}
	messages, bytes := s.Queued()
	messages0, bytes0 := s.Queued0() // which no record tells of
	messages, bytes = messages-messages0, bytes-bytes0
	if n := messages + s.InFlight(); n != len(whole.Queue) {
		return fmt.Errorf("counted %d messages, there are %d", n, len(whole.Queue))
	}
	stored := map[uint64]*record.Item{}
	for _, it := range whole.Queue {
		stored[it.Seq] = it
		if it.ID == 0 {
			bytes -= it.Message.Size()
		}
	}
	if bytes != 0 {
		return fmt.Errorf("counted %d bytes more than are queued", bytes)
	}
	for _, it := range held.Queue {
		from := stored[it.Seq]
		if from != nil && it.Message == nil { // left to the store, or not needed any more
			it.Message, it.QoS, it.Retain, it.IDs, it.Shared = from.Message, from.QoS, from.Retain, from.IDs, from.Shared
		}
		if diff := cmp.Diff(it, from, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Errorf("in memory (-) is not what is stored (+):\n%s", diff)
		}
	}
	held.Queue, whole.Queue = nil, nil
	return nil
}

// count compares the broker's counters with its state.
func (h *history) count(held *record.State) error {
	messages, bytes := h.b.RetainedCount()
	size := int64(0)
	for _, m := range held.Retained {
		size += int64(m.Size())
	}
	if messages != len(held.Retained) || bytes != size {
		return fmt.Errorf("counted %d retained messages of %d bytes, want %d of %d", messages, bytes, len(held.Retained), size)
	}
	subscriptions, sessions, connected := 0, 0, 0
	var wrong error
	h.b.each(func(c *Client) {
		sessions++
		if c.link != nil {
			connected++
		}
		wildcards := uint32(0)
		for s := range c.session.Subscriptions {
			subscriptions++
			if f, err := topic.ParseFilter(s.Filter, 0); err == nil && f.Wildcard() {
				wildcards++
			}
		}
		if wildcards != c.wildcards {
			wrong = fmt.Errorf("client %s: counted %d subscriptions with a wildcard, there are %d", c.ID, c.wildcards, wildcards)
		}
	})
	if _, n := h.b.Waiting(); h.b.queuedBytes.Load() != int64(n) {
		return fmt.Errorf("counted %d queued bytes, there are %d", h.b.queuedBytes.Load(), n)
	}
	if err := h.b.miscounted(); err != nil {
		return err
	}
	st := h.b.Stats()
	if h.b.Subscriptions() != subscriptions || int(st.Sessions.Load()) != sessions || int(st.Connected.Load()) != connected {
		return fmt.Errorf("counted %d subscriptions, %d sessions, %d connected; there are %d, %d, %d",
			h.b.Subscriptions(), st.Sessions.Load(), st.Connected.Load(), subscriptions, sessions, connected)
	}
	return wrong
}

// run plays a history in a time of its own and says what went wrong.
func run(t *testing.T, list []step, log Log, setup func(*Options)) (failed error) {
	synctest.Test(t, func(*testing.T) {
		h, stop := newHistory(log, setup)
		defer stop()
		for i, s := range list {
			if err := h.play(s); err != nil {
				failed = fmt.Errorf("step %d: %w", i, err)
				return
			}
		}
		for h.log.commit() {
			if failed = h.settle(); failed != nil {
				return
			}
		}
		for _, d := range h.devices {
			if d.link != nil && len(d.due) > 0 && !d.link.full {
				failed = fmt.Errorf("client %s still waits for %v", d.id, d.due)
				return
			}
		}
		synctest.Wait()
		if failed = h.differ(); failed == nil {
			failed = h.drain()
		}
		if failed == nil && h.b.store != nil {
			failed = again(log)
		}
	})
	return failed
}

// drain has every client come back and take all that waits for it.
func (h *history) drain() error {
	for _, d := range h.devices {
		if d.link == nil {
			d.connect(step{})
		}
		d.link.mu.Lock()
		d.link.full = false
		d.link.mu.Unlock()
	}
	for moved := true; moved; {
		moved = h.log.commit()
		if err := h.settle(); err != nil {
			return err
		}
		for _, d := range h.devices {
			for len(d.received)+len(d.released) > 0 {
				moved = true
				var err error
				h.tick(func(t *Tick) { err = d.acknowledge(t, step{N: [4]int{0, 1}, Flag: [4]bool{true}}) })
				if err := errors.Join(err, h.settle()); err != nil {
					return err
				}
			}
		}
	}
	for _, d := range h.devices {
		if n, _ := d.c.session.Queued(); n+d.c.session.InFlight() > 0 {
			return fmt.Errorf("client %s: %d messages are queued and %d in flight, and nothing goes on", d.id, n, d.c.session.InFlight())
		}
	}
	return nil
}

// again starts a broker on what a crash of another one leaves in its store.
func again(log Log) error {
	left := archive{ledgerOf(log)}.crashed()
	b, stop := newBroker(left, nil)
	defer stop()
	if err := b.Restore(left.recover); err != nil {
		return err
	}
	left.settle()
	return historyOf(b, left.ledger).differ()
}

func TestRecordsAddUpToTheState(t *testing.T) {
	for name, log := range logs() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				list, waits := steps().Draw(rt, "steps"), rapid.Bool().Draw(rt, "QoS 0 waits")
				if err := run(t, list, log(), func(o *Options) { o.Limits.QueueQoS0 = waits }); err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}
