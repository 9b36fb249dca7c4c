package load

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// start fills every window of the closed loop.
func (g *generator) start() {
	now := g.now()
	for i := range g.pubs {
		g.publish(i, g.sc.Window, now)
	}
}

// publish adds n messages of one publisher to its pending bytes.
func (g *generator) publish(index, n int, sent int64) {
	p := &g.pubs[index]
	for range n {
		p.stamp(g.run, index, sent)
	}
	p.undelivered += n * g.copies
	g.undelivered += n * g.copies
	if g.sc.QoS > 0 {
		g.unacked += n
	}
	g.published += uint64(n)
	g.touch(&p.peer)
}

// pace sends what is due: in the open loop by the clock, in the closed loop by
// what has been finished.
func (g *generator) pace(now int64) {
	if g.sc.Rate > 0 {
		g.keepSchedule(now)
		return
	}
	for _, p := range g.ripe {
		p.ripe = false
		if p.fd < 0 {
			continue
		}
		open := max((p.undelivered+g.copies-1)/g.copies, p.unacked)
		g.publish(int(p.slot), g.sc.Window-open, now)
	}
	g.ripe = g.ripe[:0]
}

// keepSchedule sends message k of the open loop when it is due, the publishers
// taking turns. A publisher that can take no more holds back all
// behind it; they keep their time, so the wait is in their latency.
func (g *generator) keepSchedule(now int64) {
	for g.dueAt(g.due) <= now {
		index := int(g.due % uint64(len(g.pubs)))
		if !g.pubs[index].hasRoom() {
			return
		}
		g.publish(index, 1, g.dueAt(g.due))
		g.due++
	}
}

// dueAt is when message k of the open loop is due: on the next tick.
func (g *generator) dueAt(k uint64) int64 {
	at := int64(float64(k) * g.interval)
	if g.sc.Tick <= 0 {
		return at
	}
	tick := int64(g.sc.Tick)
	return (at + tick - 1) / tick * tick
}

