package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// reclaim deletes the chunks of which nothing is unfinished.
func (t *translator) reclaim(s *session) error {
	for {
		var err error
		dropped := 0
		s.done(func(c chunk) {
			dropped++
			err = errors.Join(err, t.drop(s, c))
		})
		if err != nil {
			return err
		}
		if !s.more || len(s.chunks) > knownChunks/2 {
			return nil
		}
		if n := len(s.chunks); n > 0 && s.chunks[n-1].last >= s.unsent {
			return nil
		}
		if err := t.refill(s); err != nil {
			s.more = true // another frame will try again
			t.unread(s, err)
			return nil
		}
	}
}

// refill looks up the next chunks behind those that are known.
func (t *translator) refill(s *session) error {
	from := s.looked
	s.more = false
	return t.chunksFrom(s, from, func(c chunk, _ func() ([]byte, error)) bool {
		if len(s.chunks) == knownChunks {
			s.more = true
			return false
		}
		s.chunks = append(s.chunks, c)
		s.looked = c.last + 1
		return true
	})
}

func (t *translator) drop(s *session, c chunk) error {
	if err := t.unrefer(s, c); err != nil {
		return err
	}
	if err := t.delete(chunkKey(t.key[:0], s.prefix, c)); err != nil {
		return err
	}
	return t.outlive(s, c)
}

// unrefer takes a chunk's references away.
func (t *translator) unrefer(s *session, c chunk) error {
	if !c.refers {
		return nil
	}
	if c.body != 0 {
		t.shared.release(c.body)
		return nil
	}
	key := chunkKey(nil, s.prefix, c)
	err := t.db.get(key, func(value []byte) error { return t.shared.releaseAll(value) })
	if err == nil {
		return nil
	}
	t.unread(s, err)
	return nil
}

// unread reports that something could not be read that would have told what
// may be deleted. That is left where it is: nothing acknowledged hangs from it.
func (t *translator) unread(s *session, err error) {
	t.log.Warn("a queue cannot be read; what it held may stay on disk",
		slog.String("client", s.client), slog.Any("err", err))
}

// endSession removes all that a session has: its keys in one go, and its part
// in the bodies that it shares.
func (t *translator) endSession(client []byte) error {
	if s := t.sessions[string(client)]; s != nil {
		if err := t.abandon(s); err != nil {
			return err
		}
	}
	start := append(append(append(t.key[:0], keySession), client...), 0)
	t.key = start
	t.value = behind(t.value[:0], start)
	return t.batch.DeleteRange(start, t.value, nil)
}

func (t *translator) abandon(s *session) error {
	for i := range s.items {
		if it := &s.items[i]; !it.dead && it.body >= 0 {
			t.bodies[it.body].users--
		}
	}
	for _, c := range s.chunks {
		if err := errors.Join(t.unrefer(s, c), t.outlive(s, c)); err != nil {
			return err
		}
	}
	if s.more {
		if err := t.abandonRest(s); err != nil {
			return err
		}
	}
	t.backlogs -= btoi(s.counts)
	s.counts = false
	s.forget()
	return nil
}

func (t *translator) abandonRest(s *session) (failed error) {
	err := t.chunksFrom(s, s.looked, func(c chunk, value func() ([]byte, error)) bool {
		if failed = t.outlive(s, c); failed != nil {
			return false
		}
		if !c.refers {
			return true
		}
		v, err := value()
		if err == nil {
			err = t.shared.releaseAll(v)
		}
		if err != nil {
			t.unread(s, err)
		}
		return true
	})
	if err != nil {
		t.unread(s, err)
	}
	return failed
}

// skip is the end of a message that was never sent: it has expired, or was
// dropped. Mostly it is the first that waits, else it is remembered until
// those before it are gone too.
func (t *translator) skip(s *session, seq uint64) error {
	if seq < s.unsent { // it was finished before
		return nil
	}
	s.moved = true
	if seq == s.unsent && len(s.gone) == 0 {
		s.unsent++
		return nil
	}
	i, _ := slices.BinarySearch(s.gone, seq)
	s.gone = slices.Insert(s.gone, i, seq)
	for len(s.gone) > 0 {
		first, ok, err := t.firstFrom(s, s.unsent)
		if err != nil {
			t.unread(s, err)
			return nil
		}
		if ok && first < s.gone[0] {
			return nil
		}
		s.unsent = s.gone[0] + 1
		s.gone = s.gone[1:]
	}
	return nil
}

