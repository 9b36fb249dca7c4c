package store

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// A manifest that is damaged before its end is not taken for one that the power
// cut short: what it names behind the damage would be removed.
func TestADamagedManifestIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	for range 3 { // each opening adds to the manifest
		s, err := Open("data/store", Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s.Append(record.AppendSessionOpened(nil, "c", record.Opened{}), nil)
		settle(t, s)
		closeStore(t, s)
	}
	names, err := fs.List("data/store")
	if err != nil {
		t.Fatal(err)
	}
	name := fs.PathJoin("data/store", current(names))
	whole, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	if damagedInside(fs, name) {
		t.Fatal("it is said to be damaged, and is not")
	}
	write := func(text string) {
		t.Helper()
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
	for end := range len(whole) {
		write(whole[:end])
		if damagedInside(fs, name) {
			t.Fatalf("cut short at %d of %d it is said to be damaged inside", end, len(whole))
		}
	}
	damaged := []byte(whole)
	damaged[10] ^= 1
	write(string(damaged))
	_, err = Open("data/store", Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "cannot be read to its end; nothing in it was changed") {
		t.Errorf("err = %v", err)
	}
	write(whole)
	s, err := Open("data/store", Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}
