package loop

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// kinds are the implementations of Group, which nobody above can tell apart.
func kinds() map[string]func(*testing.T, *wheel.Wheel) Group {
	return map[string]func(*testing.T, *wheel.Wheel) Group{
		"epoll": func(t *testing.T, w *wheel.Wheel) Group {
			g, err := NewEpoll(Options{Loops: 2, Local: newLocal}, w)
			if err != nil {
				t.Fatal(err)
			}
			return g
		},
		"portable": func(_ *testing.T, _ *wheel.Wheel) Group { return NewPortable(Options{Local: newLocal}) },
	}
}
