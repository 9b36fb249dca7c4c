package load

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// churn is the clients that come and go beside the traffic: each connects,
// subscribes to a topic of its own, publishes to it, waits until its message
// has come back and, above QoS 0, is acknowledged, and leaves. All the methods
// do nothing for a nil churn.
type churn struct {
	g       *generator
	due     uint64
	seats   []*visitor // all of them
	free    []*visitor
	visits  uint64
	present int
}

// visitor is a client of churn, again and again under a new name.
type visitor struct {
	*guest
	topic    string
	began    int64
	came     bool // its own message
	unacked  bool
	sequence uint64
}

// churnSeats is how many are there at once at most; the others wait, and that
// counts.
const churnSeats = 512

// churnPatience is how long a visit may take.
const churnPatience = int64(answerTime)

func newChurn(g *generator) *churn {
	c := &churn{g: g}
	for range churnSeats {
		v := &visitor{guest: g.invite("")}
		v.session = func(int64) { c.speak(v) }
		v.takes = func(f packet.Frame, _ int64) { c.hear(v, f) }
		v.gone = func(now int64, well bool) { c.gone(v, now, well) }
		c.seats = append(c.seats, v)
		c.free = append(c.free, v)
	}
	return c
}

// keepUp lets those in whose time has come.
func (c *churn) keepUp(now int64) {
	if c == nil {
		return
	}
	for len(c.free) > 0 {
		due := int64(float64(c.due) * 1e9 / c.g.sc.Churn)
		if due > now {
			c.g.wakeAt(due)
			return
		}
		c.due++
		v := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		c.enter(v, due)
	}
}

func (c *churn) enter(v *visitor, due int64) {
	v.id = "c" + c.g.tag() + "-" + strconv.FormatUint(c.visits, 10)
	v.topic = "bench/" + c.g.tag() + "/churn/" + strconv.FormatUint(c.visits, 10)
	v.filters = []string{v.topic}
	v.began, v.came, v.unacked, v.sequence = due, false, c.g.sc.QoS > 0, c.visits
	c.visits++
	c.present++
	c.g.begin(&v.peer, due)
}

// speak publishes the one message of a visit.
func (c *churn) speak(v *visitor) {
	m := packet.Publish{QoS: c.g.sc.QoS, Topic: []byte(v.topic), Payload: c.payload(v)}
	if m.QoS > 0 {
		m.ID = 1
	}
	v.out = packet.AppendPublish(v.out, &m, c.g.version)
	c.g.touch(&v.peer)
}

func (c *churn) payload(v *visitor) []byte {
	b := make([]byte, c.g.sc.Sizes[v.sequence%uint64(len(c.g.sc.Sizes))])
	stamp{run: c.g.run, publisher: uint32(v.slot), seq: v.sequence, sent: v.began}.put(b)
	fill(b[StampSize:])
	return b
}

// hear takes in what comes during a visit.
func (c *churn) hear(v *visitor, f packet.Frame) {
	faults := &c.g.result.Faults
	switch {
	case f.Type == packet.PUBLISH:
		var m publication
		switch ok := c.g.parsePublish(f, &m); {
		case !ok || f.Flags != c.g.sc.QoS<<1:
			faults.Protocol++
		case v.came:
			faults.Duplicated++
		case string(m.topic) != v.topic || !bytes.Equal(m.payload, c.payload(v)):
			faults.Damaged++
		}
		v.came = true
		c.g.acknowledge(&v.peer, f.Flags>>1&3, m.id)
		if f.Flags>>1&3 == 2 {
			return // until PUBREL
		}
	case f.Type == packet.PUBREL:
		c.g.released(&v.peer, f)
		v.came = true
	case f.Type == packet.PUBREC && c.g.sc.QoS == 2 && v.unacked:
		v.out = appendAck(v.out, packet.PUBREL, 1)
		c.g.touch(&v.peer)
		return
	case f.Type == packet.PUBACK && c.g.sc.QoS == 1 && v.unacked, f.Type == packet.PUBCOMP && c.g.sc.QoS == 2 && v.unacked:
		v.unacked = false
	default:
		faults.Protocol++
		return
	}
	if v.came && !v.unacked && v.state == up {
		c.g.leave(&v.peer)
	}
}

func (c *churn) gone(v *visitor, now int64, well bool) {
	c.present--
	c.free = append(c.free, v)
	if !well {
		return
	}
	c.g.churned++
	if v.began >= c.g.from && v.began < c.g.to {
		c.g.result.Cycle.Record(time.Duration(now - v.began))
	}
}

// idle says that nobody is there; a visit that takes too long is given up.
func (c *churn) idle() bool {
	if c == nil || c.present == 0 {
		return true
	}
	now := c.g.now()
	for _, v := range c.seats {
		if v.state != away && now-v.began > churnPatience {
			c.g.ended(&v.peer, fmt.Errorf("its visit took more than %v", answerTime))
		}
	}
	return c.present == 0
}

// settle counts the messages that never came back.
func (c *churn) settle() {
	if c == nil {
		return
	}
	for _, v := range c.seats {
		if v.state == up && !v.came {
			c.g.result.Faults.Lost++
		}
	}
}
