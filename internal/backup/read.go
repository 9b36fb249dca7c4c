package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reader reads a backup. Nothing of it is known to be whole before Verify or
// Restore has returned nil.
type Reader struct {
	raw  *input
	tar  *tar.Reader
	info Info
	sums bytes.Buffer // what SHA256SUMS has to say
}

// Open reads the list of a backup. An error that is ErrDamaged says that this
// is no backup, another one that it could not be read.
func Open(r io.Reader) (*Reader, error) {
	raw := &input{r: r}
	b := &Reader{raw: raw, tar: tar.NewReader(raw)}
	h, err := b.tar.Next()
	switch {
	case raw.err != nil:
		return nil, b.readError(err, listName)
	case err != nil, h.Name != listName:
		return nil, fmt.Errorf("this is no backup of Fantail, or it was cut short at its beginning: give a file that `fantail ctl backup` wrote, or %w", ErrDamaged)
	}
	if err := plain(h); err != nil {
		return nil, err
	}
	if h.Size > maxList {
		return nil, damaged("its list of files has %d bytes", h.Size)
	}
	var list bytes.Buffer
	if err := b.copy(&list, File{listName, h.Size}); err != nil {
		return nil, err
	}
	if err := b.readList(list.Bytes()); err != nil {
		return nil, err
	}
	return b, nil
}

// Info is the list of files.
func (b *Reader) Info() *Info { return &b.info }

// readList asks for the format before it looks at anything else, which a newer
// one may have changed.
func (b *Reader) readList(text []byte) error {
	var version struct {
		Format  int    `json:"format"`
		Fantail string `json:"fantail"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return damaged("its list of files cannot be read (%v)", err)
	}
	if version.Format > Format {
		return fmt.Errorf("the backup has format %d, and this version reads %d at most: restore it with Fantail %.40q or newer", version.Format, Format, version.Fantail)
	}
	if version.Format < 1 {
		return damaged("it has the format %d", version.Format)
	}
	if err := json.Unmarshal(text, &b.info); err != nil {
		return damaged("its list of files cannot be read (%v)", err)
	}
	return b.info.check()
}

// Verify reads all and keeps nothing.
func (b *Reader) Verify() error {
	return b.each(func(f File) error { return b.copy(io.Discard, f) })
}

// each has take read the contents of each file, and then checks that the
// backup is whole.
func (b *Reader) each(take func(File) error) error {
	for _, f := range b.info.Files {
		if err := b.next(f.Name, f.Size); err != nil {
			return err
		}
		if err := take(f); err != nil {
			return err
		}
	}
	return b.end()
}

// next goes to the entry that has to come.
func (b *Reader) next(name string, size int64) error {
	h, err := b.tar.Next()
	if err != nil {
		return b.readError(err, name)
	}
	if err := plain(h); err != nil {
		return err
	}
	if h.Name != name || h.Size != size {
		return damaged("%.100q with %d bytes stands where %q with %d bytes has to", h.Name, h.Size, name, size)
	}
	return nil
}

// plain refuses what is no regular file, and files with holes: those would be
// larger than what was read of them.
func plain(h *tar.Header) error {
	ok := h.Typeflag == tar.TypeReg && h.Size >= 0
	for key := range h.PAXRecords {
		ok = ok && !strings.HasPrefix(key, "GNU.")
	}
	if !ok {
		return damaged("%.100q is no regular file", h.Name)
	}
	return nil
}

// copy copies the contents of the current entry and notes their sum.
func (b *Reader) copy(w io.Writer, f File) error {
	out := &output{w: w}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, out), b.tar)
	if out.err != nil {
		return out.err
	}
	if err != nil {
		return b.readError(err, f.Name)
	}
	if n != f.Size {
		return damaged("%q has %d bytes and not %d", f.Name, n, f.Size)
	}
	appendSum(&b.sums, sum.Sum(nil), f.Name)
	return nil
}

// input keeps an error of the reader apart from what its contents get wrong.
type input struct {
	r   io.Reader
	err error
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}

// output keeps an error of the writer apart from those of the reader.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.err = err
	}
	return n, err
}

// end compares the sums, and looks that nothing is missing behind them and
// nothing follows.
func (b *Reader) end() error {
	want := b.sums.Bytes()
	if err := b.next(sumsName, int64(len(want))); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b.tar, got); err != nil {
		return b.readError(err, sumsName)
	}
	if err := compare(got, want); err != nil {
		return err
	}
	// The tar reader would take a stream that ends here, too. It has read
	// nothing ahead.
	const block = 512
	missing := (block-len(want)%block)%block + 2*block
	rest, err := io.ReadAll(io.LimitReader(b.raw, 1<<20))
	if err != nil {
		return b.readError(err, sumsName)
	}
	if len(rest) < missing {
		return fmt.Errorf("the backup was cut short: %d bytes are missing at its end: %w", missing-len(rest), ErrDamaged)
	}
	if len(bytes.Trim(rest, "\x00")) > 0 || len(rest) == 1<<20 {
		return damaged("it goes on behind its end")
	}
	return nil
}

// compare names the first file whose sum is another one.
func compare(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	have := bytes.Split(got, []byte("\n"))
	for i, line := range bytes.Split(want, []byte("\n")) {
		if i >= len(have) || !bytes.Equal(line, have[i]) {
			_, name, _ := bytes.Cut(line, []byte("  "))
			return damaged("the sum of %q is wrong", name)
		}
	}
	return damaged("its sums are wrong")
}

// readError says what it means that the entry could not be read.
func (b *Reader) readError(err error, name string) error {
	switch {
	case b.raw.err != nil:
		return fmt.Errorf("read the backup: %w", b.raw.err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the backup was cut short in or before %q: %w", name, ErrDamaged)
	}
	return damaged("%q cannot be read (%v)", name, err)
}
