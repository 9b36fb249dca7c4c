package cli

import (
	"context"
	"errors"
	"log/slog"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// broker is what server runs.
type broker interface {
	// Run serves until ctx ends, and then drains. It calls ready once, with
	// the addresses it has, when all listeners accept.
	Run(ctx context.Context, ready func(addresses []string)) error
	// Reload takes over a configuration that has been checked, as far as that
	// can be done while it runs.
	Reload(c *config.Config) error
}

// newBroker makes the broker of the root package.
func newBroker(_ *config.Config, _ *slog.Logger) (broker, error) {
	return nil, errors.New("the broker is not part of this build yet")
}
