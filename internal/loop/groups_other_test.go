//go:build !linux

package loop

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// kinds are the implementations of Group.
func kinds() map[string]func(*testing.T, *wheel.Wheel) Group {
	return map[string]func(*testing.T, *wheel.Wheel) Group{
		"portable": func(_ *testing.T, _ *wheel.Wheel) Group { return NewPortable(Options{Local: newLocal}) },
	}
}
