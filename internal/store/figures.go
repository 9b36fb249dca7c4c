package store

import (
	"slices"
	"time"
)

// counters are figures that only ever rise.
type counters struct {
	Frames      uint64 // committed
	Records     uint64 // in those
	Failures    uint64 // times the disk stopped taking writes
	Corruptions uint64 // reads that met a corrupt file
	Discarded   int    // sessions that were incomplete at start
}

// Figures is what there is to know about a store.
type Figures struct {
	Frames, Records, Failures, Corruptions uint64

	Discarded   int // sessions found incomplete at start, and removed
	Quarantined int // files put aside at start because they could not be read

	Disk int64 // bytes in the data directory
	WAL  int64 // of those, in the log that is not in tables yet
	Free int64 // bytes free on that disk; -1: unknown

	Backlogs  int // sessions that have messages on disk
	OpenBytes int // waiting for the commit under way

	SyncP50, SyncP99, SyncMax time.Duration // of the last commits, synced

	Failing error // why nothing can be written, or nil
	Since   time.Time
}

// Figures are the figures of now.
func (s *Store) Figures() Figures {
	var f Figures
	s.mu.Lock()
	f.Frames, f.Records, f.Failures, f.Corruptions = s.figures.Frames, s.figures.Records, s.figures.Failures, s.figures.Corruptions
	f.Discarded, f.Quarantined = s.figures.Discarded, s.quarantined
	f.Backlogs = s.backlogs
	f.OpenBytes = s.open.Len()
	f.SyncP50, f.SyncP99, f.SyncMax = s.syncs.figures()
	if f.Failing = s.failing; s.failing != nil {
		f.Since = s.since
	}
	s.mu.Unlock()
	f.Free = -1
	if usage, err := s.o.FS.GetDiskUsage(s.dir); err == nil {
		f.Free = int64(usage.AvailBytes)
	}
	s.handles.life.RLock()
	defer s.handles.life.RUnlock()
	if db := s.handles.db; db != nil {
		m := db.Metrics()
		f.Disk, f.WAL = int64(m.DiskSpaceUsage()), int64(m.WAL.Size)
	}
	return f
}

// latencies are the durations of the last commits.
type latencies struct {
	ring [512]time.Duration
	n    int
}

func (l *latencies) add(d time.Duration) {
	l.ring[l.n%len(l.ring)] = d
	l.n++
}

func (l *latencies) figures() (p50, p99, longest time.Duration) {
	n := min(l.n, len(l.ring))
	if n == 0 {
		return 0, 0, 0
	}
	sorted := l.ring
	slices.Sort(sorted[:n])
	return sorted[n/2], sorted[n*99/100], sorted[n-1]
}
