package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
)

const (
	durableName     = "durable" // all of them
	durableSettle   = time.Second
	durablePatience = 10 * time.Second // a disk may take its time
)

// planDurable lists the scenarios around sessions whose clients are away, with
// counts in terms of those that the project's goals were set with. Slow brokers
// are cut short by time.
func planDurable(size float64) ([]load.Durable, error) {
	if size <= 0 || size > 10 {
		return nil, fmt.Errorf("-durable-size %g: choose more than 0, at most 10", size)
	}
	of := func(n int) int { return max(1, int(float64(n)*size)) }
	all := []load.Durable{
		{Pattern: load.Backlog, Sessions: 100, Messages: of(500_000), Window: 64, Sizes: []int{128}, Limit: 10 * time.Second},
		{Pattern: load.ToMany, Sessions: of(10_000), Messages: 20, Window: 1, Sizes: []int{128}, Limit: 20 * time.Second},
		{Pattern: load.OneInFlight, Sessions: 1, Messages: of(10_000), Window: 1, Sizes: []int{128}, Limit: 3 * time.Second},
		{Pattern: load.Growth, Sessions: 100, Messages: of(1_000_000), Window: 64, Sizes: []int{256}, Limit: 20 * time.Second},
	}
	for i := range all {
		all[i].Settle, all[i].Patience = durableSettle, durablePatience
		if err := all[i].Validate(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// matchesDurable says whether word means sc: all of its kind, or by one of the
// tables it fills.
func matchesDurable(word string, sc load.Durable) bool {
	return word == durableName || slices.ContainsFunc(sc.Pattern.Names(), func(name string) bool { return matches(word, name) })
}

func durableNames(all []load.Durable) string {
	var list []string
	for _, sc := range all {
		list = append(list, sc.Pattern.Names()...)
	}
	return strings.Join(list, ", ")
}

// durableTable is one scenario with the rounds of each broker.
type durableTable struct {
	scenario load.Durable
	rows     map[string]*durableRow
}

type durableRow struct {
	results []*durableResult
	errs    []error
}

func (t *durableTable) row(name string) *durableRow {
	if t.rows[name] == nil {
		t.rows[name] = &durableRow{}
	}
	return t.rows[name]
}

func (t *durableTable) add(name string, result *durableResult, err error) {
	row := t.row(name)
	if err != nil {
		row.errs = append(row.errs, err)
		return
	}
	row.results = append(row.results, result)
}

func (row *durableRow) faulty() bool {
	return slices.ContainsFunc(row.results, func(res *durableResult) bool { return res.Faults.Any() })
}

// measureDurables does one round of all durable scenarios.
func measureDurables(ctx context.Context, o *options, r *report, round int, progress io.Writer) error {
	for _, t := range r.durables {
		for _, k := range o.brokers {
			result, err := measureDurable(ctx, k.OnDisk(o.data), t.scenario, o.data)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.add(k.Name, result, err)
			fmt.Fprintf(progress, "round %d  %-18s %-12s %s\n", round+1, t.scenario.Pattern.Names()[0], k.Name, durableLine(t.scenario, result, err))
		}
	}
	return nil
}

// measureDurable runs one scenario against a fresh broker, which is then ended
// at once: its data goes away with it.
func measureDurable(ctx context.Context, k broker.Kind, sc load.Durable, dir string) (*durableResult, error) {
	p, err := k.Start(ctx)
	if err != nil {
		return nil, err
	}
	result := &durableResult{}
	run := func() error {
		r, err := load.RunDurable(ctx, load.Target{Addr: p.Addr, PID: p.PID}, sc)
		if err == nil {
			result.DurableResult = *r
		}
		return err
	}
	if sc.Pattern == load.OneInFlight {
		err = besideTheDisk(ctx, dir, &result.Bare, run)
	} else {
		err = run()
	}
	return result, errors.Join(err, p.Running(), p.Discard())
}

func durableLine(sc load.Durable, r *durableResult, err error) string {
	if err != nil {
		return "FAILED: " + err.Error()
	}
	var what string
	switch sc.Pattern {
	case load.ToMany:
		what = fmt.Sprintf("p50 %v", r.Latency.Quantile(0.5).Round(time.Microsecond))
	case load.OneInFlight:
		what = fmt.Sprintf("p50 %v, of an append %v", r.Latency.Quantile(0.5).Round(time.Microsecond), r.Bare.Quantile(0.5).Round(time.Microsecond))
	default:
		what = fmt.Sprintf("%.0f queued/s %.2f CPU s/M  %.0f drained/s %.2f CPU s/M  %.0f MiB/M",
			perSecond(r.Queue.Messages, r.Queue.Elapsed), r.Queue.CPUPerMillion(),
			perSecond(r.Drain.Messages, r.Drain.Elapsed), r.Drain.CPUPerMillion(), r.GrowthPerMillion()/(1<<20))
	}
	return fmt.Sprintf("%s  faults: %v", what, r.Faults)
}

// disk says what the data of the durable scenarios is on.
type disk struct {
	fs       string
	volatile bool // it is memory: an fsync costs nothing and keeps nothing
}

func diskOf(dir string) disk {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return disk{fs: "an unknown file system"}
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext2/3/4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.F2FS_SUPER_MAGIC: "f2fs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "nfs", unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs",
	}
	name, ok := names[int64(s.Type)] //nolint:unconvert // its type depends on the architecture
	if !ok {
		name = fmt.Sprintf("a file system of type %#x", s.Type)
	}
	return disk{fs: name, volatile: name == "tmpfs" || name == "ramfs"}
}

func (d disk) String() string {
	if d.volatile {
		return "**" + d.fs + ", which is memory: these figures say nothing about a disk**"
	}
	return d.fs
}
