package record

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/fantail-mqtt/fantail/message"
)

// State is what records add up to. Its zero value is the empty state. It is
// not safe for concurrent use.
type State struct {
	Sessions map[string]*Session // by client identifier
	Retained map[string]Retained // by topic
	Settings map[Place]Setting
}

// Session is the durable part of a client's session.
type Session struct {
	Opened
	ClosedAt int64 // unix milliseconds; 0 while the client is connected
	// Doubt is the seq up to which messages of QoS 1 without a packet identifier
	// may have reached the client: a crash has taken what would tell. 0: none, as
	// far as is known of a client that is away.
	Doubt         uint64
	Subscriptions map[string]Subscription
	Queue         []*Item // in the order of Seq
	Received      map[uint16]bool
	Will          *Will
}

// Item is a message in a session's queue, sent or not.
type Item struct {
	Queued
	Released bool // PUBREC came: Message is nil and PUBREL is to be sent
}

// waits is what the message counts for among those that were never sent.
func (it *Item) waits() int {
	if it.ID > 0 || it.Message == nil {
		return 0
	}
	return it.Message.Size()
}

// ExpiresAt is when the session ends, in unix milliseconds, or false while its
// client is connected and when it never does.
func (s *Session) ExpiresAt() (int64, bool) {
	if s.ClosedAt == 0 || s.Expiry == Never {
		return 0, false
	}
	return s.ClosedAt + int64(s.Expiry)*1000, true
}

// Apply carries out the records of a whole frame. It copies what it keeps. An
// error names the record that does not fit the state; those before it have
// taken effect, neither that one nor those behind it have.
func (s *State) Apply(frame []byte) error {
	if s.Sessions == nil {
		s.Sessions = make(map[string]*Session)
	}
	if s.Retained == nil {
		s.Retained = make(map[string]Retained)
	}
	if s.Settings == nil {
		s.Settings = make(map[Place]Setting)
	}
	var b bodies
	for at := 0; at < len(frame); {
		rec, n, err := Parse(frame[at:])
		if err == nil {
			err = b.resolve(&rec)
		}
		if err == nil {
			err = s.apply(&rec)
		}
		if err != nil {
			return fmt.Errorf("apply records, at byte %d: %w", at, err)
		}
		at += n
	}
	return nil
}

// bodies are the messages of one frame that stand apart, copied off it.
type bodies struct {
	all     []*message.Message
	inForce *message.Message
}

func (b *bodies) resolve(rec *Record) error {
	switch rec.Kind {
	case KindBody:
		b.inForce = keep(rec.Message)
		b.all = append(b.all, b.inForce)
	case KindUse:
		if rec.Use >= len(b.all) {
			return fmt.Errorf("%s: no body %d in this frame", rec.Kind, rec.Use)
		}
		b.inForce = b.all[rec.Use]
	case KindQueued:
		if !rec.HasBody {
			return nil
		}
		if b.inForce == nil {
			return fmt.Errorf("%s: client %q: no body stands before it", rec.Kind, rec.Client)
		}
		rec.Queued.Message = b.inForce
	default:
	}
	return nil
}

func (s *State) apply(rec *Record) error {
	switch rec.Kind {
	case KindBody, KindUse:
		return nil
	case KindRetained:
		s.Retained[rec.Message.Topic] = Retained{keep(rec.Message), rec.By}
		return nil
	case KindRetainCleared:
		delete(s.Retained, rec.Topic)
		return nil
	case KindSettingPut:
		own := rec.Setting
		own.Value = slices.Clone(own.Value)
		s.Settings[own.Place] = own
		return nil
	case KindSettingGone:
		if _, ok := s.Settings[rec.Setting.Place]; !ok {
			return fmt.Errorf("%s: no setting %q in %q", rec.Kind, rec.Setting.Key, rec.Setting.Space)
		}
		delete(s.Settings, rec.Setting.Place)
		return nil
	case KindSessionOpened:
		s.open(rec)
		return nil
	default:
	}
	session := s.Sessions[rec.Client]
	if session == nil {
		return fmt.Errorf("%s: no session of client %q", rec.Kind, rec.Client)
	}
	if rec.Kind == KindSessionEnded {
		delete(s.Sessions, rec.Client)
		return nil
	}
	if err := session.apply(rec); err != nil {
		return fmt.Errorf("%s: client %q: %w", rec.Kind, rec.Client, err)
	}
	return nil
}

func (s *State) open(rec *Record) {
	session := s.Sessions[rec.Client]
	if session == nil {
		session = &Session{Subscriptions: make(map[string]Subscription), Received: make(map[uint16]bool)}
		s.Sessions[rec.Client] = session
	}
	session.Opened = rec.Opened
	session.ClosedAt, session.Doubt = 0, 0
}

