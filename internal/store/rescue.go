package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A store of which some file cannot be read any more is copied, as far as it
// can be read, into a new folder, which takes its place; the old one goes to
// the folder quarantine beside it, whole. Copying loses no order: of a span of
// keys of which some part cannot be read, all that is known is left out, so
// that nothing old shows through.
const (
	rescuedName    = ".rescued"
	salvageName    = ".salvage"
	quarantineName = "quarantine"
)

// damaged says whether an error means that files have lost their content,
// rather than that the disk does not work.
func damaged(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, os.ErrNotExist) ||
		strings.Contains(err.Error(), "object size mismatch") // it has no mark of its own
}

// openWhole opens the database, and rescues it first if it is damaged.
func (s *Store) openWhole() (*pebble.DB, *fence, error) {
	report := s.tornTail()
	_, err := s.o.FS.Stat(s.o.FS.PathJoin(s.dir, damagedFile))
	if err == nil {
		err = errNoted
	} else {
		var db *pebble.DB
		var f *fence
		if db, f, err = s.openDB(); err == nil {
			report()
			return db, f, nil
		}
		if !damaged(err) {
			return nil, nil, err
		}
	}
	if err := s.rescue(err); err != nil {
		return nil, nil, err
	}
	return s.openDB()
}

var errNoted = fmt.Errorf("a damaged file was met when it was open last: %w", pebble.ErrCorruption)

// repair rescues the database while it is open, which must be used by nobody.
func (s *Store) repair(why error) error {
	s.handles.opening.Lock()
	defer s.handles.opening.Unlock()
	s.handles.mu.Lock()
	f := s.handles.fence
	s.handles.fence = nil
	s.handles.mu.Unlock()
	s.handles.life.Lock()
	db := s.handles.db
	s.handles.db = nil
	s.handles.life.Unlock()
	shut(db, s.log)
	f.cut()
	err := s.rescue(why)
	if err != nil {
		return err
	}
	db, f, err = s.openDB()
	if err != nil {
		return err
	}
	s.handles.set(db, f)
	s.rot.forget() // the tables have other numbers now
	return nil
}

// rescue puts a readable copy in the place of the data directory.
func (s *Store) rescue(why error) error {
	fs := s.o.FS
	s.log.Warn("the data directory is damaged: what can be read is copied to a new one, before anything else", slog.Any("err", plain(why)))
	lost, err := s.copyReadable()
	if err != nil {
		return fmt.Errorf("rescue what can be read of the data directory %s, of which nothing was changed: %w", s.dir, plain(err))
	}
	aside, err := s.aside()
	if err == nil {
		err = s.lock.Close()
	}
	if err != nil {
		return fmt.Errorf("put the damaged data directory %s aside: %w", s.dir, err)
	}
	// Between the two the store is the rescued one: see adopt.
	if err := fs.Rename(s.dir, aside); err != nil {
		return fmt.Errorf("put the damaged data directory %s aside: %w", s.dir, err)
	}
	if err := adopt(fs, s.dir); err != nil {
		return err
	}
	if s.lock, err = pebble.LockDirectory(s.dir, fs); err != nil {
		return fmt.Errorf("lock the data directory %s: %w", s.dir, err)
	}
	s.mu.Lock()
	s.quarantined += max(len(lost.files), 1)
	s.mu.Unlock()
	if lost.parts == 0 {
		s.log.Warn("all of the data directory could be read this time; the broker goes on with the copy, and the one that was copied is kept in the quarantine",
			slog.String("quarantine", aside))
		return nil
	}
	s.log.Error("part of the data directory could not be read and is lost; the broker goes on with the rest, and the damaged directory is kept as it was in the quarantine",
		slog.String("damaged", lost.String()), slog.Int("lost_parts", lost.parts), slog.String("quarantine", aside))
	return nil
}

// adopt moves a rescued copy into the place of a data directory that was put
// aside, if there is one that was finished.
func adopt(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	text, err := readFile(fs, fs.PathJoin(dir+rescuedName, formatFile))
	if err != nil {
		return nil //nolint:nilerr // there is none
	}
	if making, err := parseFormat(text); err != nil || making {
		return nil //nolint:nilerr // it was not finished, and what it was made from is elsewhere
	}
	if err := fs.Rename(dir+rescuedName, dir); err != nil {
		return fmt.Errorf("put the rescued store in the place of %s: %w", dir, err)
	}
	return syncDir(fs, fs.PathDir(dir))
}

