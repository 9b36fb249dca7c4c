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
// there, but for Discard; then who has locked the file that was removed looks
// for the one of now, or two processes could lock two files of one name.
const fileName = "fantail.lock"

// errHeld says that another process has the lock.
var errHeld = errors.New("held by another process")

// Lock is a data directory held by this process.
type Lock struct {
	file *os.File
	made []string // directories that Acquire made, the deepest first
}

// Acquire creates dir where it is missing, open to its owner only, and takes
// it for this process until Release. Its error is a sentence for the user.
func Acquire(dir string) (*Lock, error) {
	for {
		l, err := acquire(dir)
		if err != nil || l.current() {
			return l, err
		}
		_ = l.file.Close() // it was removed meanwhile
	}
}

func acquire(dir string) (*Lock, error) {
	made, err := create(dir)
	if err != nil {
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
		return &Lock{file, made}, nil
	}
	defer file.Close()
	if errors.Is(err, errHeld) {
		return nil, fmt.Errorf("data directory %s is in use by %s: stop it, or choose another with --data", dir, holder(file))
	}
	return nil, fmt.Errorf("data directory %s cannot be locked: %w: choose another with --data", dir, cause(err))
}

// current says whether the file that is locked is the one of that name.
func (l *Lock) current() bool {
	mine, err := l.file.Stat()
	if err != nil {
		return true // using it will tell
	}
	now, err := os.Stat(l.file.Name())
	return err == nil && os.SameFile(mine, now)
}

// Release lets another process take the directory.
func (l *Lock) Release() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}

// Discard is Release where nothing came of it: directories that Acquire has made
// are removed again, if there is nothing else in them.
func (l *Lock) Discard() error {
	if len(l.made) == 0 {
		return l.Release()
	}
	if entries, err := os.ReadDir(l.made[0]); err != nil || len(entries) > 1 {
		return errors.Join(err, l.Release())
	}
	_ = os.Remove(l.file.Name()) // where an open file cannot be removed, it stays
	for _, dir := range l.made {
		if os.Remove(dir) != nil {
			break
		}
	}
	return l.file.Close()
}

// create makes a directory and those above it that are missing, and names them.
func create(dir string) (made []string, err error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		for above := filepath.Clean(dir); missing(above); above = filepath.Dir(above) {
			made = append(made, above)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("data directory %s cannot be created: %w: create it, or choose another with --data", dir, cause(err))
		}
		return made, nil
	case err != nil:
		return nil, fmt.Errorf("data directory %s cannot be opened: %w: choose another with --data", dir, cause(err))
	case !info.IsDir():
		return nil, fmt.Errorf("data directory %s is not a directory: choose another with --data", dir)
	}
	return nil, nil
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
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
