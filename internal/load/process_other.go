//go:build !linux

package load

import (
	"errors"
	"time"
)

var errNoProc = errors.New("the figures of another process are read in /proc, which only Linux has")

// CPU is not known here.
func CPU(int) (time.Duration, error) { return 0, errNoProc }

// RSS is not known here.
func RSS(int) (int64, error) { return 0, errNoProc }

// PeakRSS is not known here.
func PeakRSS(int) (int64, error) { return 0, errNoProc }

// machineCPU is not known here.
func machineCPU() (time.Duration, error) { return 0, nil }
