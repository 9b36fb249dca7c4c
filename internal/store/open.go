package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A file of our own says what the folder is before anything else is touched.
// While the folder is being made it says so: then nobody relies on its content.
const (
	formatFile    = "fantail.format"
	formatPrefix  = "fantail store "
	formatVersion = 4
	formatMaking  = " being made"
	damagedFile   = "fantail.damaged"
)

// Open opens the store in a folder, and makes it if it is not there or empty.
// The error of a folder that it cannot use is a sentence; nothing in such a
// folder is changed.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := adopt(o.FS, dir); err != nil {
		return nil, err
	}
	fresh, err := inspect(o.FS, dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, o: o, log: o.Logger, open: &frame{}, spare: &frame{},
		wake: make(chan struct{}, 1), done: make(chan struct{}), t: newTranslator(o.Logger),
	}
	s.handles.back = sync.NewCond(&s.handles.mu)
	s.life, s.quit = context.WithCancel(context.Background())
	if err := s.start(fresh); err != nil {
		s.quit()
		return nil, err
	}
	return s, nil
}

func (s *Store) start(fresh bool) (err error) {
	if err := makeDir(s.o.FS, s.dir); err != nil {
		return fmt.Errorf("make the data directory %s: %w", s.dir, err)
	}
	if s.lock, err = pebble.LockDirectory(s.dir, s.o.FS); err != nil {
		return fmt.Errorf("lock the data directory %s, which another process may be using: %w", s.dir, err)
	}
	s.cache = pebble.NewCache(s.o.Cache)
	defer func() {
		if err != nil {
			s.cache.Unref()
			_ = s.lock.Close()
		}
	}()
	if fresh {
		if err := s.prepare(); err != nil {
			return fmt.Errorf("make the data directory %s: %w", s.dir, err)
		}
		if err := s.create(); err != nil {
			return err
		}
	}
	db, f, err := s.openWhole()
	if err != nil {
		return err
	}
	if fresh {
		if err := s.mark(""); err != nil {
			f.cut()
			shut(db, s.log)
			return fmt.Errorf("make the data directory %s: %w", s.dir, err)
		}
	}
	s.handles.set(db, f)
	go s.commitFrames() // ended and awaited by Close
	s.loads.start(s)
	return nil
}

// create makes the database and closes it again. Its first log is in an old
// format, in which damage looks like the end of the log; those of later
// openings say how far they were synced.
func (s *Store) create() error {
	db, f, err := s.openDB()
	if err != nil {
		return err
	}
	if err := errors.Join(db.Close(), f.broken()); err != nil {
		return fmt.Errorf("make the data directory %s: %w", s.dir, err)
	}
	return nil
}

// inspect says whether a folder is to be made, or why it cannot be used. It
// changes nothing.
func inspect(fs vfs.FS, dir string) (fresh bool, err error) {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the data directory %s: %w", dir, err)
	}
	slices.Sort(names)
	if !slices.Contains(names, formatFile) {
		for _, name := range names {
			if name != "LOCK" && name != "lost+found" && name != formatFile+".new" {
				return false, fmt.Errorf("the data directory %s is not Fantail's, or only part of a copy: it holds %s and no %s; nothing in it was changed",
					dir, name, formatFile)
			}
		}
		return true, nil
	}
	text, err := readFile(fs, fs.PathJoin(dir, formatFile))
	if err != nil {
		return false, fmt.Errorf("read the data directory %s: %w", dir, err)
	}
	making, err := parseFormat(text)
	if err != nil {
		return false, fmt.Errorf("the data directory %s: %w; nothing in it was changed", dir, err)
	}
	if making {
		return true, nil
	}
	return false, whole(fs, dir, names)
}

func parseFormat(text string) (making bool, err error) {
	line, making := strings.CutSuffix(strings.TrimSuffix(text, "\n"), formatMaking)
	number, ok := strings.CutPrefix(line, formatPrefix)
	version, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || version < 1:
		return false, fmt.Errorf("its file %s does not say %q", formatFile, formatPrefix+strconv.Itoa(formatVersion))
	case version > formatVersion:
		return false, fmt.Errorf("it was written by a newer Fantail, in format %d; this one knows formats up to %d", version, formatVersion)
	case version < formatVersion:
		return false, fmt.Errorf("it was written before the first release, in format %d, which nothing reads any more", version)
	}
	return making, nil
}