// firstFrom is the first message of the queue that is not below seq, finished
// or not. Seqs may have gaps, so only the chunk that would hold it can tell.
func (t *translator) firstFrom(s *session, seq uint64) (uint64, bool, error) {
	if s.headLast < seq || len(s.head) == 0 || s.head[0] > seq {
		if err := t.readHead(s, seq); err != nil {
			return 0, false, err
		}
	}
	for _, x := range s.head {
		if x >= seq {
			return x, true, nil
		}
	}
	for i := range s.items {
		if s.items[i].seq >= seq && !s.items[i].dead {
			return s.items[i].seq, true, nil
		}
	}
	return 0, false, nil
}

func (t *translator) readHead(s *session, seq uint64) error {
	s.head, s.headLast = s.head[:0], 0
	if s.idle() {
		return nil
	}
	var inner error
	err := t.chunksFrom(s, seq, func(c chunk, value func() ([]byte, error)) bool {
		v, err := value()
		if err == nil {
			s.headLast = c.last
			s.head, err = seqs(s.head, v)
		}
		inner = err
		return false
	})
	return errors.Join(err, inner)
}

func seqs(dst []uint64, value []byte) ([]uint64, error) {
	r, err := readChunk(value)
	if err != nil {
		return dst, err
	}
	for {
		ok, err := r.next()
		if err != nil || !ok {
			return dst, err
		}
		dst = append(dst, r.seq)
	}
}

// shared are the bodies that many messages have, and how many refer to each.
type shared struct {
	next   uint64
	counts map[uint64]int64 // as they will be once the frame is committed; those known
	change map[uint64]int64 // by this frame
	fresh  []*body          // of this frame
}

func newShared() shared {
	return shared{next: 1, counts: make(map[uint64]int64), change: make(map[uint64]int64)}
}

// add is one more reference to a body of this frame.
func (sh *shared) add(b *body) uint64 {
	if b.id == 0 {
		b.id = sh.next
		sh.next++
		sh.counts[b.id] = 0
		sh.fresh = append(sh.fresh, b)
	}
	sh.change[b.id]++
	return b.id
}

func (sh *shared) release(id uint64) { sh.change[id]-- }

func (sh *shared) releaseAll(value []byte) error {
	r, err := readChunk(value)
	if err != nil {
		return err
	}
	for {
		ok, err := r.next()
		if err != nil || !ok {
			return err
		}
		if r.body != 0 {
			sh.release(r.body)
		}
	}
}

const countsKept = 4096

func (sh *shared) write(t *translator) error {
	for _, b := range sh.fresh {
		if err := t.set(bodyKey(t.key[:0], keyBody, b.id), b.record); err != nil {
			return err
		}
	}
	clear(sh.fresh)
	sh.fresh = sh.fresh[:0]
	for id, change := range sh.change {
		if err := sh.count(t, id, change); err != nil {
			return err
		}
	}
	clear(sh.change)
	if len(sh.counts) > countsKept {
		clear(sh.counts)
	}
	return nil
}

func (sh *shared) count(t *translator, id uint64, change int64) error {
	n, err := sh.load(t.db, id)
	if err != nil {
		t.log.Warn("a shared body stays on disk, its references cannot be counted", slog.Uint64("body", id), slog.Any("err", err))
		return nil
	}
	n += change
	key := bodyKey(t.key[:0], keyCount, id)
	if n > 0 {
		sh.counts[id] = n
		t.value = binary.AppendUvarint(t.value[:0], uint64(n))
		return t.set(key, t.value)
	}
	delete(sh.counts, id)
	if err := t.delete(key); err != nil {
		return err
	}
	return t.delete(bodyKey(t.key[:0], keyBody, id))
}

func (sh *shared) load(db reader, id uint64) (n int64, err error) {
	if n, ok := sh.counts[id]; ok {
		return n, nil
	}
	err = db.get(bodyKey(nil, keyCount, id), func(value []byte) error {
		x, k := binary.Uvarint(value)
		if k <= 0 {
			return fmt.Errorf("the count of body %d does not make sense", id)
		}
		n = int64(x)
		return nil
	})
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil // it was lost: the last of its references goes with it
	}
	return n, err
}
