package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// A chunk in which every message expires has a key by the time when the last of
// them has:
//
//	x time client 0x00 seq   its first seq; how many messages and bytes (uvarints)
//
// so what has expired is found without looking at anything else. It is there as
// long as the chunk is. Who sends may have a message in hand already, so the
// store only tells what is overdue; a record says what has expired.

// life is when all messages of a chunk have expired.
type life struct {
	first   uint64 // the seq of its first message
	end     int64  // 0: never
	forever bool
}

func (l *life) item(seq uint64, expires int64) {
	if l.first == 0 {
		l.first = seq
	}
	l.forever = l.forever || expires <= 0
	if l.end = max(l.end, expires); l.forever {
		l.end = 0
	}
}

// expireBy makes a chunk be found when it has expired.
func (t *translator) expireBy(s *session, c chunk, r record.Run) error {
	if c.expires == 0 {
		return nil
	}
	t.value = binary.AppendUvarint(t.value[:0], r.First)
	t.value = binary.AppendUvarint(t.value, uint64(r.Messages))
	t.value = binary.AppendUvarint(t.value, uint64(r.Bytes))
	return t.set(expiryKey(t.key[:0], s.prefix, c.expires, c.last), t.value)
}

// outlive makes a chunk that goes before it expires be found no more.
func (t *translator) outlive(s *session, c chunk) error {
	if c.expires == 0 {
		return nil
	}
	return t.delete(expiryKey(t.key[:0], s.prefix, c.expires, c.last))
}

// expire deletes the chunks of a run.
func (t *translator) expire(b []byte) error {
	rec, _, err := record.Parse(b)
	if err != nil {
		return err
	}
	s, r := t.session([]byte(rec.Client)), rec.Run
	s.moved = true
	s.left.add(r.Messages, r.Bytes)
	kept := s.chunks[:0]
	for _, c := range s.chunks {
		if c.last < r.First || c.last > r.Last {
			kept = append(kept, c)
		} else if err := t.drop(s, c); err != nil {
			return err
		}
	}
	s.chunks = kept
	if s.more && r.Last >= s.looked {
		if err := t.expireRest(s, r); err != nil {
			return err
		}
	}
	s.expired = append(s.expired, r)
	if r.First <= s.unsent {
		s.unsent = max(s.unsent, r.Last+1)
	}
	if s.headLast >= r.First && s.headLast <= r.Last {
		s.head, s.headLast = s.head[:0], 0
	}
	// If its chunk was lost, nothing else finds this key any more.
	return t.delete(expiryKey(t.key[:0], s.prefix, r.At, r.Last))
}

// expireRest deletes those chunks of a run that are behind the known ones.
func (t *translator) expireRest(s *session, r record.Run) (failed error) {
	err := t.chunksFrom(s, max(r.First, s.looked), func(c chunk, _ func() ([]byte, error)) bool {
		if c.last > r.Last {
			return false
		}
		failed = t.drop(s, c)
		return failed == nil
	})
	if err != nil {
		t.unread(s, err)
	}
	return failed
}

// chunksFrom reads the chunks of a session, as they will be when the frame is
// committed.
func (t *translator) chunksFrom(s *session, seq uint64, each func(c chunk, value func() ([]byte, error)) bool) error {
	return t.db.chunksFrom(s.prefix, seq, func(c chunk, value func() ([]byte, error)) bool {
		for _, r := range s.expired {
			if c.last >= r.First && c.last <= r.Last {
				return true
			}
		}
		return each(c, value)
	})
}

// overdueRuns is how many runs are told at once.
const overdueRuns = 512

// Overdue tells done, once and on another goroutine, what has expired at now, in
// the order of time, beginning behind a run that it has told of or with the first;
// and when to ask again: at now if there is more, 0 if nothing expires. What is
// told may have been sent meanwhile.
func (s *Store) Overdue(now int64, behind record.Run, done func(runs []record.Run, next int64, err error)) {
	s.loads.add(func(err error) {
		var runs []record.Run
		var next int64
		if err == nil {
			err = s.handles.read(func(db *pebble.DB) (err error) {
				runs, next, err = overdue(db, now, behind)
				return err
			})
		}
		done(runs, next, err)
	})
}

func overdue(db *pebble.DB, now int64, behind record.Run) (runs []record.Run, next int64, err error) {
	from := []byte{keyExpiry}
	if behind.At > 0 {
		from = append(expiryKey(nil, sessionPrefix(behind.Client), behind.At, behind.Last), 0)
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{keyExpiry + 1}})
	if err != nil {
		return nil, 0, fmt.Errorf("read what expires: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, 0, err
		}
		r, ok := expiryOf(it.Key(), v)
		switch {
		case !ok:
			continue
		case r.At > now:
			return runs, r.At, nil
		case len(runs) == overdueRuns:
			return runs, now, nil
		}
		runs = append(runs, r)
	}
	return runs, 0, it.Error()
}

// Standing tells done which of some runs are still there, after all that was
// appended before, once and on another goroutine.
func (s *Store) Standing(runs []record.Run, done func(runs []record.Run, err error)) {
	s.later(func(err error) {
		var standing []record.Run
		if err == nil {
			err = s.handles.read(func(db *pebble.DB) (err error) {
				standing, err = still(db, runs)
				return err
			})
		}
		done(standing, err)
	})
}

func still(db *pebble.DB, runs []record.Run) (standing []record.Run, err error) {
	var key []byte
	for _, r := range runs {
		key = expiryKey(key[:0], sessionPrefix(r.Client), r.At, r.Last)
		_, closer, err := db.Get(key)
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what expires: %w", err)
		}
		if err := closer.Close(); err != nil {
			return nil, err
		}
		standing = append(standing, r)
	}
	return standing, nil
}
