package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

// Recover hands on what was there when the store was opened: each session,
// without its messages, and each retained message. It must be called once,
// before anything else; of a queue it reads no more than its two ends. What a
// damaged file held is left out, see [Figures].
func (s *Store) Recover(session func(*record.Recovered) error, retained func(*message.Message) error) error {
	s.Enter() // what it removes is committed when it has told the committer all
	defer s.Leave()
	// Both come in order: after a repair it goes on behind the last.
	client, topic := "", ""
	first := func(r *record.Recovered) error {
		if client != "" && r.Client <= client {
			return nil
		}
		client = r.Client
		return session(r)
	}
	second := func(m *message.Message) error {
		if topic != "" && m.Topic <= topic {
			return nil
		}
		topic = m.Topic
		return retained(m)
	}
	err := s.recover(first, second)
	if err == nil || !damaged(err) {
		return err
	}
	if err := s.repair(err); err != nil {
		return err
	}
	return s.recover(first, second)
}

func (s *Store) recover(session func(*record.Recovered) error, retained func(*message.Message) error) error {
	return s.handles.read(func(db *pebble.DB) error {
		if err := s.recoverSessions(db, session); err != nil {
			return fmt.Errorf("recover sessions: %w", plain(err))
		}
		if err := s.recoverRetained(db, retained); err != nil {
			return fmt.Errorf("recover retained messages: %w", plain(err))
		}
		return s.recoverBodies(db)
	})
}

