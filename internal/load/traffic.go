package load

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// start fills every window of the closed loop.
func (g *generator) start() {
	for i := range g.pubs {
		g.ripen(&g.pubs[i])
	}
}

// publish adds n messages of one publisher to its pending bytes.
func (g *generator) publish(p *publisher, n int, sent int64) {
	for range n {
		p.stamp(g.run, g.base, sent)
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
	kept := g.ripe[:0]
	for _, p := range g.ripe {
		p.ripe = false
		if p.state != up {
			continue
		}
		want := p.window - g.unfinished(p)
		n := min(want, p.room())
		if n > 0 {
			g.publish(p, n, now)
		}
		if n < want || g.endless() {
			p.ripe = true
			kept = append(kept, p)
		}
	}
	g.ripe, g.more = kept, len(kept) > 0
}

// unfinished is how many messages of a publisher are not finished.
func (g *generator) unfinished(p *publisher) int {
	if g.copies > 1 {
		return max((p.undelivered+g.copies-1)/g.copies, p.ids.used)
	}
	return max(p.undelivered, p.ids.used)
}

// endless says that nothing tells when a message is finished: publishers at
// QoS 0 without subscribers send what the sockets take.
func (g *generator) endless() bool { return g.copies == 0 && g.sc.QoS == 0 }

// keepSchedule sends message k of the open loop when it is due, the publishers
// taking turns. A publisher that can take no more holds back all
// behind it; they keep their time, so the wait is in their latency.
func (g *generator) keepSchedule(now int64) {
	due := g.dueAt(g.due)
	if due <= now && due >= g.from && !g.heldBack {
		g.result.Late.Record(time.Duration(now - due)) // by itself: nobody kept it waiting
	}
	g.heldBack = false
	for due <= now {
		p := &g.pubs[g.due%uint64(len(g.pubs))]
		if !p.hasRoom() {
			g.heldBack = true
			return
		}
		g.publish(p, 1, due)
		g.due++
		due = g.dueAt(g.due)
	}
	g.wakeAt(due)
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
	half := p.window / 2
	if p.undelivered > half*g.copies || p.ids.used > half {
		return
	}
	g.ripen(p)
}

func (g *generator) ripen(p *publisher) {
	if p.ripe {
		return
	}
	p.ripe = true
	g.ripe = append(g.ripe, p)
}

// arrived takes in what has come from the broker and says how much of it was
// whole packets.
func (g *generator) arrived(p *peer, b []byte, fresh int) int {
	now := g.now()
	g.bytesIn += uint64(fresh)
	used, err := g.take(p, b, now)
	if err != nil {
		g.ended(p, err)
	}
	return used
}

// take handles the whole packets in b and says how many bytes they were.
func (g *generator) take(p *peer, b []byte, now int64) (int, error) {
	slot := int(p.slot)
	used := 0
	for p.state != away {
		f, size, err := packet.Split(b[used:], maxPacket)
		if err != nil || size == 0 {
			return used, err
		}
		used += size
		if f.Type != packet.PINGRESP {
			g.progress = now
		}
		switch {
		case f.Type == packet.CONNACK || f.Type >= packet.SUBACK:
			g.control(p, f, now)
		case slot < len(g.pubs):
			g.takeAck(&g.pubs[slot], f, now)
		case slot < len(g.pubs)+len(g.subs):
			g.takeMessage(&g.subs[slot-len(g.pubs)], f, now)
		default:
			g.guest(p).takes(f, now)
		}
	}
	return used, nil
}

// takeAck handles what a publisher receives.
func (g *generator) takeAck(p *publisher, f packet.Frame, now int64) {
	id, ok := g.parseAck(f)
	if !ok {
		g.result.Faults.Protocol++
		return
	}
	switch {
	case f.Type == packet.PUBACK && g.sc.QoS == 1:
		if sent, ok := p.ids.free(id); ok {
			g.finish(p, sent, now)
			return
		}
	case f.Type == packet.PUBREC && g.sc.QoS == 2:
		if p.ids.release(id) {
			p.out = appendAck(p.out, packet.PUBREL, id)
			g.touch(&p.peer)
			return
		}
	case f.Type == packet.PUBCOMP && g.sc.QoS == 2:
		if sent, ok := p.ids.complete(id); ok {
			g.finish(p, sent, now)
			return
		}
	}
	g.result.Faults.Protocol++
}

func (g *generator) finish(p *publisher, sent, now int64) {
	if sent >= g.from && sent < g.to {
		g.result.Ack.Record(time.Duration(now - sent))
	}
	g.acked++
	g.unacked--
	g.settle(p)
}

// parseAck reads the packet identifier of an acknowledgement. What 5.0 adds to
// it is looked at only where it is there.
func (g *generator) parseAck(f packet.Frame) (uint16, bool) {
	if len(f.Body) == 2 {
		return binary.BigEndian.Uint16(f.Body), true
	}
	a, err := packet.ParseAck(f.Type, f.Body, g.version)
	if err == nil && a.Code.Failed() {
		g.result.Faults.Refused++
	}
	return a.ID, err == nil
}

// appendAck appends an acknowledgement that all is well.
func appendAck(dst []byte, t packet.Type, id uint16) []byte {
	return packet.AppendAck(dst, t, &packet.Ack{ID: id}, packet.V311, 0) // 5.0 has the same short form
}

// takeMessage handles what a subscriber receives.
func (g *generator) takeMessage(s *subscriber, f packet.Frame, now int64) {
	if f.Type == packet.PUBREL && g.sc.QoS == 2 {
		g.released(&s.peer, f)
		return
	}
	// Neither DUP nor RETAIN belongs on a first delivery, and the QoS is that of
	// the publication [MQTT-3.3.1-2], [MQTT-3.3.1-9], [MQTT-3.8.4-6].
	if f.Type != packet.PUBLISH || f.Flags != g.flags {
		g.result.Faults.Protocol++
		if f.Type != packet.PUBLISH {
			return
		}
	}
	var m publication
	if !g.parsePublish(f, &m) {
		g.result.Faults.Protocol++
		return
	}
	g.acknowledge(&s.peer, f.Flags>>1&3, m.id)
	g.check(s, &m, now)
}

// acknowledge answers a message.
func (g *generator) acknowledge(p *peer, qos byte, id uint16) {
	switch qos {
	case 1:
		p.out = appendAck(p.out, packet.PUBACK, id)
	case 2:
		p.out = appendAck(p.out, packet.PUBREC, id)
	default:
		return
	}
	g.touch(p)
}

// released answers a PUBREL.
func (g *generator) released(p *peer, f packet.Frame) {
	id, ok := g.parseAck(f)
	if !ok {
		g.result.Faults.Protocol++
		return
	}
	p.out = appendAck(p.out, packet.PUBCOMP, id)
	g.touch(p)
}

// publication is what a PUBLISH holds; its slices alias the body.
type publication struct {
	topic   []byte
	id      uint16
	payload []byte
}

// parsePublish takes a PUBLISH apart; false if it is malformed. The usual one,
// without properties, is done here: packet.ParsePublish also checks what this
// generator compares byte by byte, and resets what it does not need.
func (g *generator) parsePublish(f packet.Frame, m *publication) bool {
	b := f.Body
	qos := f.Flags >> 1 & 3
	if len(b) < 2 || qos == 3 {
		return false
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	at := end
	if qos > 0 {
		at += 2
	}
	if len(b) < at {
		return false
	}
	m.topic, m.id = b[2:end], 0
	if qos > 0 {
		m.id = binary.BigEndian.Uint16(b[end:])
	}
	if g.version == packet.V5 {
		if len(b) == at || b[at] != 0 {
			return g.parseProperties(f, m)
		}
		at++
	}
	m.payload = b[at:]
	return true
}

func (g *generator) parseProperties(f packet.Frame, m *publication) bool {
	var p packet.Publish
	if err := packet.ParsePublish(&p, f.Flags, f.Body, g.version, packet.FromServer); err != nil {
		return false
	}
	m.topic, m.id, m.payload = p.Topic, p.ID, p.Payload
	return true
}

// flow is where the messages of a publisher are counted at a subscriber; nil
// where none belongs.
func (g *generator) flow(s *subscriber, publisher int) *flow {
	switch g.sc.Shape {
	case Pairs:
		if publisher != s.index {
			return nil
		}
		return &s.flows[0]
	case Wild:
		if publisher%len(g.subs) != s.index {
			return nil
		}
		return &s.flows[publisher/len(g.subs)]
	default:
		return &s.flows[publisher]
	}
}

// check compares a message with what was sent and counts it.
func (g *generator) check(s *subscriber, m *publication, now int64) {
	if len(m.payload) < StampSize {
		g.result.Faults.Damaged++
		return
	}
	st := getStamp(m.payload)
	if st.run != g.run || st.publisher >= uint32(len(g.pubs)) {
		g.result.Faults.Damaged++
		return
	}
	p := &g.pubs[st.publisher]
	x := p.at(st.seq)
	f := g.flow(s, int(st.publisher))
	if st.seq >= p.seq || f == nil || !bytes.Equal(m.topic, x.topic) || !bytes.Equal(m.payload[StampSize:], x.bytes[x.stampAt+StampSize:]) {
		g.result.Faults.Damaged++
		return
	}
	if !g.count(f, int(st.publisher), st.seq) {
		return
	}
	sent := st.sent - g.base
	if sent >= g.from && sent < g.to {
		g.result.Latency.Record(time.Duration(now - sent))
	}
	g.delivered++
	p.undelivered--
	g.undelivered--
	g.settle(p)
}

// count notes an arrival; false if it is not the first of its message.
func (g *generator) count(f *flow, publisher int, seq uint64) bool {
	if g.group != nil { // the members have one copy between them, each in order
		if g.group[publisher].take(seq) == again {
			g.result.Faults.Duplicated++
			return false
		}
		if seq < f.next {
			g.result.Faults.Disordered++
		}
		f.next = max(f.next, seq+1)
		return true
	}
	switch f.take(seq) {
	case again:
		g.result.Faults.Duplicated++
		return false
	case late:
		g.result.Faults.Disordered++
	case inOrder, early:
	}
	return true
}

// settleAccounts adds up what never came.
func (g *generator) settleAccounts() {
	f := &g.result.Faults
	for i := range g.pubs {
		if g.pubs[i].state != away { // with its connection, its acknowledgements are gone
			f.Protocol += uint64(g.pubs[i].ids.used)
		}
	}
	for i := range g.group {
		f.Lost += g.group[i].missing(g.pubs[i].seq)
	}
	if g.group != nil {
		return
	}
	for p := range g.pubs {
		g.each(p, func(s *subscriber) { f.Lost += g.flow(s, p).missing(g.pubs[p].seq) })
	}
}

// each calls what is to be done for every subscriber that a publisher reaches.
func (g *generator) each(publisher int, do func(*subscriber)) {
	switch {
	case len(g.subs) == 0:
	case g.sc.Shape == Pairs || g.sc.Shape == Wild:
		do(&g.subs[publisher%len(g.subs)])
	default:
		for i := range g.subs {
			do(&g.subs[i])
		}
	}
}
