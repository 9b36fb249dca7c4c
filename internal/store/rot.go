package store

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// rot is what is known of damage that was met while the store is open. Who reads goes
// around it; the next start copies what can be read to a new store, see rescue.
type rot struct {
	some atomic.Bool // there is any

	mu     sync.Mutex        // guards these
	tables map[uint64][]span // what tables have lost, by number; those that were looked into
	told   map[string]bool   // the beginnings of spans of queues that were reported
}

// errRotten is a key that cannot be read, in a damaged block.
var errRotten = fmt.Errorf("it is in a damaged block: %w", pebble.ErrCorruption)

// touches says whether some key of a span is known to be lost.
func (r *rot) touches(s span) bool {
	if !r.some.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, lost := range r.tables {
		if len(clipped(lost, s)) > 0 {
			return true
		}
	}
	return false
}

// lostIn looks for what cannot be read of a span.
func (s *Store) lostIn(db *pebble.DB, of span) ([]span, error) {
	r := &s.rot
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tables == nil {
		r.tables = make(map[uint64][]span)
	}
	lost, err := lostKeys(db, s.o.FS, s.dir, of, r.tables)
	if len(lost) > 0 {
		r.some.Store(true)
	}
	return lost, err
}

// forget makes the next one look into all tables anew.
func (r *rot) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tables = nil
	r.some.Store(false)
}

// readSound is readQueue, around what is damaged.
func (s *Store) readSound(db *pebble.DB, l load) (items []record.Queued, err error) {
	prefix := sessionPrefix(l.client)
	all := span{tagged(nil, prefix, tagPosition), behind(nil, prefix)}
	if !s.rot.touches(all) {
		items, err = s.readQueue(sound{db, s, db}, l)
		if err == nil || !damaged(err) {
			return items, err
		}
	}
	if items, err = s.readAround(db, l, prefix); err != nil && damaged(err) {
		s.rot.forget() // what was whole then is not any more
		items, err = s.readAround(db, l, prefix)
	}
	return items, err
}

// readAround is readQueue without what lies in damaged blocks.
func (s *Store) readAround(db *pebble.DB, l load, prefix []byte) (items []record.Queued, err error) {
	place := tagged(nil, prefix, tagPosition)
	queue := span{chunkFrom(nil, prefix, l.from), behind(nil, prefix)}
	lost, err := s.lostIn(db, span{place, queue.to})
	if err != nil {
		return nil, err
	}
	snap := db.NewSnapshot()
	defer snap.Close() // it was read
	var p position
	for _, part := range readable(span{place, after(place)}, lost) {
		err := scan(snap, part, scanned(func(_, value []byte) (bool, error) {
			var err error
			p, err = parsePosition(value)
			return true, err
		}))
		if err != nil {
			return nil, err
		}
	}
	left := l.budget
	w := &walk{s: s, client: l.client, prefix: prefix, last: l.from - 1}
	for _, part := range readable(queue, lost) {
		full := false
		err := scan(snap, part, scanned(func(key, value []byte) (bool, error) {
			var err error
			if err = w.chunk(key, value, lost); err != nil {
				return false, err
			}
			items, left, err = s.readItems(items, value, &p, l.from, left, sound{snap, s, db})
			full = left <= 0 && len(items) > 0
			return !full, err
		}))
		if err != nil || full {
			return items, err
		}
	}
	w.end(queue, lost)
	return items, nil
}

// scanned is for scan, with the value at hand.
func scanned(each func(key, value []byte) (more bool, err error)) func([]byte, func() ([]byte, error)) (bool, error) {
	return func(key []byte, value func() ([]byte, error)) (bool, error) {
		v, err := value()
		if err != nil {
			return false, err
		}
		return each(key, v)
	}
}

// walk tells what is missing between the chunks of a queue that it is shown.
type walk struct {
	s      *Store
	client string
	prefix []byte
	last   uint64 // of the chunk before, or where reading began
	before []byte // its key, or nil
	sum    total
}

// chunk says what is lost before a chunk.
func (w *walk) chunk(key, value []byte, lost []span) error {
	this, ok := chunkOf(key, w.prefix)
	if !ok {
		return nil
	}
	c, err := readChunk(value)
	if err != nil {
		return err
	}
	from := w.before
	if from == nil {
		from = chunkFrom(nil, w.prefix, w.last+1)
	}
	if gap := clipped(lost, span{from, key}); len(gap) > 0 {
		if err := w.report(c, gap[0]); err != nil {
			return err
		}
	}
	w.last, w.sum, w.before = this.last, c.sum, bytes.Clone(key)
	return nil
}

// report tells of what is lost before a chunk.
func (w *walk) report(c *chunkReader, gap span) error {
	sum, first, n := c.sum, uint64(0), uint64(0)
	for {
		ok, err := c.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if n++; n == 1 {
			first = c.seq
		}
	}
	if first <= w.last+1 {
		return nil // what was there was finished, and is in the way of nobody
	}
	attrs := []any{slog.Uint64("to", first-1)}
	if w.before != nil {
		attrs = append(attrs, slog.Uint64("messages", sum.messages-n-w.sum.messages))
	}
	w.tell(gap, attrs...)
	return nil
}

// end tells of what is lost behind the last chunk.
func (w *walk) end(queue span, lost []span) {
	from := w.before
	if from == nil {
		from = queue.from
	}
	if gap := clipped(lost, span{from, queue.to}); len(gap) > 0 {
		w.tell(gap[0])
	}
}

const toldKept = 4096

// tell reports a loss, once.
func (w *walk) tell(gap span, attrs ...any) {
	r := &w.s.rot
	r.mu.Lock()
	if r.told == nil || len(r.told) > toldKept {
		r.told = make(map[string]bool)
	}
	known := r.told[w.client+"\x00"+string(gap.to)]
	r.told[w.client+"\x00"+string(gap.to)] = true
	r.mu.Unlock()
	if known {
		return
	}
	attrs = append([]any{slog.String("client", w.client), slog.Uint64("from", w.last+1)}, attrs...)
	w.s.log.Error("queued messages of a session are lost, which were in a damaged file; it gets the others", attrs...)
}

// sound reads shared bodies: one in a damaged block is not there.
type sound struct {
	pebble.Reader
	s  *Store
	db *pebble.DB
}

// Get is ErrNotFound for a key that is lost.
func (r sound) Get(key []byte) ([]byte, io.Closer, error) {
	at := span{key, after(key)}
	if r.s.rot.touches(at) {
		return nil, nil, pebble.ErrNotFound
	}
	value, closer, err := r.Reader.Get(key)
	if err == nil || !damaged(err) {
		return value, closer, err
	}
	if lost, e := r.s.lostIn(r.db, at); e == nil && len(lost) > 0 {
		return nil, nil, pebble.ErrNotFound
	}
	return nil, nil, err
}