func (s *Store) recoverRetained(r pebble.Reader, each func(*message.Message) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{keyRetained}, UpperBound: []byte{keyRetained + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		rec, err := value(it, record.KindRetained)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		m := rec.Message
		m.Payload, m.Forward = clone(m.Payload), clone(m.Forward)
		if err := each(m); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// value reads the record that a key has for its value. Its slices alias the iterator's.
func value(it *pebble.Iterator, kind record.Kind) (record.Record, error) {
	v, err := it.ValueAndErr()
	if err != nil {
		return record.Record{}, err
	}
	rec, n, err := record.Parse(v)
	if err != nil {
		return rec, err
	}
	if rec.Kind != kind || n != len(v) {
		return rec, fmt.Errorf("there is a record %q where one %q should be", rec.Kind, kind)
	}
	return rec, nil
}

// recoverBodies finds the number for the next shared body.
func (s *Store) recoverBodies(r pebble.Reader) error {
	for _, kind := range []byte{keyBody, keyCount} {
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
		if err != nil {
			return err
		}
		if it.Last() && len(it.Key()) == 9 {
			s.t.shared.next = max(s.t.shared.next, binary.BigEndian.Uint64(it.Key()[1:])+1)
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) recoverSessions(r pebble.Reader, each func(*record.Recovered) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{keySession}, UpperBound: []byte{keySession + 1}})
	if err != nil {
		return err
	}
	defer it.Close() // its error was asked for
	for ok := it.First(); ok; {
		client, prefix, err := clientOf(it.Key())
		if err != nil {
			return err
		}
		f := found{prefix: clone(prefix), Recovered: record.Recovered{Client: client, Session: newSession()}}
		if err := f.read(it); err != nil {
			return fmt.Errorf("client %q: %w", client, err)
		}
		if !f.opened {
			s.discard(&f)
		} else {
			s.remember(&f)
			if err := each(&f.Recovered); err != nil {
				return err
			}
		}
		ok = it.SeekGE(behind(nil, f.prefix))
	}
	return it.Error()
}

func newSession() record.Session {
	return record.Session{Subscriptions: make(map[string]record.Subscription), Received: make(map[uint16]bool)}
}

// found is a session that is being read from its keys.
type found struct {
	record.Recovered
	prefix []byte
	opened bool
	placed bool
	chunks bool
	position
	sum total
}

// read takes up the session at whose first key the iterator stands.
func (f *found) read(it *pebble.Iterator) error {
	for ok := true; ok && f.owns(it.Key()); ok = it.Next() {
		tail := it.Key()[len(f.prefix):]
		if len(tail) == 0 {
			continue
		}
		if tail[0] == tagChunk {
			f.chunks = true
			break
		}
		if err := f.attribute(it, tail); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	f.Window, f.Unsent = f.window, f.unsent
	f.Last = f.unsent
	if f.Last > 0 {
		f.Last--
	}
	if n := len(f.gone); n > 0 {
		f.Last = max(f.Last, f.gone[n-1])
	}
	if !f.chunks {
		return nil
	}
	return f.count(it)
}

func (f *found) owns(key []byte) bool {
	return len(key) >= len(f.prefix) && string(key[:len(f.prefix)]) == string(f.prefix)
}

func (f *found) attribute(it *pebble.Iterator, tail []byte) error {
	switch tail[0] {
	case tagOpened:
		rec, err := value(it, record.KindSessionOpened)
		f.Opened, f.opened = rec.Opened, true
		return err
	case tagClosed:
		rec, err := value(it, record.KindSessionClosed)
		f.ClosedAt, f.Expiry = rec.At, rec.Expiry
		return err
	case tagWill:
		rec, err := value(it, record.KindWillArmed)
		if err != nil {
			return err
		}
		rec.Will.Message.Payload, rec.Will.Message.Forward = clone(rec.Will.Message.Payload), clone(rec.Will.Message.Forward)
		f.Will = &rec.Will
	case tagSubscribed:
		rec, err := value(it, record.KindSubscribed)
		f.Subscriptions[rec.Subscription.Filter] = rec.Subscription
		return err
	case tagReceived:
		if len(tail) == 3 {
			f.Received[binary.BigEndian.Uint16(tail[1:])] = true
		}
	case tagPosition:
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		f.placed = true
		f.position, err = parsePosition(v)
		return err
	default:
	}
	return nil
}

// count tells how much waits from the last chunk and the one where sending
// has come to: what lies between, both know.
func (f *found) count(it *pebble.Iterator) error {
	if !it.SeekLT(behind(nil, f.prefix)) {
		return it.Error()
	}
	last, _, ok := chunkOf(it.Key(), f.prefix)
	if !ok {
		return errChunk
	}
	f.Last = max(f.Last, last)
	v, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	c, err := readChunk(v)
	if err != nil {
		return err
	}
	f.sum = c.sum
	if last < f.unsent {
		return nil
	}
	if !it.SeekGE(chunkFrom(nil, f.prefix, f.unsent)) {
		return it.Error()
	}
	if v, err = it.ValueAndErr(); err != nil {
		return err
	}
	first, err := readChunk(v)
	if err != nil {
		return err
	}
	f.Messages = int(f.sum.messages - first.sum.messages)
	f.Bytes = int64(f.sum.bytes - first.sum.bytes)
	if err := f.add(first, 1, func(seq uint64) bool { return f.state(seq) == waits }, it); err != nil {
		return err
	}
	return f.subtract(it, first.seq)
}

// add counts the items of a chunk that which picks out.
func (f *found) add(c *chunkReader, sign int, which func(seq uint64) bool, it *pebble.Iterator) error {
	for {
		ok, err := c.next()
		if err != nil || !ok {
			return err
		}
		if !which(c.seq) {
			continue
		}
		size := 0
		switch {
		case c.inline != nil:
			size, err = record.BodySize(c.inline)
		case c.body != 0:
			size = sharedSize(it, c.body)
		}
		if err != nil {
			return err
		}
		f.Messages += sign
		f.Bytes += int64(sign * size)
	}
}

// sharedSize is the size of a shared body, 0 if it is lost.
func sharedSize(it *pebble.Iterator, id uint64) int {
	other, err := it.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{
		LowerBound: bodyKey(nil, keyBody, id), UpperBound: bodyKey(nil, keyBody, id+1),
	}})
	if err != nil {
		return 0
	}
	defer other.Close() // it was read, or was not
	if !other.First() {
		return 0
	}
	v, err := other.ValueAndErr()
	if err != nil {
		return 0
	}
	size, err := record.BodySize(v)
	if err != nil {
		return 0
	}
	return size
}

// subtract takes off what was dropped out of its order behind the first chunk.
func (f *found) subtract(it *pebble.Iterator, after uint64) error {
	for _, seq := range f.gone {
		if seq <= after {
			continue
		}
		if !it.SeekGE(chunkFrom(nil, f.prefix, seq)) {
			return it.Error()
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		c, err := readChunk(v)
		if err != nil {
			return err
		}
		if err := f.add(c, -1, func(x uint64) bool { return x == seq }, it); err != nil {
			return err
		}
	}
	return nil
}

// remember makes what was found the start of what the committer knows.
func (s *Store) remember(f *found) {
	if !f.chunks && !f.placed {
		return
	}
	if f.chunks {
		s.t.backlogs++
	}
	s.t.sessions[f.Client] = &session{
		client: f.Client, prefix: f.prefix, placed: f.placed, more: f.chunks, known: f.Last, sum: f.sum,
		position: position{unsent: f.unsent, window: clip(f.window), gone: f.gone},
	}
}

// clip copies the window, which is the caller's from now on.
func clip(w []record.Sent) []record.Sent { return append([]record.Sent(nil), w...) }

// discard removes what is left of a session whose beginning was lost.
func (s *Store) discard(f *found) {
	s.mu.Lock()
	s.figures.Discarded++
	s.mu.Unlock()
	s.log.Error("a session is incomplete and cannot be kept", slog.String("client", f.Client))
	s.Append(record.AppendSessionEnded(nil, f.Client), nil)
}
