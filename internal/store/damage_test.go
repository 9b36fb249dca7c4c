package store

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

const damagedSessions = 200

func put(t testing.TB, fs vfs.FS, name, text string) {
	t.Helper()
	if err := fs.MkdirAll(fs.PathDir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// content is all files of a file system that is not large.
func content(t *testing.T, fs *vfs.MemFS) string {
	t.Helper()
	return strings.ReplaceAll(fs.String(), "LOCK", "")
}

func TestFoldersThatCannotBeUsed(t *testing.T) {
	made := func(t *testing.T) *vfs.MemFS {
		fs := vfs.NewMem()
		s := open(t, fs)
		s.Append(record.AppendSessionOpened(nil, "c", record.Opened{}), nil)
		settle(t, s)
		closeStore(t, s)
		return fs
	}
	without := func(t *testing.T, prefix string) vfs.FS {
		fs := made(t)
		names, err := fs.List("data/store")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				if err := fs.Remove("data/store/" + name); err != nil {
					t.Fatal(err)
				}
			}
		}
		return fs
	}
	cases := map[string]struct {
		fs  func(t *testing.T) vfs.FS
		err string
	}{
		"of another program": {func(t *testing.T) vfs.FS {
			fs := vfs.NewMem()
			put(t, fs, "data/store/mosquitto.db", "x")
			return fs
		}, "the data directory data/store is not Fantail's, or only part of a copy: it holds mosquitto.db and no fantail.format; nothing in it was changed"},
		"of a newer version": {func(t *testing.T) vfs.FS {
			fs := made(t)
			put(t, fs, "data/store/fantail.format", "fantail store 5\n")
			return fs
		}, "the data directory data/store: it was written by a newer Fantail, in format 5; this one knows formats up to 4; nothing in it was changed"},
		"of an older version": {func(t *testing.T) vfs.FS {
			fs := made(t)
			put(t, fs, "data/store/fantail.format", "fantail store 1\n")
			return fs
		}, "it was written before the first release, in format 1, which nothing reads any more; nothing in it was changed"},
		"of no version": {func(t *testing.T) vfs.FS {
			fs := made(t)
			put(t, fs, "data/store/fantail.format", "")
			return fs
		}, `the data directory data/store: its file fantail.format does not say "fantail store 4"; nothing in it was changed`},
		"without its marker": {
			func(t *testing.T) vfs.FS { return without(t, "marker.manifest") },
			"the data directory data/store is only part of a copy: its file marker.manifest is missing; nothing in it was changed",
		},
		"without its format":   {func(t *testing.T) vfs.FS { return without(t, "fantail.format") }, "and no fantail.format; nothing in it was changed"},
		"without its manifest": {func(t *testing.T) vfs.FS { return without(t, "MANIFEST") }, "is only part of a copy: its file MANIFEST-"},
		"with a file that nobody may read": {func(t *testing.T) vfs.FS {
			return errorfs.Wrap(made(t), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpOpen && strings.Contains(op.Path, "MANIFEST") {
					return fmt.Errorf("open %s: %w", op.Path, syscall.EACCES)
				}
				return nil
			}))
		}, "cannot be read: open data/store/MANIFEST-"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			fs := c.fs(t)
			mem, ok := fs.(*vfs.MemFS)
			before := ""
			if ok {
				before = content(t, mem)
			}
			s, err := Open("data/store", Options{FS: fs})
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("err = %v\nwant %s", err, c.err)
			}
			if ok && content(t, mem) != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, content(t, mem))
			}
		})
	}
}

func TestAFolderWhoseMakingWasCutShortIsMadeAnew(t *testing.T) {
	fs := vfs.NewMem()
	put(t, fs, "data/store/fantail.format", "fantail store 4 being made\n")
	put(t, fs, "data/store/MANIFEST-000001", "")
	s := open(t, fs)
	sameState(t, "new", newState(), s)
	closeStore(t, s)
}

func TestOnlyOneOpensAFolder(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if _, err := Open("data/store", Options{FS: fs}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("err = %v", err)
	}
	closeStore(t, s)
}

// fill writes sessions with messages, and what they should be.
func fill(t *testing.T, fs vfs.FS, flush bool) *record.State {
	t.Helper()
	s := open(t, fs)
	want := newState()
	var f record.Frame
	m := &message.Message{Topic: "all", Payload: bytes.Repeat([]byte("shared "), 30)}
	for i := range damagedSessions {
		client := fmt.Sprintf("client-%03d", i)
		own := &message.Message{Topic: "own", Payload: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 500))}
		for _, st := range []step{
			{record.AppendSessionOpened(nil, client, record.Opened{Expiry: 9}), nil},
			{record.AppendQueued(nil, client, record.Queued{Seq: 1, QoS: 1, Message: own}), own},
			{record.AppendQueued(nil, client, record.Queued{Seq: 2, QoS: 1, Message: m}), m},
		} {
			s.Append(st.records, st.body)
			f.Append(st.records, st.body)
		}
		if i%20 == 0 {
			settle(t, s)
		}
	}
	settle(t, s)
	apply(t, want, &f)
	if flush {
		if err := s.handles.db.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.handles.db.Compact(t.Context(), []byte{0}, []byte{255}, false); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	return want
}

// files are the names of the largest files of a kind, in the order of their size.
func files(t *testing.T, fs vfs.FS, suffix string) []string {
	t.Helper()
	names, err := fs.List("data/store")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatal("no files")
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, suffix) })
	for i := range names {
		names[i] = "data/store/" + names[i]
	}
	slices.SortFunc(names, func(a, b string) int { return len(get(t, fs, b)) - len(get(t, fs, a)) })
	if len(names) == 0 {
		t.Fatalf("no file %s", suffix)
	}
	return names
}

