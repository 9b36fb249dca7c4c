package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logsFile names the logs that are in the folder. Pebble reads those that it finds and
// does not miss one: of a copy that lacks some, what these held would be gone without
// a word. A log is entered as soon as it is made, before anything is written to it, and
// struck off before it is removed or becomes another: so each that is named is there,
// whenever the power fails.
const (
	logsFile = "fantail.logs"
	logsEnd  = "end"
)

// roll keeps the file up to date for one opening of the database.
type roll struct {
	fs  vfs.FS
	dir string

	mu    sync.Mutex // guards names, and is held while they are written
	names []string
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// call reads which logs there are.
func call(fs vfs.FS, dir string) (*roll, error) {
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isLog(name) })
	return &roll{fs: fs, dir: dir, names: names}, nil
}

// enter names a log that was made.
func (r *roll) enter(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := syncDir(r.fs, r.dir); err != nil { // it has to be there when it is named
		return err
	}
	r.names = append(r.names, r.fs.PathBase(name))
	return r.write()
}

// strike names a log no more.
func (r *roll) strike(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.names, r.fs.PathBase(name))
	if i < 0 {
		return nil
	}
	r.names = slices.Delete(r.names, i, i+1)
	return r.write()
}

func (r *roll) write() error {
	slices.Sort(r.names)
	return replaceFile(r.fs, r.dir, logsFile, strings.Join(append(slices.Clone(r.names), logsEnd), "\n")+"\n")
}

// replaceFile gives a file another content: it has the old or the new.
func replaceFile(fs vfs.FS, dir, name, text string) error {
	name = fs.PathJoin(dir, name)
	f, err := fs.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// enrol names the logs of a database that was made without a fence.
func enrol(fs vfs.FS, dir string) error {
	r, err := call(fs, dir)
	if err != nil {
		return err
	}
	return r.write()
}

// missingLogs says in a sentence which logs are not there that should be.
func missingLogs(fs vfs.FS, dir string, names []string) error {
	part := func(what string) error {
		return fmt.Errorf("the data directory %s is only part of a copy: %s; nothing in it was changed", dir, what)
	}
	text, err := readFile(fs, fs.PathJoin(dir, logsFile))
	if errors.Is(err, os.ErrNotExist) {
		return part("its file " + logsFile + " is missing")
	}
	if err != nil {
		return fmt.Errorf("the data directory %s cannot be read: %w; nothing in it was changed", dir, err)
	}
	named := strings.Fields(text)
	if n := len(named); n == 0 || named[n-1] != logsEnd {
		return part("its file " + logsFile + ", which names its logs, is cut short")
	}
	var missing []string
	for _, name := range named[:len(named)-1] {
		if !slices.Contains(names, name) {
			missing = append(missing, name)
		}
	}
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return part("log file " + missing[0] + " is missing")
	default:
		return part("log files " + strings.Join(missing, ", ") + " are missing")
	}
}
