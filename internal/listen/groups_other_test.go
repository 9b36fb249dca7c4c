//go:build !linux

package listen

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// kinds are the implementations of loop.Group.
func kinds() map[string]func(*testing.T, *wheel.Wheel) loop.Group {
	return map[string]func(*testing.T, *wheel.Wheel) loop.Group{
		"portable": func(_ *testing.T, _ *wheel.Wheel) loop.Group { return loop.NewPortable(loop.Options{Local: newLocal}) },
	}
}