func spoil(t *testing.T, fs *vfs.MemFS, name string, change func(b []byte) []byte) {
	t.Helper()
	put(t, fs, name, string(change([]byte(get(t, fs, name)))))
}

// What a damaged file held is lost, and reported; everything else is there.
func TestDamage(t *testing.T) {
	flip := func(b []byte) []byte {
		for i := range 20 {
			b[len(b)/2+i] ^= 0xFF
		}
		return b
	}
	cases := map[string]struct {
		flush  bool
		suffix string
		change func(b []byte) []byte
		least  int // of the sessions stay
	}{
		"a block of a table":         {true, ".sst", flip, damagedSessions / 2},
		"a table that ends early":    {true, ".sst", func(b []byte) []byte { return b[:len(b)/2] }, 0},
		"a table of zeros":           {true, ".sst", func(b []byte) []byte { return make([]byte, len(b)) }, 0},
		"the middle of the log":      {false, ".log", flip, damagedSessions / 4},
		"a log that ends in a frame": {false, ".log", func(b []byte) []byte { return b[:len(b)*2/3] }, damagedSessions / 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			want := fill(t, fs, c.flush)
			spoil(t, fs, files(t, fs, c.suffix)[0], c.change)
			before := get(t, fs, files(t, fs, c.suffix)[0])
			var log bytes.Buffer
			s, err := Open("data/store", Options{FS: fs, Logger: slog.New(slog.NewTextHandler(&log, nil)), Reserve: 1})
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			if err := s.Recover(func(record.Setting) error { return nil }, func(*record.Recovered) error { found++; return nil }, func(record.Retained) error { return nil }); err != nil {
				t.Fatal(err)
			}
			settle(t, s)
			if found < c.least || found == damagedSessions && c.suffix == ".log" {
				t.Errorf("%d sessions, want at least %d", found, c.least)
			}
			// Messages may have been lost where no session was.
			if s.Figures().Quarantined == 0 {
				if err := s.handles.read(func(db *pebble.DB) error { return s.snapshot(db, newState()) }); err != nil {
					t.Logf("met when it was read: %v", err)
					closeStore(t, s)
					s, err = Open("data/store", Options{FS: fs, Logger: slog.New(slog.NewTextHandler(&log, nil)), Reserve: 1})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			subset(t, want, got)
			t.Logf("%d of %d sessions; %+v", len(got.Sessions), damagedSessions, s.Figures().Quarantined)
			if log.Len() == 0 {
				t.Error("nothing was reported")
			}
			if s.Figures().Quarantined > 0 {
				names, err := fs.List("data/quarantine/store-1")
				if err != nil {
					t.Fatal(err)
				}
				same := slices.ContainsFunc(names, func(name string) bool {
					return strings.HasSuffix(name, c.suffix) && get(t, fs, "data/quarantine/store-1/"+name) == before
				})
				if !same {
					t.Error("the damaged file is not in the quarantine as it was")
				}
			}
			// It goes on.
			s.Append(record.AppendSessionOpened(nil, "new", record.Opened{}), nil)
			settle(t, s)
			closeStore(t, s)
			s = open(t, fs)
			again, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			if len(again.Sessions) != len(got.Sessions)+1 {
				t.Errorf("%d sessions when it is opened again, want %d", len(again.Sessions), len(got.Sessions)+1)
			}
			closeStore(t, s)
		})
	}
}

// subset checks that all that is there is as it was.
func subset(t *testing.T, want, got *record.State) {
	t.Helper()
	for client, session := range got.Sessions {
		whole := want.Sessions[client]
		if whole == nil {
			t.Fatalf("session %q was never there", client)
		}
		for _, it := range session.Queue {
			i := slices.IndexFunc(whole.Queue, func(w *record.Item) bool { return w.Seq == it.Seq })
			if i < 0 || !bytes.Equal(whole.Queue[i].Message.Payload, it.Message.Payload) {
				t.Fatalf("message %d of %q was never there", it.Seq, client)
			}
		}
	}
}

func TestCheckpointIsAStore(t *testing.T) {
	fs := vfs.NewMem()
	want := fill(t, fs, true)
	s := open(t, fs)
	if err := s.Recover(func(record.Setting) error { return nil }, func(*record.Recovered) error { return nil }, func(record.Retained) error { return nil }); err != nil {
		t.Fatal(err)
	}
	b := record.AppendAcked(nil, "client-007", 1, want.Sessions["client-007"].Queue[0].Message.Size())
	s.Append(b, nil) // not committed when the copy is asked for
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	s.Append(record.AppendSessionEnded(nil, "client-008"), nil)
	closeStore(t, s)
	if err := want.Apply(b); err != nil {
		t.Fatal(err)
	}
	copied, err := Open("copy", Options{FS: fs, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, "the copy", want, copied)
	closeStore(t, copied)
	s = open(t, fs)
	if err := s.Checkpoint("copy"); err == nil {
		t.Error("a copy was made in the place of another")
	}
	closeStore(t, s)
}

func TestFigures(t *testing.T) {
	fs := vfs.NewMem()
	fill(t, fs, false)
	s := open(t, fs)
	if err := s.Recover(func(record.Setting) error { return nil }, func(*record.Recovered) error { return nil }, func(record.Retained) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s.Append(record.AppendSessionEnded(nil, "client-001"), nil)
	settle(t, s)
	f := s.Figures()
	if f.Backlogs != damagedSessions-1 || f.Frames != 1 || f.Records != 1 || f.SyncMax <= 0 || f.Disk <= 0 || f.Failing != nil || f.Quarantined != 0 {
		t.Errorf("%+v", f)
	}
	closeStore(t, s)
}
