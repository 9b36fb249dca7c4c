package load

import (
	"strconv"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// Stalled is what became of the subscribers that stopped reading.
type Stalled struct {
	Clients   int
	Connected int // at the end
	Closed    int // by the broker
}

// stalled are further subscribers that stop reading once messages flow, so that
// the buffers of the kernel fill up and the broker has to hold or to drop what is
// for them. They still ping: a client whose program hangs behind a library that
// goes on. Their messages are nobody's loss. All the methods do nothing for a nil
// stalled.
type stalled struct {
	g      *generator
	peers  []*peer
	looked int64 // when the broker's memory was last read
	ends   int64 // of the wait for what the last pings reveal
	asked  int   // how often it was asked who is there
}

const (
	memoryGap   = int64(100 * time.Millisecond)
	revealTime  = 200 * time.Millisecond // for the end of a connection to show, on any network but a bad one
	revealPings = 2                      // the first finds the connection gone, the second hears of it
)

// newStalled adds the scenario's stalled subscribers to the peers.
func newStalled(g *generator) *stalled {
	if g.sc.Stalled == 0 {
		return nil
	}
	s := &stalled{g: g}
	for i := range g.sc.Stalled {
		x := g.invite("x"+g.tag()+"-"+strconv.Itoa(i), g.stalledFilters(i)...)
		x.takes = func(packet.Frame, int64) {}
		s.peers = append(s.peers, &x.peer)
	}
	g.result.Stalled.Clients = len(s.peers)
	return s
}

// stalledFilters are those of the subscriber that a stalled one stands beside.
// A shared group is one of their own: a member that reads nothing would keep the
// others' messages.
func (g *generator) stalledFilters(i int) []string {
	beside := &g.subs[i%len(g.subs)]
	if g.sc.Shape == Share {
		return []string{"$share/stalled" + g.names.run + "/" + g.names.filter()}
	}
	return beside.filters
}

// all are the peers to connect.
func (s *stalled) all() []*peer {
	if s == nil {
		return nil
	}
	return s.peers
}

// stop makes all of them stop reading.
func (s *stalled) stop() {
	for _, p := range s.all() {
		p.deaf = true
	}
}

// look notes the broker's memory where it was highest so far.
func (s *stalled) look(now int64) error {
	if s == nil || s.g.target.PID == 0 || now < s.looked+memoryGap {
		return nil
	}
	s.looked = now
	n, err := RSS(s.g.target.PID)
	s.g.result.PeakRSS = max(s.g.result.PeakRSS, n)
	return err
}

// before notes the broker's memory while all are connected and nothing flows.
func (s *stalled) before() (err error) {
	if s != nil {
		s.g.result.EmptyRSS, err = readRSS(s.g.target.PID)
	}
	return err
}

// revealing says whether it still has to show who is connected. A stalled socket
// hides its end behind the bytes that nobody reads; what is written to one that
// the broker has closed comes back as a reset.
func (s *stalled) revealing(now int64) bool {
	if s == nil {
		return false
	}
	if now < s.ends {
		return true
	}
	if s.asked == revealPings {
		return false
	}
	s.asked++
	s.ends = now + int64(revealTime)
	for _, p := range s.peers {
		s.g.ping(p)
	}
	return true
}

// settle counts who is there.
func (s *stalled) settle() {
	for _, p := range s.all() {
		if p.state == up {
			s.g.result.Stalled.Connected++
		}
	}
}
