package session

import (
	"encoding/binary"
	"slices"
	"sort"
)

// subscriptions are a session's, by filter. A client may have thousands, with
// filters that begin alike: they lie one behind the other in chunks of bytes, each
// filter without what it has in common with the one before, so that a
// subscription takes 10 to 20 bytes here and the garbage collector sees none of
// them. A change writes one chunk anew. Most sessions have one short filter, which
// lies in the session itself: that is two objects less to mark.
type subscriptions struct {
	chunks [][]byte // nil: few is the only one
	few    [fewBytes]byte
	size   byte // of few
}

func (l *subscriptions) count() int { return max(len(l.chunks), 1) }

func (l *subscriptions) chunk(i int) []byte {
	if l.chunks == nil {
		return l.few[:l.size]
	}
	return l.chunks[i]
}

const (
	fewBytes  = 31  // one filter of up to 28 bytes
	chunkSize = 512 // a longer chunk is divided, unless it is one entry

	withQoS            = 3 // two bits
	withNoLocal        = 1 << 2
	withRetain         = 1 << 3
	withRetainHandling = 4 // how far to shift two bits
	withID             = 1 << 6
)

// entry is a subscription in a chunk: a number of bytes that its filter has in
// common with the one before (0 for the first of a chunk), the number of those
// that follow, these, a byte of options, and the subscription identifier if there
// is one.
type entry struct {
	same    int
	rest    []byte
	options byte
	id      uint32
}

func entryOf(s *Subscription) entry {
	e := entry{options: s.QoS&withQoS | s.RetainHandling<<withRetainHandling, id: s.ID}
	if s.NoLocal {
		e.options |= withNoLocal
	}
	if s.RetainAsPublished {
		e.options |= withRetain
	}
	if s.ID != 0 {
		e.options |= withID
	}
	return e
}

// append adds the entry with another beginning: of its filter, the one before has
// the first same bytes, and what is between them and rest is between.
func (e *entry) append(dst []byte, same int, between string, rest []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(same))
	dst = binary.AppendUvarint(dst, uint64(len(between)+len(rest)))
	dst = append(append(dst, between...), rest...)
	dst = append(dst, e.options)
	if e.id != 0 {
		dst = binary.AppendUvarint(dst, uint64(e.id))
	}
	return dst
}

// entryAt is the entry at a place in a chunk, and the place behind it.
func entryAt(chunk []byte, at int) (e entry, next int) {
	number := func() int {
		v, n := binary.Uvarint(chunk[at:])
		at += n
		return int(v)
	}
	e.same = number()
	n := number()
	e.rest = chunk[at : at+n]
	e.options = chunk[at+n]
	at += n + 1
	if e.options&withID != 0 {
		e.id = uint32(number())
	}
	return e, at
}

func (e *entry) subscription(filter []byte) Subscription {
	s := Subscription{ID: e.id}
	s.Filter = string(filter)
	s.QoS = e.options & withQoS
	s.NoLocal = e.options&withNoLocal != 0
	s.RetainAsPublished = e.options&withRetain != 0
	s.RetainHandling = e.options >> withRetainHandling & 3
	return s
}

// place is where a filter is, or would be.
type place struct {
	chunk    int
	from, to int   // the entry there, which has the filter or a later one
	there    entry // that entry
	before   int   // bytes that the filter has in common with the entry before
	common   int   // and with the one there
	last     bool  // there is none: all of the chunk are earlier
	found    bool
}

