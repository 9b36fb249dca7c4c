package session

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"
)

// subscriptions are a session's, by filter. A client may have thousands, with
// filters that begin alike: they lie one behind the other in chunks of bytes, each
// filter without what it has in common with the one before, so that a
// subscription takes 10 to 20 bytes here and the garbage collector sees none of
// them. A change writes one chunk anew.
//
// An entry is the number of bytes in common (0 for the first of a chunk), the
// number of those that follow, these, a byte of options, and the subscription
// identifier if there is one.
type subscriptions [][]byte

const (
	chunkSize = 512 // a longer chunk is divided, unless it is one entry

	withQoS            = 3 // two bits
	withNoLocal        = 1 << 2
	withRetain         = 1 << 3
	withRetainHandling = 4 // how far to shift two bits
	withID             = 1 << 6
)

// appendEntry adds a subscription whose filter follows before.
func appendEntry[T ~string | ~[]byte](dst []byte, before T, s *Subscription) []byte {
	n := 0
	for n < len(before) && n < len(s.Filter) && before[n] == s.Filter[n] {
		n++
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = binary.AppendUvarint(dst, uint64(len(s.Filter)-n))
	dst = append(dst, s.Filter[n:]...)
	options := s.QoS&withQoS | s.RetainHandling<<withRetainHandling
	if s.NoLocal {
		options |= withNoLocal
	}
	if s.RetainAsPublished {
		options |= withRetain
	}
	if s.ID == 0 {
		return append(dst, options)
	}
	return binary.AppendUvarint(append(dst, options|withID), uint64(s.ID))
}

// entries walks over a chunk.
type entries struct {
	chunk   []byte
	at      int    // the next entry
	filter  []byte // of this entry
	options byte
	id      uint32
}

func (e *entries) next() bool {
	if e.at == len(e.chunk) {
		return false
	}
	same, more := e.number(), e.number()
	e.filter = append(e.filter[:same], e.chunk[e.at:e.at+more]...)
	e.options = e.chunk[e.at+more]
	e.at += more + 1
	e.id = 0
	if e.options&withID != 0 {
		e.id = uint32(e.number())
	}
	return true
}

func (e *entries) number() int {
	v, n := binary.Uvarint(e.chunk[e.at:])
	e.at += n
	return int(v)
}

func (e *entries) subscription() Subscription {
	s := Subscription{ID: e.id}
	s.Filter = string(e.filter)
	s.QoS = e.options & withQoS
	s.NoLocal = e.options&withNoLocal != 0
	s.RetainAsPublished = e.options&withRetain != 0
	s.RetainHandling = e.options >> withRetainHandling & 3
	return s
}

// place is where a filter is, or would be.
type place struct {
	chunk    int
	from, to int     // the entry there, which has the filter or a later one
	before   []byte  // the filter of the entry before
	there    entries // at that entry
	last     bool    // there is none: every filter of the chunk is an earlier one
	found    bool
}

func (l subscriptions) find(filter string) place {
	p := place{chunk: sort.Search(len(l), func(i int) bool {
		first := entries{chunk: l[i]}
		same, n := first.number(), first.number()
		return string(l[i][first.at:first.at+same+n]) > filter
	})}
	p.chunk = max(p.chunk-1, 0)
	if len(l) == 0 {
		p.last = true
		return p
	}
	e := &p.there
	e.chunk = l[p.chunk]
	for {
		p.from = e.at
		p.before = append(p.before[:0], e.filter...)
		if p.last = !e.next(); p.last {
			break
		}
		if order := bytes.Compare(e.filter, []byte(filter)); order >= 0 {
			p.found = order == 0
			break
		}
	}
	p.to = e.at
	return p
}

// put adds or replaces a subscription.
func (l *subscriptions) put(s *Subscription) (existed bool) {
	p := l.find(s.Filter)
	b := appendEntry(nil, p.before, s)
	if !p.found && !p.last {
		later := p.there.subscription()
		b = appendEntry(b, s.Filter, &later)
	}
	if len(*l) == 0 {
		*l = append(*l, nil)
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
	var b []byte
	if p.there.next() { // it may have had more in common with what goes
		later := p.there.subscription()
		b = appendEntry(b, p.before, &later)
	}
	l.replace(p.chunk, p.from, p.there.at, b)
	return true
}

// replace puts b in the place of a part of a chunk.
func (l *subscriptions) replace(i, from, to int, b []byte) {
	old := (*l)[i]
	size := len(old) - (to - from) + len(b)
	if size == 0 {
		*l = slices.Delete(*l, i, i+1)
		return
	}
	if size <= cap(old) && size >= cap(old)/2 {
		(*l)[i] = slices.Replace(old, from, to, b...)
	} else {
		c := append(make([]byte, 0, room(size)), old[:from]...)
		(*l)[i] = append(append(c, b...), old[to:]...)
	}
	switch {
	case size <= chunkSize:
	case to == len(old): // what comes in order fills its chunks
		l.divide(i, from)
	default:
		l.divide(i, chunkSize/2)
	}
}

// room is what a chunk of a size gets: one that grows is not copied each time.
func room(size int) int {
	if size < chunkSize/8 {
		return size // most sessions have one subscription and stay with it
	}
	return size + size/8
}

// divide makes two chunks of one, at the first entry from a place on.
func (l *subscriptions) divide(i, from int) {
	e := entries{chunk: (*l)[i]}
	for at := 0; e.next(); at = e.at {
		if at == 0 || at < from {
			continue
		}
		first := e.subscription()
		second := append(appendEntry(nil, "", &first), e.chunk[e.at:]...)
		(*l)[i] = slices.Clone(e.chunk[:at])
		*l = slices.Insert(*l, i+1, second)
		return
	}
}

// all yields every subscription.
func (l subscriptions) all(yield func(Subscription) bool) {
	for _, chunk := range l {
		for e := (entries{chunk: chunk}); e.next(); {
			if !yield(e.subscription()) {
				return
			}
		}
	}
}
