package store

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// apart writes clients whose keys are in tables of their own, and names the table of
// the one in the middle.
func apart(t *testing.T, fs vfs.FS) (table string) {
	t.Helper()
	queued(t, fs, "data/store", []string{"a"}, 50, 10, 300)
	before := files(t, fs, ".sst")
	queued(t, fs, "data/store", []string{"m"}, 50, 10, 300)
	now := files(t, fs, ".sst")
	queued(t, fs, "data/store", []string{"z"}, 50, 10, 300)
	i := slices.IndexFunc(now, func(name string) bool { return !slices.Contains(before, name) })
	if len(files(t, fs, ".sst")) < 3 || i < 0 {
		t.Fatalf("the tables are %v", files(t, fs, ".sst"))
	}
	return now[i]
}

// Whatever is wrong with a table, the start goes on with the others, and the damaged
// directory is in the quarantine as it was.
func TestATableThatCannotBeUsed(t *testing.T) {
	change := func(change func(b []byte) []byte) func(t *testing.T, fs *vfs.MemFS, name string) {
		return func(t *testing.T, fs *vfs.MemFS, name string) { t.Helper(); spoil(t, fs, name, change) }
	}
	garble := func(b []byte) []byte {
		for i := range b {
			b[i] ^= 0x5a
		}
		return b
	}
	part := func(from, to int) func(b []byte) []byte { // counted from the end
		return func(b []byte) []byte { garble(b[len(b)-from : len(b)-to]); return b }
	}
	for name, c := range map[string]struct {
		do     func(t *testing.T, fs *vfs.MemFS, name string)
		spared bool // m may have kept some
		all    bool // a and z have lost theirs, too
	}{
		"the last bytes":          {do: change(part(60, 0))},
		"the footer":              {do: change(part(61, 50))},
		"all behind the blocks":   {do: change(part(700, 0))},
		"the index and around it": {do: change(part(700, 62)), spared: true},
		"the first block":         {do: change(func(b []byte) []byte { garble(b[10:60]); return b }), spared: true},
		"it is noise":             {do: change(garble)},
		"it is cut short":         {do: change(func(b []byte) []byte { return b[:len(b)-100] })},
		"it is cut by a byte":     {do: change(func(b []byte) []byte { return b[:len(b)-1] })},
		"it is too long":          {do: change(func(b []byte) []byte { return append(b, 1, 2, 3) }), spared: true},
		"it is of 10 bytes":       {do: change(func(b []byte) []byte { return b[:10] })},
		"it is empty":             {do: change(func([]byte) []byte { return nil })},
		"it is missing": {do: func(t *testing.T, fs *vfs.MemFS, name string) {
			if err := fs.Remove(name); err != nil {
				t.Fatal(err)
			}
		}},
		"all are missing": {do: func(t *testing.T, fs *vfs.MemFS, _ string) {
			for _, other := range files(t, fs, ".sst") {
				if err := fs.Remove(other); err != nil {
					t.Fatal(err)
				}
			}
		}, all: true},
		"it is a folder": {do: func(t *testing.T, fs *vfs.MemFS, name string) {
			if err := errors.Join(fs.Remove(name), fs.MkdirAll(name, 0o700)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			table := apart(t, fs)
			c.do(t, fs, table)
			var log bytes.Buffer
			s := rotten(t, fs, &log)
			recovered(t, s)
			for _, client := range []string{"a", "z"} {
				if n := len(drained(t, s, client)); n != 50 && !c.all {
					t.Errorf("%d messages of %s", n, client)
				}
			}
			if n := len(drained(t, s, "m")); n > 0 && !c.spared {
				t.Errorf("%d messages of m", n)
			}
			closeStore(t, s)
			s = rotten(t, fs, &log) // it may have been met only when it was read
			recovered(t, s)
			if s.Append(record.AppendSessionOpened(nil, "new", record.Opened{}), nil); true {
				settle(t, s)
			}
			closeStore(t, s)
			reported(t, log.String(), fs.PathBase(table))
			if _, err := fs.List("data/quarantine/store-1"); err != nil {
				t.Errorf("nothing is in the quarantine: %v", err)
			}
			if _, err := fs.List("data/quarantine/store-2"); err == nil {
				t.Error("a second store is in the quarantine")
			}
		})
	}
}

// reported checks that a log says what is damaged and where it is now, in sentences.
func reported(t *testing.T, log, file string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if len(line) > 700 || strings.Contains(line, "carrier") || strings.Contains(line, "stack trace") || strings.Contains(line, `\n`) {
			t.Errorf("not a sentence: %.900s", line)
		}
	}
	n := 0
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=ERROR") && strings.Contains(line, file) && strings.Contains(line, "quarantine=data/quarantine/store-1") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d reports, want 1:\n%s", n, log)
	}
}
