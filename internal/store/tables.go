package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// tables reads what is committed, for the committer. A database that is found
// broken is opened anew first, so that what was not read is not forgotten.
type tables struct{ s *Store }

func (r tables) read(use func(db *pebble.DB) error) error {
	for attempt := 0; ; attempt++ {
		db, err := r.s.handles.working(r.s)
		if err == nil {
			if err = use(db); err == nil || r.s.handles.broken() == nil {
				return err
			}
		}
		r.s.ails(err)
		if !r.s.pause(attempt) {
			return err
		}
	}
}

// get fails at once for a key that is known to be lost: Pebble would take long to find
// that out again.
func (r tables) get(key []byte, use func(value []byte) error) error {
	if r.s.rot.touches(span{key, after(key)}) {
		return errRotten
	}
	return r.read(func(db *pebble.DB) error {
		value, closer, err := db.Get(key)
		if err != nil {
			return err
		}
		return errors.Join(use(value), closer.Close())
	})
}

// chunksFrom calls each for the chunks of a session in order, from the one
// that may hold seq on, until it returns false. It goes around what is damaged.
func (r tables) chunksFrom(prefix []byte, seq uint64, each func(chunk, func() ([]byte, error)) bool) error {
	behind := behind(nil, prefix)
	from, ended := chunkFrom(nil, prefix, seq), false
	once := func(c chunk, value func() ([]byte, error)) bool {
		from = chunkFrom(nil, prefix, c.last+1)
		ended = !each(c, value)
		return !ended
	}
	return r.read(func(db *pebble.DB) error {
		if ended {
			return nil
		}
		all := span{from, behind}
		if !r.s.rot.touches(all) {
			err := chunksIn(db, prefix, all, once)
			if err == nil || ended || !damaged(err) {
				return err
			}
			all.from = from
		}
		lost, err := r.s.lostIn(db, all)
		if err != nil {
			return err
		}
		for _, part := range readable(all, lost) {
			if err := chunksIn(db, prefix, part, once); err != nil || ended {
				return err
			}
		}
		return nil
	})
}

func chunksIn(db *pebble.DB, prefix []byte, in span, each func(chunk, func() ([]byte, error)) bool) error {
	err := scan(db, in, func(key []byte, value func() ([]byte, error)) (bool, error) {
		c, isChunk := chunkOf(key, prefix)
		return !isChunk || each(c, value), nil
	})
	if err != nil {
		return fmt.Errorf("read a queue: %w", err)
	}
	return nil
}
