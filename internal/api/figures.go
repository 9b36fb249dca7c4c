package api

import "time"

// Figures is what GET /api/v1/store answers. Durations are in seconds, sizes
// in bytes.
type Figures struct {
	// Directory is where the store is.
	Directory string `json:"directory"`
	Disk      Disk   `json:"disk"`

	Sessions      int64    `json:"sessions"`
	Subscriptions int64    `json:"subscriptions"`
	Queued        Queued   `json:"queued"`
	Retained      Retained `json:"retained"`

	Frames Frames `json:"frames"`
	Sync   Sync   `json:"sync"`

	// Failing is nil while all that comes can be kept.
	Failing *Failing `json:"failing"`
	// Failures is how often the disk has stopped taking what had to be kept.
	Failures int64 `json:"failures"`
	// Damage is what could not be read.
	Damage Damage `json:"damage"`
}

// Disk is what the store takes there.
type Disk struct {
	Bytes int64 `json:"bytes"` // its files, without what the log has added since it was begun
	Log   int64 `json:"log"`   // the write-ahead log that is not in tables yet
	Free  int64 `json:"free"`  // what the file system has left; below 0: unknown
}

// Queued is what waits for durable sessions.
type Queued struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
	Sessions int64 `json:"sessions"` // that have some on disk
	// Oldest is when the oldest of them came. Nil: none waits, or unknown.
	Oldest *time.Time `json:"oldest"`
}

// Retained is what is kept for subscribers to come.
type Retained struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

// Frames is what was committed since the start.
type Frames struct {
	Committed int64 `json:"committed"`
	Records   int64 `json:"records"`
	// Open are the bytes that wait for the commit under way.
	Open int64 `json:"open"`
}

// Sync is how long the last commits took until they were on the disk.
type Sync struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Damage counts what was found that cannot be read.
type Damage struct {
	Quarantined int64 `json:"quarantined"` // files moved aside at start
	Discarded   int64 `json:"discarded"`   // sessions found incomplete at start
	Corruptions int64 `json:"corruptions"` // reads since then that met a corrupt file
}

// Failing says that the store keeps nothing new, and why.
type Failing struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}
