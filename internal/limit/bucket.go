// Package limit counts: how fast something comes, and how many there are of
// somebody. It reads no clock, starts no goroutine and does no I/O; time is an
// argument.
//
// A [Bucket] is one word: the time at which it is full again. What is taken
// moves that on by as much as it takes to be filled again, and how far it lies
// ahead says how much is missing (the generic cell rate algorithm). So a bucket
// that nobody uses costs nothing, and none is ever refilled.
//
// An [Entrance] counts connections, from the moment they are accepted: those of
// each address and each listener, and those that have not yet said who they are.
// Its tables are bounded: what a scan by a million addresses leaves behind is
// forgotten, the oldest first.
//
// A [Hush] counts lines of the log, so that many refusals are one line.
package limit

import (
	"math"
	"time"
)

// Rate is so many a second; as many may come at once. 0: as many as like.
type Rate int64

// Bucket holds what may come now. The zero value is full.
type Bucket struct{ full int64 } // when it is full again, unix nanoseconds

// window is what a full bucket holds: the rate of so much time.
const window = int64(time.Second)

// cost is how long n take.
func (r Rate) cost(n int64) int64 {
	const most = math.MaxInt64 / int64(time.Second) / 4
	return min(n, most) * int64(time.Second) / int64(r)
}

// Take takes n out, which may be more than there is, and says how long it will be
// until there is as much in it as nothing: 0 if there is something left.
func (b *Bucket) Take(r Rate, n int64, now time.Duration) (wait time.Duration) {
	if r <= 0 {
		return 0
	}
	b.full = max(b.full, int64(now)) + r.cost(n)
	return b.Wait(now)
}

// Wait is how long it will be until there is something in the bucket again.
func (b *Bucket) Wait(now time.Duration) time.Duration {
	return time.Duration(max(0, b.full-int64(now)-window))
}

// Give puts back what was taken and not used.
func (b *Bucket) Give(r Rate, n int64) {
	if r > 0 {
		b.full -= r.cost(n)
	}
}

// Left is how many may come now.
func (b *Bucket) Left(r Rate, now time.Duration) int64 {
	if r <= 0 {
		return math.MaxInt64
	}
	left := window - max(0, b.full-int64(now))
	if left <= 0 {
		return 0
	}
	return max(1, int64(float64(left)*float64(r)/float64(time.Second)))
}

// Full says whether nothing is missing.
func (b *Bucket) Full(now time.Duration) bool { return b.full <= int64(now) }

// At is unix milliseconds as the time that buckets are told.
func At(milliseconds int64) time.Duration { return time.Duration(milliseconds) * time.Millisecond }
