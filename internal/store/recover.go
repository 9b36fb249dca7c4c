package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// Recover hands on what was there when the store was opened: each setting, each
// session, without its messages, and each retained message. It must be called once,
// before anything else; of a queue it reads no more than its two ends. What a
// damaged file held is left out, see [Figures].
func (s *Store) Recover(
	setting func(record.Setting) error, session func(*record.Recovered) error, retained func(record.Retained) error,
) error {
	s.Enter() // what it removes is committed when it has told the committer all
	defer s.Leave()
	// All come in order: after a repair it goes on behind the last.
	client, topic, place := "", "", record.Place{}
	zeroth := func(v record.Setting) error {
		if place.Space != "" && comparePlaces(v.Place, place) <= 0 {
			return nil
		}
		place = v.Place
		return setting(v)
	}
	first := func(r *record.Recovered) error {
		if client != "" && r.Client <= client {
			return nil
		}
		client = r.Client
		return session(r)
	}
	second := func(m record.Retained) error {
		if topic != "" && m.Topic <= topic {
			return nil
		}
		topic = m.Topic
		return retained(m)
	}
	err := s.recover(zeroth, first, second)
	if err == nil || !damaged(err) {
		return err
	}
	if err := s.repair(err); err != nil {
		return err
	}
	return s.recover(zeroth, first, second)
}

// comparePlaces has the order of their keys.
func comparePlaces(a, b record.Place) int {
	return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Key, b.Key))
}

func (s *Store) recover(
	setting func(record.Setting) error, session func(*record.Recovered) error, retained func(record.Retained) error,
) error {
	return s.handles.read(func(db *pebble.DB) error {
		if err := s.recoverSettings(db, setting); err != nil {
			return fmt.Errorf("recover settings: %w", plain(err))
		}
		if err := s.recoverSessions(db, session); err != nil {
			return fmt.Errorf("recover sessions: %w", plain(err))
		}
		if err := s.recoverRetained(db, retained); err != nil {
			return fmt.Errorf("recover retained messages: %w", plain(err))
		}
		return s.recoverBodies(db)
	})
}

func (s *Store) recoverSettings(r pebble.Reader, each func(record.Setting) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{keySetting}, UpperBound: []byte{keySetting + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		rec, err := value(it, record.KindSettingPut)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		rec.Setting.Value = clone(rec.Setting.Value)
		if err := each(rec.Setting); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

func (s *Store) recoverRetained(r pebble.Reader, each func(record.Retained) error) error {
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
		if err := each(record.Retained{Message: m, By: rec.By}); err != nil {
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
	if f.chunks {
		if err := f.count(it); err != nil {
			return err
		}
	}
	if f.unsent > 0 {
		f.known = max(f.known, f.unsent-1)
	}
	f.Last = f.known
	return nil
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
		f.ClosedAt, f.Expiry, f.Doubt = rec.At, rec.Expiry, rec.Doubt
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

// count tells how much waits from the position and the last chunk, which knows
// what came behind it.
func (f *found) count(it *pebble.Iterator) error {
	if !it.SeekLT(behind(nil, f.prefix)) {
		return it.Error()
	}
	last, ok := chunkOf(it.Key(), f.prefix)
	if !ok {
		return errChunk
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	c, err := readChunk(v)
	if err != nil {
		return err
	}
	if last.last > f.known {
		f.known, f.sum = last.last, c.sum
	}
	if !f.placed {
		if err := f.begin(it); err != nil {
			return err
		}
	}
	f.Messages, f.Bytes = int(f.sum.messages-f.left.messages), int64(f.sum.bytes-f.left.bytes)
	return nil
}

// begin makes a queue that has no position begin with its first chunk. Mostly
// nothing was sent yet; but the position may have been lost.
func (f *found) begin(it *pebble.Iterator) error {
	if !it.SeekGE(chunkFrom(nil, f.prefix, 0)) {
		return it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	first, err := seqs(nil, v)
	if err != nil {
		return err
	}
	c, err := readChunk(v)
	if n := uint64(len(first)); c.sum.messages > n {
		f.left = total{c.sum.messages - n, c.sum.bytes - c.sum.bytes/c.sum.messages*n}
	}
	return err
}

// remember makes what was found the start of what the committer knows.
func (s *Store) remember(f *found) {
	if !f.chunks && !f.placed {
		return
	}
	if f.chunks {
		s.t.backlogs++
	}
	f.window = clip(f.window)
	s.t.sessions[f.Client] = &session{
		client: f.Client, prefix: f.prefix, placed: f.placed, more: f.chunks, counts: f.chunks, position: f.position,
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
