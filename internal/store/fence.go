package store

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fence stands between one opening of the database and the disk. Pebble takes
// a failed write of its log or its manifest for the end of the process: it
// panics, in part with a lock held that its own unwinding unlocks again, or
// calls Fatalf and goes on as if nothing had been. So it never hears of one.
// The first write that fails is kept, and from then on nothing it writes
// reaches the disk any more, as if the power had gone; it closes in peace. Who
// commits asks [fence.broken] whether what was said to be written was. Then the
// directory is opened anew, as after a crash.
type fence struct {
	vfs.FS
	root string
	logs *roll

	flight sync.RWMutex // held for reading while a write is under way
	fault  atomic.Pointer[error]
	tell   func() // called once, when the first write has failed; must not wait
}

func (f *fence) broken() error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *fence) fail(err error) {
	if f.fault.CompareAndSwap(nil, &err) {
		f.tell()
	}
}

// cut makes sure that nothing is written any more when it returns.
func (f *fence) cut() {
	f.fail(errors.New("given up"))
	f.flight.Lock()
	f.flight.Unlock() //nolint:staticcheck // an empty section waits for the writes under way
}

// write carries out one write, or pretends to.
func (f *fence) write(op func() error) error {
	f.flight.RLock()
	defer f.flight.RUnlock()
	if f.fault.Load() != nil {
		return nil
	}
	if err := op(); err != nil {
		f.fail(err)
	}
	return nil
}

// mine says whether a file is one of the database, and not of a copy of it.
func (f *fence) mine(name string) bool { return strings.HasPrefix(name, f.root) }

// isLog says whether a file is a log of the database, and not one of a copy.
func (f *fence) isLog(name string) bool {
	return isLog(name) && f.PathDir(name) == f.PathDir(f.PathJoin(f.root, logsFile))
}

func (f *fence) file(name string, open func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	_ = f.write(func() (err error) {
		file, err = open()
		return err
	})
	if file == nil || f.fault.Load() != nil {
		if file != nil {
			_ = file.Close()
		}
		return sunk{}, nil
	}
	return &fenced{File: file, f: f, log: isLog(name)}, nil
}

// Create creates a file of the database, or of a copy of it.
func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !f.mine(name) {
		return f.FS.Create(name, c)
	}
	return f.file(name, func() (vfs.File, error) {
		if strings.HasPrefix(f.PathBase(name), "marker.") {
			// What a marker names must not be lost where it is not: Pebble syncs
			// the folder behind both, which keeps no order between them.
			if err := syncDir(f.FS, f.PathDir(name)); err != nil {
				return nil, err
			}
		}
		file, err := f.FS.Create(name, c)
		return f.entered(name, file, err)
	})
}

// entered is a file that was made, entered if it is a log.
func (f *fence) entered(name string, file vfs.File, err error) (vfs.File, error) {
	if err == nil && f.isLog(name) {
		if err = f.logs.enter(name); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return file, err
}

// OpenReadWrite opens a file for writing.
func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if !f.mine(name) {
		return f.FS.OpenReadWrite(name, c, o...)
	}
	return f.file(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite makes an old file a new one.
func (f *fence) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(to, func() (vfs.File, error) {
		if err := f.logs.strike(from); err != nil {
			return nil, err
		}
		file, err := f.FS.ReuseForWrite(from, to, c)
		return f.entered(to, file, err)
	})
}

// OpenDir opens a folder, to sync it.
func (f *fence) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil || !f.mine(name) {
		return file, err
	}
	return &fenced{File: file, f: f}, nil
}

// Link links a file.
func (f *fence) Link(from, to string) error {
	if !f.mine(to) {
		return f.FS.Link(from, to)
	}
	return f.write(func() error { return f.FS.Link(from, to) })
}

// Remove removes a file.
func (f *fence) Remove(name string) error {
	missing := false
	err := f.write(func() error {
		if f.isLog(name) && f.logs.strike(name) != nil {
			return nil // it stays, and the next opening finds it
		}
		err := f.FS.Remove(name)
		if missing = errors.Is(err, os.ErrNotExist); missing {
			return nil
		}
		return err
	})
	if missing {
		return os.ErrNotExist
	}
	return err
}

// RemoveAll removes a folder.
func (f *fence) RemoveAll(name string) error {
	return f.write(func() error { return f.FS.RemoveAll(name) })
}

// Rename renames a file.
func (f *fence) Rename(from, to string) error {
	return f.write(func() error { return f.FS.Rename(from, to) })
}

// MkdirAll makes a folder.
func (f *fence) MkdirAll(name string, perm os.FileMode) error {
	if !f.mine(name) {
		return f.FS.MkdirAll(name, perm)
	}
	return f.write(func() error { return f.FS.MkdirAll(name, perm) })
}

// Unwrap is the file system behind the fence.
func (f *fence) Unwrap() vfs.FS { return f.FS }

// fenced is a file that is written through a fence.
type fenced struct {
	vfs.File
	f   *fence
	log bool // a write-ahead log
}

func (w *fenced) Write(p []byte) (int, error) {
	return len(p), w.f.write(func() error { _, err := w.File.Write(p); return err })
}

func (w *fenced) WriteAt(p []byte, at int64) (int, error) {
	return len(p), w.f.write(func() error { _, err := w.File.WriteAt(p, at); return err })
}

func (w *fenced) Preallocate(at, n int64) error {
	return w.f.write(func() error {
		if w.log && grow(w.File, at, n) {
			return nil
		}
		return w.File.Preallocate(at, n)
	})
}

func (w *fenced) Sync() error     { return w.f.write(w.File.Sync) }
func (w *fenced) SyncData() error { return w.f.write(w.File.SyncData) }

func (w *fenced) SyncTo(n int64) (full bool, err error) {
	err = w.f.write(func() (err error) {
		full, err = w.File.SyncTo(n)
		return err
	})
	return full, err
}

func (w *fenced) Close() error {
	if err := w.File.Close(); err != nil {
		w.f.fail(err)
	}
	return nil
}

// sunk is a file that the disk would not have.
type sunk struct{}

func (sunk) Close() error                           { return nil }
func (sunk) Read([]byte) (int, error)               { return 0, io.EOF }
func (sunk) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (sunk) Write(p []byte) (int, error)            { return len(p), nil }
func (sunk) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (sunk) Preallocate(int64, int64) error         { return nil }
func (sunk) Stat() (vfs.FileInfo, error)            { return vfs.NewMemFile(nil).Stat() }
func (sunk) Sync() error                            { return nil }
func (sunk) SyncTo(int64) (bool, error)             { return true, nil }
func (sunk) SyncData() error                        { return nil }
func (sunk) Prefetch(int64, int64) error            { return nil }
func (sunk) Fd() uintptr                            { return vfs.InvalidFd }
