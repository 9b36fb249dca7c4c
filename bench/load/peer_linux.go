package load

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxPending bounds the bytes that wait for a full socket in the open loop.
const maxPending = 64 << 10

// peer is one connection; the loop owns it.
type peer struct {
	fd    int // -1 once closed
	slot  int32
	rest  []byte // the first part of a packet still arriving
	out   []byte // encoded
	sent  int    // out[:sent] is with the kernel already
	dirty bool   // is in the list of those to flush
	full  bool   // the socket took no more: waits for EPOLLOUT
}

// publisher is a peer with its prepared packet.
type publisher struct {
	peer
	topic   []byte
	packet  []byte // complete, to be stamped
	idAt    int    // where the packet identifier is; 0 at QoS 0
	stampAt int

	seq         uint64 // of the next message
	nextID      uint16
	undelivered int // copies on their way
	unacked     int
	ripe        bool   // is in the list of those to refill
	first       *idSet // waiting for PUBACK or PUBREC; nil at QoS 0
	second      *idSet // waiting for PUBCOMP; nil below QoS 2
}

// subscriber is a peer with what it has seen.
type subscriber struct {
	peer
	index int
	flows []flow // by publisher

	resuming bool // has a session and waits for the CONNACK that says so
}

func newPublisher(sc Scenario, i int) publisher {
	topic := sc.topic(i)
	packet := publishStart(topic, sc.QoS, sc.Payload)
	p := publisher{topic: []byte(topic), stampAt: len(packet), nextID: 1}
	if sc.QoS > 0 {
		p.idAt = len(packet) - 2
		p.first = new(idSet)
	}
	if sc.QoS == 2 {
		p.second = new(idSet)
	}
	packet = append(packet, make([]byte, StampSize)...)
	p.packet = append(packet, filler(sc.Payload)...)
	room := sc.Window * (len(p.packet) + 4)
	if sc.Rate > 0 {
		room = maxPending + len(p.packet)
	}
	p.peer = newPeer(i, room)
	return p
}

func newSubscriber(sc Scenario, i int) subscriber {
	return subscriber{
		peer:  newPeer(sc.Publishers+i, 16<<10),
		index: i,
		flows: make([]flow, sc.Publishers),
	}
}

func newPeer(slot, room int) peer {
	return peer{fd: -1, slot: int32(slot), rest: make([]byte, 0, 1024), out: make([]byte, 0, room)}
}

// stamp adds one message to the pending bytes.
func (p *publisher) stamp(run uint32, index int, sent int64) {
	at := len(p.out)
	p.out = append(p.out, p.packet...)
	b := p.out[at:]
	if p.idAt > 0 {
		binary.BigEndian.PutUint16(b[p.idAt:], p.takeID())
		p.unacked++
	}
	stamp{run: run, publisher: uint32(index), seq: p.seq, sent: sent}.put(b[p.stampAt:])
	p.seq++
}

// takeID marks a free packet identifier as used. There is one: maxOpen bounds
// those in use.
func (p *publisher) takeID() uint16 {
	id := p.nextID
	for p.first.has(id) || p.second != nil && p.second.has(id) {
		id = following(id)
	}
	p.first.add(id)
	p.nextID = following(id)
	return id
}

// hasRoom says whether the open loop may add a message.
func (p *publisher) hasRoom() bool {
	return p.fd >= 0 && p.unacked < maxOpen && len(p.out)+len(p.packet) <= maxPending
}

// open connects a peer, subscribes it to filter if it has one, and leaves the
// socket non-blocking in the epoll set.
func (p *peer) open(epoll int, to netip.AddrPort, id, filter string, qos byte) error {
	fd, err := dial(to, netip.Addr{})
	if err != nil {
		return err
	}
	p.fd = fd
	if err := greet(fd, id, filter, qos); err != nil {
		return fmt.Errorf("client %s: %w", id, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("client %s: %w", id, err)
	}
	return p.watch(epoll, unix.EPOLL_CTL_ADD, unix.EPOLLIN)
}

func greet(fd int, id, filter string, qos byte) error {
	if err := writeAll(fd, appendConnect(nil, cleanSession, id, 0)); err != nil {
		return err
	}
	if err := readConnack(fd); err != nil {
		return err
	}
	if filter == "" {
		return nil
	}
	if err := writeAll(fd, appendSubscribe(nil, filter, qos)); err != nil {
		return err
	}
	return readSuback(fd, qos)
}

func (p *peer) watch(epoll, op int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: p.slot}
	if err := unix.EpollCtl(epoll, op, p.fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// close ends the connection as the protocol wishes, if the socket has room.
func (p *peer) close() error {
	if p.fd < 0 {
		return nil
	}
	rawSend(p.fd, []byte{disconnectHead, 0})
	err := unix.Close(p.fd)
	p.fd = -1
	return err
}
