package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/internal/load"
)

const (
	bareSize = 4096 // bytes of a bare append: a page, the least that a disk writes
	bareRuns = 500  // before and after
	bareTime = time.Second
)

// durableResult is what one run measured, and the disk beside it.
type durableResult struct {
	load.DurableResult

	Bare load.Histogram // one in flight: an append of bareSize and fdatasync, without any broker
}

// besideTheDisk makes a run between two looks at what the disk takes by
// itself, so that a disk that changes its mind shows in both.
func besideTheDisk(ctx context.Context, dir string, bare *load.Histogram, run func() error) error {
	if err := bareAppends(ctx, dir, bare); err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	return bareAppends(ctx, dir, bare)
}

// bareAppends times the least that keeps a message: a write at the end of a
// file and fdatasync.
func bareAppends(ctx context.Context, dir string, bare *load.Histogram) (err error) {
	f, err := os.CreateTemp(dir, "append-")
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
		if _, err := f.Write(b); err != nil {
			return fmt.Errorf("time the disk: %w", err)
		}
		if err := fdatasync(fd); err != nil {
			return fmt.Errorf("time the disk: %w", err)
		}
		bare.Record(time.Since(start))
	}
	return nil
}

// fdatasync repeats what a signal interrupted; the runtime sends itself some.
func fdatasync(fd int) error {
	for {
		err := unix.Fdatasync(fd)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