func (s *Session) apply(rec *Record) error {
	switch rec.Kind {
	case KindSessionClosed:
		return s.close(rec)
	case KindSubscribed:
		s.Subscriptions[rec.Subscription.Filter] = rec.Subscription
	case KindUnsubscribed:
		if _, ok := s.Subscriptions[rec.Filter]; !ok {
			return fmt.Errorf("no subscription %q", rec.Filter)
		}
		delete(s.Subscriptions, rec.Filter)
	case KindReceived:
		if s.Received[rec.ID] {
			return fmt.Errorf("incoming packet identifier %d is stored already", rec.ID)
		}
		s.Received[rec.ID] = true
	case KindCompleted:
		if !s.Received[rec.ID] {
			return fmt.Errorf("no incoming packet identifier %d", rec.ID)
		}
		delete(s.Received, rec.ID)
	case KindWillArmed:
		will := rec.Will
		will.Message = keep(will.Message)
		s.Will = &will
	case KindWillGone:
		if s.Will == nil {
			return errors.New("no will")
		}
		s.Will = nil
	default:
		return s.applyQueue(rec)
	}
	return nil
}

func (s *Session) close(rec *Record) error {
	if rec.At == 0 {
		return errors.New("closed at time 0, which stands for connected")
	}
	s.ClosedAt, s.Expiry, s.Doubt = rec.At, rec.Expiry, rec.Doubt
	return nil
}

func (s *Session) applyQueue(rec *Record) error {
	switch rec.Kind {
	case KindQueued:
		return s.enqueue(rec.Queued)
	case KindExpired:
		return s.expire(&rec.Run)
	default:
	}
	i, ok := s.find(rec.Seq)
	if !ok {
		return fmt.Errorf("no message %d in the queue", rec.Seq)
	}
	if size := s.Queue[i].waits(); rec.Kind != KindReleased && rec.Size != size {
		return fmt.Errorf("message %d takes %d bytes off what waits, not %d", rec.Seq, size, rec.Size)
	}
	switch rec.Kind {
	case KindSent:
		s.Queue[i].ID = rec.ID
	case KindReleased:
		s.Queue[i].Released = true
		s.Queue[i].Message = nil
	case KindAcked:
		s.dequeue(i)
	default:
		return fmt.Errorf("kind %d is not known", rec.Kind)
	}
	return nil
}

func (s *Session) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(s.Queue, seq, func(it *Item, seq uint64) int { return cmp.Compare(it.Seq, seq) })
}

func (s *Session) enqueue(q Queued) error {
	i, ok := s.find(q.Seq)
	if ok {
		return fmt.Errorf("message %d is in the queue already", q.Seq)
	}
	s.Queue = slices.Insert(s.Queue, i, &Item{Queued: q})
	return nil
}

// expire takes a run of messages out.
func (s *Session) expire(r *Run) error {
	from, _ := s.find(r.First)
	to := from
	for ; to < len(s.Queue) && s.Queue[to].Seq <= r.Last; to++ {
		if s.Queue[to].ID != 0 {
			return fmt.Errorf("message %d was sent", s.Queue[to].Seq)
		}
	}
	if to-from != r.Messages {
		return fmt.Errorf("%d messages from %d to %d, not %d", to-from, r.First, r.Last, r.Messages)
	}
	s.Queue = slices.Delete(s.Queue, from, to)
	if len(s.Queue) == 0 {
		s.Queue = nil
	}
	return nil
}

// dequeue takes the item at i out. Most go from near the front of what may be
// a long queue: the shorter part moves.
func (s *Session) dequeue(i int) {
	switch {
	case len(s.Queue) == 1:
		s.Queue = nil
	case i < len(s.Queue)/2:
		copy(s.Queue[1:], s.Queue[:i])
		s.Queue[0] = nil // else the array would keep it
		s.Queue = s.Queue[1:]
	default:
		s.Queue = slices.Delete(s.Queue, i, i+1)
	}
}

// keep copies a message off the frame it was read from.
func keep(m *message.Message) *message.Message {
	if m == nil {
		return nil
	}
	own := *m
	bytes := append(append(make([]byte, 0, len(m.Forward)+len(m.Payload)), m.Forward...), m.Payload...)
	if n := len(m.Forward); n > 0 {
		own.Forward = bytes[:n:n]
	}
	if len(m.Payload) > 0 {
		own.Payload = bytes[len(m.Forward):]
	}
	return &own
}
