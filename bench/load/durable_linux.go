package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// RunDurable runs one scenario against a broker without other traffic; dir is
// on the disk that the broker keeps its state on. An error means that nothing
// was measured; what goes wrong once messages flow is told in Faults.
func RunDurable(ctx context.Context, to Target, sc Durable, dir string) (*DurableResult, error) {
	if err := sc.Validate(); err != nil {
		return nil, err
	}
	r := &durableRun{g: newGenerator(sc.traffic(), rand.Uint32()), sc: sc, to: to, dir: dir}
	err := errors.Join(r.measure(ctx), r.g.close())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sc.Pattern.Names()[0], r.g.explain(err))
	}
	r.result.Faults = r.g.result.Faults
	return &r.result, nil
}

// durableRun drives a generator whose subscribers come late.
type durableRun struct {
	g      *generator
	sc     Durable
	to     Target
	dir    string
	result DurableResult
}

func (r *durableRun) measure(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	var err error
	switch r.sc.Pattern {
	case ToMany:
		err = r.fill(ctx, r.roundTrips)
	case OneInFlight:
		err = r.besideTheDisk(ctx)
	default:
		err = r.fill(ctx, r.publishAll)
	}
	if err != nil {
		return err
	}
	if r.result.Full, err = RSS(r.to.PID); err != nil {
		return err
	}
	if r.result.Peak, err = PeakRSS(r.to.PID); err != nil {
		return err
	}
	if r.sc.Pattern == Growth {
		r.g.result.Faults.Protocol += uint64(r.g.unacked)
		return nil
	}
	if err := r.drain(ctx); err != nil {
		return err
	}
	r.g.count()
	return nil
}

// prepare leaves all sessions behind and the publishers connected.
func (r *durableRun) prepare(ctx context.Context) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	r.g.epoll = epoll
	for first := 0; first < r.sc.Sessions; first += idleBatch {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.leaveBehind(first, min(first+idleBatch, r.sc.Sessions)); err != nil {
			return fmt.Errorf("after %d sessions: %w", first, err)
		}
	}
	for i := range r.g.pubs {
		if err := r.openPublisher(i); err != nil {
			return err
		}
	}
	if err := pause(ctx, r.sc.Settle); err != nil {
		return err
	}
	r.result.Empty, err = RSS(r.to.PID)
	return err
}

// openPublisher connects a publisher; one that waits for each acknowledgement
// does so by blocking, the shortest way.
func (r *durableRun) openPublisher(i int) error {
	p := &r.g.pubs[i]
	id := fmt.Sprintf("p%08x-%d", r.g.run, i)
	if !r.sc.oneAtATime() {
		return p.open(r.g.epoll, r.to.Addr, id, "", 0)
	}
	fd, err := dial(r.to.Addr, netip.Addr{})
	if err != nil {
		return err
	}
	p.fd = fd
	return greet(fd, id, "", 0)
}

func (r *durableRun) sessionID(i int) string { return fmt.Sprintf("d%08x-%d", r.g.run, i) }

// leaveBehind makes the sessions [first, end), each with one subscription, and
// returns once the broker knows that their clients have gone.
func (r *durableRun) leaveBehind(first, end int) (err error) {
	fds := make([]int, 0, end-first)
	defer func() {
		for _, fd := range fds {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	for i := first; i < end; i++ {
		fd, err := dial(r.to.Addr, netip.Addr{})
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		hello := appendConnect(nil, keptSession, r.sessionID(i), 0)
		if err := writeAll(fd, appendSubscribe(hello, r.g.sc.filter(i), r.g.sc.QoS)); err != nil {
			return err
		}
	}
	for _, fd := range fds {
		if err := errors.Join(readConnack(fd), readSuback(fd, r.g.sc.QoS)); err != nil {
			return err
		}
	}
	return leave(fds)
}

// leave ends connections and waits until the broker has closed them, as it must
// after DISCONNECT [MQTT-3.14.4-3]; the caller closes our side.
func leave(fds []int) error {
	for _, fd := range fds {
		if err := writeAll(fd, []byte{disconnectHead, 0}); err != nil {
			return err
		}
	}
	for _, fd := range fds {
		err := readFull(fd, make([]byte, 1))
		switch {
		case err == nil:
			return errors.New("after DISCONNECT the broker still sends")
		case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, unix.ECONNRESET):
			return fmt.Errorf("after DISCONNECT: %w", err)
		}
	}
	return nil
}

// fill publishes to the sessions, whose clients are away.
func (r *durableRun) fill(ctx context.Context, publish func(context.Context) error) error {
	r.g.copies = 0 // nobody receives, so only acknowledgements open a window
	before, err := readUsage(r.to.PID)
	if err != nil {
		return err
	}
	r.g.clock = time.Now()
	if err := publish(ctx); err != nil {
		return err
	}
	s := &r.result.Queue
	s.Messages, s.Elapsed = r.g.published-uint64(r.g.unacked), time.Duration(r.g.now())
	if err := pause(ctx, r.sc.Settle); err != nil {
		return err
	}
	return r.finish(s, before)
}

// finish takes the readings at the end of a stage.
func (r *durableRun) finish(s *Stage, before usage) error {
	after, err := readUsage(r.to.PID)
	if err != nil {
		return err
	}
	s.Span = time.Duration(r.g.now())
	s.BrokerCPU = after.broker - before.broker
	s.OwnCPU = after.own - before.own
	s.OtherCPU = max(0, after.machine-before.machine-s.BrokerCPU-s.OwnCPU)
	return nil
}

// publishAll keeps every window full until all is published and acknowledged.
func (r *durableRun) publishAll(ctx context.Context) error {
	g, left := r.g, r.sc.Messages
	for i := range g.pubs {
		g.settle(&g.pubs[i])
	}
	return r.turns(ctx, func(now int64) bool {
		if now >= int64(r.sc.Limit) {
			left = 0
		}
		for _, p := range g.ripe {
			p.ripe = false
			if n := min(left, g.sc.Window-p.unacked); n > 0 && p.fd >= 0 {
				g.publish(int(p.slot), n, now)
				left -= n
			}
		}
		g.ripe = g.ripe[:0]
		return left > 0 || g.unacked > 0
	})
}

// turns runs the loop for as long as step asks for more, or until nothing has
// arrived for too long.
func (r *durableRun) turns(ctx context.Context, step func(now int64) (more bool)) error {
	g := r.g
	g.progress = g.now()
	for now := g.progress; step(now); now = g.now() {
		if now-g.progress > int64(r.sc.Patience) {
			g.note(fmt.Sprintf("stalled: nothing arrived for %v", r.sc.Patience))
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.flush(); err != nil {
			return err
		}
		n, errno := rawWait(g.epoll, g.events, slice)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("epoll wait: %w", errno)
		}
		if err := g.serve(g.events[:n]); err != nil {
			return err
		}
	}
	return nil
}
