package loop

import "github.com/fantail-mqtt/fantail/internal/wheel"

// New makes the group that suits the system: event loops over epoll.
func New(o Options, w *wheel.Wheel) (Group, error) { return NewEpoll(o, w) }
