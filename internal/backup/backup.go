// Package backup reads and writes backups of a broker: one file that holds a
// consistent copy of its store.
//
// A backup is a plain tar stream, so that it can be written while it is made,
// sent anywhere, and looked into with the tools that every system has:
//
//	fantail-backup.json   format, version, time, and the name and size of each file
//	store/…               these files, in this order
//	SHA256SUMS            a line for each of the above, as sha256sum writes them
//	                      (end of tar)
//
// The list comes first: whoever reads knows from the start how much there is,
// and takes nothing that is not announced. The sums come last: they are known
// only when all was read once, and where they are missing the backup was cut
// short. They cover the list too, so that no byte that means something goes
// unchecked.
//
// A reader trusts nothing. It takes regular files only, under the folder store
// and under plain names; what is unpacked stands in a folder beside until all
// of it has been checked and is on the disk, and takes its place with one
// rename. So a restore that fails, or dies, leaves what was there.
package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"time"
)

// Format is the format that this version writes, and the newest it reads.
const Format = 1

// Folder is where the store is, in a backup and in a data directory.
const Folder = "store"

const (
	listName = "fantail-backup.json"
	sumsName = "SHA256SUMS"
)

// What a reader takes at most. The contents need no bound of their own: a
// backup is not compressed, so they are never larger than itself.
const (
	maxList = 16 << 20 // more than 100,000 files
	maxName = 200
)

// ErrDamaged says that what was read is no backup, or not a whole one.
var ErrDamaged = errors.New("take another backup")

// Info is what a backup says of itself.
type Info struct {
	Format  int       `json:"format"`
	Fantail string    `json:"fantail"` // the version that wrote it
	Created time.Time `json:"created"`
	Files   []File    `json:"files"`
}

// File is a file in a backup; its name has slashes and begins with Folder.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Bytes is the size of all files together.
func (i *Info) Bytes() int64 {
	var n int64
	for _, f := range i.Files {
		n += f.Size
	}
	return n
}

func (i *Info) check() error {
	if len(i.Files) == 0 {
		return damaged("it lists no files")
	}
	seen := make(map[string]bool, len(i.Files))
	left := int64(math.MaxInt64)
	for _, f := range i.Files {
		if err := checkName(f.Name); err != nil {
			return err
		}
		if seen[f.Name] {
			return damaged("it lists %q twice", f.Name)
		}
		seen[f.Name] = true
		if f.Size < 0 || f.Size > left {
			return damaged("it lists %q with %d bytes", f.Name, f.Size)
		}
		left -= f.Size
	}
	return nil
}

// checkName takes the names that stores give their files, and none that could
// lead elsewhere on any system.
func checkName(name string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r)
	}
	odd := strings.IndexFunc(name, func(r rune) bool { return !plain(r) }) >= 0
	if odd || len(name) > maxName || !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) || !strings.HasPrefix(name, Folder+"/") {
		return damaged("it lists %.100q, which is no name of a file in a store", name)
	}
	return nil
}

// damaged is an ErrDamaged that says what was found.
func damaged(format string, args ...any) error {
	return fmt.Errorf("the backup is damaged: %s: %w", fmt.Sprintf(format, args...), ErrDamaged)
}
