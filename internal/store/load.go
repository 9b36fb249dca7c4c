package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

// Load reads the unfinished messages of a client from a seq on, in order: as
// many as make up about so many bytes, at least one, and none if there is
// none. It sees all that was appended before. Their ID is 0, and one that is
// released has no Message. done is called once, on another goroutine.
func (s *Store) Load(client string, from uint64, budget int, done func(items []record.Queued, err error)) {
	s.later(func(err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(s.load(load{client: client, from: from, budget: budget}))
	})
}

// later has read called by one of those who read, once all that was appended
// before is safe.
func (s *Store) later(read func(err error)) {
	if s.After(func(err error) {
		if err != nil {
			read(err)
			return
		}
		s.loads.add(read)
	}) {
		s.loads.add(read)
	}
}

type load struct {
	client string
	from   uint64
	budget int
}

// loads is the queue of what is to be read, and the workers that read it. Each
// is called once, with an error if the store is closed.
type loads struct {
	mu      sync.Mutex // guards these
	some    *sync.Cond
	waiting []func(error)
	closed  bool
}

const loaders = 2

func (q *loads) start(s *Store) {
	q.some = sync.NewCond(&q.mu)
	for range loaders {
		s.workers.Go(func() { // ended by close, awaited by Store.Close
			for {
				l, ok := q.take()
				if !ok {
					return
				}
				l(nil)
			}
		})
	}
}

func (q *loads) add(l func(error)) {
	q.mu.Lock()
	closed := q.closed
	if !closed {
		q.waiting = append(q.waiting, l)
		q.some.Signal()
	}
	q.mu.Unlock()
	if closed {
		go l(ErrClosed)
	}
}

func (q *loads) take() (func(error), bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.closed {
			return nil, false
		}
		q.some.Wait()
	}
	l := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	return l, true
}

// close ends the workers when they have done what is waiting.
func (q *loads) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
}

func (s *Store) load(l load) (items []record.Queued, err error) {
	err = s.handles.read(func(db *pebble.DB) error {
		items, err = s.readSound(db, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load messages of %q: %w", l.client, plain(err))
	}
	return items, nil
}

func (s *Store) readQueue(r pebble.Reader, l load) (items []record.Queued, err error) {
	prefix := sessionPrefix(l.client)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: tagged(nil, prefix, tagPosition), UpperBound: behind(nil, prefix)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var p position
	key := tagged(nil, prefix, tagPosition)
	if it.First() && string(it.Key()) == string(key) {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if p, err = parsePosition(v); err != nil {
			return nil, err
		}
	}
	left := l.budget
	for ok := it.SeekGE(chunkFrom(nil, prefix, l.from)); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if items, left, err = s.readItems(items, v, &p, l.from, left, r); err != nil {
			return nil, err
		}
		if left <= 0 && len(items) > 0 {
			break
		}
	}
	return items, it.Error()
}

// readItems appends what a chunk has of unfinished messages, until the budget
// is used up.
func (s *Store) readItems(items []record.Queued, value []byte, p *position, from uint64, left int, r pebble.Reader) ([]record.Queued, int, error) {
	c, err := readChunk(value)
	if err != nil {
		return items, left, err
	}
	for {
		ok, err := c.next()
		if err != nil || !ok {
			return items, left, err
		}
		state := p.state(c.seq)
		if c.seq < from || state == finished {
			continue
		}
		if left <= 0 && len(items) > 0 {
			return items, left, nil
		}
		q, err := s.item(c, state, r)
		if errors.Is(err, errLost) {
			continue
		}
		if err != nil {
			return items, left, err
		}
		if items == nil {
			items = make([]record.Queued, 0, 16)
		}
		items = append(items, q)
		left -= 64
		if q.Message != nil {
			left -= q.Message.Size()
		}
	}
}

func (s *Store) item(c *chunkReader, state state, r pebble.Reader) (record.Queued, error) {
	q, _, _, err := record.ParseRest(c.rest)
	if err != nil {
		return q, err
	}
	q.Seq = c.seq
	switch {
	case state == released:
	case c.inline != nil:
		q.Message, err = record.KeepBody(c.inline)
	case c.body != 0:
		q.Message, err = s.bodies.get(c.body, r)
	}
	return q, err
}

// errLost is a message whose shared body was lost with a corrupt file.
var errLost = errors.New("a shared body is lost")

type state int

const (
	finished state = iota
	waits
	inFlight
	released
)

// state says what has become of a message that is still in a chunk.
func (p *position) state(seq uint64) state {
	if seq >= p.unsent {
		if _, ok := slices.BinarySearch(p.gone, seq); ok {
			return finished
		}
		return waits
	}
	if w := p.sentAs(seq); w != nil {
		if w.Released {
			return released
		}
		return inFlight
	}
	return finished
}

func (p *position) sentAs(seq uint64) *record.Sent {
	s := session{position: position{window: p.window}}
	if i, ok := s.find(seq); ok {
		return &p.window[i]
	}
	return nil
}

// bodyCache is the shared bodies that were read last: sessions that drain the
// same messages share them in memory too.
type bodyCache struct {
	mu    sync.Mutex // guards these
	old   map[uint64]*message.Message
	fresh map[uint64]*message.Message
	size  int // of fresh
}

const bodyCacheSize = 2 << 20

func (c *bodyCache) get(id uint64, r pebble.Reader) (*message.Message, error) {
	c.mu.Lock()
	m := c.fresh[id]
	if m == nil {
		if m = c.old[id]; m != nil {
			c.put(id, m)
		}
	}
	c.mu.Unlock()
	if m != nil {
		return m, nil
	}
	value, closer, err := r.Get(bodyKey(nil, keyBody, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, errLost
	}
	if err != nil {
		return nil, err
	}
	m, err = record.KeepBody(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(id, m)
	return m, nil
}

// put keeps a body; the half that was not asked for lately goes at once.
func (c *bodyCache) put(id uint64, m *message.Message) {
	if c.fresh == nil || c.size > bodyCacheSize {
		c.old, c.fresh, c.size = c.fresh, make(map[uint64]*message.Message), 0
	}
	c.fresh[id] = m
	c.size += m.Size()
}