// settle looks whether a publisher may send again.
func (g *generator) settle(p *publisher) {
	if p.ripe || g.sc.Rate > 0 {
		return
	}
	half := g.sc.Window / 2
	if p.undelivered > half*g.copies || p.unacked > half {
		return
	}
	p.ripe = true
	g.ripe = append(g.ripe, p)
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
func (g *generator) flush() error {
	for _, p := range g.dirty {
		p.dirty = false
		if p.full || p.fd < 0 {
			continue
		}
		if err := g.write(p); err != nil {
			return err
		}
	}
	g.dirty = g.dirty[:0]
	return nil
}

func (g *generator) write(p *peer) error {
	for p.sent < len(p.out) {
		n, errno := rawSend(p.fd, p.out[p.sent:])
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			return g.waitForRoom(p)
		}
		if errno != 0 {
			return g.lose(p, errno.Error())
		}
		p.sent += n
	}
	p.out, p.sent = p.out[:0], 0
	if !p.full {
		return nil
	}
	p.full = false
	return p.watch(g.epoll, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
}

func (g *generator) waitForRoom(p *peer) error {
	if p.full {
		return nil
	}
	p.full = true
	return p.watch(g.epoll, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT)
}

// lose gives up a connection. The run then only collects what is still coming.
func (g *generator) lose(p *peer, why string) error {
	who, index := "publisher", int(p.slot)
	if index >= len(g.pubs) {
		who, index = "subscriber", index-len(g.pubs)
	}
	g.note(fmt.Sprintf("connection of %s %d ended: %s", who, index, why))
	err := unix.Close(p.fd)
	p.fd = -1
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// serve reads from each ready peer once; epoll reports again what is left.
func (g *generator) serve(events []unix.EpollEvent) error {
	for i := range events {
		slot := int(events[i].Fd)
		p := g.peer(slot)
		if events[i].Events&unix.EPOLLOUT != 0 && p.fd >= 0 {
			if err := g.write(p); err != nil {
				return err
			}
		}
		if events[i].Events&^unix.EPOLLOUT == 0 || p.fd < 0 {
			continue
		}
		if err := g.read(p); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) peer(slot int) *peer {
	if slot < len(g.pubs) {
		return &g.pubs[slot].peer
	}
	return &g.subs[slot-len(g.pubs)].peer
}

func (g *generator) read(p *peer) error {
	had := copy(g.in, p.rest)
	n, errno := rawRecv(p.fd, g.in[had:])
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return nil
	}
	if errno != 0 {
		return g.lose(p, errno.Error())
	}
	if n == 0 {
		return g.lose(p, "closed by the broker")
	}
	now := g.now()
	g.progress = now
	used, err := g.take(p, g.in[:had+n], now)
	if err != nil {
		return g.lose(p, err.Error())
	}
	p.rest = append(p.rest[:0], g.in[used:had+n]...)
	if len(p.rest) == len(g.in) {
		return g.lose(p, "a packet larger than any that was sent")
	}
	return nil
}

// take handles the whole packets in b and says how many bytes they were.
func (g *generator) take(p *peer, b []byte, now int64) (int, error) {
	slot := int(p.slot)
	used := 0
	for {
		head, body, size, err := frame(b[used:])
		if err != nil || size == 0 {
			return used, err
		}
		if slot < len(g.pubs) {
			g.takeAck(&g.pubs[slot], head, body)
		} else {
			g.takeMessage(&g.subs[slot-len(g.pubs)], head, body, now)
		}
		used += size
	}
}

// takeAck handles what a publisher receives.
func (g *generator) takeAck(p *publisher, head byte, body []byte) {
	id, ok := parseAck(body)
	switch {
	case !ok:
		g.result.Faults.Protocol++
	case head == pubackHead && g.sc.QoS == 1 && p.first.remove(id):
		g.finish(p)
	case head == pubrecHead && g.sc.QoS == 2 && p.first.remove(id):
		p.second.add(id)
		p.out = appendAck(p.out, pubrelHead, id)
		g.touch(&p.peer)
	case head == pubcompHead && g.sc.QoS == 2 && p.second.remove(id):
		g.finish(p)
	default:
		g.result.Faults.Protocol++
	}
}

func (g *generator) finish(p *publisher) {
	p.unacked--
	g.unacked--
	g.settle(p)
}

// takeMessage handles what a subscriber receives.
func (g *generator) takeMessage(s *subscriber, head byte, body []byte, now int64) {
	if head == pubrelHead && g.sc.QoS == 2 {
		g.answer(s, pubcompHead, body)
		return
	}
	// Neither DUP nor RETAIN belongs on a first delivery, and the QoS is that of
	// the publication [MQTT-3.3.1-2], [MQTT-3.3.1-9], [MQTT-3.8.4-6].
	if head != publishHead|g.sc.QoS<<1 {
		if head == connackHead && s.resuming {
			g.resumed(s, body)
			return
		}
		g.result.Faults.Protocol++
		if head&0xf0 != publishHead {
			return
		}
	}
	m, ok := parsePublish(body, head>>1&3)
	if !ok {
		g.result.Faults.Protocol++
		return
	}
	switch head >> 1 & 3 {
	case 1:
		s.out = appendAck(s.out, pubackHead, m.id)
		g.touch(&s.peer)
	case 2:
		s.out = appendAck(s.out, pubrecHead, m.id)
		g.touch(&s.peer)
	}
	g.check(s, m, now)
}

func (g *generator) answer(s *subscriber, head byte, body []byte) {
	id, ok := parseAck(body)
	if !ok {
		g.result.Faults.Protocol++
		return
	}
	s.out = appendAck(s.out, head, id)
	g.touch(&s.peer)
}

// check compares a message with what was sent and counts it.
func (g *generator) check(s *subscriber, m publication, now int64) {
	if len(m.payload) != g.sc.Payload {
		g.result.Faults.Damaged++
		return
	}
	st := getStamp(m.payload)
	if st.run != g.run || st.publisher >= uint32(len(g.pubs)) || !bytes.Equal(m.payload[StampSize:], g.fill) {
		g.result.Faults.Damaged++
		return
	}
	p := &g.pubs[st.publisher]
	if st.seq >= p.seq || !g.sc.reaches(int(st.publisher), s.index) || !bytes.Equal(m.topic, p.topic) {
		g.result.Faults.Damaged++
		return
	}
	switch s.flows[st.publisher].take(st.seq) {
	case again:
		g.result.Faults.Duplicated++
		return
	case late:
		g.result.Faults.Disordered++
	case inOrder, early:
	}
	if st.sent >= g.from && st.sent < g.to {
		g.result.Latency.Record(time.Duration(now - st.sent))
	}
	g.delivered++
	p.undelivered--
	g.undelivered--
	g.settle(p)
}
