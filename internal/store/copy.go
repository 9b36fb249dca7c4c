package store

import (
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// copier copies what can be read of a database. Shared bodies are counted anew: some
// of those that refer to one may be lost, or its count may be.
type copier struct {
	from, to *pebble.DB

	opened []byte            // what the keys of the session begin with that was last seen to be whole
	refs   map[uint64]uint64 // to each body, by the chunks that were copied
}

func everything() span { return span{[]byte{0}, []byte{0xFF}} }

// copy copies all but what is known to be lost, and counts the spans that it cannot
// read.
func (c *copier) copy(lost []span) (spans int, err error) {
	spans = len(lost)
	for _, part := range readable(everything(), lost) {
		more, err := c.part(part.from, part.to)
		spans += more
		if err != nil {
			return spans, err
		}
	}
	return spans, c.recount()
}

// part copies what should all be readable. If it is not, something is damaged that no
// table's index told of.
func (c *copier) part(start, limit []byte) (spans int, err error) {
	for start != nil {
		last, fault, err := c.span(start, limit)
		if err != nil {
			return spans, err
		}
		if !fault {
			return spans, nil
		}
		spans++
		if last != nil {
			start = append(last, 0)
		}
		start = readableFrom(c.from, start, limit)
	}
	return spans, nil
}

// span copies keys until one cannot be read, and returns the last one that could be,
// nil if there was none.
func (c *copier) span(start, limit []byte) (last []byte, fault bool, err error) {
	e := scan(c.from, span{start, limit}, func(key []byte, value func() ([]byte, error)) (bool, error) {
		v, e := value()
		if e != nil {
			return false, e
		}
		if err = c.key(key, v); err != nil {
			return false, nil
		}
		last = append(last[:0], key...)
		return true, nil
	})
	return last, e != nil, err
}

func (c *copier) key(key, value []byte) error {
	switch key[0] {
	case keyCount:
		return nil // see recount
	case keySession:
		if err := c.count(key, value); err != nil {
			return err
		}
	}
	return c.to.Set(key, value, pebble.NoSync)
}

// count counts what a chunk refers to. One of a session whose beginning is lost counts
// for nothing: the session is removed when it is met.
func (c *copier) count(key, value []byte) error {
	_, prefix, err := clientOf(key)
	if err != nil {
		return nil //nolint:nilerr // who recovers it will tell
	}
	if len(key) > len(prefix) && key[len(prefix)] == tagOpened {
		c.opened = slices.Clone(prefix)
	}
	chunk, ok := chunkOf(key, prefix)
	if !ok || !chunk.refers || string(prefix) != string(c.opened) {
		return nil
	}
	r, err := readChunk(value)
	for err == nil {
		if ok, err = r.next(); err != nil || !ok {
			break
		}
		if r.body != 0 {
			c.refs[r.body]++
		}
	}
	return nil //nolint:nilerr // who reads it will tell
}

// recount writes how many refer to each body, and removes those that nobody has.
func (c *copier) recount() error {
	err := scan(c.to, span{[]byte{keyBody}, []byte{keyBody + 1}}, func(key []byte, _ func() ([]byte, error)) (bool, error) {
		if len(key) == 9 && c.refs[binary.BigEndian.Uint64(key[1:])] == 0 {
			return true, c.to.Delete(key, pebble.NoSync)
		}
		return true, nil
	})
	for id, n := range c.refs {
		if err == nil {
			err = c.to.Set(bodyKey(nil, keyCount, id), binary.AppendUvarint(nil, n), pebble.NoSync)
		}
	}
	return err
}

// readableFrom is a key, as small as can be found by halving, from which on
// reading succeeds; nil if there is none below limit.
func readableFrom(db *pebble.DB, start, limit []byte) []byte {
	var low, high [keyBits / 8]byte
	copy(low[:], start)
	copy(high[:], limit)
	var found []byte
	for range keyBits {
		middle := half(low, high)
		if middle == low {
			break
		}
		if reads(db, middle[:], limit) {
			high = middle
			found = slices.Clone(middle[:])
			continue
		}
		low = middle
	}
	return found
}

const keyBits = 8 * 64 // of a key that are looked at; a session's name is mostly shorter

// half is the middle between two keys, taken as numbers.
func half(a, b [keyBits / 8]byte) (m [keyBits / 8]byte) {
	carry := 0
	var sum [keyBits/8 + 1]int
	for i := len(a) - 1; i >= 0; i-- {
		x := int(a[i]) + int(b[i]) + carry
		sum[i+1], carry = x&0xFF, x>>8
	}
	sum[0] = carry
	rest := 0
	for i, x := range sum {
		x += rest << 8
		rest = x & 1
		if i > 0 {
			m[i-1] = byte(x >> 1)
		}
	}
	return m
}

func reads(db *pebble.DB, from, limit []byte) bool {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: limit})
	if err != nil {
		return false
	}
	defer it.Close() // its error was asked for
	it.First()
	return it.Error() == nil
}
