package load

import (
	"encoding/binary"
	"strconv"

	"github.com/fantail-mqtt/fantail/packet"
)

// maxPending bounds the bytes that wait for a full socket, unless a single
// message is larger.
const maxPending = 64 << 10

// state is where a connection stands.
type state uint8

const (
	away        state = iota
	dialing           // the connection is being opened
	greeting          // CONNECT is sent
	subscribing       // SUBSCRIBE is
	up
	leaving // DISCONNECT is sent: the broker is to close it
)

// peer is one connection; the loop owns it.
type peer struct {
	slot  int32
	state state
	dirty bool   // is in the list of those to flush
	full  bool   // the transport took no more for now
	deaf  bool   // nothing is read any more
	fd    int    // of plain TCP on Linux, -1 once closed
	life  int32  // counts its connections: events of an earlier one are stale
	pipe  *pipe  // of other transports
	rest  []byte // the first part of a packet still arriving
	out   []byte // encoded
	sent  int    // out[:sent] is with the transport already

	id         string
	keep       bool // the session outlives the connection
	filters    []string
	subscribed int   // of them
	asked      int   // of them, in the SUBSCRIBE that is open
	begun      int64 // when it was to connect
	pings      int   // that wait for an answer
}

// publisher is a peer with its prepared packets.
type publisher struct {
	peer
	packets []prepared // message n is packets[n % len]

	seq         uint64 // of the next message
	window      int    // unfinished messages, the broker's Receive Maximum included
	undelivered int    // copies on their way
	ripe        bool   // is in the list of those to refill
	ids         openIDs
}

// prepared is a whole PUBLISH, to be stamped.
type prepared struct {
	topic   []byte
	bytes   []byte
	idAt    int // where the packet identifier is; 0 at QoS 0
	stampAt int
}

// subscriber is a peer with what it has seen.
type subscriber struct {
	peer
	index int
	flows []flow // of each publisher that reaches it

	resuming bool // has a session and waits for the CONNACK that says so
}

func newPeer(slot int, id string) peer { return peer{fd: -1, slot: int32(slot), id: id} }

func (g *generator) newPublisher(i int) publisher {
	n := g.names
	p := publisher{peer: newPeer(i, "p"+g.tag()+"-"+strconv.Itoa(i)), window: g.sc.Window}
	if g.sc.Rate > 0 {
		p.window = maxOpen
	}
	topics := n.topics(p.id, i)
	for _, t := range topics {
		for k := range g.sc.Sizes {
			size := g.sc.Sizes[(k+i)%len(g.sc.Sizes)] // not all of one size at once
			p.packets = append(p.packets, g.prepare(t, size))
		}
	}
	return p
}

// prepare encodes a message but for its stamp and packet identifier.
func (g *generator) prepare(topic string, size int) prepared {
	m := packet.Publish{QoS: g.sc.QoS, Retain: g.sc.Retain, Topic: []byte(topic), Payload: make([]byte, size)}
	fill(m.Payload[StampSize:])
	b := packet.AppendPublish(make([]byte, 0, m.Size(g.version)), &m, g.version)
	x := prepared{topic: m.Topic, bytes: b, stampAt: len(b) - size}
	if m.QoS > 0 {
		x.idAt = m.IDOffset(g.version)
	}
	return x
}

// preparedBytes is about how much memory the packets of a scenario take.
func (s Scenario) preparedBytes() int {
	total := 0
	for _, n := range s.Sizes {
		total += n + 64
	}
	return total * max(s.Publishers, s.Filters)
}

// at is the form of message seq.
func (p *publisher) at(seq uint64) *prepared {
	if len(p.packets) == 1 {
		return &p.packets[0]
	}
	return &p.packets[seq%uint64(len(p.packets))]
}

// stamp adds one message to the pending bytes.
func (p *publisher) stamp(run uint32, base, sent int64) {
	x := p.at(p.seq)
	start := len(p.out)
	p.out = append(p.out, x.bytes...)
	b := p.out[start:]
	if x.idAt > 0 {
		binary.BigEndian.PutUint16(b[x.idAt:], p.ids.take(sent))
	}
	stamp{run: run, publisher: uint32(p.slot), seq: p.seq, sent: base + sent}.put(b[x.stampAt:])
	p.seq++
}

// pending is how many bytes wait.
func (p *peer) pending() int { return len(p.out) - p.sent }

// hasRoom says whether the open loop may add a message.
func (p *publisher) hasRoom() bool {
	return p.state == up && p.ids.used < p.window && p.room() > 0
}

// room is how many messages the pending bytes have room for.
func (p *publisher) room() int {
	size := len(p.at(p.seq).bytes)
	if p.pending() == 0 {
		return max(1, maxPending/size)
	}
	return (maxPending - p.pending()) / size
}