// aside is a new name in the quarantine.
func (s *Store) aside() (string, error) {
	fs := s.o.FS
	folder := fs.PathJoin(fs.PathDir(s.dir), quarantineName)
	if err := makeDir(fs, folder); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		name := fs.PathJoin(folder, fs.PathBase(s.dir)+"-"+strconv.Itoa(n))
		if _, err := fs.Stat(name); errors.Is(err, os.ErrNotExist) {
			return name, nil
		}
	}
}

// loss is what could not be copied.
type loss struct {
	files []string
	parts int // spans of keys, and ends of logs
}

func (l loss) String() string { return strings.Join(l.files, ", ") }

// copyReadable copies the store to its rescued folder, and says what of it could not
// be read.
func (s *Store) copyReadable() (lost loss, err error) {
	fs := s.o.FS
	salvage, rescued := s.dir+salvageName, s.dir+rescuedName
	if err := errors.Join(fs.RemoveAll(salvage), fs.RemoveAll(rescued)); err != nil {
		return lost, err
	}
	defer func() { err = errors.Join(err, fs.RemoveAll(salvage)) }()
	if lost, err = s.linkReadable(salvage); err != nil {
		return lost, err
	}
	from, err := s.openSalvage(salvage)
	if err != nil {
		return lost, err
	}
	defer shut(from, s.log)
	copied := Store{dir: rescued, o: s.o}
	if err := makeDir(fs, rescued); err != nil {
		return lost, err
	}
	if err := copied.mark(formatMaking); err != nil {
		return lost, err
	}
	to, err := pebble.Open(rescued, &pebble.Options{FS: fs, Logger: quiet{s.log}, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		return lost, err
	}
	tables := make(map[uint64][]span)
	spans, err := lostKeys(from, fs, salvage, everything(), tables)
	if err != nil {
		return lost, errors.Join(err, to.Close())
	}
	lost.add(tables)
	c := &copier{from: from, to: to, refs: make(map[uint64]uint64)}
	parts, err := c.copy(spans)
	if err == nil {
		err = to.Flush()
	}
	if err := errors.Join(err, to.Close()); err != nil {
		return lost, err
	}
	lost.parts += parts
	if err := enrol(fs, rescued); err != nil {
		return lost, err
	}
	return lost, copied.mark("")
}

// openSalvage opens a database of which tables may be damaged, or missing.
func (s *Store) openSalvage(dir string) (*pebble.DB, error) {
	for {
		db, err := pebble.Open(dir, &pebble.Options{
			FS: s.o.FS, Logger: quiet{s.log}, DisableConsistencyCheck: true, DisableAutomaticCompactions: true,
			FormatMajorVersion: pebble.FormatNewest, DisableTableStats: true,
			EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}, BackgroundError: func(error) {}},
		})
		if err != nil {
			return nil, err
		}
		_, err = tablesOf(db, everything())
		if err == nil {
			return db, nil
		}
		shut(db, s.log)
		// Pebble cannot list its tables while it does not know the file of one. An
		// empty file is one that cannot be read.
		name, ok := missingTable(err)
		name = s.o.FS.PathJoin(dir, name)
		if _, there := s.o.FS.Stat(name); !ok || there == nil {
			return nil, err
		}
		f, err := s.o.FS.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// missingTable is the name of the table that an error says is not there. Only its
// text has it.
func missingTable(err error) (name string, ok bool) {
	_, text, _ := strings.Cut(err.Error(), ": file ")
	number, rest, _ := strings.Cut(text, " ")
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(rest, "(type sstable) unknown") {
		return "", false
	}
	return number + ".sst", true
}

// add adds tables that have lost something.
func (l *loss) add(tables map[uint64][]span) {
	for number, spans := range tables {
		if len(spans) > 0 {
			l.files = append(l.files, fmt.Sprintf("%06d.sst", number))
		}
	}
	slices.Sort(l.files)
	l.files = slices.Compact(l.files)
}

// linkReadable makes a second folder of the same files, so that opening it
// changes nothing in the first. A log is copied as far as it can be read; a table
// that cannot be read is left out, and missed when its keys are copied.
func (s *Store) linkReadable(to string) (lost loss, err error) {
	fs := s.o.FS
	if err := makeDir(fs, to); err != nil {
		return lost, err
	}
	names, err := fs.List(s.dir)
	if err != nil {
		return lost, err
	}
	slices.Sort(names)
	for _, name := range names {
		old, new := fs.PathJoin(s.dir, name), fs.PathJoin(to, name)
		switch {
		case name == "LOCK" || name == formatFile || name == logsFile || name == damagedFile:
		case isLog(name):
			end, size, torn := logEnd(fs, old)
			if torn && end < size {
				lost.parts++
				lost.files = append(lost.files, name)
			}
			err = copyFile(fs, old, new, end)
		case strings.HasSuffix(name, ".sst"):
			if fs.Link(old, new) != nil {
				err = copyTable(fs, old, new)
			}
		default:
			err = copyFile(fs, old, new, -1)
		}
		if err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// copyTable copies a table, unless it cannot be read.
func copyTable(fs vfs.FS, from, to string) error {
	f, err := fs.Open(from)
	if err != nil {
		return nil //nolint:nilerr // it is missed where its keys are looked for
	}
	_, err = io.Copy(io.Discard, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil //nolint:nilerr // as above
	}
	return copyFile(fs, from, to, -1)
}

// copyFile copies the first n bytes of a file; all below 0.
func copyFile(fs vfs.FS, from, to string, n int64) error {
	src, err := fs.Open(from)
	if err != nil {
		return err
	}
	defer src.Close() // it was read
	dst, err := fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	var r io.Reader = src
	if n >= 0 {
		r = io.LimitReader(src, n)
	}
	_, err = io.Copy(struct{ io.Writer }{dst}, r)
	return errors.Join(err, dst.Sync(), dst.Close())
}

// tornTail looks for a frame at the end of the last log that was being written
// when the power failed. Pebble cuts it off: it was never called safe.
func (s *Store) tornTail() (report func()) {
	names, err := s.o.FS.List(s.dir)
	slices.Sort(names)
	last := ""
	for _, name := range names {
		if isLog(name) {
			last = name
		}
	}
	if err != nil || last == "" {
		return func() {}
	}
	end, size, torn := logEnd(s.o.FS, s.o.FS.PathJoin(s.dir, last))
	return func() {
		if torn {
			s.log.Warn("the log ends in a frame that is not whole, and is cut off there; after a power cut that is one that was not acknowledged",
				slog.String("log", last), slog.Int64("whole", end), slog.Int64("size", size))
		}
	}
}

// logEnd reads a log and says where its last whole record ends, and whether a
// record begins there that is not whole.
func logEnd(fs vfs.FS, name string) (end, size int64, torn bool) {
	f, err := fs.Open(name)
	if err != nil {
		return 0, 0, true
	}
	defer f.Close() // it was read
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	number, err := strconv.ParseUint(strings.TrimSuffix(fs.PathBase(name), ".log"), 10, 32)
	if err != nil {
		return size, size, false
	}
	r := newLogReader(record.NewReader, f, number)
	for {
		data, err := r.Next()
		if err != nil {
			return end, size, !errors.Is(err, io.EOF) && begins(f, end, uint32(number))
		}
		if _, err := io.Copy(io.Discard, data); err != nil {
			return end, size, true
		}
		end = r.Offset()
	}
}

// newLogReader makes a reader for a log of which the number has a type that
// only Pebble can name.
func newLogReader[N ~uint64](make func(io.Reader, N) *record.Reader, r io.Reader, number uint64) *record.Reader {
	return make(r, N(number))
}

// begins says whether a chunk of this log begins at an offset: its head has
// the log's number, and not that of the log that the file was before.
func begins(f vfs.File, at int64, number uint32) bool {
	var head [11]byte
	if _, err := f.ReadAt(head[:], at); err != nil {
		return false
	}
	return uint32(head[7])|uint32(head[8])<<8|uint32(head[9])<<16|uint32(head[10])<<24 == number
}
