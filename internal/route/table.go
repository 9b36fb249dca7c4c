package route

const (
	headBits = 10
	headPage = 1 << headBits
)

// table is a hash table by linear hashing: it gains buckets as it gains values,
// two for each so that most look-ups for what is not there end at the bucket,
// and never stops to rehash, which with a million filters would hold up every
// loop for a tenth of a second. Like the numbers of its slab, buckets stay for
// values to come. The caller compares keys: it walks the values of one hash with
// first and after.
type table[T any] struct {
	slab[entry[T]]
	heads   []*[headPage]uint32 // first entry of each bucket's chain
	buckets uint32
	mask    uint32 // 2^k-1 with 2^k the least power of two >= buckets
	n       uint32
}

type entry[T any] struct {
	hash, next uint32
	v          T
}

func (t *table[T]) head(bucket uint32) *uint32 {
	return &t.heads[bucket>>headBits][bucket%headPage]
}

// bucket is the bucket of a hash: as many of its low bits as number a bucket
// that exists already.
func (t *table[T]) bucket(hash uint32) uint32 {
	b := hash & t.mask
	if b >= t.buckets {
		b &= t.mask >> 1
	}
	return b
}

// get is the value of a live entry.
func (t *table[T]) get(id uint32) *T { return &t.at(id).v }

// first is the first entry with this hash, 0 if there is none.
func (t *table[T]) first(hash uint32) uint32 {
	if t.n == 0 {
		return 0
	}
	return t.skip(*t.head(t.bucket(hash)), hash)
}

// after is the next entry with the hash of entry id, 0 if it was the last.
func (t *table[T]) after(id uint32) uint32 {
	e := t.at(id)
	return t.skip(e.next, e.hash)
}

func (t *table[T]) skip(id, hash uint32) uint32 {
	for id != 0 {
		e := t.at(id)
		if e.hash == hash {
			return id
		}
		id = e.next
	}
	return 0
}

// add makes an entry with a zero value.
func (t *table[T]) add(hash uint32) uint32 {
	for 2*t.n >= t.buckets {
		t.split()
	}
	t.n++
	id := t.take()
	t.push(id, hash)
	return id
}

func (t *table[T]) push(id, hash uint32) {
	e, head := t.at(id), t.head(t.bucket(hash))
	e.hash, e.next = hash, *head
	*head = id
}

// remove frees an entry and its number.
func (t *table[T]) remove(id uint32) {
	link := t.head(t.bucket(t.at(id).hash))
	for *link != id {
		link = &t.at(*link).next
	}
	*link = t.at(id).next
	t.give(id)
	t.n--
}

// split adds a bucket and moves to it its share of the one it splits.
func (t *table[T]) split() {
	if t.buckets%headPage == 0 && int(t.buckets>>headBits) == len(t.heads) {
		t.heads = append(t.heads, new([headPage]uint32))
	}
	t.buckets++
	if t.buckets-1 > t.mask {
		t.mask = t.mask<<1 | 1
	}
	if t.buckets > 1 {
		t.rehang((t.buckets - 1) & (t.mask >> 1))
	}
}

// rehang puts every entry of a chain where it belongs now.
func (t *table[T]) rehang(bucket uint32) {
	head := t.head(bucket)
	id := *head
	*head = 0
	for id != 0 {
		e := t.at(id)
		next := e.next
		t.push(id, e.hash)
		id = next
	}
}
