package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// Snapshot reads everything, as of all that was appended before. It is for tests.
func (s *Store) Snapshot() (*record.State, error) {
	if err := s.wait(s.life); err != nil {
		return nil, err
	}
	var state *record.State
	err := s.handles.read(func(db *pebble.DB) error {
		state = &record.State{Sessions: map[string]*record.Session{}, Retained: map[string]record.Retained{}, Settings: map[record.Place]record.Setting{}}
		snap := db.NewSnapshot()
		defer snap.Close() // it was read
		return s.snapshot(snap, state)
	})
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	return state, nil
}

func (s *Store) snapshot(r pebble.Reader, state *record.State) error {
	err := s.recoverSettings(r, func(v record.Setting) error {
		state.Settings[v.Place] = v
		return nil
	})
	if err != nil {
		return err
	}
	err = s.recoverRetained(r, func(m record.Retained) error {
		state.Retained[m.Topic] = m
		return nil
	})
	if err != nil {
		return err
	}
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
			return err
		}
		session := f.Session
		state.Sessions[client] = &session
		if session.Queue, err = s.queueOf(r, &f); err != nil {
			return err
		}
		ok = it.SeekGE(behind(nil, f.prefix))
	}
	return it.Error()
}

func (s *Store) queueOf(r pebble.Reader, f *found) (queue []*record.Item, err error) {
	items, err := s.readQueue(r, load{client: f.Client, budget: 1 << 40})
	for _, q := range items {
		it := &record.Item{Queued: q}
		if w := f.sentAs(q.Seq); w != nil {
			it.ID, it.Released = w.ID, w.Released
		}
		queue = append(queue, it)
	}
	return queue, err
}

// Checkpoint makes a copy in a folder that must not exist, while the store
// goes on: all that was appended before the call is in it. Files that do not
// change are linked where that is possible.
func (s *Store) Checkpoint(dir string) error {
	if err := s.wait(s.life); err != nil {
		return err
	}
	err := s.handles.read(func(db *pebble.DB) error {
		if err := db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
			return err
		}
		return s.handles.broken()
	})
	if err != nil {
		return fmt.Errorf("copy the store to %s: %w", dir, err)
	}
	copied := Store{dir: dir, o: s.o}
	if err := errors.Join(enrol(s.o.FS, dir), copied.mark("")); err != nil {
		return fmt.Errorf("copy the store to %s: %w", dir, err)
	}
	return nil
}
