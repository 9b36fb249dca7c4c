package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// A chunk is the messages that joined one queue in one frame. Its value:
//
//	messages, bytes    of this session's queue up to and with this chunk
//	                   (uvarint), so that two chunks tell what is between them
//	item …             each: seq, less the one before (uvarint);
//	                   the queued record from its flags on (record.Raw.Rest);
//	                   if it has a body, its length (uvarint) and the body's
//	                   record, or 0 and the number of a shared body (8 bytes)
const chunkCap = 32 << 10 // where a chunk is split, so that a reader may stop between

// total is what has ever joined the queue of a session on disk while it was not
// empty, or has ever left those that wait. Only differences of it mean something.
type total struct {
	messages uint64
	bytes    uint64
}

func (t *total) add(messages, bytes int) {
	t.messages += uint64(messages)
	t.bytes += uint64(bytes)
}

func (t total) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, t.messages), t.bytes)
}

var errChunk = errors.New("a chunk of a queue does not make sense")

// chunkReader walks over the items of a chunk.
type chunkReader struct {
	b   []byte
	sum total
	seq uint64

	rest   []byte // of the item, for record.ParseRest
	inline []byte // its body's record, or nil
	body   uint64 // the number of its shared body, or 0
}

func readChunk(value []byte) (*chunkReader, error) {
	r := &chunkReader{b: value}
	var err error
	if r.sum.messages, err = r.number(); err != nil {
		return nil, err
	}
	r.sum.bytes, err = r.number()
	return r, err
}

func (r *chunkReader) number() (uint64, error) {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		return 0, errChunk
	}
	r.b = r.b[n:]
	return x, nil
}

func (r *chunkReader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)) {
		return nil, errChunk
	}
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x, nil
}

// next reads the next item; false at the end.
func (r *chunkReader) next() (bool, error) {
	if len(r.b) == 0 {
		return false, nil
	}
	delta, err := r.number()
	if err != nil {
		return false, err
	}
	r.seq += delta
	n, hasBody, err := record.SkipRest(r.b)
	if err != nil {
		return false, err
	}
	if r.rest, err = r.take(uint64(n)); err != nil {
		return false, err
	}
	r.inline, r.body = nil, 0
	if !hasBody {
		return true, nil
	}
	size, err := r.number()
	if err != nil {
		return false, err
	}
	if size > 0 {
		r.inline, err = r.take(size)
		return true, err
	}
	id, err := r.take(8)
	if err != nil {
		return false, err
	}
	r.body = binary.BigEndian.Uint64(id)
	return true, nil
}

// position is how far the sending of a queue has come. Messages are sent in
// the order of their seq: whatever is below unsent is in the window, or done.
type position struct {
	unsent uint64        // the first that was never sent
	known  uint64        // the highest seq of the queue
	sum    total         // of all that is on disk, as the last chunk has it
	left   total         // what of sum does not wait any more to be sent
	window []record.Sent // sent and unfinished
	gone   []uint64      // from unsent on, dropped out of their order
}

func (p *position) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, p.unsent)
	dst = binary.AppendUvarint(dst, p.known)
	dst = p.left.append(p.sum.append(dst))
	dst = binary.AppendUvarint(dst, uint64(len(p.window)))
	before := uint64(0)
	for _, w := range p.window {
		dst = binary.AppendUvarint(dst, w.Seq-before)
		before = w.Seq
		id := uint64(w.ID) << 1
		if w.Released {
			id |= 1
		}
		dst = binary.AppendUvarint(dst, id)
	}
	before = p.unsent
	for _, seq := range p.gone {
		dst = binary.AppendUvarint(dst, seq-before)
		before = seq
	}
	return dst
}

func parsePosition(b []byte) (p position, err error) {
	number := func() (x uint64) {
		n := 0
		if x, n = binary.Uvarint(b); n <= 0 {
			err = errors.New("the position in a queue does not make sense")
			b = nil
			return 0
		}
		b = b[n:]
		return x
	}
	p.unsent, p.known = number(), number()
	p.sum = total{number(), number()}
	p.left = total{number(), number()}
	n := number()
	if n > uint64(len(b)) {
		return p, fmt.Errorf("a window of %d in %d bytes", n, len(b))
	}
	if n > 0 {
		p.window = make([]record.Sent, n)
	}
	before := uint64(0)
	for i := range p.window {
		before += number()
		id := number()
		p.window[i] = record.Sent{Seq: before, ID: uint16(id >> 1), Released: id&1 != 0}
	}
	before = p.unsent
	for len(b) > 0 {
		before += number()
		p.gone = append(p.gone, before)
	}
	return p, err
}
