package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

const (
	linger    = 20 * time.Millisecond // after the last delivery, for what should not come
	watchGap  = int64(500 * time.Millisecond)
	maxPacket = 2 * maxPayload
)

// generator is the loop and all it owns. One goroutine runs it.
type generator struct {
	sc      Scenario
	names   names
	target  Target
	version packet.Version
	run     uint32
	copies  int
	flags   byte // of a PUBLISH that is delivered as it should be

	transport transport
	peers     []*peer // by slot: publishers, subscribers, guests
	pubs      []publisher
	subs      []subscriber
	guests    []*guest
	group     []flow       // Share: of each publisher at all members
	dirty     []*peer      // have pending bytes
	ripe      []*publisher // may send again

	clock    time.Time // when the run began
	base     int64     // the same, in ns since 1970
	from, to int64     // the measured window, in ns since then
	progress int64     // when something last arrived
	due      uint64    // open loop: messages of the schedule already sent
	heldBack bool      // open loop: a publisher could take no more
	interval float64   // open loop: ns between two messages
	wake     int64     // when there is something to do if nothing arrives; 0: never
	more     bool      // some of ripe had no room for all they may send

	opening   int   // connections under way
	connected int   // connections that stand
	failure   error // why the run cannot go on
	finishing bool  // what ends now is no fault
	stuck     bool  // it was waited in vain
	tolerant  bool  // a connection that ends is counted, not a trouble

	counts
	undelivered, unacked int
	pings                pings
	phase                string // as who watches hears it
	watched              int64
	result               Result
}

// guest is a client that comes, does one thing and leaves.
type guest struct {
	peer
	session func(now int64)                 // it is connected and has subscribed
	takes   func(f packet.Frame, now int64) // something else has come
	gone    func(now int64, well bool)      // it has left, or been lost
}

func newGenerator(to Target, sc Scenario, run uint32) *generator {
	g := &generator{
		sc:      sc,
		target:  to,
		version: to.Version,
		run:     run,
		copies:  sc.Copies(),
		flags:   sc.QoS << 1,
		phase:   "connecting",
	}
	if g.version == 0 {
		g.version = packet.V311
	}
	g.names = sc.names(g.tag(), to.UserName)
	for i := range sc.Publishers {
		g.pubs = append(g.pubs, g.newPublisher(i))
	}
	for i := range sc.Subscribers {
		g.subs = append(g.subs, g.newSubscriber(i))
	}
	for i := range g.pubs {
		g.peers = append(g.peers, &g.pubs[i].peer)
	}
	for i := range g.subs {
		g.peers = append(g.peers, &g.subs[i].peer)
	}
	if sc.Shape == Share {
		g.group = make([]flow, sc.Publishers)
	}
	if sc.Rate > 0 {
		g.interval = float64(max(1, g.copies)) * 1e9 / sc.Rate
	}
	g.ripe = make([]*publisher, 0, len(g.pubs))
	g.dirty = make([]*peer, 0, len(g.peers))
	return g
}

// newRun makes a generator that can connect.
func newRun(to Target, sc Scenario) (*generator, error) {
	if sc.preparedBytes() > maxPrepared {
		return nil, fmt.Errorf("the prepared packets would take %d MiB, more than %d: take fewer clients, filters or messages, or smaller ones",
			sc.preparedBytes()>>20, maxPrepared>>20)
	}
	g := newGenerator(to, sc, rand.Uint32())
	g.restart()
	g.base = g.clock.UnixNano()
	var err error
	g.transport, err = newTransport(g)
	return g, err
}

// tag is the run as client ids and topics have it.
func (g *generator) tag() string { return fmt.Sprintf("%08x", g.run) }

func (g *generator) newSubscriber(i int) subscriber {
	flows := g.sc.Publishers
	if g.sc.Shape == Pairs || g.sc.Shape == Wild {
		flows /= g.sc.Subscribers
	}
	s := subscriber{
		peer:  newPeer(g.sc.Publishers+i, "s"+g.tag()+"-"+strconv.Itoa(i)),
		index: i,
		flows: make([]flow, flows),
	}
	partner := ""
	if g.sc.Shape == Pairs {
		partner = g.pubs[i].id
	}
	s.filters = g.names.filters(i, partner)
	return s
}

// invite adds a guest.
func (g *generator) invite(id string, filters ...string) *guest {
	x := &guest{peer: newPeer(len(g.peers), id)}
	x.filters = filters
	g.guests = append(g.guests, x)
	g.peers = append(g.peers, &x.peer)
	return x
}

// guest is the guest of a peer.
func (g *generator) guest(p *peer) *guest { return g.guests[int(p.slot)-len(g.pubs)-len(g.subs)] }

func (g *generator) isPublisher(p *peer) bool { return int(p.slot) < len(g.pubs) }

func (g *generator) isSubscriber(p *peer) bool {
	return !g.isPublisher(p) && int(p.slot) < len(g.pubs)+len(g.subs)
}

func (g *generator) publisherPeers() []*peer { return g.peers[:len(g.pubs)] }

func (g *generator) subscriberPeers() []*peer { return g.peers[len(g.pubs) : len(g.pubs)+len(g.subs)] }

// restart sets the clock to 0, for what is measured from here.
func (g *generator) restart() {
	now := time.Now()
	if !g.clock.IsZero() {
		g.base += int64(now.Sub(g.clock))
	}
	g.clock = now
	g.progress, g.watched, g.wake = 0, 0, 0
	g.pings.restart()
}

