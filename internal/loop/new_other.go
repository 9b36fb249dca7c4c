//go:build !linux

package loop

import "github.com/fantail-mqtt/fantail/internal/wheel"

// New makes the group that suits the system: the portable transport.
func New(o Options, _ *wheel.Wheel) (Group, error) { return NewPortable(o), nil }
