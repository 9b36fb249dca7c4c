package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What a damaged block held is told by the index of its table: the keys behind the
// last one of the block before it, up to the one that separates it from the next.
// Whatever any table has there is left out, so that no older version of a key shows;
// all other keys are read as ever. Reading until Pebble meets the damage would not
// do: for each block that it cannot read it looks for a single bit that has changed,
// which takes up to a second, and an iterator that has failed says nothing of what
// other tables have before that place.

// span is keys from one up to another, and without it.
type span struct{ from, to []byte }

// single is the only key that can be in the span, if there is but one.
func (s span) single() (key []byte, ok bool) {
	n := len(s.from)
	return s.from, len(s.to) == n+1 && s.to[n] == 0 && bytes.HasPrefix(s.to, s.from)
}

// scan calls each for the keys of a span in order, until it returns false. A single
// key, which may be the last before a damaged block, is asked for: an iterator would
// look behind it. So does Pebble here if the key is deleted, and only then: a key that
// is there is the first that it meets.
func scan(r pebble.Reader, in span, each func(key []byte, value func() ([]byte, error)) (more bool, err error)) error {
	if key, ok := in.single(); ok {
		value, closer, err := r.Get(key)
		if errors.Is(err, pebble.ErrNotFound) || err != nil && damaged(err) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = each(key, func() ([]byte, error) { return value, nil })
		return errors.Join(err, closer.Close())
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: in.from, UpperBound: in.to})
	if err != nil {
		return err
	}
	value := it.ValueAndErr
	for ok := it.First(); ok; ok = it.Next() {
		if ok, err = each(it.Key(), value); err != nil || !ok {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// after is the first key behind another.
func after(key []byte) []byte { return append(slices.Clone(key), 0) }

// united sorts spans and joins those that touch.
func united(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return bytes.Compare(a.from, b.from) })
	var all []span
	for _, s := range spans {
		if n := len(all); n > 0 && bytes.Compare(s.from, all[n-1].to) <= 0 {
			if bytes.Compare(s.to, all[n-1].to) > 0 {
				all[n-1].to = s.to
			}
			continue
		}
		all = append(all, s)
	}
	return all
}

// readable are the keys of a span that lie in none of the lost ones, in order. The
// last key before a lost span stands apart, see [scan].
func readable(of span, lost []span) (parts []span) {
	add := func(from, to []byte) {
		if bytes.Compare(from, to) < 0 {
			parts = append(parts, span{from, to})
		}
	}
	at := of.from
	for _, l := range lost {
		if bytes.Compare(l.to, at) <= 0 {
			continue
		}
		if bytes.Compare(l.from, of.to) >= 0 {
			break
		}
		if last, ok := bytes.CutSuffix(l.from, []byte{0}); ok && bytes.Compare(at, last) < 0 {
			add(at, last)
			at = last
		}
		add(at, l.from)
		at = l.to
	}
	add(at, of.to)
	return parts
}

// tableSpan is what a table may hold keys of.
func tableSpan(t *pebble.SSTableInfo) span {
	to := t.Largest.UserKey
	if !t.Largest.IsExclusiveSentinel() {
		to = after(to)
	}
	return span{t.Smallest.UserKey, to}
}

// clipped is what of spans lies in another.
func clipped(spans []span, to span) (in []span) {
	for _, s := range spans {
		if bytes.Compare(s.from, to.from) < 0 {
			s.from = to.from
		}
		if bytes.Compare(s.to, to.to) > 0 {
			s.to = to.to
		}
		if bytes.Compare(s.from, s.to) < 0 {
			in = append(in, s)
		}
	}
	return in
}

// lostOf reads a table and says which keys it may have held that cannot be read any
// more: all, if it cannot be opened.
func lostOf(fs vfs.FS, name string, whole span) (lost []span) {
	defer func() {
		if recover() != nil { // something in it makes no sense to Pebble at all
			lost = []span{whole}
		}
	}()
	all := []span{whole}
	f, err := fs.Open(name)
	if err != nil {
		return all
	}
	file, err := sstable.NewSimpleReadable(f)
	if err != nil {
		_ = f.Close()
		return all
	}
	o := new(pebble.Options)
	o.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), file, o.MakeReaderOptions())
	if err != nil {
		_ = file.Close()
		return all
	}
	defer r.Close() // it was read
	deletions, err := r.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil {
		return all
	}
	if deletions != nil {
		deletions.Close()
	}
	pieces, err := piecesOf(r, f)
	if err != nil {
		return all
	}
	return lostPieces(r, pieces, whole)
}

// piece is a part of a table, in the order of keys: a block, or if the index of
// several blocks is damaged, all of these.
type piece struct {
	last  []byte // no key in it is above this one, and none behind it is not
	whole bool
}

// piecesOf checks all blocks of a table.
func piecesOf(r *sstable.Reader, f vfs.File) (pieces []piece, err error) {
	index, err := indexOf(r, f)
	if err != nil {
		return nil, err
	}
	var b []byte
	data := func(last []byte, h block.Handle) {
		ok := false
		ok, b = wholeBlock(r, f, h, b)
		pieces = append(pieces, piece{slices.Clone(last), ok})
	}
	if !r.Attributes.Has(sstable.AttributeTwoLevelIndex) {
		err = eachBlock(r, index, data)
		return pieces, err
	}
	var inside error
	err = eachBlock(r, index, func(last []byte, h block.Handle) {
		if ok, _ := wholeBlock(r, f, h, nil); !ok {
			pieces = append(pieces, piece{slices.Clone(last), false})
			return
		}
		inside = errors.Join(inside, eachBlock(r, h, data))
	})
	return pieces, errors.Join(err, inside)
}

