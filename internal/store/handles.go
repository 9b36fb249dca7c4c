package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// handles is the database as it is open now. It is opened anew when a write
// has failed.
type handles struct {
	opening sync.Mutex // held while it is opened anew, or rescued

	life sync.RWMutex // held for reading while the database is read, for writing to put another in its place
	db   *pebble.DB   // nil while there is none

	mu      sync.Mutex // guards these
	fence   *fence     // of db
	back    *sync.Cond // db is there again, or never will be
	stopped bool
}

func (h *handles) broken() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fence == nil {
		return errors.New("the data directory is not open")
	}
	if err := h.fence.broken(); err != nil {
		return fmt.Errorf("write to the data directory: %w", err)
	}
	return nil
}

func (h *handles) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fence != nil {
		h.fence.fail(err)
	}
}

// set puts an opened database in place.
func (h *handles) set(db *pebble.DB, f *fence) {
	h.life.Lock()
	h.db = db
	h.life.Unlock()
	h.mu.Lock()
	h.fence = f
	h.back.Broadcast()
	h.mu.Unlock()
}

// working is the database to commit to, opened anew if it was broken. Only the
// committer calls it.
func (h *handles) working(s *Store) (*pebble.DB, error) {
	if h.broken() == nil {
		return h.db, nil
	}
	h.opening.Lock()
	defer h.opening.Unlock()
	if h.broken() == nil { // it was being rescued
		return h.db, nil
	}
	if h.db != nil {
		h.mu.Lock()
		f := h.fence
		h.fence = nil
		h.back.Broadcast()
		h.mu.Unlock()
		f.cut()
		s.log.Warn("the data directory is opened anew", slog.Any("err", f.broken()))
		h.life.Lock()
		db := h.db
		h.db = nil
		h.life.Unlock()
		shut(db, s.log)
	}
	db, f, err := s.openDB()
	if err != nil {
		return nil, err
	}
	h.set(db, f)
	return db, nil
}

// shut closes a database of which nothing is expected any more.
func shut(db *pebble.DB, log *slog.Logger) {
	defer func() {
		if p := recover(); p != nil {
			log.Warn("a broken database did not close", slog.Any("err", p))
		}
	}()
	if err := db.Close(); err != nil {
		log.Debug("a broken database is closed", slog.Any("err", err))
	}
}

// read runs use with the database, which is not closed meanwhile. It waits
// while there is none, and runs use again if it failed on one that was broken:
// that has forgotten what it could not write.
func (h *handles) read(use func(db *pebble.DB) error) error {
	for {
		f, stopped := h.await()
		if stopped {
			return ErrClosed
		}
		h.life.RLock()
		if h.db == nil {
			h.life.RUnlock()
			continue
		}
		err := use(h.db)
		h.life.RUnlock()
		if err == nil || f.broken() == nil {
			return err
		}
		h.leave(f)
	}
}

// await waits until there is a database.
func (h *handles) await() (_ *fence, stopped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.fence == nil && !h.stopped {
		h.back.Wait()
	}
	return h.fence, h.stopped
}

// leave waits until the database is another than the one behind f.
func (h *handles) leave(f *fence) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.fence == f && !h.stopped {
		h.back.Wait()
	}
}

// stop lets nobody wait for the database any more.
func (h *handles) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.back.Broadcast()
}

func (h *handles) close() error {
	h.life.Lock()
	defer h.life.Unlock()
	if h.db == nil {
		return nil
	}
	db := h.db
	h.db = nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("close the data directory: %w", err)
	}
	return h.fence.broken()
}
