package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// tables reads what is committed.
type tables struct{ db *pebble.DB }

func (r tables) get(key []byte, use func(value []byte) error) error {
	value, closer, err := r.db.Get(key)
	if err != nil {
		return err
	}
	return errors.Join(use(value), closer.Close())
}

// chunksFrom calls each for the chunks of a session in order, from the one
// that may hold seq on, until it returns false.
func (r tables) chunksFrom(prefix []byte, seq uint64, each func(chunk, func() ([]byte, error)) bool) error {
	it, err := r.db.NewIter(&pebble.IterOptions{LowerBound: chunkFrom(nil, prefix, seq), UpperBound: behind(nil, prefix)})
	if err != nil {
		return fmt.Errorf("read a queue: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		last, refers, isChunk := chunkOf(it.Key(), prefix)
		if isChunk && !each(chunk{last: last, refers: refers}, it.ValueAndErr) {
			break
		}
	}
	return errors.Join(it.Error(), it.Close())
}
