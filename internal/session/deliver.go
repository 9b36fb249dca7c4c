package session

import (
	"cmp"
	"slices"

	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// Route says how a message reaches a session: through which subscriptions,
// taken together.
type Route struct {
	QoS    byte     // granted
	Retain bool     // the RETAIN flag to send
	IDs    []uint32 // subscription identifiers
	Shared string   // the shared subscription, or ""
	Wait   bool     // at QoS 1 and 2: not before Safe is called
}

// Outcome says what became of a delivery.
type Outcome byte

// The outcomes. All but the first two are drops.
const (
	Sent Outcome = iota
	Queued
	DroppedOffline  // QoS 0, and the client is away
	DroppedSlow     // QoS 0, and too many bytes wait for the client
	DroppedFull     // QoS 1 or 2, and the queue is full
	DroppedFull0    // QoS 0, and the queue is full
	DroppedTooLarge // for the client's Maximum Packet Size [MQTT-3.1.2-25]
	DroppedPace     // QoS 0, and more was sent than may be
)

// Deliver sends or queues the message d, which the caller has announced with
// [Work.Message].
func (s *Session) Deliver(w *Work, d *message.Draft, to *Route) Outcome {
	qos := min(d.QoS, to.QoS) // [MQTT-3.8.4-8]
	if qos == 0 {
		return s.deliver0(w, d, to)
	}
	if !s.online && !s.Durable() {
		return DroppedOffline
	}
	o := s.outgoing()
	waits := to.Wait || qos == 2 && s.stores(w)
	if s.online && o.queue.len()+o.stored == 0 && s.room(w, waits) {
		if waits {
			return s.park(w, d, to, qos)
		}
		return s.send(w, d, to, qos)
	}
	if !s.makeRoom(w, d) {
		return DroppedFull
	}
	it := Item{Message: d.Keep(), IDs: to.IDs, Shared: to.Shared, QoS: qos, Retain: to.Retain, wait: to.Wait}
	s.number(&it)
	s.change(w, Change{Kind: Queue, Item: it})
	if s.stores(w) && (!s.online || o.stored > 0 || o.queue.len() >= w.Limits.HeadMessages || o.bytes >= w.Limits.HeadBytes) {
		if o.stored == 0 && o.queue.len() == 0 {
			o.held = it.Seq - 1
		}
		o.stored++
		o.storedBytes += it.Message.Size()
		return Queued
	}
	o.push(it)
	if it.wait {
		w.Waits = append(w.Waits, it.Seq)
	}
	return Queued
}

// send puts a message into the window and on the wire.
func (s *Session) send(w *Work, d *message.Draft, to *Route, qos byte) Outcome {
	id := s.nextID()
	w.expiry(d.HasExpiry, d.Expiry)
	if !s.encode(w, d.Topic, qos, to.Retain, to.IDs, id, false) {
		return DroppedTooLarge
	}
	it := Item{IDs: to.IDs, Shared: to.Shared, ID: id, QoS: qos, Retain: to.Retain, tried: true}
	if s.Durable() || to.Shared != "" {
		it.Message = d.Keep()
	}
	s.number(&it)
	s.out.held = it.Seq
	s.out.window.push(it)
	s.out.flying++
	s.change(w, Change{Kind: Queue, Item: it})
	return Sent
}

// park puts a message into the window that is sent once Safe is called.
func (s *Session) park(w *Work, d *message.Draft, to *Route, qos byte) Outcome {
	it := Item{
		Message: d.Keep(), IDs: to.IDs, Shared: to.Shared, ID: s.nextID(), QoS: qos, Retain: to.Retain, due: true, wait: true,
	}
	s.number(&it)
	s.out.held = it.Seq
	s.out.window.push(it)
	s.out.waiting++
	s.change(w, Change{Kind: Queue, Item: it})
	w.Waits = append(w.Waits, it.Seq)
	return Queued
}

// Safe says that the changes that a message waited for are safe: what was to be
// sent then is sent.
func (s *Session) Safe(w *Work, seq uint64) {
	o := s.out
	if o == nil {
		return
	}
	window, queue := o.window.all(), o.queue.all()
	if i, ok := find(window, seq); ok {
		it := &window[i]
		if !it.wait {
			return
		}
		it.wait = false
		if it.due {
			o.waiting--
		} else if s.online {
			s.pubrel(w, it.ID, packet.Success)
		}
	} else if i, ok := find(queue, seq); ok {
		queue[i].wait = false
	}
	s.Drain(w)
}

// find is the place of a message among items.
func find(items []Item, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(items, seq, func(it Item, seq uint64) int { return cmp.Compare(it.Seq, seq) })
}

// Drain sends what is to be sent again, then what is queued, as far as there
// is room. The caller calls it after Begin and whenever bytes have left.
func (s *Session) Drain(w *Work) {
	o := s.out
	if o == nil || !s.online {
		return
	}
	if o.flying < o.window.len() {
		s.resend(w)
	}
	for o.queue.len() > 0 {
		first := &o.queue.all()[0]
		waits := first.QoS == 2 && s.stores(w)
		if first.wait || !s.room(w, waits) {
			break
		}
		s.begin(w, o.pop(), waits)
	}
	s.drain0(w)
	s.ask(w)
}

// begin sends the first message of the queue for the first time, or, if it
// waits, puts it where it is sent later.
func (s *Session) begin(w *Work, it Item, waits bool) {
	o := s.out
	if it.Message.Expired(w.Now) { // [MQTT-3.3.2-5]
		w.Expired++
		s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}, Size: it.Message.Size()})
		return
	}
	if w.bars(it.Message) {
		s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}, Size: it.Message.Size()})
		return
	}
	it.ID = s.nextID()
	if waits {
		it.due, it.wait = true, true
		o.waiting++
		w.Waits = append(w.Waits, it.Seq)
		s.change(w, Change{Kind: Send, Item: Item{Seq: it.Seq, ID: it.ID}, Size: it.Message.Size()})
		o.window.push(it)
		return
	}
	it.tried = it.Seq <= o.maybe && it.QoS == 1
	size := it.Message.Size()
	if !s.publish(w, &it) {
		s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}, Size: size})
		return
	}
	s.change(w, Change{Kind: Send, Item: Item{Seq: it.Seq, ID: it.ID}, Size: size})
	o.window.push(it)
}

