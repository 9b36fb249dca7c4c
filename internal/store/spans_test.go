package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// layered is a database of several levels, whose keys were set, deleted one by one and
// in ranges, and set again, and what they are.
func layered(t *testing.T, rng *rand.Rand, fs vfs.FS) map[string]string {
	t.Helper()
	db, err := pebble.Open("db", &pebble.Options{
		FS: fs, Logger: quiet{slog.New(slog.DiscardHandler)}, FormatMajorVersion: pebble.FormatNewest,
		DisableAutomaticCompactions: true, Levels: [7]pebble.LevelOptions{{BlockSize: 200, IndexBlockSize: 150}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	key := func() string { return fmt.Sprintf("k%03d", rng.IntN(400)) }
	for round := range 6 {
		for range 150 {
			k := key()
			var err error
			switch rng.IntN(12) {
			case 0:
				err = db.Delete([]byte(k), pebble.NoSync)
				delete(want, k)
			case 1:
				end := k + "5"
				err = db.DeleteRange([]byte(k), []byte(end), pebble.NoSync)
				for x := range want {
					if k <= x && x < end {
						delete(want, x)
					}
				}
			default:
				v := fmt.Sprintf("%d %s %d", round, k, rng.Uint64())
				err = db.Set([]byte(k), []byte(v), pebble.NoSync)
				want[k] = v
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
		if round == 1 || round == 3 {
			if err := db.Compact(t.Context(), []byte("k"), []byte("l"), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// Wherever tables are damaged: what is read around the lost spans is what was there,
// whole, and no older version of anything; and the spans are not all there is.
func TestReadingAroundDamage(t *testing.T) {
	lostKeysOf, spared := 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewMem()
		want := layered(t, rng, fs)
		names, err := fs.List("db")
		if err != nil {
			t.Fatal(err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".sst") })
		slices.Sort(names)
		for range 1 + rng.IntN(3) {
			name := "db/" + names[rng.IntN(len(names))]
			spoil(t, fs, name, func(b []byte) []byte {
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
				return b
			})
		}
		got, lost := readAround(t, fs)
		for k, v := range got {
			if want[k] != v {
				t.Fatalf("seed %d: %s is %q, want %q", seed, k, v, want[k])
			}
		}
		for k := range want {
			if _, ok := got[k]; ok {
				continue
			}
			in := slices.ContainsFunc(lost, func(s span) bool {
				return bytes.Compare(s.from, []byte(k)) <= 0 && bytes.Compare([]byte(k), s.to) < 0
			})
			if !in {
				t.Fatalf("seed %d: %s is missing, and in no lost span of %q", seed, k, lost)
			}
			lostKeysOf++
		}
		spared += len(got)
	}
	if lostKeysOf == 0 || lostKeysOf > spared/2 {
		t.Errorf("%d keys lost, %d spared", lostKeysOf, spared)
	}
	t.Logf("%d keys lost, %d spared", lostKeysOf, spared)
}

func readAround(t *testing.T, fs vfs.FS) (map[string]string, []span) {
	t.Helper()
	db, err := pebble.Open("db", &pebble.Options{
		FS: fs, Logger: quiet{slog.New(slog.DiscardHandler)}, DisableConsistencyCheck: true, DisableAutomaticCompactions: true,
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // it was read
	lost, err := lostKeys(db, fs, "db", everything(), map[uint64][]span{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, part := range readable(everything(), lost) {
		err := scan(db, part, func(key []byte, value func() ([]byte, error)) (bool, error) {
			v, err := value()
			got[string(key)] = string(v)
			return true, err
		})
		if err != nil {
			t.Fatalf("%q, lost %q: %v", part, lost, err)
		}
	}
	return got, lost
}