// whole looks for what a copy that was cut short lacks, and for files that
// cannot be read.
func whole(fs vfs.FS, dir string, names []string) error {
	if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, markerPrefix) }) {
		return fmt.Errorf("the data directory %s is only part of a copy: its file marker.manifest is missing; nothing in it was changed", dir)
	}
	if err := missingLogs(fs, dir, names); err != nil {
		return err
	}
	manifest := current(names)
	if !slices.Contains(names, manifest) {
		return fmt.Errorf("the data directory %s is only part of a copy: its file %s is missing; nothing in it was changed", dir, manifest)
	}
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin(dir, name))
		if err == nil {
			err = f.Close()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the data directory %s cannot be read: %w; nothing in it was changed", dir, err)
		}
	}
	if damagedInside(fs, fs.PathJoin(dir, manifest)) {
		return fmt.Errorf("the data directory %s is damaged: its file %s, which names all others, cannot be read to its end; nothing in it was changed",
			dir, manifest)
	}
	return nil
}

// prepare empties a folder whose making was cut short, and says that it is
// being made.
func (s *Store) prepare() error {
	names, err := s.o.FS.List(s.dir)
	if err != nil {
		return err
	}
	if slices.Contains(names, formatFile) { // only then it is ours
		for _, name := range names {
			if name == formatFile || name == "LOCK" {
				continue
			}
			if err := s.o.FS.RemoveAll(s.o.FS.PathJoin(s.dir, name)); err != nil {
				return err
			}
		}
	}
	return s.mark(formatMaking)
}

// makeDir makes a folder and those above it so that they outlive the power.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	above := fs.PathDir(dir)
	if above != dir {
		if err := makeDir(fs, above); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, above)
}

// mark writes the format file.
func (s *Store) mark(state string) error {
	return replaceFile(s.o.FS, s.dir, formatFile, formatPrefix+strconv.Itoa(formatVersion)+state+"\n")
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readFile(fs vfs.FS, name string) (string, error) {
	f, err := fs.Open(name)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b), errors.Join(err, f.Close())
}

// openDB opens the database behind a new fence.
func (s *Store) openDB() (_ *pebble.DB, _ *fence, err error) {
	logs, err := call(s.o.FS, s.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open the data directory %s: %w", s.dir, err)
	}
	f := &fence{FS: s.o.FS, root: s.dir, logs: logs, tell: s.nudge}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("open the data directory %s: %v", s.dir, p)
		}
	}()
	db, err := pebble.Open(s.dir, s.options(f))
	if broken := f.broken(); broken != nil {
		f.cut()
		if err == nil {
			shut(db, s.log)
		}
		return nil, nil, fmt.Errorf("open the data directory %s: %w", s.dir, broken)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open the data directory %s: %w", s.dir, plain(err))
	}
	return db, f, nil
}

const memTable = 16 << 20 // up to three are alive; each grows to this only under load

func (s *Store) options(f *fence) *pebble.Options {
	o := &pebble.Options{
		FS: f, Lock: s.lock, Cache: s.cache,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       32,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                500,
		DisableTableStats:           true,
		Logger:                      quiet{s.log},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.log.Debug("background work of the store", slog.Any("err", err)) },
			DataCorruption:  s.corrupt,
		},
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, 2 },
	}
	o.Experimental.CompactionScheduler = &compactions{}
	return o
}

// corrupt takes note of a damaged file, so that the next start rescues what can
// be read even if it does not meet it.
func (s *Store) corrupt(info pebble.DataCorruptionInfo) {
	s.mu.Lock()
	first := s.figures.Corruptions == 0
	s.figures.Corruptions++
	known := s.damagedFiles[info.Path]
	if !known {
		if s.damagedFiles == nil {
			s.damagedFiles = make(map[string]bool)
		}
		s.damagedFiles[info.Path] = true
	}
	s.mu.Unlock()
	if known {
		return
	}
	s.log.Error("a file of the store is damaged: what cannot be read of it is lost, and all else is served; "+
		"the next start copies that to a new store and puts this one into the quarantine",
		slog.String("file", info.Path), slog.Any("err", plain(info.Details)),
		slog.String("quarantine", s.o.FS.PathJoin(s.o.FS.PathDir(s.dir), quarantineName)))
	if !first {
		return
	}
	f, err := s.o.FS.Create(s.o.FS.PathJoin(s.dir, damagedFile), vfs.WriteCategoryUnspecified)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), syncDir(s.o.FS, s.dir))
	}
	if err != nil {
		s.log.Warn("that cannot be noted", slog.Any("err", err))
	}
}

// quiet is Pebble's logger. Fatalf returns: what it would end the process for
// is known to the fence already.
type quiet struct{ log *slog.Logger }

func (quiet) Infof(string, ...any) {}

func (q quiet) Errorf(format string, args ...any) {
	q.log.Debug("message of the store", slog.String("text", fmt.Sprintf(format, args...)))
}

func (q quiet) Fatalf(format string, args ...any) {
	q.log.Debug("fatal message of the store", slog.String("text", fmt.Sprintf(format, args...)))
}
