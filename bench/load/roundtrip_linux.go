package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bareSize = 4096 // bytes of a bare append: a page, the least that a disk writes
	bareRuns = 500  // before and after
	bareTime = time.Second
)

// roundTrips publishes one message at a time and takes the time until its
// acknowledgement.
func (r *durableRun) roundTrips(ctx context.Context) error {
	for n := 0; n < r.sc.Messages && r.g.now() < int64(r.sc.Limit); n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		took, err := r.roundTrip()
		if err != nil {
			r.g.note(fmt.Sprintf("message %d: %v", n, err))
			return nil
		}
		r.result.Latency.Record(took)
	}
	return nil
}

func (r *durableRun) roundTrip() (time.Duration, error) {
	g, p := r.g, &r.g.pubs[0]
	p.out = p.out[:0]
	p.stamp(g.run, 0, g.now())
	g.published++
	g.unacked++
	var answer [4]byte
	start := time.Now()
	if err := writeAll(p.fd, p.out); err != nil {
		return 0, err
	}
	if err := readFull(p.fd, answer[:]); err != nil {
		return 0, err
	}
	took := time.Since(start)
	head, body, size, err := frame(answer[:])
	if err != nil || size != len(answer) {
		return 0, fmt.Errorf("answered with % x", answer)
	}
	g.takeAck(p, head, body)
	return took, nil
}

// besideTheDisk does so between two looks at what the disk takes by
// itself, so that a disk that changes its mind shows in both.
func (r *durableRun) besideTheDisk(ctx context.Context) error {
	if err := r.bareAppends(ctx); err != nil {
		return err
	}
	if err := r.fill(ctx, r.roundTrips); err != nil {
		return err
	}
	return r.bareAppends(ctx)
}

// bareAppends times the least that keeps a message: a write at the end of a
// file and fdatasync.
func (r *durableRun) bareAppends(ctx context.Context) (err error) {
	f, err := os.Create(filepath.Join(r.dir, fmt.Sprintf("append-%08x", r.g.run)))
	if err != nil {
		return fmt.Errorf("time the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	b := make([]byte, bareSize)
	fd, begun := int(f.Fd()), time.Now()
	for n := 0; n < bareRuns && time.Since(begun) < bareTime; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		if err := writeAll(fd, b); err != nil {
			return fmt.Errorf("time the disk: %w", err)
		}
		if err := untilDone(func() error { return unix.Fdatasync(fd) }); err != nil {
			return fmt.Errorf("time the disk: %w", err)
		}
		r.result.Bare.Record(time.Since(start))
	}
	return nil
}
