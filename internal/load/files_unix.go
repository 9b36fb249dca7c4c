//go:build unix

package load

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// RaiseFileLimit lifts the descriptor limit of this process, and of the
// processes it starts, to the hard limit, and says what that is.
func RaiseFileLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("descriptor limit: %w", err)
	}
	limit.Cur = limit.Max
	// Go raises its own soft limit at start but gives children the old one back,
	// until it is set by hand.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raise the descriptor limit to %d: %w", limit.Max, err)
	}
	return uint64(limit.Max), nil //nolint:unconvert // its type depends on the system
}
