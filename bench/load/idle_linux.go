package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Idle is a number of clients that connect and then say nothing, like most
// devices at most times.
type Idle struct {
	Connections int
	Subscribe   bool          // each to its own dev/<id>/cmd, at QoS 1
	Settle      time.Duration // between the last answer and the look at memory
}

// IdleResult is what the connections cost the broker.
type IdleResult struct {
	Connections int
	Elapsed     time.Duration // to open all of them
	BrokerCPU   time.Duration // from the first connect to the end of Settle
	Empty       int64         // resident bytes before
	Full        int64         // resident bytes after
	Closed      int           // connections that the broker did not keep
}

// PerConnection is the growth of resident memory per connection, in bytes.
func (r *IdleResult) PerConnection() float64 {
	return float64(r.Full-r.Empty) / float64(r.Connections)
}

// PerThousand is the broker's CPU seconds per 1,000 connects.
func (r *IdleResult) PerThousand() float64 {
	return r.BrokerCPU.Seconds() * 1000 / float64(r.Connections)
}

const (
	idleSources   = 4  // 127.0.0.2 and up
	idleBatch     = 64 // handshakes in flight: below the accept queue of 100 that brokers commonly set
	idleKeepAlive = 1200
	spareFiles    = 64
)

// RaiseFileLimit lifts the descriptor limit of this process, and of the
// processes it starts, to the hard limit, and says what that is.
func RaiseFileLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("descriptor limit: %w", err)
	}
	limit.Cur = limit.Max
	// Go raises its own soft limit at start but gives children the old one back,
	// until it is set by hand.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raise the descriptor limit to %d: %w", limit.Max, err)
	}
	return limit.Max, nil
}

// RunIdle opens the connections, looks at the broker's memory, and closes them.
func RunIdle(ctx context.Context, to Target, idle Idle) (*IdleResult, error) {
	limit, err := RaiseFileLimit()
	if err != nil {
		return nil, err
	}
	if idle.Connections < 1 || uint64(idle.Connections)+spareFiles > limit {
		return nil, fmt.Errorf("%d idle connections: choose 1..%d, the descriptor limit is %d", idle.Connections, limit-spareFiles, limit)
	}
	crowd := &crowd{fds: make([]int, 0, idle.Connections)}
	result, err := crowd.measure(ctx, to, idle)
	return result, errors.Join(err, crowd.close())
}

// crowd is a set of idle connections, blocking sockets.
type crowd struct {
	fds []int
}

func (c *crowd) measure(ctx context.Context, to Target, idle Idle) (*IdleResult, error) {
	r := &IdleResult{Connections: idle.Connections}
	var err error
	if r.Empty, err = RSS(to.PID); err != nil {
		return nil, err
	}
	before, err := CPU(to.PID)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for len(c.fds) < idle.Connections {
		if err := c.grow(ctx, to.Addr, idle); err != nil {
			return nil, fmt.Errorf("after %d connections: %w", len(c.fds), err)
		}
	}
	r.Elapsed = time.Since(start)
	if err := pause(ctx, idle.Settle); err != nil {
		return nil, err
	}
	after, err := CPU(to.PID)
	if err != nil {
		return nil, err
	}
	r.BrokerCPU = after - before
	if r.Full, err = RSS(to.PID); err != nil {
		return nil, err
	}
	r.Closed, err = c.gone()
	return r, err
}

// grow opens one batch: all say what they want, then all hear the answer.
func (c *crowd) grow(ctx context.Context, to netip.AddrPort, idle Idle) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	first := len(c.fds)
	for i := first; i < min(first+idleBatch, idle.Connections); i++ {
		source := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i%idleSources)})
		fd, err := dial(to, source)
		if err != nil {
			return err
		}
		c.fds = append(c.fds, fd)
		if err := writeAll(fd, hello(i, idle.Subscribe)); err != nil {
			return err
		}
	}
	for _, fd := range c.fds[first:] {
		if err := readConnack(fd); err != nil {
			return err
		}
		if !idle.Subscribe {
			continue
		}
		if err := readSuback(fd, 1); err != nil {
			return err
		}
	}
	return nil
}

// hello is the CONNECT of client i, with its SUBSCRIBE behind it if asked for.
func hello(i int, subscribe bool) []byte {
	id := fmt.Sprintf("idle-%06d", i)
	b := appendConnect(nil, cleanSession, id, idleKeepAlive)
	if !subscribe {
		return b
	}
	return appendSubscribe(b, "dev/"+id+"/cmd", 1)
}

// gone counts the connections that have anything to report: a close, or bytes
// nobody asked for.
func (c *crowd) gone() (int, error) {
	watched := make([]unix.PollFd, len(c.fds))
	for i, fd := range c.fds {
		watched[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	n, err := unix.Poll(watched, 0)
	if err != nil {
		return 0, fmt.Errorf("poll: %w", err)
	}
	return n, nil
}

// close resets all connections: thousands in TIME_WAIT would slow what follows.
func (c *crowd) close() error {
	errs := make([]error, 0, 2*len(c.fds))
	for _, fd := range c.fds {
		errs = append(errs,
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
			unix.Close(fd))
	}
	return errors.Join(errs...)
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
