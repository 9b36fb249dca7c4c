package session

import (
	"slices"

	"github.com/fantail-mqtt/fantail/message"
)

// makeRoom says whether the message may join what waits. Where there is no room,
// what has expired goes first, then the oldest messages of QoS 0: as many as it
// takes, or none if all of them would not be enough. One message may go over the
// limit of the session's bytes; those of all sessions do not grow beyond theirs.
func (s *Session) makeRoom(w *Work, d *message.Draft) bool {
	o := s.outgoing()
	messages, before := o.waits()
	if !w.Full && messages < w.Limits.QueueMessages && before < w.Limits.QueueBytes {
		return true
	}
	s.dropExpired(w)
	most := w.Limits.QueueBytes - 1
	if w.Full {
		most = min(most, before-d.Size())
	}
	fits := func(messages, bytes int) bool { return messages < w.Limits.QueueMessages && bytes <= most }
	if !fits(o.queue.len()+o.stored, o.bytes+o.storedBytes) {
		s.Trim()
		return false
	}
	for !fits(o.waits()) {
		o.pop0()
		w.Evicted++
	}
	return true
}

// waits is how many messages wait, in memory or not, and how many bytes they hold.
func (o *outgoing) waits() (messages, bytes int) {
	messages, bytes = o.queue.len()+o.stored, o.bytes+o.storedBytes
	if o.lossy != nil {
		messages, bytes = messages+len(o.lossy.items), bytes+o.lossy.bytes
	}
	return messages, bytes
}

// lookAgain is how long expired messages are not looked for once they have been,
// in milliseconds. Without it, a queue that is full of messages with different
// intervals would be gone through for every message that finds it so.
const lookAgain = 1000

// dropExpired drops the messages in memory that have expired in the queue
// [MQTT-3.3.2-5], if there may be any.
func (s *Session) dropExpired(w *Work) {
	o := s.out
	if o.expires == 0 || w.Now < o.expires || w.Now < o.looked+lookAgain {
		return
	}
	o.looked, o.expires = w.Now, 0
	gone := func(m *message.Message) bool {
		if !m.Expired(w.Now) {
			o.expiring(m)
			return false
		}
		w.Expired++
		return true
	}
	waiting := slices.DeleteFunc(o.queue.all(), func(it Item) bool {
		if !gone(it.Message) {
			return false
		}
		o.bytes -= it.Message.Size()
		s.change(w, Change{Kind: Finish, Item: Item{Seq: it.Seq}, Size: it.Message.Size()})
		return true
	})
	if o.queue.keep(len(waiting)); len(waiting) == 0 {
		o.queue = line{}
	}
	if l := o.lossy; l != nil {
		l.items = slices.DeleteFunc(l.items, func(it loose) bool {
			if !gone(it.message) {
				return false
			}
			l.bytes -= it.message.Size()
			return true
		})
		if len(l.items) == 0 {
			o.lossy = nil
		}
	}
	if s.online {
		s.ask(w)
	}
}

// expiring notes when a message that joins the queue in memory expires.
func (o *outgoing) expiring(m *message.Message) {
	if at := m.ExpiresAt(); at > 0 && (o.expires == 0 || at < o.expires) {
		o.expires = at
	}
}
