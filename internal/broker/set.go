package broker

import "github.com/fantail-mqtt/fantail/internal/route"

// set is a hash table of handles, each with a tag that says what it may be: who
// looks for a client compares its id. It has no pointers, so the garbage
// collector has nothing to trace, and takes 11 to 21 bytes for each client.
type set struct {
	slots []slot // a power of two; linear probing
	count int
}

// slot holds a handle, or nothing.
type slot struct {
	tag  uint32
	next uint32 // 1 + handle; 0: empty
}

const fewest = 8

func (s *set) len() int { return s.count }

// candidates yields the handles with a tag. The set may not change meanwhile.
func (s *set) candidates(tag uint32) func(yield func(route.Handle) bool) {
	return func(yield func(route.Handle) bool) {
		if s.count == 0 {
			return
		}
		mask := uint32(len(s.slots) - 1)
		for i := tag & mask; s.slots[i].next != 0; i = (i + 1) & mask {
			if s.slots[i].tag == tag && !yield(route.Handle(s.slots[i].next-1)) {
				return
			}
		}
	}
}

// all yields all handles.
func (s *set) all(yield func(route.Handle) bool) {
	for _, e := range s.slots {
		if e.next != 0 && !yield(route.Handle(e.next-1)) {
			return
		}
	}
}

// add puts in a handle that is not there.
func (s *set) add(tag uint32, h route.Handle) {
	if 4*(s.count+1) > 3*len(s.slots) {
		s.resize(max(2*len(s.slots), fewest))
	}
	s.put(slot{tag, uint32(h) + 1})
	s.count++
}

func (s *set) put(e slot) {
	mask := uint32(len(s.slots) - 1)
	i := e.tag & mask
	for s.slots[i].next != 0 {
		i = (i + 1) & mask
	}
	s.slots[i] = e
}

// remove takes a handle out, if it is there.
func (s *set) remove(tag uint32, h route.Handle) {
	if s.count == 0 {
		return
	}
	mask := uint32(len(s.slots) - 1)
	i := tag & mask
	for s.slots[i] != (slot{tag, uint32(h) + 1}) {
		if s.slots[i].next == 0 {
			return
		}
		i = (i + 1) & mask
	}
	s.close(i, mask)
	s.count--
	if len(s.slots) > fewest && 8*s.count < len(s.slots) {
		s.resize(len(s.slots) / 2)
	}
}

// close empties a slot, and moves up those behind it that would no longer be
// found.
func (s *set) close(gap, mask uint32) {
	for i := (gap + 1) & mask; s.slots[i].next != 0; i = (i + 1) & mask {
		if home := s.slots[i].tag & mask; (i-home)&mask >= (i-gap)&mask {
			s.slots[gap] = s.slots[i]
			gap = i
		}
	}
	s.slots[gap] = slot{}
}

func (s *set) resize(n int) {
	old := s.slots
	s.slots = make([]slot, n)
	for _, e := range old {
		if e.next != 0 {
			s.put(e)
		}
	}
}
