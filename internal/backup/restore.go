package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
)

// unpacking is the folder in the data directory where a backup stands until it
// is whole. A restore that was killed leaves it, and the next one removes it.
const unpacking = Folder + ".restoring"

// Vacant says in a sentence if the data directory has a store already. Whoever
// calls this or Restore has the directory's lock.
func Vacant(data string) error {
	target := filepath.Join(data, Folder)
	_, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for a store in %s: %w", data, err)
	}
	return fmt.Errorf("the data directory %s has a store already, and nothing was changed: start without --restore to use that one, "+
		"or choose another directory with --data, or move %s away", data, target)
}

// Restore makes the backup the store of a data directory that has none. Where
// it fails, the directory is as it was.
func (b *Reader) Restore(data string) error {
	if err := Vacant(data); err != nil {
		return err
	}
	root, err := os.OpenRoot(data)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(unpacking); err != nil {
		return fmt.Errorf("remove what an earlier restore left: %w", err)
	}
	err = b.unpack(root)
	if err == nil {
		err = root.Rename(unpacking, Folder)
	}
	if err != nil {
		return errors.Join(err, root.RemoveAll(unpacking))
	}
	return syncFolder(root, ".")
}

// unpack unpacks, checks, and returns once all is on the disk.
func (b *Reader) unpack(data *os.Root) error {
	if err := data.Mkdir(unpacking, 0o700); err != nil {
		return err
	}
	root, err := data.OpenRoot(unpacking)
	if err != nil {
		return err
	}
	defer root.Close()
	folders := map[string]bool{".": true}
	err = b.each(func(f File) error {
		name := f.Name[len(Folder)+1:]
		for dir := path.Dir(name); !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
		}
		return b.unpackFile(root, name, f)
	})
	if err != nil {
		return err
	}
	for dir := range folders {
		if err := syncFolder(root, dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *Reader) unpackFile(root *os.Root, name string, f File) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return fmt.Errorf("restore %s: %w", f.Name, err)
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("restore %s: %w", f.Name, err)
	}
	err = b.copy(out, f)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// syncFolder puts the names in a folder on the disk, where a system can.
func syncFolder(root *os.Root, name string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there
	}
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
