package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// replaceFile puts data into the file at path: whole, or not at all, also when
// the power fails. A file that is there keeps its mode and its owner, and stays
// behind a symbolic link to it; a new one is for its owner alone.
func replaceFile(path string, data []byte) (err error) {
	mode := fs.FileMode(0o600)
	info, err := os.Stat(path)
	switch {
	case err == nil:
		mode = info.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = part.Close()
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	if _, err = part.Write(data); err != nil {
		return err
	}
	if info != nil {
		if err = keepOwner(part, info); err != nil {
			return err
		}
	}
	if err = part.Chmod(mode); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err = part.Sync(); err != nil {
		return err
	}
	if err = part.Close(); err != nil {
		return err
	}
	if err = os.Rename(part.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a name that was given in it last.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" { // where a folder cannot be synced
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