var errTable = errors.New("a table does not make sense")

// indexOf reads where the index of a table is, at its end.
func indexOf(r *sstable.Reader, f vfs.File) (block.Handle, error) {
	info, err := f.Stat()
	if err != nil {
		return block.Handle{}, err
	}
	format, err := r.TableFormat()
	if err != nil {
		return block.Handle{}, err
	}
	if !format.BlockColumnar() {
		return block.Handle{}, fmt.Errorf("%w: it is in format %s", errTable, format)
	}
	footer := make([]byte, format.FooterSize())
	if _, err := f.ReadAt(footer, info.Size()-int64(len(footer))); err != nil {
		return block.Handle{}, err
	}
	_, n := block.DecodeHandle(footer[1:])
	h, m := block.DecodeHandle(footer[1+n:])
	if n == 0 || m == 0 {
		return block.Handle{}, errTable
	}
	return h, nil
}

// eachBlock calls each for the blocks that an index names.
func eachBlock(r *sstable.Reader, index block.Handle, each func(last []byte, h block.Handle)) error {
	b, err := r.BlockReader().Read(context.Background(), block.NoReadEnv, nil, index, blockkind.Index, colblk.InitIndexBlockMetadata)
	if err != nil {
		return err
	}
	defer b.Release()
	var it colblk.IndexIter
	if err := it.Init(r.Comparer, b.BlockData(), block.NoTransforms); err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		h, err := it.BlockHandleWithProperties()
		if err != nil {
			return err
		}
		each(it.Separator(), h.Handle)
	}
	return nil
}

// wholeBlock says whether a block can be read and is as it was written. It returns
// its scratch memory.
func wholeBlock(r *sstable.Reader, f vfs.File, h block.Handle, b []byte) (bool, []byte) {
	if r.BlockReader().ChecksumType() != block.ChecksumTypeCRC32c || h.Length > 1<<30 {
		return false, b
	}
	b = slices.Grow(b[:0], int(h.Length)+block.TrailerLen)[:int(h.Length)+block.TrailerLen]
	if _, err := f.ReadAt(b, int64(h.Offset)); err != nil {
		return false, b
	}
	return binary.LittleEndian.Uint32(b[h.Length+1:]) == masked(b[:h.Length+1]), b
}

// masked is the checksum of Pebble's files.
func masked(b []byte) uint32 {
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return sum>>15 | sum<<17 + 0xa282ead8
}

// lostPieces are the keys that the damaged pieces of a table may have held.
func lostPieces(r *sstable.Reader, pieces []piece, whole span) (lost []span) {
	for i := 0; i < len(pieces); i++ {
		if pieces[i].whole {
			continue
		}
		s := span{from: whole.from, to: whole.to}
		if i > 0 {
			var low []byte
			if i > 1 {
				low = after(pieces[i-2].last)
			}
			last, err := lastKey(r, low, pieces[i-1].last)
			if err != nil {
				return []span{whole}
			}
			s.from = after(last)
		}
		for i+1 < len(pieces) && !pieces[i+1].whole {
			i++
		}
		if i+1 < len(pieces) {
			s.to = after(pieces[i].last)
		}
		lost = append(lost, s)
	}
	return lost
}

// lastKey is the last key of the block that begins at low: none behind it is up to
// high.
func lastKey(r *sstable.Reader, low, high []byte) ([]byte, error) {
	it, err := r.NewIter(sstable.NoTransforms, low, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return nil, err
	}
	defer it.Close() // it fails at the damage
	var last []byte
	for kv := it.SeekGE(low, 0); kv != nil && bytes.Compare(kv.K.UserKey, high) <= 0; kv = it.Next() {
		last = append(last[:0], kv.K.UserKey...)
		if bytes.Equal(last, high) {
			break
		}
	}
	if last == nil {
		return nil, errTable
	}
	return last, nil
}

// lostKeys are the keys of a span that tables may have held and that cannot be read
// any more. known has what was found before of tables, by number, which never change;
// it is brought up to date.
func lostKeys(db *pebble.DB, fs vfs.FS, dir string, of span, known map[uint64][]span) ([]span, error) {
	for {
		tables, err := tablesOf(db, of)
		if err != nil {
			return nil, err
		}
		var all []span
		for i := range tables {
			t := &tables[i]
			number, in := uint64(t.FileNum), tableSpan(t)
			if _, ok := known[number]; !ok {
				known[number] = clipped(lostOf(fs, fs.PathJoin(dir, fmt.Sprintf("%06d.sst", t.BackingSSTNum)), in), in)
			}
			all = append(all, known[number]...)
		}
		still, err := tablesOf(db, of)
		if err != nil {
			return nil, err
		}
		if !forgetGone(known, tables, still) {
			return clipped(united(all), of), nil
		}
	}
}

// forgetGone forgets tables that a compaction has replaced meanwhile, and says whether
// one of them seemed damaged: it may just have been removed.
func forgetGone(known map[uint64][]span, tables, still []pebble.SSTableInfo) (seemed bool) {
	for i := range tables {
		number := tables[i].FileNum
		if slices.ContainsFunc(still, func(t pebble.SSTableInfo) bool { return t.FileNum == number }) {
			continue
		}
		seemed = seemed || len(known[uint64(number)]) > 0
		delete(known, uint64(number))
	}
	return seemed
}

// tablesOf are the tables that may have keys of a span.
func tablesOf(db *pebble.DB, of span) (tables []pebble.SSTableInfo, err error) {
	levels, err := db.SSTables(pebble.WithKeyRangeFilter(of.from, of.to))
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	for _, level := range levels {
		tables = append(tables, level...)
	}
	return tables, nil
}
