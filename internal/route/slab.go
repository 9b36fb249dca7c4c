package route

import "math/bits"

const (
	slabBits = 9
	slabPage = 1 << slabBits
)

// slab holds values under small numbers, in pages that never move: growing
// copies nothing and wastes at most one page. Number 0 is never given out.
type slab[T any] struct {
	pages []*[slabPage]T
	free  []uint32 // numbers given back, taken again first
	next  uint32   // lowest number never given out
}

// at is the value under a number that take gave out.
func (s *slab[T]) at(n uint32) *T { return &s.pages[n>>slabBits][n%slabPage] }

// take gives out a number whose value is zero.
func (s *slab[T]) take() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		n := s.free[last]
		s.free = s.free[:last]
		return n
	}
	if s.next == 0 {
		s.next = 1
	}
	if int(s.next>>slabBits) == len(s.pages) {
		s.pages = append(s.pages, new([slabPage]T))
	}
	s.next++
	return s.next - 1
}

// give takes a number back and clears its value.
func (s *slab[T]) give(n uint32) {
	var zero T
	*s.at(n) = zero
	s.free = append(s.free, n)
}

const blockPage = 4096 // units at most in a page of small blocks

// blocks holds short arrays of T in size classes, four to each doubling, so
// that a block is at most a quarter larger than asked for. Pages never move
// and blocks given back are used again; a block too large to share its page
// goes back to the garbage collector instead.
type blocks[T any] struct {
	unit    int // elements in the smallest block
	classes []class[T]
}

type class[T any] struct {
	size  int   // elements of a block
	shift uint8 // a page has 1<<shift blocks
	pages [][]T
	free  []uint32
	next  uint32
}

// classOf is the smallest class with room for n elements, n > 0.
func (b *blocks[T]) classOf(n int) int {
	units := (n + b.unit - 1) / b.unit
	if units <= 8 {
		return units - 1
	}
	shift := bits.Len(uint(units-1)) - 3
	top := (units + 1<<shift - 1) >> shift // 5 to 8
	return 8 + (shift-1)*4 + top - 5
}

// size is the number of elements in a block of class c.
func (b *blocks[T]) size(c int) int {
	if c < 8 {
		return (c + 1) * b.unit
	}
	return (5 + (c-8)%4) << ((c-8)/4 + 1) * b.unit
}

// at is block n of class c.
func (b *blocks[T]) at(c int, n uint32) []T {
	k := &b.classes[c]
	from := int(n&(1<<k.shift-1)) * k.size
	return k.pages[n>>k.shift][from : from+k.size : from+k.size]
}

// take gives out a block of class c, with whatever its last owner left in it.
func (b *blocks[T]) take(c int) uint32 {
	for len(b.classes) <= c {
		size := b.size(len(b.classes))
		shift := bits.Len(uint(max(1, blockPage*b.unit/size))) - 1
		b.classes = append(b.classes, class[T]{size: size, shift: uint8(shift)})
	}
	k := &b.classes[c]
	n := k.next
	if last := len(k.free) - 1; last >= 0 {
		n = k.free[last]
		k.free = k.free[:last]
	} else {
		k.next++
	}
	page := int(n >> k.shift)
	if page == len(k.pages) {
		k.pages = append(k.pages, nil)
	}
	if k.pages[page] == nil {
		k.pages[page] = make([]T, k.size<<k.shift)
	}
	return n
}

// give takes block n of class c back.
func (b *blocks[T]) give(c int, n uint32) {
	k := &b.classes[c]
	if k.shift == 0 {
		k.pages[n] = nil
	}
	k.free = append(k.free, n)
}
