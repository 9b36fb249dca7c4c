package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// Retained is a number of retained messages, a topic each, which clients then
// ask for with one wildcard subscription each.
type Retained struct {
	Messages    int
	Publishers  int
	Subscribers int
	QoS         byte
	Window      int
	Sizes       []int
	Limit       time.Duration // nothing more is set after
	Patience    time.Duration // how long nothing may arrive before the rest is lost
	CleanUp     bool          // the broker is to forget them at the end
}

// Validate names the first mistake.
func (r Retained) Validate() error {
	if r.Messages < 1 || r.Messages > maxPeers*16 || r.Subscribers < 1 {
		return fmt.Errorf("retained: %d messages and %d subscribers", r.Messages, r.Subscribers)
	}
	if r.Messages < r.Publishers {
		return fmt.Errorf("retained: %d publishers for %d messages", r.Publishers, r.Messages)
	}
	return r.traffic().Validate()
}

// traffic is the scenario of those who set the messages.
func (r Retained) traffic() Scenario {
	return Scenario{Shape: Alone, Publishers: r.Publishers, QoS: r.QoS, Retain: true, Window: r.Window, Sizes: r.Sizes}
}

// RetainedResult is what one run measured.
type RetainedResult struct {
	Set     Stage // published and, above QoS 0, acknowledged
	Fetched Stage // delivered to the subscribers

	Connect Histogram
	Ack     Histogram // while setting: from PUBLISH to its acknowledgement
	Latency Histogram // from SUBSCRIBE to each message
	All     Histogram // from SUBSCRIBE to the last message, of each subscriber

	Empty, Full int64 // resident bytes of the broker before and with the messages
	Expected    uint64
	Faults      Faults
	Interrupted bool
}

// RunRetained sets the messages, fetches them, and removes them.
func RunRetained(ctx context.Context, to Target, sc Retained) (*RetainedResult, error) {
	if err := sc.Validate(); err != nil {
		return nil, err
	}
	g, err := newRun(to, sc.traffic())
	if err != nil {
		return nil, err
	}
	r := &retainedRun{g: g, sc: sc, prefix: "bench/" + g.tag() + "/retained"}
	err = g.explain(r.measure(ctx))
	if err := errors.Join(err, g.close()); err != nil {
		return nil, fmt.Errorf("retained: %w", err)
	}
	r.result.Connect = g.result.Connect
	r.result.Faults = g.result.Faults
	return &r.result, nil
}

type retainedRun struct {
	g      *generator
	sc     Retained
	prefix string // of the topics
	set    int    // messages
	asked  int64
	open   int // subscribers that wait for more
	result RetainedResult
}

func (r *retainedRun) measure(ctx context.Context) error {
	g := r.g
	var err error
	if r.result.Empty, err = readRSS(g.target.PID); err != nil {
		return err
	}
	if err := g.open(ctx, g.publisherPeers(), pace{atOnce: handshakes}); err != nil {
		return err
	}
	if err := r.stage(&r.result.Set, "setting", func() error { return r.setAll(ctx) }); err != nil {
		return err
	}
	r.result.Ack = g.result.Ack
	if r.result.Full, err = readRSS(g.target.PID); err != nil {
		return err
	}
	if err := r.fetch(ctx); err != nil {
		return err
	}
	return r.cleanUp(context.WithoutCancel(ctx))
}

// stage measures one part of a run.
func (r *retainedRun) stage(s *Stage, phase string, do func() error) error {
	g := r.g
	g.phase = phase
	before, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	g.restart()
	g.progress = 0
	if err := do(); err != nil {
		return err
	}
	s.Elapsed = g.elapsed()
	s.Span = s.Elapsed
	after, err := readUsage(g.target.PID)
	if err != nil {
		return err
	}
	s.BrokerCPU, s.OwnCPU = after.broker-before.broker, after.own-before.own
	s.OtherCPU = max(0, after.machine-before.machine-s.BrokerCPU-s.OwnCPU)
	return nil
}

// setAll publishes each message once. At QoS 0 a ping behind the last says when
// the broker has taken them in: it answers in order.
func (r *retainedRun) setAll(ctx context.Context) error {
	g := r.g
	g.from, g.to = 0, int64(r.sc.Limit)
	err := r.publish(ctx, func(i int) []byte { return make([]byte, r.sc.Sizes[i%len(r.sc.Sizes)]) }, &r.set)
	r.result.Set.Messages = uint64(r.set)
	r.result.Interrupted = ctx.Err() != nil
	return err
}

// publish sends messages 0, 1, … of r.sc.Messages, or until the limit, with the
// payload that is made for each, and waits until the broker has them all.
func (r *retainedRun) publish(ctx context.Context, payload func(i int) []byte, next *int) error {
	g := r.g
	last := r.sc.Messages
	return g.until(context.WithoutCancel(ctx), func(now int64) bool {
		if now >= int64(r.sc.Limit) || ctx.Err() != nil {
			last = *next
		}
		alive := false
		for i := range g.pubs {
			p := &g.pubs[i]
			alive = alive || p.state == up
			for p.state == up && *next < last && p.ids.used < p.window && p.pending() < maxPending {
				r.append(p, *next, payload(*next), now)
				*next++
			}
			if *next >= last && g.sc.QoS == 0 && p.state == up && p.seq > 0 {
				p.seq = 0 // it is pinged once
				g.ping(&p.peer)
			}
		}
		if !alive {
			return false
		}
		waiting := *next < last || g.unacked > 0 || g.sc.QoS == 0 && g.asking()
		if waiting && g.sc.QoS == 0 && *next < last {
			g.wakeAt(now)
		}
		return waiting && !g.stalled(now, r.sc.Patience)
	})
}

