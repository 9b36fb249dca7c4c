// Package lock keeps a data directory to one process.
//
// The kernel holds the lock on an open file and drops it with the process,
// however that ends, so a lock left behind by a crash never has to be removed
// by hand. The pid inside the file is for the sentence that a second process
// prints, and decides nothing.
package lock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// fileName is the file inside the data directory that is locked. It stays
// there: removing it would let two processes lock two files of one name.
const fileName = "fantail.lock"

// errHeld says that another process has the lock.
var errHeld = errors.New("held by another process")

// Lock is a data directory held by this process.
type Lock struct{ file *os.File }

// Acquire creates dir where it is missing, open to its owner only, and takes
// it for this process until Release. Its error is a sentence for the user.
func Acquire(dir string) (*Lock, error) {
	if err := create(dir); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, fileName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be written: %w: make it belong to this user, or choose another with --data", dir, cause(err))
	}
	err = lockFile(file)
	if err == nil {
		err = sign(file)
	}
	if err == nil {
		return &Lock{file}, nil
	}
	defer file.Close()
	if errors.Is(err, errHeld) {
		return nil, fmt.Errorf("data directory %s is in use by %s: stop it, or choose another with --data", dir, holder(file))
	}
	return nil, fmt.Errorf("data directory %s cannot be locked: %w: choose another with --data", dir, cause(err))
}

// Release lets another process take the directory.
func (l *Lock) Release() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}

func create(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("data directory %s cannot be created: %w: create it, or choose another with --data", dir, cause(err))
		}
		return nil
	case err != nil:
		return fmt.Errorf("data directory %s cannot be opened: %w: choose another with --data", dir, cause(err))
	case !info.IsDir():
		return fmt.Errorf("data directory %s is not a directory: choose another with --data", dir)
	}
	return nil
}

func sign(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names the process that has the lock, as far as the file tells.
func holder(file *os.File) string {
	text := make([]byte, 32)
	n, _ := file.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}

// cause is the error without the operation and the path, which the sentence
// around it has.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
