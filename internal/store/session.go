package store

import (
	"cmp"
	"slices"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// knownChunks is how many chunk keys of a queue are held in memory; those
// behind them are looked up when their turn comes.
const knownChunks = 64

// chunk is the key of a chunk, and what is known of its references.
type chunk struct {
	last    uint64
	expires int64  // when all of it has expired, unix milliseconds; 0: never
	body    uint64 // the one shared body it refers to, 0 if there are more or that is not known
	refers  bool
}

// session is what the committer remembers of a client: enough to write what
// has changed without reading what is there. A client that has none has no
// message on disk. All is owned by the committer.
type session struct {
	client string
	prefix []byte

	position
	placed bool    // the position has a key on disk
	chunks []chunk // the first ones on disk, oldest first
	more   bool    // there are others behind them
	counts bool    // among those that have messages on disk
	looked uint64  // where to look for those

	head     []uint64 // the seqs of one chunk, as they were read
	headLast uint64   // which

	// Of the frame that is being translated.
	touched  bool
	moved    bool         // the position has changed
	expired  []record.Run // whose chunks were deleted
	items    []item
	received []uint16
}

// item is a message that joined the queue in this frame.
type item struct {
	seq  uint64
	rest []byte // aliases the frame
	body int32  // of the frame's bodies; -1: none
	dead bool   // and left it again
}

func (s *session) idle() bool { return len(s.chunks) == 0 && !s.more }

// forget makes the session one that has nothing on disk.
func (s *session) forget() {
	s.position = position{}
	s.placed, s.more, s.looked = false, false, 0
	s.chunks = s.chunks[:0]
	s.head = nil
	s.items, s.received, s.moved, s.expired = s.items[:0], s.received[:0], false, s.expired[:0]
}

func (s *session) sent(seq uint64, id uint16, size int) bool {
	s.moved = true
	if seq >= s.unsent {
		if s.item(seq) == nil {
			s.left.add(1, size)
		}
		s.window = append(s.window, record.Sent{Seq: seq, ID: id})
		s.unsent = seq + 1
		for len(s.gone) > 0 && s.gone[0] < s.unsent {
			s.gone = s.gone[1:]
		}
		return true
	}
	i, ok := s.find(seq)
	if ok {
		s.window[i].ID = id
	}
	return ok
}

func (s *session) release(seq uint64) bool {
	i, ok := s.find(seq)
	if ok {
		s.window[i].Released = true
		s.moved = true
	}
	return ok
}

// finish takes a message out of the window, if it is there.
func (s *session) finish(seq uint64) bool {
	i, ok := s.find(seq)
	if !ok {
		return false
	}
	s.moved = true
	if i == 0 { // most are the oldest
		s.window = s.window[1:]
		return true
	}
	s.window = slices.Delete(s.window, i, i+1)
	return true
}

func (s *session) find(seq uint64) (int, bool) {
	if len(s.window) > 0 && s.window[0].Seq == seq {
		return 0, true
	}
	return slices.BinarySearchFunc(s.window, seq, func(w record.Sent, seq uint64) int { return cmp.Compare(w.Seq, seq) })
}

// item is the message of this frame with that seq.
func (s *session) item(seq uint64) *item {
	if len(s.items) == 0 || seq < s.items[0].seq {
		return nil
	}
	if i := seq - s.items[0].seq; i < uint64(len(s.items)) && s.items[i].seq == seq { // most have no gaps
		return &s.items[i]
	}
	i, ok := slices.BinarySearchFunc(s.items, seq, func(it item, seq uint64) int { return cmp.Compare(it.seq, seq) })
	if !ok {
		return nil
	}
	return &s.items[i]
}

// done takes the chunks out of s.chunks that have nothing unfinished, and
// hands each to drop.
func (s *session) done(drop func(chunk)) {
	kept, w := 0, 0
	for i, c := range s.chunks {
		if c.last >= s.unsent {
			if kept == 0 { // nearly always
				s.chunks = s.chunks[i:]
				return
			}
			if kept < i {
				kept += copy(s.chunks[kept:], s.chunks[i:])
			} else {
				kept = len(s.chunks)
			}
			break
		}
		from := w
		for w < len(s.window) && s.window[w].Seq <= c.last {
			w++
		}
		if w > from {
			s.chunks[kept] = c
			kept++
			continue
		}
		drop(c)
	}
	s.chunks = s.chunks[:kept]
}
