package cli

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidDumps keeps the memory of this process, in which there are passwords
// and keys, from being written to disk when it fails, and from other processes
// of its user. The limit alone is not asked where a program takes the dump
// (core_pattern in proc(5)).
func forbidDumps() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("RLIMIT_CORE: %w", err)
	}
	return nil
}