// publish sends a kept message; false if it is too large for the client.
func (s *Session) publish(w *Work, it *Item) bool {
	w.kept(it.Message)
	w.expiry(it.Message.HasExpiry, it.Message.Remaining(w.Now))
	if !s.encode(w, it.Message.Topic, it.QoS, it.Retain, it.IDs, it.ID, it.tried) {
		w.TooLarge++
		return false
	}
	if !it.tried {
		w.Drained[it.QoS]++
	}
	it.tried = true
	if !s.Durable() && it.Shared == "" { // it will not be sent again
		it.Message = nil
	}
	s.out.flying++
	return true
}

// resend sends what is due: what an earlier connection left unfinished, with the
// identifiers and in the order it had [MQTT-4.4.0-1], [MQTT-4.6.0-1], and what
// has waited until its change was safe.
func (s *Session) resend(w *Work) {
	o := s.out
	window := o.window.all()
	kept := window[:0]
	stopped := false // one message could not be sent, so none behind it can
	for i := range window {
		it := window[i]
		switch {
		case !it.due:
		case it.wait:
			stopped = stopped || !it.Released
		case it.Released:
			w.Out = packet.AppendAck(w.Out, packet.PUBREL, &packet.Ack{ID: it.ID}, s.Version, 0)
			it.due = false
			o.flying++
		case stopped || !s.fits(w, o.flying):
			stopped = true
		case it.Message == nil && s.stores(w): // ask says so
			stopped = true
		case it.Message == nil: // the session was not durable: there is nothing to send
			s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}})
			continue
		case w.bars(it.Message):
			s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}})
			continue
		default:
			if !s.publish(w, &it) {
				s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}})
				continue
			}
			it.due = false
		}
		kept = append(kept, it)
	}
	o.window.keep(len(kept))
}

// encode appends the current message as a PUBLISH to this client; false if it
// would be larger than the client takes.
func (s *Session) encode(w *Work, topic string, qos byte, retain bool, ids []uint32, id uint16, again bool) bool {
	if w.Pace != nil {
		w.Pace.Messages--
	}
	p := &w.pub
	p.QoS, p.Retain, p.ID, p.Dup = qos, retain, id, again
	plain := s.Version != packet.V5 || len(ids) == 0 && s.AliasMaximum == 0
	if plain && w.many && !again {
		if s.MaximumPacket > 0 && p.Size(s.Version) > int(s.MaximumPacket) {
			return false
		}
		w.encoded(s.Version, qos, retain, id)
		return true
	}
	if plain {
		if s.MaximumPacket > 0 && p.Size(s.Version) > int(s.MaximumPacket) { // [MQTT-3.1.2-24]
			return false
		}
		w.Out = packet.AppendPublish(w.Out, p, s.Version)
		return true
	}
	return s.encodeSpecial(w, topic, ids)
}

