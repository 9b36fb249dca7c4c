package store

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// cutter is a disk that may lose its power after any write. A cut is a copy of
// what would be left, with how much of the history had been promised by then;
// the test goes on and looks at the copies later.
type cutter struct {
	vfs.FS
	disk     *vfs.MemFS
	promised *atomic.Int64

	mu   sync.Mutex // guards the rest
	rng  *rand.Rand
	odds int // one cut in so many writes
	cuts []cut
}

type cut struct {
	disk     *vfs.MemFS
	promised int64
}

func newCutter(disk *vfs.MemFS, seed int64, odds int) *cutter {
	return &cutter{FS: disk, disk: disk, promised: new(atomic.Int64), rng: rand.New(rand.NewPCG(uint64(seed), 0)), odds: odds}
}

func (c *cutter) wrote() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rng.IntN(c.odds) > 0 || len(c.cuts) >= 25 {
		return
	}
	promised := c.promised.Load()
	percent := []int{0, 0, 50, 90}[c.rng.IntN(4)]
	c.cuts = append(c.cuts, cut{c.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng}), promised})
}

func (c *cutter) file(f vfs.File, err error) (vfs.File, error) {
	c.wrote()
	if err != nil {
		return nil, err
	}
	return &cutFile{f, c}, nil
}

func (c *cutter) Create(name string, k vfs.DiskWriteCategory) (vfs.File, error) {
	return c.file(c.FS.Create(name, k))
}

func (c *cutter) OpenReadWrite(name string, k vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return c.file(c.FS.OpenReadWrite(name, k, o...))
}

func (c *cutter) ReuseForWrite(from, to string, k vfs.DiskWriteCategory) (vfs.File, error) {
	return c.file(c.FS.ReuseForWrite(from, to, k))
}

func (c *cutter) OpenDir(name string) (vfs.File, error) { return c.file(c.FS.OpenDir(name)) }

func (c *cutter) Link(from, to string) error {
	defer c.wrote()
	return c.FS.Link(from, to)
}

func (c *cutter) Remove(name string) error {
	defer c.wrote()
	return c.FS.Remove(name)
}

func (c *cutter) Rename(from, to string) error {
	defer c.wrote()
	return c.FS.Rename(from, to)
}

func (c *cutter) MkdirAll(name string, perm os.FileMode) error {
	defer c.wrote()
	return c.FS.MkdirAll(name, perm)
}

type cutFile struct {
	vfs.File
	c *cutter
}

func (f *cutFile) Write(p []byte) (int, error) {
	defer f.c.wrote()
	return f.File.Write(p)
}

func (f *cutFile) WriteAt(p []byte, at int64) (int, error) {
	defer f.c.wrote()
	return f.File.WriteAt(p, at)
}

func (f *cutFile) Sync() error {
	defer f.c.wrote()
	return f.File.Sync()
}

func (f *cutFile) SyncData() error {
	defer f.c.wrote()
	return f.File.SyncData()
}

func (f *cutFile) SyncTo(n int64) (bool, error) {
	defer f.c.wrote()
	return f.File.SyncTo(n)
}

// Whatever write the power fails after: what is there when the store is opened
// again is the state at the end of some frame, and no frame that was called
// safe is behind it.
func TestPowerCuts(t *testing.T) {
	var tried, again, frames int
	rapid.Check(t, func(t *rapid.T) {
		disk := newCutter(vfs.NewCrashableMem(), rapid.Int64().Draw(t, "seed"), rapid.IntRange(3, 40).Draw(t, "odds"))
		history := run(t, disk)
		frames += len(history)
		for _, c := range disk.cuts {
			tried++
			// The power may fail while the store is being opened again, too.
			second := newCutter(c.disk, int64(tried), 10)
			second.promised.Store(c.promised)
			afterCut(t, history, second, c.promised)
			for _, c := range second.cuts[:min(len(second.cuts), 1)] {
				again++
				afterCut(t, history, c.disk, c.promised)
			}
		}
	})
	t.Logf("%d cut points, and %d while it was opened after one; %d frames", tried, again, frames)
}

// run writes a history, and returns it frame by frame.
func run(t *rapid.T, disk *cutter) (history [][]byte) {
	s := open(t, disk)
	h := newHistory()
	var f record.Frame
	for range rapid.IntRange(1, 25).Draw(t, "frames") {
		s.Enter()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			for _, st := range h.steps(t) {
				s.Append(st.records, st.body)
				f.Append(st.records, st.body)
			}
		}
		s.Leave()
		history = append(history, append([]byte(nil), f.Bytes()...))
		f.Reset()
		n := int64(len(history))
		promise := func(err error) {
			if err == nil {
				disk.promised.Store(n) // they come in order
			}
		}
		switch rapid.IntRange(0, 9).Draw(t, "then") {
		case 0:
			settle(t, s)
			if err := s.handles.db.Flush(); err != nil {
				t.Fatal(err)
			}
		case 1:
			settle(t, s)
			if err := s.handles.db.Compact(t.Context(), []byte{0}, []byte{255}, true); err != nil {
				t.Fatal(err)
			}
		case 2, 3, 4, 5:
			settle(t, s)
			promise(nil)
		case 6:
			closeStore(t, s)
			promise(nil)
			s = open(t, disk)
			if err := s.Recover(func(record.Setting) error { return nil }, func(*record.Recovered) error { return nil }, func(record.Retained) error { return nil }); err != nil {
				t.Fatal(err)
			}
		default:
			s.After(promise)
		}
	}
	closeStore(t, s)
	return history
}

func afterCut(t *rapid.T, history [][]byte, disk vfs.FS, promised int64) {
	s := open(t, disk)
	defer closeStore(t, s)
	if err := s.Recover(func(record.Setting) error { return nil }, func(*record.Recovered) error { return nil }, func(record.Retained) error { return nil }); err != nil {
		t.Fatal(err)
	}
	got, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Figures(); n.Discarded > 0 || n.Corruptions > 0 {
		t.Fatalf("after a cut something is lost: %+v", n)
	}
	state := newState()
	for i := 0; ; i++ {
		if int64(i) >= promised && equal(state, got) {
			return
		}
		if i == len(history) {
			break
		}
		if err := state.Apply(history[i]); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("after a cut the state is none of those after frame %d of %d:\n%s", promised, len(history), cmp.Diff(state, got, cmpopts.EquateEmpty()))
}
