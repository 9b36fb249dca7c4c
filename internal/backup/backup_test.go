package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// contents are files by name.
type contents map[string]string

func sample() contents {
	return contents{
		"000004.log": strings.Repeat("log", 700), "000005.sst": strings.Repeat("\x00\xff", 256), "MANIFEST-000001": "m",
		"marker.format-version.000001.013": "", "deep/er/000006.sst": "d",
	}
}

func (c contents) write(t testing.TB, dir string) {
	t.Helper()
	for name, text := range c {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// read is all below dir; folders have a slash behind their name.
func read(t testing.TB, dir string) contents {
	t.Helper()
	c := contents{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			c[filepath.ToSlash(name)+"/"] = ""
			return nil
		}
		text, err := os.ReadFile(path)
		c[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func written(t testing.TB, c contents) []byte {
	t.Helper()
	dir := t.TempDir()
	c.write(t, dir)
	var b bytes.Buffer
	if err := Write(&b, dir, "v1.2.3", time.Unix(1_790_000_000, 5)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(text []byte, data string) error {
	r, err := Open(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return r.Restore(data)
}

func verify(text []byte) error {
	r, err := Open(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return r.Verify()
}

func TestWhatIsRestoredIsWhatWasBackedUp(t *testing.T) {
	data := t.TempDir()
	contents{"fantail.lock": "1", "store.restoring/left": "by a restore that was killed"}.write(t, data)
	if err := restore(written(t, sample()), data); err != nil {
		t.Fatal(err)
	}
	want := contents{"fantail.lock": "1", "store/": "", "store/deep/": "", "store/deep/er/": ""}
	for name, text := range sample() {
		want["store/"+name] = text
	}
	if diff := cmp.Diff(want, read(t, data)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestABackupSaysWhatItHolds(t *testing.T) {
	r, err := Open(bytes.NewReader(written(t, contents{"a": "12", "b/c": "345"})))
	if err != nil {
		t.Fatal(err)
	}
	want := &Info{Format: 1, Fantail: "v1.2.3", Created: time.Unix(1_790_000_000, 0).UTC(), Files: []File{{"store/a", 2}, {"store/b/c", 3}}}
	if diff := cmp.Diff(want, r.Info()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if r.Info().Bytes() != 5 {
		t.Errorf("%d bytes, want 5", r.Info().Bytes())
	}
}

// Any program that reads tar can read a backup.
func TestABackupIsAPlainTar(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(written(t, contents{"a": "1", "b": "2"})))
	var names []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if diff := cmp.Diff([]string{"fantail-backup.json", "store/a", "store/b", "SHA256SUMS"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestACutBackupIsRefusedAndLeavesNothing(t *testing.T) {
	whole := written(t, sample())
	data := t.TempDir()
	before := contents{"fantail.lock": "1"}
	before.write(t, data)
	for n := 0; n < len(whole); n += step(n, len(whole)) {
		err := restore(whole[:n], data)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "cut short") {
			t.Fatalf("cut after %d of %d bytes: err = %v, want that it was cut short", n, len(whole), err)
		}
		if diff := cmp.Diff(before, read(t, data)); diff != "" {
			t.Fatalf("cut after %d bytes: left behind (-want +got):\n%s", n, diff)
		}
	}
	if err := restore(whole, data); err != nil {
		t.Errorf("the whole one: %v", err)
	}
}

// step leads to each byte around the borders of tar blocks, and to some of the
// others.
func step(n, length int) int {
	if n%512 < 2 || n%512 == 511 || n > length-10 {
		return 1
	}
	return min(93, 511-n%512)
}

func TestAFlippedBitIsFoundOrMeansNothing(t *testing.T) {
	want := sample()
	whole := written(t, want)
	refused := 0
	for i := 0; i < len(whole); i += 7 {
		text := bytes.Clone(whole)
		text[i] ^= 1 << (i % 8)
		r, err := Open(bytes.NewReader(text))
		if err == nil {
			err = r.Verify()
		}
		if err != nil {
			refused++
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d: err = %v, want ErrDamaged", i, err)
			}
			continue
		}
		data := t.TempDir() // what fills up a tar block, perhaps
		if err := restore(text, data); err != nil {
			t.Fatal(err)
		}
		for name, text := range read(t, data) {
			if name = strings.TrimPrefix(name, "store/"); !strings.HasSuffix(name, "/") && name != "" && want[name] != text {
				t.Fatalf("byte %d: %s was restored with other contents", i, name)
			}
		}
	}
	if refused < len(whole)/7/3 {
		t.Errorf("only %d were refused", refused)
	}
}

func TestAStoreIsNeverOverwritten(t *testing.T) {
	for name, there := range map[string]contents{
		"a store":  {"store/CURRENT": "x"},
		"a file":   {"store": "x"},
		"a folder": {"store/f/g": ""},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			there.write(t, data)
			before := read(t, data)
			err := restore(written(t, sample()), data)
			if err == nil || !strings.Contains(err.Error(), "has a store already") {
				t.Errorf("err = %v", err)
			}
			if diff := cmp.Diff(before, read(t, data)); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
		})
	}
}

// entry is a tar entry that another program may have written.
type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o600}, body}
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Skip(err) // a name that tar cannot hold
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func listed(files string) entry {
	return file(listName, `{"format":1,"fantail":"v1","created":"2026-11-21T00:00:00Z","files":[`+files+`]}`)
}

func TestHostileBackupsAreRefused(t *testing.T) {
	link := entry{tar.Header{Typeflag: tar.TypeSymlink, Name: "store/a", Linkname: "/etc"}, ""}
	sparse := file("store/a", "x")
	sparse.Format, sparse.PAXRecords = tar.FormatPAX, map[string]string{"comment": "c"}
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"not ours":                        {[]entry{file("etc/passwd", "x")}, "no backup of Fantail"},
		"a list that is no JSON":          {[]entry{file(listName, "x")}, "cannot be read"},
		"a list that is a folder":         {[]entry{{tar.Header{Typeflag: tar.TypeDir, Name: listName}, ""}}, "no regular file"},
		"a list that is huge":             {[]entry{file(listName, strings.Repeat(" ", maxList+1))}, "list of files has"},
		"no format":                       {[]entry{file(listName, "{}")}, "format 0"},
		"no files":                        {[]entry{listed("")}, "no files"},
		"another type":                    {[]entry{listed(`{"name":7}`)}, "cannot be read"},
		"a parent":                        {[]entry{listed(`{"name":"store/../../x"}`)}, "no name of a file"},
		"an absolute path":                {[]entry{listed(`{"name":"/store/x"}`)}, "no name of a file"},
		"beside the store":                {[]entry{listed(`{"name":"fantail.lock"}`)}, "no name of a file"},
		"a backslash":                     {[]entry{listed(`{"name":"store/..\\..\\x"}`)}, "no name of a file"},
		"a stream of Windows":             {[]entry{listed(`{"name":"store/a:b"}`)}, "no name of a file"},
		"the store itself":                {[]entry{listed(`{"name":"store"}`)}, "no name of a file"},
		"a long name":                     {[]entry{listed(`{"name":"store/` + strings.Repeat("a", maxName) + `"}`)}, "no name of a file"},
		"twice":                           {[]entry{listed(`{"name":"store/a"},{"name":"store/a"}`)}, "twice"},
		"a size below 0":                  {[]entry{listed(`{"name":"store/a","size":-1}`)}, "-1 bytes"},
		"sizes beyond all":                {[]entry{listed(`{"name":"store/a","size":9223372036854775807},{"name":"store/b","size":1}`)}, "with 1 bytes"},
		"a symlink":                       {[]entry{listed(`{"name":"store/a"}`), link}, "no regular file"},
		"another name than listed":        {[]entry{listed(`{"name":"store/a","size":1}`), file("../a", "x")}, "stands where"},
		"another size than listed":        {[]entry{listed(`{"name":"store/a","size":1}`), file("store/a", "xy")}, "stands where"},
		"a file that is not listed":       {[]entry{listed(`{"name":"store/a","size":1}`), file("store/a", "x"), file("store/b", "x")}, "stands where"},
		"no sums":                         {[]entry{listed(`{"name":"store/a","size":1}`), file("store/a", "x")}, "cut short"},
		"a folder where a file has to be": {[]entry{listed(`{"name":"store/a"}`), {tar.Header{Typeflag: tar.TypeDir, Name: "store/a"}, ""}}, "no regular file"},
		"records of no use":               {[]entry{listed(`{"name":"store/a","size":1}`), sparse}, "cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			err := restore(archive(t, c.entries...), data)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
			if left := read(t, data); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// GNU tar's files with holes are larger than what is in the stream: a small
// backup could fill the disk.
func TestFilesWithHolesAreRefused(t *testing.T) {
	// GNU sparse 0.1: a TiB, of which one byte is there. Behind each length
	// stands the record that has it.
	records := "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n33 GNU.sparse.size=1099511627776\n" +
		"26 GNU.sparse.numblocks=1\n22 GNU.sparse.map=0,1\n"
	extended := file("x", records)
	text := archive(t, listed(`{"name":"store/a","size":1099511627776}`), extended, file("store/a", "x"))
	// archive/tar does not write such headers: a file becomes one.
	head := bytes.Index(text, []byte("x\x00\x00\x00"))
	for head%512 != 0 {
		head += 1 + bytes.Index(text[head+1:], []byte("x\x00\x00\x00"))
	}
	const typeflag, sum = 156, 148
	text[head+typeflag] = tar.TypeXHeader
	copy(text[head+sum:], "        ")
	total := 0
	for _, b := range text[head : head+512] {
		total += int(b)
	}
	copy(text[head+sum:], fmt.Sprintf("%06o\x00 ", total))
	if err := verify(text); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("err = %v", err)
	}
}

func TestANewerFormatNamesTheVersion(t *testing.T) {
	err := verify(archive(t, file(listName, `{"format":2,"fantail":"v9.1.0","files":"other"}`)))
	if want := `the backup has format 2, and this version reads 1 at most: restore it with Fantail "v9.1.0" or newer`; err == nil || err.Error() != want {
		t.Errorf("err = %v", err)
	}
}

func TestTheEndOfABackupIsItsEnd(t *testing.T) {
	whole := written(t, contents{"a": "1"})
	if err := verify(append(bytes.Clone(whole), make([]byte, 9000)...)); err != nil {
		t.Errorf("filled up with zeros, as on a tape: %v", err)
	}
	if err := verify(append(bytes.Clone(whole), whole...)); !errors.Is(err, ErrDamaged) {
		t.Errorf("with another behind it: err = %v", err)
	}
	if err := verify(append(bytes.Clone(whole), make([]byte, 1<<20)...)); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a MiB behind it: err = %v", err)
	}
}

func TestAFailingDiskIsNotCalledADamagedBackup(t *testing.T) {
	whole := written(t, contents{"a": strings.Repeat("x", 5000)})
	broken := errors.New("input/output error")
	for n := 0; n < len(whole); n += 300 {
		r, err := Open(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken)))
		if err == nil {
			err = r.Verify()
		}
		if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
			t.Errorf("after %d bytes: err = %v", n, err)
		}
	}
}

func TestWhatCannotBeBackedUpIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := Write(io.Discard, filepath.Join(dir, "none"), "v", time.Time{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: err = %v", err)
	}
	if err := Write(io.Discard, dir, "v", time.Time{}); err == nil {
		t.Error("an empty folder was backed up")
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	if err := Write(io.Discard, dir, "v", time.Time{}); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a link: err = %v", err)
	}
}
