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

func (r tables) get(key []byte, use func(value []byte) error) error {
	return r.read(func(db *pebble.DB) error {
		value, closer, err := db.Get(key)
		if err != nil {
			return err
		}
		return errors.Join(use(value), closer.Close())
	})
}

// chunksFrom calls each for the chunks of a session in order, from the one
// that may hold seq on, until it returns false.
func (r tables) chunksFrom(prefix []byte, seq uint64, each func(chunk, func() ([]byte, error)) bool) error {
	return r.read(func(db *pebble.DB) error { return chunksFrom(db, prefix, seq, each) })
}

func chunksFrom(db *pebble.DB, prefix []byte, seq uint64, each func(chunk, func() ([]byte, error)) bool) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: chunkFrom(nil, prefix, seq), UpperBound: behind(nil, prefix)})
	if err != nil {
		return fmt.Errorf("read a queue: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		c, isChunk := chunkOf(it.Key(), prefix)
		if isChunk && !each(c, it.ValueAndErr) {
			break
		}
	}
	return errors.Join(it.Error(), it.Close())
}
