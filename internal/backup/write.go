package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// Write writes a backup of the store in dir, in which nothing may change
// meanwhile. version is the program's.
func Write(w io.Writer, dir, version string, now time.Time) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open what is to be backed up: %w", err)
	}
	defer root.Close()
	info := Info{Format: Format, Fantail: version, Created: now.UTC().Truncate(time.Second)}
	if info.Files, err = filesOf(root); err != nil {
		return err
	}
	if err := info.check(); err != nil {
		return err
	}
	return (&writer{tar: tar.NewWriter(w), now: info.Created}).all(root, &info)
}

// filesOf are the files of a store, by name.
func filesOf(root *os.Root) ([]File, error) {
	files := []File{}
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no regular file", name)
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, File{Name: path.Join(Folder, name), Size: i.Size()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list what is to be backed up: %w", err)
	}
	return files, nil
}

// writer writes the entries and gathers their sums.
type writer struct {
	tar  *tar.Writer
	now  time.Time
	sums bytes.Buffer
}

func (w *writer) all(root *os.Root, info *Info) error {
	list, err := json.MarshalIndent(info, "", " ")
	if err != nil {
		return err
	}
	if err := w.add(listName, int64(len(list)), bytes.NewReader(list)); err != nil {
		return err
	}
	for _, f := range info.Files {
		if err := w.file(root, f); err != nil {
			return err
		}
	}
	if err := w.add(sumsName, int64(w.sums.Len()), bytes.NewReader(w.sums.Bytes())); err != nil {
		return err
	}
	return w.tar.Close()
}

func (w *writer) file(root *os.Root, f File) error {
	in, err := root.Open(f.Name[len(Folder)+1:])
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer in.Close()
	return w.add(f.Name, f.Size, in)
}

func (w *writer) add(name string, size int64, in io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: w.now}
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("back up %s: %w", name, err)
	}
	sum := sha256.New()
	_, err := io.CopyN(w.tar, io.TeeReader(in, sum), size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("back up %s: it has become shorter meanwhile", name)
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", name, err)
	}
	appendSum(&w.sums, sum.Sum(nil), name)
	return nil
}

// appendSum adds a line as sha256sum writes and checks it.
func appendSum(b *bytes.Buffer, sum []byte, name string) {
	fmt.Fprintf(b, "%x  %s\n", sum, name)
}
