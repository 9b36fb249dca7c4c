package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

// queued fills the queues of clients by turns, so many messages each, in frames of
// so many, which they are a multiple of, and leaves all in tables. What it writes does not compress.
func queued(t testing.TB, fs vfs.FS, dir string, clients []string, messages, frame, size int) {
	t.Helper()
	s, err := Open(dir, Options{FS: fs, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range clients {
		s.Append(record.AppendSessionOpened(nil, client, record.Opened{Expiry: 9}), nil)
	}
	var b []byte
	for seq := uint64(1); seq <= uint64(messages); seq++ {
		if seq%uint64(frame) == 1 || frame == 1 {
			s.Enter()
		}
		for _, client := range clients {
			m := &message.Message{Topic: "t", Payload: payloadOf(client, seq, size)}
			b = record.AppendQueued(b[:0], client, record.Queued{Seq: seq, QoS: 1, Message: m})
			s.Append(b, m)
		}
		if seq%uint64(frame) == 0 {
			s.Leave()
			settle(t, s)
		}
	}
	if err := s.handles.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.handles.db.Compact(t.Context(), []byte{0}, []byte{255}, false); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}

// payloadOf is noise that begins with what it is of.
func payloadOf(client string, seq uint64, size int) []byte {
	h := fnv.New64()
	h.Write([]byte(client)) // never fails
	rng := rand.New(rand.NewPCG(seq, h.Sum64()))
	p := fmt.Appendf(nil, "%s/%d ", client, seq)
	for len(p) < size {
		p = binary.LittleEndian.AppendUint64(p, rng.Uint64())
	}
	return p
}

// hit damages some bytes of the block that has a payload.
func hit(t testing.TB, fs vfs.FS, dir, client string, seq uint64, size int) (where string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if len(name) < 4 || name[len(name)-4:] != ".sst" {
			continue
		}
		name = fs.PathJoin(dir, name)
		text, err := readAll(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(text, payloadOf(client, seq, size)[40:])
		if at < 0 {
			continue
		}
		for i := range 20 {
			text[at+i] ^= 0x5a
		}
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		where = name // there may be an older table that has it
	}
	if where == "" {
		t.Fatalf("message %d of %s is in no table", seq, client)
	}
	return where
}

func readAll(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

func recovered(t testing.TB, s *Store) (sessions int) {
	t.Helper()
	err := s.Recover(func(record.Setting) error { return nil }, func(*record.Recovered) error { sessions++; return nil }, func(record.Retained) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return sessions
}

// drained is all that can be loaded of a queue, as a session asks for it.
func drained(t testing.TB, s *Store, client string) (seqs []uint64) {
	t.Helper()
	for from := uint64(1); ; {
		items := load1(t, s, client, from, 64<<10)
		if len(items) == 0 {
			return seqs
		}
		for _, q := range items {
			if want := payloadOf(client, q.Seq, len(q.Message.Payload)); !bytes.Equal(q.Message.Payload, want) {
				t.Fatalf("message %d of %s came with another content", q.Seq, client)
			}
			seqs = append(seqs, q.Seq)
		}
		from = seqs[len(seqs)-1] + 1
	}
}

func rotten(t testing.TB, fs vfs.FS, log *bytes.Buffer) *Store {
	t.Helper()
	s, err := Open("data/store", Options{FS: fs, Logger: slog.New(slog.NewTextHandler(log, nil)), Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lacks checks that what is missing is one run around a message, and no longer than
// a block.
func lacks(t *testing.T, what string, seqs []uint64, messages int, around uint64, most int) {
	t.Helper()
	if !slices.IsSorted(seqs) {
		t.Fatalf("%s: out of order", what)
	}
	missing := messages - len(seqs)
	i, found := slices.BinarySearch(seqs, around)
	if found || missing < 1 || missing > most {
		t.Fatalf("%s: %d messages are missing, want the block of %d and nothing else", what, missing, around)
	}
	before, after := uint64(0), uint64(messages+1)
	if i > 0 {
		before = seqs[i-1]
	}
	if i < len(seqs) {
		after = seqs[i]
	}
	if int(after-before-1) != missing {
		t.Errorf("%s: %d are missing around %d, and %d elsewhere", what, after-before-1, around, missing-int(after-before-1))
	}
}

// A block that is found damaged when a queue is read takes its own messages with it,
// and nothing else: the rest is there at once, and after the next start too.
func TestABlockIsFoundDamagedWhileTheStoreRuns(t *testing.T) {
	for _, c := range []struct {
		name string
		seq  uint64
	}{{"in the middle", 500}, {"at the start", 60}, {"at the end", 1000}} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			queued(t, fs, "data/store", []string{"a", "b", "c"}, 1000, 10, 300)
			hit(t, fs, "data/store", "b", c.seq, 300)
			var log bytes.Buffer
			s := rotten(t, fs, &log)
			begin := time.Now()
			got := drained(t, s, "b")
			t.Logf("%d messages in %v", len(got), time.Since(begin))
			lacks(t, "at once", got, 1000, c.seq, 40)
			for _, client := range []string{"a", "c"} {
				if n := len(drained(t, s, client)); n < 1000-30 || c.name == "in the middle" && n < 1000 {
					t.Errorf("%d messages of %s", n, client)
				}
			}
			closeStore(t, s)
			s = rotten(t, fs, &log)
			recovered(t, s)
			lacks(t, "after the next start", drained(t, s, "b"), 1000, c.seq, 40)
			closeStore(t, s)
			t.Log("\n" + log.String())
		})
	}
}

// What clients acknowledge goes on being reclaimed on both sides of the damage, by a
// committer that has to look up chunks: it neither stops there nor deletes what it has
// not seen.
func TestTheCommitterGoesAroundDamage(t *testing.T) {
	fs := vfs.NewMem()
	queued(t, fs, "data/store", []string{"a"}, 3000, 10, 300)
	hit(t, fs, "data/store", "a", 1500, 300)
	var log bytes.Buffer
	s := rotten(t, fs, &log)
	recovered(t, s)
	var b []byte
	begin := time.Now()
	seqs := drained(t, s, "a")
	for i, seq := range seqs[:len(seqs)-5] {
		b = record.AppendSent(b[:0], "a", seq, 1, 300)
		s.Append(record.AppendAcked(b, "a", seq, 0), nil)
		if i%10 == 9 {
			settle(t, s)
		}
	}
	settle(t, s)
	t.Logf("%d of 3000 messages in %v", len(seqs), time.Since(begin))
	lacks(t, "at first", seqs, 3000, 1500, 40)
	if got := drained(t, s, "a"); !slices.Equal(got, seqs[len(seqs)-5:]) {
		t.Errorf("what is left is %v, want the last 5", got)
	}
	if n := strings.Count(log.String(), "level=WARN"); n > 3 {
		t.Errorf("%d warnings", n)
	}
	keys := 0
	if err := chunksIn(s.handles.db, sessionPrefix("a"), span{chunkFrom(nil, sessionPrefix("a"), 2000), behind(nil, sessionPrefix("a"))},
		func(chunk, func() ([]byte, error)) bool { keys++; return true }); err != nil || keys != 1 {
		t.Errorf("%d chunks are left, want 1; %v", keys, err)
	}
	closeStore(t, s)
	s = rotten(t, fs, &log)
	recovered(t, s)
	if got := drained(t, s, "a"); !slices.Equal(got, seqs[len(seqs)-5:]) {
		t.Errorf("after the next start %v is left, want the last 5", got)
	}
	s.Append(record.AppendSessionEnded(nil, "a"), nil)
	closeStore(t, s)
	t.Log("\n" + log.String())
}

// Where the counts of shared bodies were, or chunks that refer to them, the rest still
// belongs together: a body stays as long as somebody has it, and no longer.
func TestSharedBodiesAreCountedAnewWhenSomethingIsLost(t *testing.T) {
	for name, lost := range map[string][]byte{
		"the counts":  bodyKey(nil, keyCount, 1),
		"some chunks": chunkKey(nil, sessionPrefix("client-003"), chunk{last: 2, refers: true}),
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs)
			clients := make([]string, 9)
			all := &message.Message{Topic: "all", Payload: payloadOf("all", 1, 2000)}
			for i := range clients {
				clients[i] = fmt.Sprintf("client-%03d", i)
				own := &message.Message{Topic: "own", Payload: payloadOf(clients[i], 1, 5000)}
				s.Append(record.AppendSessionOpened(nil, clients[i], record.Opened{Expiry: 9}), nil)
				settle(t, s)
				s.Append(record.AppendQueued(nil, clients[i], record.Queued{Seq: 1, QoS: 1, Message: own}), own)
			}
			settle(t, s)
			for seq := uint64(1); seq <= 2; seq++ { // between the others and the counts
				own := &message.Message{Topic: "own", Payload: payloadOf("last", seq, 5000)}
				s.Append(record.AppendSessionOpened(nil, "last", record.Opened{Expiry: 9}), nil)
				s.Append(record.AppendQueued(nil, "last", record.Queued{Seq: seq, QoS: 1, Message: own}), own)
				settle(t, s)
			}
			s.Enter() // one frame, so that they share it
			for _, client := range clients {
				s.Append(record.AppendQueued(nil, client, record.Queued{Seq: 2, QoS: 1, Message: all}), all)
			}
			s.Leave()
			settle(t, s)
			if err := s.handles.db.Flush(); err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
			table := files(t, fs, ".sst")[0]
			at := blockWith(t, fs, table, lost)
			spoil(t, fs, table, func(b []byte) []byte { b[at] ^= 1; return b })
			put(t, fs, "data/store/"+damagedFile, "")
			var log bytes.Buffer
			s = rotten(t, fs, &log)
			recovered(t, s)
			ended := 0
			for i, client := range clients {
				seen := len(load1(t, s, client, 1, 1<<20))
				if seen == 2 {
					ended++
				}
				if name == "the counts" && seen != 2 {
					t.Errorf("%d messages of %s, after %d others have left", seen, client, i)
				}
				s.Append(record.AppendSessionEnded(nil, client), nil)
				settle(t, s)
			}
			if ended < 4 {
				t.Errorf("only %d clients had theirs", ended)
			}
			err := scan(s.handles.db, span{[]byte{keyBody}, []byte{keyBody + 1}}, func(key []byte, _ func() ([]byte, error)) (bool, error) {
				t.Errorf("body %x is left", key)
				return true, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
		})
	}
}

// blockWith is where the block of a table begins that has a key.
func blockWith(t *testing.T, fs vfs.FS, table string, key []byte) (at uint64) {
	t.Helper()
	f, err := fs.Open(table)
	if err != nil {
		t.Fatal(err)
	}
	file, err := sstable.NewSimpleReadable(f)
	if err != nil {
		t.Fatal(err)
	}
	o := new(pebble.Options)
	o.EnsureDefaults()
	r, err := sstable.NewReader(t.Context(), file, o.MakeReaderOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() // it was read
	index, err := indexOf(r, f)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = eachBlock(r, index, func(last []byte, h block.Handle) {
		if !found && bytes.Compare(key, last) <= 0 {
			at, found = h.Offset, true
		}
	})
	if err != nil || !found {
		t.Fatalf("the table does not have it: %v", err)
	}
	return at
}
