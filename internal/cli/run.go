package cli

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/overload"
)

// running is the broker as the server command sees it.
type running struct{ b *fantail.Broker }

// newBroker makes the broker. An event loop that is busy keeps its processor,
// so Go is given more of them than there are loops.
func newBroker(c *config.Config, log *slog.Logger) (*running, error) {
	slog.SetDefault(log) // for what New has to say
	b, err := fantail.New(*c)
	if err != nil {
		return nil, err
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(c.Loop.Loops, runtime.NumCPU()) + 2)
	}
	if most := overload.Memory(int64(c.Limits.Memory)); most > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(most / 10 * 9) // garbage is collected sooner, before clients are refused
	}
	b.UseLogger(log)
	b.UseVersion(version())
	if c.Durability == config.DurabilityMemory {
		log.Warn("state is kept in memory: sessions, queues and retained messages end with this process")
	}
	return &running{b}, nil
}

// Run serves until ctx ends, and then drains. It calls ready once, with the
// addresses it has, when all listeners accept.
func (r *running) Run(ctx context.Context, ready func(addresses []string)) error {
	resting, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { restful(resting, restCalm) })
	paced(resting)
	defer done.Wait()
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.b.Run(ctx) }() // ends with ctx, or because it cannot start
	select {
	case err := <-ended:
		return err
	case <-r.b.Ready():
		ready(r.b.Addresses())
	}
	return <-ended
}

// Reload takes over a configuration that has been checked, as far as that can
// be done while it runs.
func (r *running) Reload(c *config.Config) error { return r.b.Reload(*c) }
