package crash

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a broker may be found guilty of.
const (
	lost       = "lost"                   // acknowledged, and a subscriber does not get it
	reordered  = "reordered"              // first copies not in the order of sending
	duplicated = "duplicated at QoS 2"    // delivered more than once
	repeated   = "repeated without DUP"   // again, though its publisher sent it once
	forgotten  = "forgotten"              // a session, or a retained message, or an older one came back
	phantom    = "phantom"                // never sent, damaged, or to one who has no subscription
	willEarly  = "will early"             //
	willLost   = "will lost"              // or late
	willTwice  = "will twice or recalled" // published more often than once, or though its client came back
	stuck      = "never acknowledged"     // though its publisher is there and waits
	denied     = "refused"                // for no reason that the harness gives
	misbehaved = "against the protocol"   // what the taps cannot read, or must not see
)

// finding is one deed.
type finding struct {
	what string
	key  string // the message; "" if it is about a client
	who  string // the subscriber
	why  string
}

func (f finding) String() string {
	return fmt.Sprintf("%s: %q at %s: %s", strings.ToUpper(f.what), f.key, f.who, f.why)
}

// margin is how much later than promised a will may be published, and how long
// before the kill a client must have vanished to have been missed for sure.
const (
	margin  = 1500 * time.Millisecond
	noticed = 250 * time.Millisecond
	// coarse is what "not early" allows for reading the clock.
	coarse = 20 * time.Millisecond
)

// message is one that a publisher sent, or a will.
type message struct {
	key, topic, from string
	qos              byte
	retain           bool
	place            int // in the order of first sending, of its publisher and topic

	sends int // how often a PUBLISH with it left
	lives int // in how many sessions of its publisher
	epoch int // the last of these

	acked, over bool     // over: acknowledged, refused or abandoned
	due         []string // who was subscribed before it was first sent
	copies      map[string]*copies
	will        *will
}

// copies are those that one subscriber got.
type copies struct {
	n         int // deliveries
	instances int // that the server made of it, at least: a copy with DUP repeats one
}

// will is what makes a message one.
type will struct {
	delay    time.Duration
	vanished time.Time // zero: its client is there
	crash    bool      // it vanished with the server, or too short before to be missed
	latest   time.Time
	back     time.Time // its client is back for sure
	maybe    bool      // its client was about to come back
}

func (w *will) earliest() time.Time { return w.vanished.Add(w.delay) }

type subscription struct {
	qos     byte
	granted int // the event; 0: not yet
	ended   int
}

// client is who sends and receives, across its connections.
type client struct {
	filters map[string]*subscription
	open    map[uint16]string // QoS 2 messages received and not released
	last    map[string]int    // the latest place received, by publisher and topic
	epoch   int               // of its session
	durable bool              // its session is known to be stored
	unacked int
}

// audit is a look at the retained messages by a new subscriber.
type audit struct {
	who   string
	floor map[string]int // the place that was acknowledged before it subscribed
	heard map[string]int
}

// totals are the figures of the summary.
type totals struct {
	Acknowledged, Deliveries int
	Again                    int // resent by publishers
	WithDUP                  int // repeated at QoS 1
	Resumed                  int // QoS 2 resends before PUBREL
	Retained                 int // audited
	Wills                    int
	Unknown                  int
}

// judge knows all that must be, from what has happened.
type judge struct {
	messages map[string]*message
	clients  map[string]*client
	places   map[string]int // messages by publisher and topic
	retained map[string][]*message
	wills    []*message
	audit    *audit

	up       bool
	unacked  int // messages whose publisher waits
	owed     int // acknowledged messages times subscribers who have not got them
	findings []finding
	totals   totals
}

func newJudge() *judge {
	return &judge{
		messages: map[string]*message{}, clients: map[string]*client{},
		places: map[string]int{}, retained: map[string][]*message{}, up: true,
	}
}

func (j *judge) find(what, key, who, why string, args ...any) {
	j.findings = append(j.findings, finding{what, key, who, fmt.Sprintf(why, args...)})
}

func (j *judge) client(who string) *client {
	c := j.clients[who]
	if c == nil {
		c = &client{filters: map[string]*subscription{}, open: map[uint16]string{}, last: map[string]int{}}
		j.clients[who] = c
	}
	return c
}

