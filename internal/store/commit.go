package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// commitFrames is the committer. Close ends it, when what is open is committed.
func (s *Store) commitFrames() {
	defer close(s.done)
	eager := false // the next frame is likely to come at once
	for {
		idle := time.Now()
		if eager {
			eager = s.lookOut(idle)
		}
		select {
		case <-s.wake:
		case <-s.short():
			s.lookAgain()
			continue
		case <-s.life.Done():
			s.commitOpen()
			s.giveUp()
			return
		}
		eager = eager || time.Since(idle) < lookOutTime
		s.commitOpen()
		if s.handles.broken() != nil {
			s.mend()
		}
	}
}

// short is when to look again whether a disk that had too little space has more,
// if it had: nobody brings a frame then.
func (s *Store) short() <-chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing == nil {
		return nil
	}
	return time.After(shortTime)
}

const shortTime = 250 * time.Millisecond

func (s *Store) lookAgain() {
	if s.handles.broken() == nil && s.space(0, s.o.Reserve) == nil {
		s.healed()
	}
}

// lookOutTime is how long the committer looks out for the next frame before it
// sleeps. A publisher with one message in flight sends the next as soon as it has
// its acknowledgement; to be woken for it takes about as long as that. Where
// frames come further apart it does not look out.
const lookOutTime = 200 * time.Microsecond

// lookOut says whether a frame has come.
func (s *Store) lookOut(since time.Time) bool {
	for time.Since(since) < lookOutTime {
		if len(s.wake) > 0 {
			return true
		}
		runtime.Gosched()
	}
	return false
}

// commitOpen commits frames until none is open.
func (s *Store) commitOpen() {
	for s.swap() {
		err := s.commit(s.flying)
		s.landed(err)
		if err != nil {
			return
		}
	}
}

// swap takes the open frame.
func (s *Store) swap() bool {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.Len() == 0 {
		return false
	}
	s.flying, s.open, s.spare = s.open, s.spare, nil
	return true
}

// giveUp tells those that still wait that nobody commits any more.
func (s *Store) giveUp() {
	s.mu.Lock()
	waiting := s.open.waiting
	s.open.waiting = nil
	s.mu.Unlock()
	for _, done := range waiting {
		done(ErrClosed)
	}
}

const keptFrame = 1 << 20 // a frame that grew beyond gives its memory back

// landed ends a frame: it is committed, or with an error it never will be.
func (s *Store) landed(err error) {
	s.mu.Lock()
	f := s.flying
	s.flying = nil
	waiting := f.waiting
	var again []func()
	if err == nil {
		s.figures.Frames++
		s.figures.Records = s.t.records
		s.backlogs = s.t.backlogs
		if s.open.Len() <= s.o.Open {
			again, s.again = s.again, nil
		}
	}
	s.mu.Unlock()
	for _, done := range waiting {
		done(err)
	}
	for _, f := range again {
		f()
	}
	clear(waiting)
	f.waiting = waiting[:0]
	if f.Len() > keptFrame {
		f = &frame{}
	}
	f.Reset()
	s.mu.Lock()
	s.spare = f
	s.mu.Unlock()
}

// commit makes a frame durable, however long that takes. Only Close ends it
// before that.
func (s *Store) commit(f *frame) error {
	var repr []byte // the batch, once the frame is translated: it is so only once
	for attempt := 0; ; attempt++ {
		err := s.attempt(f, &repr)
		if err == nil {
			// What is left of the reserve is for clients that take what is there.
			if err := s.space(f.Len(), s.o.Reserve); err != nil {
				s.ails(err)
			} else {
				s.healed()
			}
			return nil
		}
		s.ails(err)
		if !s.pause(attempt) {
			return fmt.Errorf("%w; what was not committed: %w", ErrClosed, err)
		}
	}
}

func (s *Store) attempt(f *frame, repr *[]byte) error {
	if err := s.space(f.Len(), s.o.Reserve/4); err != nil {
		return err
	}
	db, err := s.handles.working(s)
	if err != nil {
		return err
	}
	batch := db.NewBatch()
	if *repr != nil {
		if err := batch.SetRepr(*repr); err != nil {
			return fmt.Errorf("apply a frame again: %w", err)
		}
		return s.apply(db, batch, repr)
	}
	if err := s.t.translate(tables{s}, f.Bytes(), batch); err != nil {
		// Whatever we say now would be wrong: the memory of this process is.
		panic(fmt.Sprintf("store: %v", err))
	}
	if s.handles.db != db { // it broke while it was read, and is another now
		*repr = bytes.Clone(batch.Repr())
		return errMoved
	}
	return s.apply(db, batch, repr)
}

var errMoved = errors.New("the data directory was opened anew")

// apply commits a batch. If that fails it leaves its content in repr.
func (s *Store) apply(db *pebble.DB, batch *pebble.Batch, repr *[]byte) (err error) {
	if batch.Empty() {
		return batch.Close()
	}
	content := batch.Repr()
	defer func() {
		if p := recover(); p != nil { // Pebble's word for an error that it cannot hand on
			s.handles.fail(fmt.Errorf("the database gave up: %v", p))
		}
		if err = s.handles.broken(); err != nil {
			*repr = bytes.Clone(content)
			return
		}
		err = batch.Close()
	}()
	begin := time.Now()
	if err := db.Apply(batch, pebble.Sync); err != nil {
		s.handles.fail(err)
	}
	took := time.Since(begin)
	s.mu.Lock()
	s.syncs.add(took)
	s.mu.Unlock()
	return nil
}

// space looks whether a part of the disk is free, and room for some frames like
// this: a full disk is not to be found out by Pebble in the middle of something.
// With less than the reserve free, nothing new is taken; with less than a quarter
// of it, nothing is written at all.
func (s *Store) space(frame int, part int64) error {
	usage, err := s.o.FS.GetDiskUsage(s.dir)
	if err != nil {
		return nil //nolint:nilerr // it cannot be known, and writing will tell
	}
	need := uint64(max(part, 4*int64(frame)))
	if usage.AvailBytes >= need {
		return nil
	}
	return fmt.Errorf("the disk is full: %d MiB are free, %d MiB are needed", usage.AvailBytes>>20, (need+1<<20-1)>>20)
}

// mend opens the database anew when it broke while nothing was to be committed.
func (s *Store) mend() {
	for attempt := 0; ; attempt++ {
		_, err := s.handles.working(s)
		if err == nil {
			s.healed()
			return
		}
		s.ails(err)
		if !s.pause(attempt) {
			return
		}
	}
}

// pause waits before the next attempt; false if the store is being closed.
func (s *Store) pause(attempt int) bool {
	t := time.NewTimer(min(20*time.Millisecond<<min(attempt, 6), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.life.Done():
		return false
	}
}

func (s *Store) ails(err error) {
	s.mu.Lock()
	first := s.failing == nil
	s.failing = err
	s.ailing.Store(&err)
	if first {
		s.since = time.Now()
		s.figures.Failures++
	}
	s.mu.Unlock()
	if first {
		s.log.Error("the store takes nothing new: what would have to be kept is refused", slog.Any("err", err))
	}
}

func (s *Store) healed() {
	s.mu.Lock()
	ailed := s.failing != nil
	s.failing = nil
	s.ailing.Store(nil)
	s.mu.Unlock()
	if ailed {
		s.log.Info("the store takes what comes again")
	}
}

// wait blocks until all that was appended before is committed.
func (s *Store) wait(ctx context.Context) error {
	answer := make(chan error, 1)
	if s.After(func(err error) { answer <- err }) {
		return nil
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return errors.Join(ErrClosed, ctx.Err())
	}
}
