// Package store keeps what [record] describes on disk, with Pebble.
//
// Records collect in the open frame. A committer takes it as soon as the frame
// before is on disk, without a timer, and turns it into one batch: group commit
// for whatever came meanwhile. When the batch is synced it calls back who
// waited for it ([Store.After]). One commit is under way, one frame is filling.
//
// Most records become a key whose value is the record itself:
//
//	r topic                  retained message
//	s space 0x00 key         setting
//	c client 0x00 1          session opened       c client 0x00 2   closed
//	c client 0x00 4          will                 c client 0x00 5 filter   subscription
//	c client 0x00 6 id       incoming QoS 2 packet identifier
//
// A queue is not a key for each message. What joins one client's queue in one
// frame is one key, a chunk; how far sending has come is another, which is
// rewritten once a frame:
//
//	c client 0x00 3          position: the first seq not sent; the window of sent ones
//	c client 0x00 7 seq ref  chunk, by its last seq; ref is 1 if it refers to bodies;
//	                         behind it the time when all of it has expired, if it does
//	b number                 body of a message that more than a few sessions have
//	n number                 how many messages refer to it
//	x time client 0x00 seq   chunk of which all has expired by then
//
// Seqs are sent in order, so a message is unfinished if it is in the window or
// from the first unsent seq on. A chunk is deleted when none of its messages is
// unfinished. What joins and leaves a queue in the same frame is never written.
// All keys of a session are adjacent: its end is one range deletion.
//
// What has expired is found by time. Of a queue that nobody drains a chunk goes
// when the last of its messages expires ([Store.Overdue]).
//
// The committer remembers the position and the first chunks of each session
// that has messages on disk ([session]), so that it writes without reading.
// Messages are read only by [Store.Load], in order, as they are needed.
//
// A write that fails ends the opening of the database, not the process: what
// was being committed is kept, the directory opened anew as after a crash, and
// the same batch applied again. It only sets and deletes, so it may have been
// there already. Until it is committed nothing behind it is.
package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

// Options are what a store needs to know. The zero value is useful.
type Options struct {
	FS      vfs.FS // default: the operating system's
	Logger  *slog.Logger
	Cache   int64 // bytes of the block cache; default 32 MiB
	Open    int   // bytes waiting for the disk above which Room is false; default 16 MiB
	Reserve int64 // bytes of free disk that are left alone; default 16 MiB
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Cache == 0 {
		o.Cache = 32 << 20
	}
	if o.Open == 0 {
		o.Open = 16 << 20
	}
	if o.Reserve == 0 {
		o.Reserve = 16 << 20
	}
	return o
}

// ErrClosed is what waits when the store is closed hears.
var ErrClosed = errors.New("the store is closed")

// Store is an open data directory. Its methods may be called at any time from
// any goroutine, but for Recover, which comes first.
type Store struct {
	dir   string
	o     Options
	log   *slog.Logger
	lock  *pebble.Lock
	cache *pebble.Cache

	gate sync.RWMutex // held for reading between Enter and Leave, for writing to take the open frame

	mu      sync.Mutex // guards these
	open    *frame
	spare   *frame
	flying  *frame    // what is being committed, or nil
	again   []func()  // who waits for room
	failing error     // as in ailing
	since   time.Time // when that began
	closed  bool
	figures counters
	syncs   latencies

	backlogs    int // sessions with messages on disk
	quarantined int // files

	damagedFiles map[string]bool // that were met, by path

	ailing atomic.Pointer[error] // why nothing new can be kept

	wake    chan struct{} // one is waiting: the committer has something to do
	quit    context.CancelFunc
	life    context.Context //nolint:containedctx // ends with Close, as the goroutines do
	done    chan struct{}   // the committer has ended
	workers sync.WaitGroup

	t       *translator // owned by the committer, and by Recover before it starts
	handles handles
	loads   loads
	bodies  bodyCache
	rot     rot
}

// frame is records and who waits for them.
type frame struct {
	record.Frame
	waiting []func(error)
}

// Append adds records to the open frame. Those of queued messages have body.
func (s *Store) Append(records []byte, body *message.Message) {
	s.mu.Lock()
	s.open.Append(records, body)
	s.mu.Unlock()
	s.nudge()
}

// Enter makes sure that what is appended until Leave is in one frame. It must
// not be nested, nor called with a lock held that another holds while it waits
// in Enter.
func (s *Store) Enter() { s.gate.RLock() }

// Leave ends what Enter began.
func (s *Store) Leave() { s.gate.RUnlock() }

// After says whether all that was appended before is safe. If not, done is
// called once it is, on another goroutine; with an error only if the store is
// closed before. It must not wait.
func (s *Store) After(done func(err error)) (safe bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open.Len() > 0:
		if s.closed {
			go done(ErrClosed)
			return false
		}
		s.open.waiting = append(s.open.waiting, done)
	case s.flying != nil:
		s.flying.waiting = append(s.flying.waiting, done)
	default:
		return true
	}
	return false
}

// Room says whether more may be appended: not if too much waits for the disk.
// Then again is called once when there is room.
func (s *Store) Room(again func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.Len() <= s.o.Open {
		return true
	}
	if again != nil {
		s.again = append(s.again, again)
	}
	return false
}

// Failing says why nothing new can be kept, or nil.
func (s *Store) Failing() error {
	if err := s.ailing.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close commits what is open and closes the store. What cannot be committed
// at once is lost, and the error says so.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.quit()
	<-s.done
	s.loads.close()
	s.handles.stop()
	s.workers.Wait()
	err := s.handles.close()
	s.cache.Unref()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing != nil {
		err = errors.Join(s.failing, err)
	}
	return errors.Join(err, s.lock.Close())
}