// see takes in the next event.
func (j *judge) see(e event) {
	switch e.kind {
	case connected:
		j.connected(e)
	case sending:
		j.sending(e)
	case recorded:
		j.client(e.who).durable = true // PUBREC waits for the frame which has the session
	case acknowledged, refused:
		j.client(e.who).durable = true
		j.settle(e)
	case abandoned:
		j.abandon(e.who)
	case subscribing:
		j.client(e.who).subscription(e).qos = e.qos
	case subscribed:
		c := j.client(e.who)
		c.durable = true
		if s := c.subscription(e); s.granted == 0 {
			s.granted = e.n
		}
	case unsubscribed:
		j.client(e.who).subscription(e).ended = e.n
	case ended:
		j.forget(e.who)
	case received:
		j.received(e)
	case released:
		delete(j.client(e.who).open, e.id)
	case armed, bequeathed, vanished, returning, returned:
		j.willed(e)
	case crashed:
		j.crash(e)
	case ready:
		j.restart(e)
	case broken:
		j.find(misbehaved, e.key, e.who, "%s", e.why)
	}
}

// granted is the number of its subscriptions.
func (c *client) granted() (n int) {
	for _, s := range c.filters {
		if s.granted > 0 && s.ended == 0 {
			n++
		}
	}
	return n
}

func (c *client) subscription(e event) *subscription {
	s := c.filters[e.topic]
	if s == nil || s.ended > 0 && e.kind == subscribing {
		s = &subscription{}
		c.filters[e.topic] = s
	}
	return s
}

// forget takes a subscriber away; nothing is owed to it any more.
func (j *judge) forget(who string) {
	delete(j.clients, who)
	for _, m := range j.messages {
		at := slices.Index(m.due, who)
		if at < 0 {
			continue
		}
		if m.acked && m.copies[who] == nil {
			j.owed--
		}
		m.due = slices.Delete(slices.Clone(m.due), at, at+1)
	}
}

func (j *judge) connected(e event) {
	c := j.client(e.who)
	if e.present {
		return
	}
	if c.durable {
		j.find(forgotten, "", e.who, "its session is gone")
	}
	c.epoch++
	clear(c.open)
	clear(c.filters)
	c.durable = false
}

func (j *judge) sending(e event) {
	c := j.client(e.who)
	m := j.messages[e.key]
	if m == nil {
		m = j.first(e)
		c.unacked++
		j.unacked++
	}
	if m.sends++; m.sends > 1 {
		j.totals.Again++
	}
	if m.lives == 0 || m.epoch != c.epoch {
		m.lives++
		m.epoch = c.epoch
	}
}

// first takes in a message that was not known before.
func (j *judge) first(e event) *message {
	m := &message{key: e.key, topic: e.topic, from: e.who, qos: e.qos, retain: e.retain, copies: map[string]*copies{}}
	by := e.who + "\x00" + e.topic
	j.places[by]++
	m.place = j.places[by]
	m.due = j.subscribers(e.topic)
	j.messages[e.key] = m
	if m.retain {
		j.retained[e.topic] = append(j.retained[e.topic], m)
	}
	return m
}

// subscribers are those whose SUBACK came, but for the auditor.
func (j *judge) subscribers(topic string) (all []string) {
	for who, c := range j.clients {
		if j.audit != nil && who == j.audit.who {
			continue
		}
		for filter, s := range c.filters {
			if s.granted > 0 && s.ended == 0 && s.qos > 0 && matches(filter, topic) {
				all = append(all, who)
				break
			}
		}
	}
	slices.Sort(all)
	return all
}

func matches(filter, topic string) bool {
	levels := strings.Split(topic, "/")
	for i, f := range strings.Split(filter, "/") {
		switch {
		case f == "#":
			return true
		case i >= len(levels), f != "+" && f != levels[i]:
			return false
		}
	}
	return strings.Count(filter, "/") == len(levels)-1
}

func (j *judge) settle(e event) {
	m := j.messages[e.key]
	if m == nil || m.over {
		return
	}
	m.over = true
	j.unacked--
	j.client(m.from).unacked--
	if e.kind == refused {
		j.find(denied, e.key, e.who, "%s", e.why)
		return
	}
	m.acked = true
	j.totals.Acknowledged++
	for _, who := range m.due {
		if m.copies[who] == nil {
			j.owed++
		}
	}
}

func (j *judge) abandon(who string) {
	for _, m := range j.messages {
		if m.from == who && !m.over {
			m.over = true
			j.unacked--
			j.totals.Unknown++
		}
	}
	j.client(who).unacked = 0
}

