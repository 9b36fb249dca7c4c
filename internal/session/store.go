package session

import (
	"slices"

	"github.com/fantail-mqtt/fantail/message"
)

// stores says whether the log's store has this session's messages.
func (s *Session) stores(w *Work) bool { return w.Stores && s.Durable() }

// unload leaves the messages to the store. Those of a shared subscription that
// were sent stay: if the session ends, others get them.
func (o *outgoing) unload() {
	window := o.window.all()
	for i := range window {
		if window[i].Shared == "" {
			window[i].Message = nil
		}
	}
	if o.queue.len() > 0 {
		o.held = o.queue.all()[0].Seq - 1
		o.stored += o.queue.len()
		o.storedBytes += o.bytes
		o.queue, o.bytes = line{}, 0
	}
}

// unloaded says whether only the store has some of the messages.
func (o *outgoing) unloaded() bool {
	if o == nil {
		return false
	}
	return o.stored > 0 || slices.ContainsFunc(o.window.all(), func(it Item) bool { return it.missing() })
}

// ask asks for messages that are in the store and could be sent soon.
func (s *Session) ask(w *Work) {
	o := s.out
	if o.loading || !s.stores(w) {
		return
	}
	if from := o.missing(); from > 0 {
		o.loading, w.Load = true, from
	} else if o.stored > 0 && o.queue.len() <= w.Limits.HeadMessages/2 && o.bytes <= w.Limits.HeadBytes/2 {
		o.loading, w.Load = true, o.held+1
	}
}

// missing is the first message of the window that is to be sent and is not in
// memory, or 0.
func (o *outgoing) missing() uint64 {
	if o.flying == o.window.len() {
		return 0
	}
	window := o.window.all()
	for i := range window {
		if it := &window[i]; it.due && it.missing() {
			return it.Seq
		}
	}
	return 0
}

// Connection tells what was asked for on one connection from what was asked for
// on another.
func (s *Session) Connection() uint32 {
	if s.out == nil {
		return 0
	}
	return s.out.connection
}

// Loaded takes in what [Work.Load] asked for on the connection: the stored
// messages from there on, in order, as many as were wanted. None at all are what
// the store has lost. What can be sent is sent.
func (s *Session) Loaded(w *Work, connection uint32, items []Item) {
	o := s.out
	if o == nil || !s.online || o.connection != connection {
		return
	}
	o.loading = false
	end := s.seq + 1 // the store has nothing before it but items
	if len(items) > 0 {
		end = items[len(items)-1].Seq
	}
	for i := range items {
		if it := &items[i]; it.Seq <= o.held {
			o.restore(it)
		} else if o.stored > 0 && it.Message != nil {
			o.stored--
			o.storedBytes = max(o.storedBytes-it.Message.Size(), 0)
			o.push(*it)
		}
	}
	s.forget(w, end)
	if len(items) == 0 {
		w.Lost += o.stored
		o.stored, o.held = 0, s.seq
	}
	if o.stored == 0 {
		o.storedBytes = 0
	}
	s.Drain(w)
}

// Expire ends messages that the store says have expired; false if they are not
// where only the store has them: then Drain ends them.
func (s *Session) Expire(w *Work, r Run) bool {
	o := s.out
	if o == nil || o.loading || r.First <= o.held || r.Messages > o.stored || !s.stores(w) {
		return false
	}
	o.stored -= r.Messages
	if o.storedBytes = max(o.storedBytes-r.Bytes, 0); o.stored == 0 {
		o.storedBytes = 0
	}
	w.Expired += r.Messages
	s.change(w, Change{Kind: Expire, Run: r})
	s.Trim()
	return true
}

// First is the first queued message of QoS 1 or 2, its Seq alone if only the store
// has it; false if none is queued.
func (s *Session) First() (seq uint64, m *message.Message, ok bool) {
	switch o := s.out; {
	case o == nil || o.queue.len()+o.stored == 0:
		return 0, nil, false
	case o.queue.len() > 0:
		first := &o.queue.all()[0]
		return first.Seq, first.Message, true
	default:
		return o.held + 1, nil, true
	}
}

