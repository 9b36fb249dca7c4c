package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

// several is a store whose content is in more than one log.
func several(t *testing.T) (fs *vfs.MemFS, logs []string) {
	t.Helper()
	fs = vfs.NewCrashableMem()
	s := open(t, fs)
	s.Append(record.AppendSessionOpened(nil, "c", record.Opened{Expiry: 9}), nil)
	for seq := uint64(1); len(logs) < 3; seq++ {
		m := &message.Message{Topic: "t", Payload: payloadOf("c", seq, 1<<20)}
		s.Append(record.AppendQueued(nil, "c", record.Queued{Seq: seq, QoS: 1, Message: m}), m)
		settle(t, s)
		logs = logsOf(t, fs, "data/store")
	}
	fs = fs.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	return fs, logsOf(t, fs, "data/store")
}

func logsOf(t *testing.T, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isLog(name) })
	slices.Sort(names)
	return names
}

// refused checks that a store cannot be opened, for what is said, and is not touched.
func refused(t *testing.T, fs *vfs.MemFS, dir, want string) {
	t.Helper()
	before := content(t, fs)
	s, err := Open(dir, Options{FS: fs, Reserve: 1})
	if err == nil {
		_ = s.Close()
		t.Fatalf("it was opened, want: %s", want)
	}
	if err.Error() != want {
		t.Errorf("err = %v\nwant  %s", err, want)
	}
	if content(t, fs) != before {
		t.Error("something was changed")
	}
}

// A copy that lacks any one of the logs is refused: what it held would be gone without
// a word.
func TestALogThatIsMissing(t *testing.T) {
	disk, logs := several(t)
	if len(logs) < 2 {
		t.Fatalf("the logs are %v", logs)
	}
	for _, log := range logs {
		fs := disk.CrashClone(vfs.CrashCloneCfg{})
		if err := fs.Remove("data/store/" + log); err != nil {
			t.Fatal(err)
		}
		refused(t, fs, "data/store", "the data directory data/store is only part of a copy: log file "+log+" is missing; nothing in it was changed")
	}
	fs := disk.CrashClone(vfs.CrashCloneCfg{})
	for _, log := range logs[1:] {
		if err := fs.Remove("data/store/" + log); err != nil {
			t.Fatal(err)
		}
	}
	what := "log file " + logs[1] + " is missing"
	if len(logs) > 2 {
		what = "log files " + strings.Join(logs[1:], ", ") + " are missing"
	}
	refused(t, fs, "data/store", "the data directory data/store is only part of a copy: "+what+"; nothing in it was changed")
	s := open(t, disk)
	if n := recovered(t, s); n != 1 {
		t.Errorf("%d sessions in the whole one", n)
	}
	closeStore(t, s)
}

// The list of logs is as much a part of a copy as they are.
func TestTheListOfLogs(t *testing.T) {
	disk, _ := several(t)
	fs := disk.CrashClone(vfs.CrashCloneCfg{})
	if err := fs.Remove("data/store/" + logsFile); err != nil {
		t.Fatal(err)
	}
	refused(t, fs, "data/store", "the data directory data/store is only part of a copy: its file fantail.logs is missing; nothing in it was changed")
	fs = disk.CrashClone(vfs.CrashCloneCfg{})
	put(t, fs, "data/store/"+logsFile, strings.TrimSuffix(get(t, fs, "data/store/"+logsFile), "end\n"))
	refused(t, fs, "data/store", "the data directory data/store is only part of a copy: its file fantail.logs, which names its logs, is cut short; nothing in it was changed")
}

// It names what is there and nothing else, whatever has been opened, flushed, removed
// and used again.
func TestTheListOfLogsIsUpToDate(t *testing.T) {
	fs := vfs.NewMem()
	same := func(when, dir string) {
		t.Helper()
		want := strings.Join(append(logsOf(t, fs, dir), logsEnd), "\n") + "\n"
		if got := get(t, fs, dir+"/"+logsFile); got != want {
			t.Errorf("%s it says\n%s want\n%s", when, got, want)
		}
	}
	payload := make([]byte, 1<<20)
	seq := uint64(0)
	for range 2 {
		s := open(t, fs)
		if seq == 0 {
			s.Append(record.AppendSessionOpened(nil, "c", record.Opened{Expiry: 9}), nil)
		}
		for range 50 {
			seq++
			m := &message.Message{Topic: "t", Payload: payload}
			s.Append(record.AppendQueued(nil, "c", record.Queued{Seq: seq, QoS: 1, Message: m}), m)
			settle(t, s)
		}
		if err := s.handles.db.Flush(); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s) // files are removed in the background until then
		same("after a run", "data/store")
	}
	s := open(t, fs)
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	same("a copy of it", "copy")
	if err := fs.Remove("copy/" + logsOf(t, fs, "copy")[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("copy", Options{FS: fs}); err == nil {
		t.Error("a copy without its log was opened")
	}
}

// While a store is opened what its log held may be in tables, and the log be gone,
// before there is a new one.
func TestAStoreWithoutALog(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	m := &message.Message{Topic: "kept", Payload: []byte("in a table")}
	s.Append(record.AppendRetained(nil, record.Retained{Message: m}), nil)
	settle(t, s)
	if err := s.handles.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for _, log := range logsOf(t, fs, "data/store") {
		if err := fs.Remove("data/store/" + log); err != nil {
			t.Fatal(err)
		}
	}
	put(t, fs, "data/store/fantail.logs", "end\n")
	want := newState()
	want.Retained[m.Topic] = record.Retained{Message: m}
	s = open(t, fs)
	sameState(t, "without a log", want, s)
	closeStore(t, s)
}
