package listen

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// kinds are the implementations of loop.Group, which nobody above can tell apart.
func kinds() map[string]func(*testing.T, *wheel.Wheel) loop.Group {
	return map[string]func(*testing.T, *wheel.Wheel) loop.Group{
		"epoll": func(t *testing.T, w *wheel.Wheel) loop.Group {
			g, err := loop.NewEpoll(loop.Options{Loops: 2, Local: newLocal}, w)
			if err != nil {
				t.Fatal(err)
			}
			return g
		},
		"portable": func(_ *testing.T, _ *wheel.Wheel) loop.Group { return loop.NewPortable(loop.Options{Local: newLocal}) },
	}
}