func (j *judge) received(e event) {
	m := j.messages[e.key]
	if m == nil {
		j.find(phantom, e.key, e.who, "nobody sent it")
		return
	}
	if m.topic != e.topic {
		j.find(phantom, e.key, e.who, "was sent to %s and comes from %s", m.topic, e.topic)
	}
	if j.audit != nil && e.who == j.audit.who {
		j.kept(m, e)
		return
	}
	j.entitled(m, e)
	if e.qos == 2 && j.reopened(m, e) {
		return
	}
	j.deliver(m, e)
}

// entitled looks for the subscription.
func (j *judge) entitled(m *message, e event) {
	if e.retain {
		j.find(misbehaved, e.key, e.who, "RETAIN is set for a subscription that was there [MQTT-3.3.1-9]")
	}
	for filter, s := range j.client(e.who).filters {
		if !matches(filter, e.topic) || s.ended > 0 {
			continue
		}
		if e.qos != min(s.qos, m.qos) {
			j.find(misbehaved, e.key, e.who, "was sent at QoS %d, granted is %d, it comes at %d", m.qos, s.qos, e.qos)
		}
		return
	}
	j.find(phantom, e.key, e.who, "has no subscription for it")
}

// reopened says whether a QoS 2 message is one that its receiver holds already, so
// that it must not deliver it again [MQTT-4.3.3-10].
func (j *judge) reopened(m *message, e event) bool {
	c := j.client(e.who)
	key, open := c.open[e.id]
	c.open[e.id] = m.key
	switch {
	case !open:
		return false
	case key != m.key:
		j.find(misbehaved, m.key, e.who, "packet id %d is that of %q, which is not released", e.id, key)
		return false
	case !e.dup:
		j.find(repeated, m.key, e.who, "packet id %d is sent again [MQTT-3.3.1-1]", e.id)
	default:
		j.totals.Resumed++
	}
	return true
}

func (j *judge) deliver(m *message, e event) {
	j.totals.Deliveries++
	k := m.copies[e.who]
	if k == nil {
		k = &copies{}
		m.copies[e.who] = k
		j.inOrder(m, e)
		if m.acked && slices.Contains(m.due, e.who) {
			j.owed--
		}
	}
	k.n++
	switch {
	case m.will != nil:
		j.willCame(m, k, e)
	case e.qos == 2 && k.n > m.lives:
		j.find(duplicated, m.key, e.who, "is delivery %d, sent in %d session(s) of its publisher", k.n, m.lives)
	case e.qos == 1:
		j.again(m, k, e)
	}
}

// again judges a copy at QoS 1. A copy with DUP repeats an earlier one. A copy without
// is another message to the server, and so must its publisher have sent it: at QoS 1
// any PUBLISH may be one; at QoS 2 the packet id tells the server.
func (j *judge) again(m *message, k *copies, e event) {
	if e.dup {
		k.instances = max(k.instances, 1)
		if k.n > 1 {
			j.totals.WithDUP++
		}
		return
	}
	k.instances++
	allowed := m.sends
	if m.qos == 2 {
		allowed = m.lives
	}
	if k.instances > allowed {
		j.find(repeated, m.key, e.who, "is copy %d, of them %d from the server itself; its publisher sent it %d time(s)", k.n, k.instances, allowed)
	}
}

// inOrder looks at first copies. One who subscribed after the first sending may see
// what was resent after what was not.
func (j *judge) inOrder(m *message, e event) {
	if !slices.Contains(m.due, e.who) {
		return
	}
	c := j.client(e.who)
	by := m.from + "\x00" + m.topic
	if m.place < c.last[by] {
		j.find(reordered, m.key, e.who, "is number %d of its publisher on this topic and comes after number %d", m.place, c.last[by])
		return
	}
	c.last[by] = m.place
}

// missing lists what is owed.
func (j *judge) missing() (all []finding) {
	for _, m := range j.messages {
		if !m.acked {
			if !m.over && m.will == nil {
				all = append(all, finding{stuck, m.key, m.from, "its publisher still waits"})
			}
			continue
		}
		for _, who := range m.due {
			if m.copies[who] == nil {
				all = append(all, finding{lost, m.key, who, "was acknowledged, and is not there"})
			}
		}
	}
	slices.SortFunc(all, func(a, b finding) int { return strings.Compare(a.key+a.who, b.key+b.who) })
	return all
}