// Left is the first message that only the store has, if some of those may have
// come through a shared subscription; else 0. When the session ends they are for
// other members.
func (s *Session) Left() uint64 {
	o := s.out
	if o == nil || !s.shares {
		return 0
	}
	window := o.window.all()
	for i := range window {
		if window[i].missing() {
			return window[i].Seq
		}
	}
	if o.stored > 0 {
		return o.held + 1
	}
	return 0
}

// Began says whether a message stands in the window, so that it may have been
// sent.
func (s *Session) Began(seq uint64) bool {
	if s.out == nil {
		return false
	}
	_, ok := find(s.out.window.all(), seq)
	return ok
}

// missing says whether only the store has the message, which is still needed.
func (it *Item) missing() bool { return it.Message == nil && !it.Released }

// restore gives an item of the window its message back.
func (o *outgoing) restore(from *Item) {
	window := o.window.all()
	i, ok := find(window, from.Seq)
	if !ok || window[i].Message != nil || window[i].Released {
		return
	}
	it := &window[i]
	it.Message, it.IDs, it.Shared, it.QoS, it.Retain = from.Message, from.IDs, from.Shared, from.QoS, from.Retain
}

// forget ends the messages of the window before end that the store should have
// had.
func (s *Session) forget(w *Work, end uint64) {
	o := s.out
	for i := 0; i < o.window.len(); i++ {
		if it := &o.window.all()[i]; it.Seq < end && it.due && it.missing() {
			w.Lost++
			s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}})
			o.remove(i)
			i--
		}
	}
}

// Doubt is up to where QoS 1 messages that were never sent, as far as this
// process knows, may have been sent by an earlier one; 0 if no such message waits.
func (s *Session) Doubt() uint64 {
	if first, _, ok := s.First(); !ok || first > s.out.maybe {
		return 0
	}
	return s.out.maybe
}

// Unacked is a message that an earlier process has sent and that is not finished.
type Unacked struct {
	Seq      uint64
	ID       uint16
	Released bool
}

// Stored is a session as the store has it.
type Stored struct {
	Terms         Terms // of the last connection; only Version and Expiry count
	Subscriptions []Subscription
	Open          []uint16 // incoming QoS 2 packet identifiers
	Window        []Unacked
	Unsent        uint64 // the first message that was never sent
	Last          uint64 // the last message
	Messages      int    // from Unsent on
	Bytes         int    // of those
	// Doubt is up to where QoS 1 messages from Unsent on may have reached the
	// client: to Last, if it was connected when the process ended.
	Doubt uint64
}

// Restore makes a new session what an earlier process left.
func (s *Session) Restore(from *Stored) {
	s.Terms, s.subs, s.count, s.seq = from.Terms, subscriptions{}, 0, from.Last
	for _, sub := range from.Subscriptions {
		s.Subscribe(sub)
	}
	for _, id := range from.Open {
		s.incoming().take(id)
	}
	s.inbox.reconnect()
	if len(from.Window) == 0 && from.Messages == 0 {
		return
	}
	o := s.outgoing()
	for _, w := range from.Window {
		it := Item{Seq: w.Seq, ID: w.ID, Released: w.Released, tried: true} // its QoS comes with the message
		if w.Released {
			it.QoS = 2
		}
		if all := o.window.all(); len(all) > 0 && w.ID-all[0].ID <= all[len(all)-1].ID-all[0].ID {
			o.tangled = true
		}
		o.window.push(it)
		s.lastID = w.ID
	}
	o.stored, o.storedBytes = from.Messages, from.Bytes
	o.held = max(from.Unsent, 1) - 1
	o.maybe = min(from.Doubt, from.Last) // seqs begin anew where none was left
}