func (l *subscriptions) find(filter string) (p place) {
	p.chunk = sort.Search(l.count()-1, func(i int) bool {
		first, _ := entryAt(l.chunk(i+1), 0)
		return string(first.rest) > filter
	})
	chunk := l.chunk(p.chunk)
	for p.to < len(chunk) {
		p.from = p.to
		p.there, p.to = entryAt(chunk, p.from)
		if p.there.same > p.before { // it differs from the filter where the entry before does
			continue
		}
		p.common = p.there.same
		if p.common < p.before { // it is greater where the entry before had the filter's byte
			return p
		}
		rest, wanted := p.there.rest, filter[p.common:]
		n := 0
		for n < len(rest) && n < len(wanted) && rest[n] == wanted[n] {
			n++
		}
		p.common += n
		if n == len(wanted) || n < len(rest) && rest[n] > wanted[n] {
			p.found = n == len(rest) && n == len(wanted)
			return p
		}
		p.before = p.common
	}
	p.from, p.last = p.to, true
	return p
}

// put adds or replaces a subscription.
func (l *subscriptions) put(s *Subscription) (existed bool) {
	p, e := l.find(s.Filter), entryOf(s)
	var buffer [128]byte
	b := e.append(buffer[:0], p.before, s.Filter[p.before:], nil)
	if !p.found && !p.last {
		b = p.there.append(b, p.common, "", p.there.rest[p.common-p.there.same:])
	}
	l.replace(p.chunk, p.from, p.to, b)
	return p.found
}

// remove removes the subscription of a filter.
func (l *subscriptions) remove(filter string) (existed bool) {
	p := l.find(filter)
	if !p.found {
		return false
	}
	chunk := l.chunk(p.chunk)
	if p.to == len(chunk) {
		l.replace(p.chunk, p.from, p.to, nil)
		return true
	}
	later, to := entryAt(chunk, p.to)
	same := min(p.there.same, later.same)
	var buffer [128]byte
	b := later.append(buffer[:0], same, filter[same:later.same], later.rest)
	l.replace(p.chunk, p.from, to, b)
	return true
}

// replace puts b in the place of a part of a chunk.
func (l *subscriptions) replace(i, from, to int, b []byte) {
	old := l.chunk(i)
	size := len(old) - (to - from) + len(b)
	switch {
	case l.count() == 1 && size <= fewBytes:
		var few [fewBytes]byte
		_ = append(append(append(few[:0], old[:from]...), b...), old[to:]...)
		*l = subscriptions{few: few, size: byte(size)}
		return
	case size == 0:
		l.chunks = slices.Delete(l.chunks, i, i+1)
		return
	case l.chunks == nil:
		l.chunks = make([][]byte, 1)
	}
	if size <= cap(old) && size >= cap(old)/2 {
		l.chunks[i] = slices.Replace(old, from, to, b...)
	} else {
		c := append(make([]byte, 0, room(size)), old[:from]...)
		l.chunks[i] = append(append(c, b...), old[to:]...)
	}
	switch {
	case size <= chunkSize:
	case to == len(old): // what comes in order fills its chunks
		l.divide(i, from)
	default:
		l.divide(i, chunkSize/2)
	}
}

// room is what a chunk of a size gets: one that grows is not copied each time, and
// most sessions have one subscription and stay with it.
func room(size int) int {
	if size < chunkSize/8 {
		return size
	}
	return max(size, min(size+size/2, chunkSize))
}

// divide makes two chunks of one, at the first entry from a place on.
func (l *subscriptions) divide(i, from int) {
	chunk, filter := l.chunks[i], ""
	for at := 0; at < len(chunk); {
		e, next := entryAt(chunk, at)
		filter = filter[:e.same] + string(e.rest)
		if at > 0 && at >= from {
			second := e.append(nil, 0, filter, nil)
			second = append(second, chunk[next:]...)
			l.chunks[i] = slices.Clone(chunk[:at])
			l.chunks = slices.Insert(l.chunks, i+1, second)
			return
		}
		at = next
	}
}

// all yields every subscription.
func (l *subscriptions) all(yield func(Subscription) bool) {
	var filter []byte
	for i := range l.count() {
		chunk := l.chunk(i)
		for at := 0; at < len(chunk); {
			var e entry
			e, at = entryAt(chunk, at)
			filter = append(filter[:e.same], e.rest...)
			if !yield(e.subscription(filter)) {
				return
			}
		}
	}
}
