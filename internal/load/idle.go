package load

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Idle is a number of clients that connect and then say nothing, like most
// devices at most times.
type Idle struct {
	Connections int
	Subscribe   bool          // each to its own dev/<id>/cmd, at QoS 1
	Rate        float64       // connects per second; 0: as fast as the broker accepts them
	Settle      time.Duration // between the last answer and the look at memory
	Hold        time.Duration // after it
}

// IdleResult is what the connections cost the broker.
type IdleResult struct {
	Connections int
	Elapsed     time.Duration // to open all of them
	Connect     Histogram     // each from when it was due to its CONNACK
	BrokerCPU   time.Duration // from the first connect to the end of Settle
	OwnCPU      time.Duration
	Empty       int64  // resident bytes before
	Full        int64  // resident bytes after
	Closed      int    // connections that the broker did not keep
	Protocol    uint64 // packets that nobody asked for
	Interrupted bool
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
	idleKeepAlive = 1200 * time.Second // unless the login has one
	spareFiles    = 64
)

// Validate names the first mistake.
func (i Idle) Validate() error {
	limit, err := RaiseFileLimit()
	switch {
	case err != nil:
		return err
	case i.Connections < 1 || uint64(i.Connections)+spareFiles > limit:
		return fmt.Errorf("%d idle connections: choose 1..%d, the descriptor limit is %d", i.Connections, limit-spareFiles, limit)
	case i.Rate < 0:
		return fmt.Errorf("idle connections at a rate of %g", i.Rate)
	}
	return nil
}

// RunIdle opens the connections, looks at the broker's memory, holds them, and
// closes them. If ctx ends once they stand, the result is what there is.
func RunIdle(ctx context.Context, to Target, idle Idle) (*IdleResult, error) {
	if err := idle.Validate(); err != nil {
		return nil, err
	}
	if to.KeepAlive == 0 {
		to.KeepAlive = idleKeepAlive
	}
	g, err := newRun(to, Scenario{Shape: Alone, QoS: 1, Sizes: []int{StampSize}})
	if err != nil {
		return nil, err
	}
	g.tolerant = true
	if t, ok := g.transport.(interface{ crowd() }); ok {
		t.crowd()
	}
	r, err := g.idle(ctx, idle)
	return r, errors.Join(err, g.close())
}

func (g *generator) idle(ctx context.Context, idle Idle) (*IdleResult, error) {
	for i := range idle.Connections {
		g.crowdIn("idle"+g.tag()+"-"+strconv.Itoa(i), idle.Subscribe)
	}
	r := &IdleResult{Connections: idle.Connections}
	var err error
	if r.Empty, err = readRSS(g.target.PID); err != nil {
		return nil, err
	}
	before, err := readUsage(g.target.PID)
	if err != nil {
		return nil, err
	}
	how := pace{atOnce: handshakes}
	if idle.Rate > 0 {
		how = pace{every: 1e9 / idle.Rate, atOnce: 16 * handshakes}
	}
	begun := g.now()
	if err := g.open(ctx, g.peers, how); err != nil {
		return nil, fmt.Errorf("after %d connections: %w", g.connected, err)
	}
	r.Elapsed = time.Duration(g.now() - begun)
	g.phase = "holding"
	if err := g.listen(ctx, idle.Settle); err != nil && ctx.Err() == nil {
		return nil, err
	}
	after, err := readUsage(g.target.PID)
	if err != nil {
		return nil, err
	}
	r.BrokerCPU, r.OwnCPU = after.broker-before.broker, after.own-before.own
	if r.Full, err = readRSS(g.target.PID); err != nil {
		return nil, err
	}
	if err := g.listen(ctx, idle.Hold); err != nil && ctx.Err() == nil {
		return nil, err
	}
	r.Interrupted = ctx.Err() != nil
	r.Closed = idle.Connections - g.connected
	r.Connect = g.result.Connect
	r.Protocol = g.result.Faults.Protocol
	return r, nil
}

// crowdIn adds a client that says nothing.
func (g *generator) crowdIn(id string, subscribe bool) {
	x := g.invite(id)
	if subscribe {
		x.filters = []string{"dev/" + id + "/cmd"}
	}
	x.takes = g.unasked
	x.gone = func(int64, bool) {}
}
