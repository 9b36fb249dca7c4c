package load

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// Listening is subscribers to what another process of this generator sends.
type Listening struct {
	Subscribers int
	Filter      string
	QoS         byte
}

// Listen subscribes and counts the messages that carry a stamp, until the
// measured window is over. What is lost is what is missing between others of
// its publisher: what was sent before and after is not known. Latencies are
// between the clocks of the two processes, which agree if both are on one
// machine. Messages of others are counted as damaged.
func Listen(ctx context.Context, to Target, l Listening, timing Timing) (*Result, error) {
	if l.Subscribers < 1 || l.Subscribers > maxPeers || l.QoS > 2 || l.Filter == "" {
		return nil, fmt.Errorf("%d subscribers to %q at QoS %d", l.Subscribers, l.Filter, l.QoS)
	}
	g, err := newRun(to, Scenario{Shape: Alone, QoS: l.QoS, Sizes: []int{StampSize}})
	if err != nil {
		return nil, err
	}
	r := &trafficRun{g: g, timing: timing}
	err = g.explain(r.overhear(ctx, l))
	if err := errors.Join(err, g.close()); err != nil {
		return nil, fmt.Errorf("sub: %w", err)
	}
	return &g.result, nil
}

// ear is a subscriber to publishers it does not know.
type ear struct {
	*guest
	g     *generator
	flows map[uint64]*flow // by run and publisher
}

func (r *trafficRun) overhear(ctx context.Context, l Listening) error {
	g := r.g
	ears := make([]*ear, l.Subscribers)
	for i := range ears {
		e := &ear{guest: g.invite("s"+g.tag()+"-"+strconv.Itoa(i), l.Filter), g: g, flows: map[uint64]*flow{}}
		e.takes = e.take
		e.gone = func(int64, bool) {}
		ears[i] = e
	}
	if err := g.open(ctx, g.peers, spread(r.timing.Ramp, len(ears))); err != nil {
		return err
	}
	g.restart()
	g.from, g.to = int64(r.timing.Warm), int64(r.timing.Warm+r.timing.Measure)
	g.phase = "warming up"
	var err error
	end := g.until(context.WithoutCancel(ctx), func(now int64) bool {
		g.progress = now
		err = r.advance(now, ctx.Err() != nil)
		return err == nil && r.step < draining && g.connected > 0
	})
	if err := errors.Join(err, end); err != nil {
		return err
	}
	if r.step < draining { // all connections are lost
		if err := r.end(); err != nil {
			return err
		}
	}
	for _, e := range ears {
		for _, f := range e.flows {
			g.result.Faults.Lost += f.skipped()
		}
	}
	g.result.All.Received = g.delivered
	g.result.All.Expected = g.delivered + g.result.Faults.Lost
	g.result.Clients = len(ears)
	return nil
}

func (e *ear) take(f packet.Frame, now int64) {
	g := e.g
	if f.Type == packet.PUBREL && g.sc.QoS == 2 {
		g.released(&e.peer, f)
		return
	}
	var m publication
	if f.Type != packet.PUBLISH || !g.parsePublish(f, &m) {
		g.result.Faults.Protocol++
		return
	}
	g.acknowledge(&e.peer, f.Flags>>1&3, m.id)
	if len(m.payload) < StampSize || !filled(m.payload[StampSize:]) {
		g.result.Faults.Damaged++
		return
	}
	st := getStamp(m.payload)
	switch e.flow(st).take(st.seq) {
	case again:
		g.result.Faults.Duplicated++
		return
	case late:
		g.result.Faults.Disordered++
	case inOrder, early:
	}
	g.delivered++
	if now >= g.from && now < g.to {
		g.result.Latency.Record(time.Duration(now - (st.sent - g.base)))
	}
}

// flow is that of the publisher of a stamp. It begins with the first message
// that is seen of it.
func (e *ear) flow(st stamp) *flow {
	key := uint64(st.run)<<32 | uint64(st.publisher)
	f := e.flows[key]
	if f == nil {
		f = &flow{next: st.seq}
		e.flows[key] = f
	}
	return f
}
