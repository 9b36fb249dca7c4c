package route

import "hash/maphash"

const (
	partBits = 11
	partSize = 1 << partBits
	partMost = partSize * 4 / 5 // above it a part splits
	partFew  = partSize / 4     // below it two halves of a part become one again
)

// exacts holds the filters without wildcards by their text. It is a hash
// table by extendible hashing: the first bits of a hash choose a part, the
// last ones a slot in it. A part that is full splits alone, which takes
// microseconds however many there are. A filter with one subscriber lies in
// its slot but for the text, so a look-up leaves the cache twice.
type exacts struct {
	seed  maphash.Seed
	texts texts
	n     int
	depth uint8
	parts []*part // 1<<depth of them; some are the same part
	sole  int     // parts that are in the list once: while there is one, the list cannot be shorter
}

type part struct {
	slots [partSize]slot
	n     uint16
	depth uint8 // how many first bits its hashes have in common
}

type slot struct {
	hash uint32
	path text // 0: the slot is empty
	cell cell
}

func newExacts(seed maphash.Seed) exacts {
	return exacts{seed: seed, texts: newTexts(), parts: []*part{{}}}
}

func (x *exacts) hash(path string) uint32 { return uint32(maphash.String(x.seed, path)) }

func (x *exacts) index(hash uint32) uint32 { return hash >> (32 - x.depth) }

// find is where the rows of a filter lie, nil if it is not in.
func (x *exacts) find(path string) *cell {
	_, s := x.at(path, x.hash(path))
	if s == nil {
		return nil
	}
	return &s.cell
}

func (x *exacts) at(path string, hash uint32) (*part, *slot) {
	p := x.parts[x.index(hash)]
	for i := hash; ; i++ {
		s := &p.slots[i%partSize]
		if s.path == 0 {
			return p, nil
		}
		if s.hash == hash && x.texts.is(s.path, path, "") {
			return p, s
		}
	}
}

// make is find for a filter that may be new. The cell stays where it is until
// the next change.
func (x *exacts) make(path string) *cell {
	hash := x.hash(path)
	p, s := x.at(path, hash)
	if s != nil {
		return &s.cell
	}
	for p.n >= partMost && x.depth < 32-partBits {
		x.split(hash)
		p = x.parts[x.index(hash)]
	}
	x.n++
	return &p.put(slot{hash: hash, path: x.texts.put(path, "")}).cell
}

// put places a slot in a part that has room.
func (p *part) put(s slot) *slot {
	i := s.hash
	for p.slots[i%partSize].path != 0 {
		i++
	}
	p.n++
	at := &p.slots[i%partSize]
	*at = s
	return at
}

// split divides the part of a hash by one more bit.
func (x *exacts) split(hash uint32) {
	old := x.parts[x.index(hash)]
	if old.depth == x.depth {
		x.double()
	}
	if old.depth+1 == x.depth {
		x.sole += 2
	}
	halves := [2]*part{{depth: old.depth + 1}, {depth: old.depth + 1}}
	for _, s := range old.slots {
		if s.path != 0 {
			halves[s.hash>>(31-old.depth)&1].put(s)
		}
	}
	for i, h := range halves {
		x.assign(hash, old.depth, uint32(i), h)
	}
}

func (x *exacts) double() {
	parts := make([]*part, 2*len(x.parts))
	for i := range parts {
		parts[i] = x.parts[i/2]
	}
	x.parts = parts
	x.depth++
	x.sole = 0
}

// assign puts p where the first depth bits of hash and then bit lead.
func (x *exacts) assign(hash uint32, depth uint8, bit uint32, p *part) {
	width := uint32(1) << (x.depth - depth - 1)
	from := (x.index(hash)>>(x.depth-depth)<<1 | bit) * width
	for i := range width {
		x.parts[from+i] = p
	}
}

// remove takes a filter out.
func (x *exacts) remove(path string) {
	hash := x.hash(path)
	p, s := x.at(path, hash)
	x.texts.drop(s.path)
	x.n--
	p.clear(s)
	x.join(hash)
}

// clear empties a slot and moves up what had to go past it.
func (p *part) clear(s *slot) {
	hole := s.hash
	for &p.slots[hole%partSize] != s {
		hole++
	}
	p.n--
	for i := hole + 1; p.slots[i%partSize].path != 0; i++ {
		next := &p.slots[i%partSize]
		if (i-next.hash)%partSize >= i-hole {
			p.slots[hole%partSize] = *next
			hole = i
		}
	}
	p.slots[hole%partSize] = slot{}
}

// join makes one part of two halves that hold little, and so on up.
func (x *exacts) join(hash uint32) {
	for {
		p := x.parts[x.index(hash)]
		if p.depth == 0 || p.n > partFew {
			return
		}
		other := x.parts[x.index(hash^1<<(32-p.depth))]
		if other.depth != p.depth || p.n+other.n > partFew {
			return
		}
		if p.depth == x.depth {
			x.sole -= 2
		}
		p.depth--
		for _, s := range other.slots {
			if s.path != 0 {
				p.put(s)
			}
		}
		x.assign(hash, p.depth, 0, p)
		x.assign(hash, p.depth, 1, p)
		x.halve()
	}
}

// halve shortens the list of parts while each is in it twice.
func (x *exacts) halve() {
	for x.sole == 0 && x.depth > 0 {
		parts := make([]*part, len(x.parts)/2)
		for i := range parts {
			parts[i] = x.parts[2*i]
		}
		x.parts = parts
		x.depth--
		for _, p := range parts {
			if p.depth == x.depth {
				x.sole++
			}
		}
	}
}
