package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
)

// inflight is how many messages a publisher has on their way.
const inflight = 40

// member is a client that comes back after each crash with the session it holds.
type member struct {
	foreign
	line    *line
	server  *server
	version byte
	filters []wanted // of a subscriber
	online  bool     // while the load is on
	stop    func()   // ends keep and waits for it; nil while it is away

	// of a publisher
	qos    byte
	orders chan order
	count  int
}

// order is a message for a publisher to send.
type order struct {
	topic  string
	size   int
	retain bool
	clear  bool // and clear it again
	taken  chan struct{}
}

func (w *world) member(name string, version byte) *member {
	m := &member{line: newLine(w.history, name), server: w.server, version: version}
	m.foreign = w.foreign(version, wish{line: m.line, expiry: 3600})
	return m
}

// foreign is a client of a protocol version.
func (w *world) foreign(version byte, of wish) foreign {
	of.address = w.server.at
	if version == protocol5 {
		return newClient5(of)
	}
	return newClient3(of)
}

// come keeps the member connected until leave.
func (m *member) come(ctx context.Context) {
	if m.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { m.keep(ctx) }) // ends with stop, which waits
	m.stop = func() {
		cancel()
		done.Wait()
		m.stop = nil
	}
}

func (m *member) leave() {
	if m.stop != nil {
		m.stop()
	}
}

func (m *member) keep(ctx context.Context) {
	for m.server.await(ctx) {
		if err := m.dial(ctx); err != nil {
			pause(ctx, retry)
			continue
		}
		here, cancel := during(ctx, m.gone())
		m.work(here)
		if ctx.Err() != nil {
			m.line.drop()
		}
		cancel()
		<-m.gone()
	}
}

// during is a context that ends also with a channel.
func during(ctx context.Context, end <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the context
		select {
		case <-end:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (m *member) work(here context.Context) {
	for _, f := range m.filters {
		if m.line.has(f.filter) {
			continue
		}
		if err := m.subscribe(here, f.filter, f.qos); err != nil {
			m.line.drop()
			return
		}
	}
	for {
		select {
		case o := <-m.orders:
			m.send(here, o)
		case <-here.Done():
			return
		}
	}
}

// send takes an order once there is room. One that comes to nothing because the
// connection ends is dropped: nobody knows of the message.
func (m *member) send(here context.Context, o order) {
	if o.taken != nil {
		defer close(o.taken)
	}
	room := func(j *judge) bool { return j.client(m.line.who).unacked < inflight }
	if m.line.history.until(here, room) != nil {
		return
	}
	m.count++
	text := payload(fmt.Sprintf("%s.%d", m.line.who, m.count), o.size)
	if m.publish(here, o.topic, text, m.qos, o.retain) != nil || !o.clear {
		return
	}
	_ = m.publish(here, o.topic, "", m.qos, true) // not sent: the topic keeps its message
}

// topics are those of a publisher; one message to each is the end of a drain.
func (m *member) topics() []order {
	base := fmt.Sprintf("%s/q%d", m.line.who, m.qos)
	return []order{
		{topic: "load/" + base + "/a"},
		{topic: "load/" + base + "/b"},
		{topic: "ret/" + base + "/0", retain: true},
		{topic: "ret/" + base + "/1", retain: true},
	}
}

// feed orders messages of a publisher, in bursts, until the load ends.
func (m *member) feed(ctx context.Context, random *rand.Rand) {
	topics := m.topics()
	often := []int{0, 0, 0, 0, 0, 1, 1, 1, 2, 3}
	for ctx.Err() == nil {
		o := topics[often[random.IntN(len(often))]]
		if random.IntN(40) == 0 {
			o = order{topic: fmt.Sprintf("gone/%s/%d", m.line.who, random.Uint32()), retain: true, clear: true}
		}
		o.size = random.IntN(200)
		if random.IntN(20) == 0 {
			o.size = 6000
		}
		select {
		case m.orders <- o:
		case <-ctx.Done():
		}
		if random.IntN(12) == 0 {
			pause(ctx, upTo(random, burst))
		}
	}
}

// fence sends one message to each topic and returns when all are on their way.
func (m *member) fence(ctx context.Context) error {
	for _, o := range m.topics() {
		o.taken = make(chan struct{})
		select {
		case m.orders <- o:
		case <-ctx.Done():
			return fmt.Errorf("%s does not come back: %w", m.line.who, ctx.Err())
		}
		select {
		case <-o.taken:
		case <-ctx.Done():
			return fmt.Errorf("%s has no room: %w", m.line.who, ctx.Err())
		}
	}
	return nil
}