func (g *generator) now() int64 { return int64(time.Since(g.clock)) }

// until runs the loop for as long as step asks for more. It ends early with
// ctx, and with what makes the run impossible.
func (g *generator) until(ctx context.Context, step func(now int64) (more bool)) error {
	for {
		now := g.now()
		g.wake, g.more = 0, false
		if !step(now) || g.failure != nil {
			return g.failure
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		g.pingAll(now)
		g.flush()
		if g.failure != nil {
			return g.failure
		}
		if err := g.transport.wait(g.patience()); err != nil {
			return err
		}
		if now-g.watched > watchGap {
			g.watch(now)
		}
	}
}

// patience is how long the loop may wait for events.
func (g *generator) patience() time.Duration {
	if g.more && slices.ContainsFunc(g.ripe, func(p *publisher) bool { return p.pending() == 0 && p.state == up }) {
		return 0 // there is room now
	}
	if g.wake == 0 {
		return slice
	}
	return min(slice, max(0, time.Duration(g.wake-g.now())))
}

// wakeAt makes the loop wait no longer than until then.
func (g *generator) wakeAt(at int64) {
	if g.wake == 0 || at < g.wake {
		g.wake = max(1, at)
	}
}

// watch tells who watches how far it is.
func (g *generator) watch(now int64) {
	g.watched = now
	if g.target.Watch == nil {
		return
	}
	g.target.Watch(Snapshot{
		Phase: g.phase, Elapsed: time.Duration(now), Connected: g.connected,
		Sent: g.published, Acked: g.acked, Received: g.delivered, Faults: g.result.Faults,
	})
}

// listen goes on for so long; silence is what we hope for.
func (g *generator) listen(ctx context.Context, d time.Duration) error {
	end := g.now() + int64(d)
	return g.until(ctx, func(now int64) bool {
		g.progress = now
		return now < end
	})
}

// stalled says whether something is awaited and nothing has come for too long.
func (g *generator) stalled(now int64, patience time.Duration) bool {
	if now-g.progress < int64(patience) {
		return false
	}
	g.note(fmt.Sprintf("stalled: nothing arrived for %v", patience))
	g.stuck = true
	return true
}

// elapsed is how long the part of a run took that has just ended. A wait in
// vain does not count.
func (g *generator) elapsed() time.Duration {
	if g.stuck {
		return time.Duration(g.progress)
	}
	return time.Duration(g.now())
}

// note keeps the first reason why a run is in trouble.
func (g *generator) note(trouble string) {
	if g.result.Faults.Trouble == "" {
		g.result.Faults.Trouble = trouble
	}
}

// fail ends the run: nothing can be measured.
func (g *generator) fail(err error) {
	if g.failure == nil {
		g.failure = err
	}
}

// explain adds what was seen before an error: a broker that crashes loses its
// connections first and its /proc entry after.
func (g *generator) explain(err error) error {
	if trouble := g.result.Faults.Trouble; err != nil && trouble != "" {
		return fmt.Errorf("%s; then %w", trouble, err)
	}
	return err
}

// touch lists a peer for the next flush.
func (g *generator) touch(p *peer) {
	if p.dirty {
		return
	}
	p.dirty = true
	g.dirty = append(g.dirty, p)
}

// flush writes once to each peer that has pending bytes.
func (g *generator) flush() {
	for _, p := range g.dirty {
		p.dirty = false
		if !p.full && p.state > dialing {
			g.transport.send(p)
		}
	}
	g.dirty = g.dirty[:0]
}

// close says goodbye as the protocol wishes, where there is room, and drops all
// connections.
func (g *generator) close() error {
	if g.transport == nil {
		return nil
	}
	g.finishing = true
	for _, p := range g.peers {
		if p.state == up && !p.full {
			p.out = append(p.out, disconnect...)
			g.transport.send(p)
		}
	}
	return g.transport.close()
}

// disconnect is a DISCONNECT without a reason, in all versions.
var disconnect = []byte{byte(packet.DISCONNECT) << 4, 0} //nolint:gochecknoglobals // a constant

// pings keeps connections alive that have nothing to say.
type pings struct {
	done uint64 // so many have been sent
}

func (p *pings) restart() { p.done = 0 }

// pingAll pings one connection after the other, each twice in a keep-alive.
func (g *generator) pingAll(now int64) {
	if g.target.KeepAlive == 0 || len(g.peers) == 0 {
		return
	}
	gap := int64(g.target.KeepAlive) / 2 / int64(len(g.peers))
	for n := 0; int64(g.pings.done)*gap <= now && n < len(g.peers); n++ {
		p := g.peers[g.pings.done%uint64(len(g.peers))]
		g.pings.done++
		if p.pings == 0 || p.deaf {
			g.ping(p)
		}
	}
}

// askAll pings behind all that the publishers have sent. A broker answers in
// order, so it has taken it all in once it has answered.
func (g *generator) askAll() {
	for i := range g.pubs {
		g.ping(&g.pubs[i].peer)
	}
}

func (g *generator) ping(p *peer) {
	if p.state != up {
		return
	}
	p.pings++
	p.out = packet.AppendPingreq(p.out)
	g.touch(p)
}

// asking says whether an answer is still to come.
func (g *generator) asking() bool {
	for i := range g.pubs {
		if g.pubs[i].state == up && g.pubs[i].pings > 0 {
			return true
		}
	}
	return false
}

// Why a connection is over.
var (
	errClosed = errors.New("closed by the broker")
	errLeft   = errors.New("the broker has not closed it after DISCONNECT")
)
