package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is taken stays below the store's folder, is no larger than what was
// read, and is a backup again when it is written.
func FuzzRead(f *testing.F) {
	whole := written(f, sample())
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(written(f, contents{"a": "1"}))
	f.Add(archive(f, listed(`{"name":"store/../a","size":1}`), file("../a", "x")))
	f.Fuzz(takes)
}

// The same with an archive that is one, whose entries say what they like.
func FuzzEntry(f *testing.F) {
	f.Add("store/a", "store/a", "x", byte(tar.TypeReg))
	f.Add("store/../../a", "/etc/passwd", "x", byte(tar.TypeSymlink))
	f.Fuzz(func(t *testing.T, name, header, body string, kind byte) {
		quoted := func(text string) string {
			b, _ := json.Marshal(text) // a string can always be
			return string(b)
		}
		list := listed(`{"name":` + quoted(name) + `,"size":` + strconv.Itoa(len(body)) + `}`)
		e := file(header, body)
		e.Typeflag = kind
		if kind != tar.TypeReg {
			e.Size, e.body, e.Linkname = 0, "", body
		}
		text := archive(t, list, e)
		// With the right sums behind it, so that they are not what refuses it.
		var sums bytes.Buffer
		for _, e := range []entry{list, e} {
			sum := sha256.Sum256([]byte(e.body))
			appendSum(&sums, sum[:], e.Name)
		}
		takes(t, archive(t, list, e, file(sumsName, sums.String())))
		takes(t, text)
	})
}

func takes(t *testing.T, text []byte) {
	r, err := Open(bytes.NewReader(text))
	if err == nil {
		err = r.Verify()
	}
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), "or newer") {
			t.Fatalf("err = %v, want ErrDamaged", err)
		}
		return
	}
	if n := r.Info().Bytes(); n > int64(len(text)) {
		t.Fatalf("%d bytes came out of %d", n, len(text))
	}
	above := t.TempDir()
	data := filepath.Join(above, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := restore(text, data); err != nil {
		return // a file where another name has a folder
	}
	for name := range read(t, above) {
		if name != "data/" && !strings.HasPrefix(name, "data/store/") {
			t.Fatalf("%s was written", name)
		}
	}
	var again bytes.Buffer
	if err := Write(&again, filepath.Join(data, Folder), "v", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	second, err := Open(&again)
	if err != nil {
		t.Fatal(err)
	}
	byName := cmp.Transformer("byName", func(files []File) map[string]int64 {
		m := map[string]int64{}
		for _, f := range files {
			m[f.Name] = f.Size
		}
		return m
	})
	if diff := cmp.Diff(r.Info().Files, second.Info().Files, byName); diff != "" {
		t.Fatalf("-first +again:\n%s", diff)
	}
}
