package session

import "github.com/fantail-mqtt/fantail/message"

// lossy are the messages of QoS 0 that wait, with [Limits.QueueQoS0], for their
// client to come back or to read what was sent. Nothing is promised of them: they
// have no packet identifier, no change tells of them, and they make room for
// others. They wait beside the queue, since order holds within a QoS only
// [MQTT-4.6.0-6].
type lossy struct {
	items []loose
	bytes int
}

// loose is a message of QoS 0 that waits.
type loose struct {
	message *message.Message
	ids     []uint32
	retain  bool
}

// backlogBytes is how many encoded bytes at most what has waited at QoS 0 adds to:
// as messages it costs less, since sessions share them.
const backlogBytes = 64 << 10

func (s *Session) deliver0(w *Work, d *message.Draft, to *Route) Outcome {
	behind := s.out != nil && s.out.lossy != nil
	switch {
	case s.online && !behind && w.pending() < w.Limits.PendingBytes && !w.slow():
		w.expiry(d.HasExpiry, d.Expiry)
		if !s.encode(w, d.Topic, 0, to.Retain, to.IDs, 0, false) {
			return DroppedTooLarge
		}
		return Sent
	case w.Limits.QueueQoS0 && (s.online || s.Outlives()):
		if !s.makeRoom(w, d) {
			return DroppedFull0
		}
		s.out.push0(loose{message: d.Keep(), ids: to.IDs, retain: to.Retain})
		return Queued
	case s.online && w.slow():
		return DroppedPace
	case s.online:
		return DroppedSlow
	default:
		return DroppedOffline
	}
}

// drain0 sends what waits at QoS 0, as far as pending bytes leave room.
func (s *Session) drain0(w *Work) {
	for s.out.lossy != nil && w.pending() < min(w.Limits.PendingBytes, backlogBytes) && !w.slow() {
		it := s.out.pop0()
		m := it.message
		if m.Expired(w.Now) { // [MQTT-3.3.2-5]
			w.Expired++
			continue
		}
		if w.bars(m) {
			continue
		}
		w.kept(m)
		w.expiry(m.HasExpiry, m.Remaining(w.Now))
		if !s.encode(w, m.Topic, 0, it.retain, it.ids, 0, false) {
			w.TooLarge++
			continue
		}
		w.Drained[0]++
	}
}

// Queued0 is how many of the messages that wait are of QoS 0, and how many bytes
// they hold.
func (s *Session) Queued0() (messages, bytes int) {
	if s.out == nil || s.out.lossy == nil {
		return 0, 0
	}
	return len(s.out.lossy.items), s.out.lossy.bytes
}

func (o *outgoing) push0(it loose) {
	if o.lossy == nil {
		o.lossy = &lossy{}
	}
	o.lossy.items = append(o.lossy.items, it)
	o.lossy.bytes += it.message.Size()
	o.expiring(it.message)
}

// pop0 takes the oldest out.
func (o *outgoing) pop0() loose {
	l := o.lossy
	it := l.items[0]
	l.items[0] = loose{}
	l.items = l.items[1:]
	l.bytes -= it.message.Size()
	if len(l.items) == 0 {
		o.lossy = nil
	}
	return it
}
