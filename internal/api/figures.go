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
	// Quarantined is how many files could not be read at start and were moved
	// aside.
	Quarantined int64 `json:"quarantined"`
}

// Disk is what the store takes there.
type Disk struct {
	Bytes int64 `json:"bytes"` // all files
	Log   int64 `json:"log"`   // of them, the write-ahead log
	Free  int64 `json:"free"`  // what the file system has left; below 0: unknown
}

// Queued is what waits for durable sessions.
type Queued struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
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
	Count int64   `json:"count"` // of how many
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// Failing says that the store keeps nothing new, and why.
type Failing struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}