// append adds message i to what a publisher has to send; without a payload it
// removes what is retained there.
func (r *retainedRun) append(p *publisher, i int, payload []byte, now int64) {
	g := r.g
	m := packet.Publish{QoS: g.sc.QoS, Retain: true, Topic: []byte(r.topic(i)), Payload: payload}
	if len(payload) > 0 {
		stamp{run: g.run, publisher: uint32(p.slot), seq: uint64(i), sent: g.base + now}.put(payload)
		fill(payload[StampSize:])
	}
	if m.QoS > 0 {
		m.ID = p.ids.take(now)
		g.unacked++
	}
	p.out = packet.AppendPublish(p.out, &m, g.version)
	p.seq++
	g.published++
	g.touch(&p.peer)
}

func (r *retainedRun) topic(i int) string { return r.prefix + "/" + strconv.Itoa(i) }

// fetcher is a subscriber and the messages it has.
type fetcher struct {
	*guest
	seen []uint64 // a bit for each
	left int
}

// fetch has all subscribers ask at the same time, once they are connected.
func (r *retainedRun) fetch(ctx context.Context) error {
	g := r.g
	fetchers := make([]*fetcher, 0, r.sc.Subscribers)
	peers := make([]*peer, 0, r.sc.Subscribers)
	for i := range r.sc.Subscribers {
		f := &fetcher{guest: g.invite("s" + g.tag() + "-" + strconv.Itoa(i)), seen: make([]uint64, (r.set+63)/64), left: r.set}
		f.takes = func(x packet.Frame, now int64) { r.take(f, x, now) }
		f.gone = func(int64, bool) {}
		fetchers = append(fetchers, f)
		peers = append(peers, &f.peer)
	}
	if err := g.open(context.WithoutCancel(ctx), peers, pace{atOnce: handshakes}); err != nil {
		return err
	}
	err := r.stage(&r.result.Fetched, "fetching", func() error {
		r.asked, r.open = g.now(), len(fetchers)
		for _, f := range fetchers {
			f.filters = []string{r.prefix + "/#"}
			g.opening++ // until its SUBACK
			g.connected--
			g.subscribe(&f.peer, r.asked)
		}
		return g.until(context.WithoutCancel(ctx), func(now int64) bool {
			return (r.open > 0 || g.opening > 0) && g.connected+g.opening > len(g.pubs) && !g.stalled(now, r.sc.Patience)
		})
	})
	if err != nil {
		return err
	}
	r.result.Fetched.Messages = g.delivered
	r.result.Expected = uint64(r.set) * uint64(len(fetchers))
	if err := g.listen(ctx, linger); err != nil && ctx.Err() == nil {
		return err
	}
	for _, f := range fetchers {
		g.result.Faults.Lost += uint64(f.left)
	}
	return r.dismiss(ctx, fetchers)
}

// dismiss has the subscribers leave, before they would hear of the removal.
func (r *retainedRun) dismiss(ctx context.Context, fetchers []*fetcher) error {
	g := r.g
	for _, f := range fetchers {
		if f.state == up {
			g.leave(&f.peer)
		}
	}
	end := g.now() + int64(r.sc.Patience)
	err := g.until(context.WithoutCancel(ctx), func(now int64) bool {
		return now < end && slices.ContainsFunc(fetchers, func(f *fetcher) bool { return f.state == leaving })
	})
	for _, f := range fetchers {
		if f.state == leaving {
			g.ended(&f.peer, errLeft)
		}
	}
	return err
}

// take checks one message at a subscriber. They come in any order.
func (r *retainedRun) take(f *fetcher, x packet.Frame, now int64) {
	g := r.g
	if x.Type == packet.PUBREL && g.sc.QoS == 2 {
		g.released(&f.peer, x)
		return
	}
	// As a new subscriber gets them they carry RETAIN [MQTT-3.3.1-8].
	if x.Type != packet.PUBLISH || x.Flags != g.sc.QoS<<1|1 {
		g.result.Faults.Protocol++
		if x.Type != packet.PUBLISH {
			return
		}
	}
	var m publication
	if !g.parsePublish(x, &m) {
		g.result.Faults.Protocol++
		return
	}
	g.acknowledge(&f.peer, x.Flags>>1&3, m.id)
	if len(m.payload) < StampSize {
		g.result.Faults.Damaged++
		return
	}
	st := getStamp(m.payload)
	i := int(st.seq)
	if st.run != g.run || st.seq >= uint64(r.set) || string(m.topic) != r.topic(i) ||
		len(m.payload) != r.sc.Sizes[i%len(r.sc.Sizes)] || !filled(m.payload[StampSize:]) {
		g.result.Faults.Damaged++
		return
	}
	if f.seen[i/64]>>(i%64)&1 != 0 {
		g.result.Faults.Duplicated++
		return
	}
	f.seen[i/64] |= 1 << (i % 64)
	f.left--
	g.delivered++
	r.result.Latency.Record(time.Duration(now - r.asked))
	if f.left == 0 {
		r.open--
		r.result.All.Record(time.Duration(now - r.asked))
	}
}

// cleanUp makes the broker forget what was set [MQTT-3.3.1-6].
func (r *retainedRun) cleanUp(ctx context.Context) error {
	if !r.sc.CleanUp {
		return nil
	}
	r.g.phase = "cleaning up"
	r.g.restart()
	next := 0
	r.sc.Messages, r.sc.Limit = r.set, time.Hour
	return r.publish(ctx, func(int) []byte { return nil }, &next)
}
