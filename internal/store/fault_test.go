package store

import (
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

// ailing is a disk on which some writes fail.
type ailing struct {
	left   atomic.Int64 // writes until the next failure; below 0: none fails
	length atomic.Int64 // how many fail then
	failed atomic.Int64
}

func (a *ailing) String() string { return "ailing" }

func (a *ailing) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || strings.HasSuffix(op.Path, "LOCK") {
		return nil
	}
	if a.left.Load() < 0 || a.left.Add(-1) >= 0 {
		return nil
	}
	if a.length.Add(-1) >= 0 {
		a.left.Store(0)
		a.failed.Add(1)
		return syscall.EIO
	}
	a.left.Store(-1)
	return nil
}

// fail lets writes fail: length of them, after so many.
func (a *ailing) fail(after, length int) {
	a.length.Store(int64(length))
	a.left.Store(int64(after))
}

// Whatever write fails, for however long: nothing is called safe that is not,
// and when the disk takes writes again everything is committed.
func TestWriteErrors(t *testing.T) {
	var failed, outages int64
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		disk := &ailing{}
		disk.left.Store(-1)
		fs := errorfs.Wrap(mem, disk)
		s := open(t, fs)
		h := newHistory()
		want := newState()
		var f record.Frame
		for range rapid.IntRange(1, 20).Draw(t, "frames") {
			if rapid.IntRange(0, 2).Draw(t, "outage") == 0 {
				disk.fail(rapid.IntRange(0, 30).Draw(t, "after"), rapid.SampledFrom([]int{1, 2, 5}).Draw(t, "length"))
				outages++
			}
			s.Enter()
			for range rapid.IntRange(1, 12).Draw(t, "steps") {
				for _, st := range h.steps(t) {
					s.Append(st.records, st.body)
					f.Append(st.records, st.body)
				}
			}
			s.Leave()
			settle(t, s)
			apply(t, want, &f)
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			case 0:
				_ = s.handles.read(func(db *pebble.DB) error { return db.Flush() })
			case 1:
				// What was called safe is there after a power cut.
				cut := open(t, mem.CrashClone(vfs.CrashCloneCfg{}))
				sameState(t, "after a power cut", want, cut)
				closeStore(t, cut)
			}
		}
		disk.fail(-1, 0)
		sameState(t, "while it is open", want, s)
		loadsAgree(t, want, s)
		failed += disk.failed.Load()
		if s.t.faults > 0 {
			t.Fatalf("%d records did not fit", s.t.faults)
		}
		_ = s.Close()
		s = open(t, mem)
		sameState(t, "opened again", want, s)
		closeStore(t, s)
	})
	t.Logf("%d outages, %d writes failed", outages, failed)
}

func TestAFullDiskWaitsForSpace(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	s, err := Open("data/store", Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Append(record.AppendSessionOpened(nil, "c", record.Opened{}), nil)
	settle(t, s)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 15 << 20, TotalBytes: 1 << 31})
	safe := make(chan error, 1)
	s.Append(record.AppendSubscribed(nil, "c", record.Subscription{Filter: "e"}), nil)
	settle(t, s)             // there is a reserve
	for s.Failing() == nil { // the committer looks at the disk soon
		s.nudge()
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	for s.Failing() != nil { // nobody brings a frame: it looks again by itself
		runtime.Gosched()
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 3 << 20, TotalBytes: 1 << 31})
	s.Append(record.AppendSubscribed(nil, "c", record.Subscription{Filter: "f"}), nil)
	if s.After(func(err error) { safe <- err }) {
		t.Fatal("safe without space")
	}
	for s.Failing() == nil {
		s.nudge()
	}
	if got, want := s.Failing().Error(), "the disk is full: 3 MiB are free, 4 MiB are needed"; got != want {
		t.Errorf("failing: %s, want %s", got, want)
	}
	if f := s.Figures(); f.Failing == nil || f.Since.IsZero() || f.Failures != 2 {
		t.Errorf("figures: %+v", f)
	}
	select {
	case err := <-safe:
		t.Fatalf("safe without space: %v", err)
	default:
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	if err := <-safe; err != nil {
		t.Fatal(err)
	}
	for s.Failing() != nil {
		runtime.Gosched()
	}
	closeStore(t, s)
}

// A store that cannot write says so when it is closed.
func TestCloseWithoutADisk(t *testing.T) {
	disk := &ailing{}
	disk.left.Store(-1)
	s := open(t, errorfs.Wrap(vfs.NewMem(), disk))
	s.Append(record.AppendSessionOpened(nil, "c", record.Opened{}), nil)
	settle(t, s)
	disk.fail(0, 1<<40)
	safe := make(chan error, 1)
	s.Append(record.AppendSubscribed(nil, "c", record.Subscription{Filter: "f"}), nil)
	if s.After(func(err error) { safe <- err }) {
		t.Fatal("safe on a broken disk")
	}
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
	if err := <-safe; !errors.Is(err, ErrClosed) {
		t.Errorf("after: %v", err)
	}
	s.Load("c", 0, 1, func(_ []record.Queued, err error) { safe <- err })
	if err := <-safe; !errors.Is(err, ErrClosed) {
		t.Errorf("load: %v", err)
	}
}

// Too much that waits for the disk leaves no room.
func TestRoom(t *testing.T) {
	s, err := Open("data/store", Options{FS: vfs.NewMem(), Open: 1000})
	if err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Topic: "t", Payload: make([]byte, 2000)}
	s.Enter() // so that nothing is committed
	s.Append(record.AppendRetained(nil, record.Retained{Message: m}), nil)
	again := make(chan struct{}, 1)
	if s.Room(func() { again <- struct{}{} }) {
		t.Error("there is room")
	}
	s.Leave()
	<-again
	if !s.Room(nil) {
		t.Error("there is no room")
	}
	closeStore(t, s)
}
