package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/windows"
)

// ownCPU is the user and system time of this process.
func ownCPU() (time.Duration, error) {
	var created, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &ended, &kernel, &user); err != nil {
		return 0, fmt.Errorf("own cpu time: %w", err)
	}
	return span(kernel) + span(user), nil
}

// span is a file time as a length of time: it counts in 100 ns.
func span(t windows.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}