// encodeSpecial encodes with subscription identifiers and a topic alias.
func (s *Session) encodeSpecial(w *Work, topic string, ids []uint32) bool {
	p := &w.pub
	name := p.Topic
	if topic == "" {
		topic = string(name)
	}
	p.SubscriptionIDs = ids
	alias, known := s.alias(w, topic)
	p.Alias = alias
	if known {
		p.Topic = nil
	}
	fits := func() bool { return s.MaximumPacket == 0 || p.Size(s.Version) <= int(s.MaximumPacket) }
	ok := fits()
	if !ok && !known && alias > 0 {
		p.Alias, alias = 0, 0
		ok = fits()
	}
	if ok {
		w.Out = packet.AppendPublish(w.Out, p, s.Version)
		if alias > 0 && !known {
			s.outgoing().remember(topic, alias)
		}
	}
	p.Topic, p.Alias, p.SubscriptionIDs = name, 0, nil
	return ok
}

// aliasSize is what a topic alias adds to a packet.
const aliasSize = 3

// alias is the topic's alias and whether the client knows it, or 0
// [MQTT-3.1.2-26].
func (s *Session) alias(w *Work, topic string) (alias uint16, known bool) {
	limit := min(s.AliasMaximum, w.Limits.TopicAliasMaximum)
	if limit == 0 || len(topic) <= aliasSize { // the packet could only grow
		return 0, false
	}
	o := s.outgoing()
	if a, ok := o.aliases[topic]; ok {
		return a, true
	}
	if len(o.aliases) < int(limit) {
		return uint16(len(o.aliases) + 1), false
	}
	return 0, false
}

func (o *outgoing) remember(topic string, alias uint16) {
	if o.aliases == nil {
		o.aliases = map[string]uint16{}
	}
	o.aliases[topic] = alias
}

func (w *Work) expiry(has bool, seconds uint32) { w.pub.HasExpiry, w.pub.Expiry = has, seconds }

// room says whether one more message may be in flight: behind others that wait,
// if it waits itself.
func (s *Session) room(w *Work, waits bool) bool {
	n := s.out.flying
	if waits {
		n += s.out.waiting
	}
	return n == s.out.window.len() && s.fits(w, n)
}

// fits says whether the client's window, with n messages in it, and its pending
// bytes leave room. One message goes in any case: its acknowledgement drains the
// queue, and nothing else may. Pending bytes that leave at once are not heard of
// again. Where there is a pace, not even one goes over it: who set it drains.
func (s *Session) fits(w *Work, n int) bool {
	return (n == 0 || n < s.windowSize(w) && w.pending() < w.Limits.PendingBytes) && !w.slow()
}

// windowSize is how many messages may be unfinished [MQTT-3.3.4-9].
func (s *Session) windowSize(w *Work) int { return int(min(s.ReceiveMaximum, w.Limits.InFlight)) }

// number gives a new message its place in the session's order.
func (s *Session) number(it *Item) {
	s.seq++
	it.Seq = s.seq
}

// nextID is a packet identifier that is not in use [MQTT-2.2.1-4].
func (s *Session) nextID() uint16 {
	for {
		s.lastID++
		if s.lastID == 0 {
			s.lastID = 1
		}
		if !s.out.uses(s.lastID) {
			return s.lastID
		}
		s.out.tangled = true
	}
}

// uses says whether an identifier, the next one, is in use. The window has them
// in the order in which they are given out, round and round, so it could only be
// that of its first message, which the others have lapped; from then on, their
// order is lost until the window is empty.
func (o *outgoing) uses(id uint16) bool {
	if o.tangled {
		return o.find(id) >= 0
	}
	return o.window.len() > 0 && o.window.all()[0].ID == id
}

// find finds the message with this packet identifier in the window, or -1.
func (o *outgoing) find(id uint16) int {
	window := o.window.all()
	if o.tangled {
		return slices.IndexFunc(window, func(it Item) bool { return it.ID == id })
	}
	if len(window) == 0 {
		return -1
	}
	first := window[0].ID
	i, ok := slices.BinarySearchFunc(window, id-first, func(it Item, after uint16) int { return cmp.Compare(it.ID-first, after) })
	if !ok {
		return -1
	}
	return i
}

func (s *Session) change(w *Work, c Change) {
	if s.Durable() {
		w.Changes = append(w.Changes, c)
	}
}

func (s *Session) outgoing() *outgoing {
	if s.out == nil {
		s.out = &outgoing{}
	}
	return s.out
}

func (o *outgoing) push(it Item) {
	o.queue.push(it)
	o.bytes += it.Message.Size()
	o.held = it.Seq
	o.expiring(it.Message)
}

func (o *outgoing) pop() Item {
	it := o.queue.all()[0]
	o.bytes -= it.Message.Size()
	if o.queue.remove(0); o.queue.len() == 0 {
		o.queue = line{}
	}
	return it
}

// remove takes the i-th message out of the window.
func (o *outgoing) remove(i int) {
	switch it := &o.window.all()[i]; {
	case !it.due:
		o.flying--
	case it.wait:
		o.waiting--
	}
	if o.window.remove(i); o.window.len() == 0 {
		o.tangled = false
	}
}
