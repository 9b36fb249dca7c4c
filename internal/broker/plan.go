package broker

import (
	"hash/maphash"
	"slices"

	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
)

// plan is where the messages of one topic go, worked out once and kept by a
// tick until a subscription changes that could match. Not before there are many
// is it a question whether the next one is worth keeping.
type plan struct {
	topic      string
	generation uint64
	targets    []target
	groups     []*share
	first      [1]target // of targets, if it is the only one
}

// target is one client with all its subscriptions that match, which together
// make one delivery [MQTT-3.3.4-2].
type target struct {
	client  *Client
	qos     byte     // the highest granted
	retain  bool     // one of them is retain as published
	ids     []uint32 // subscription identifiers [MQTT-3.3.4-4]
	noLocal bool     // one of them is no local
	own     *target  // if so: what the client's own messages get, or nil
}

// plan finds or makes the plan of a topic.
func (t *Tick) plan(name []byte) *plan {
	generation := t.b.index.Generation(name)
	p := t.plans[string(name)]
	if p != nil && p.generation == generation {
		return p
	}
	if p == nil {
		if len(t.plans) >= fewPlans && !t.seen(name) {
			return t.once(name, generation)
		}
		if len(t.plans) >= maxPlans || t.planned >= maxPlanned {
			clear(t.plans)
			t.planned = 0
		}
		p = &plan{topic: string(name)}
		t.plans[p.topic] = p
		t.planned += p.cost()
	}
	t.make(p, generation)
	return p
}

// once is the plan of a topic that is not kept: it holds until the next plan.
func (t *Tick) once(name []byte, generation uint64) *plan {
	p := &t.passing
	p.topic = string(name)
	t.match(p, generation)
	return p
}

// seen says whether a topic has come before, not long ago. Where there are more
// topics than plans may be kept, most come once, or once in a while: to keep
// the plans of those costs more than it saves.
func (t *Tick) seen(name []byte) bool {
	if t.recent == nil {
		t.recent = make([]uint32, 4*maxPlans)
	}
	h := maphash.Bytes(t.b.seed, name)
	at, tag := &t.recent[h%uint64(len(t.recent))], uint32(h>>32)
	if *at == tag {
		return true
	}
	*at = tag
	return false
}

func (t *Tick) make(p *plan, generation uint64) {
	t.planned -= p.cost()
	t.match(p, generation)
	t.planned += p.cost()
}

// match works a plan out.
func (t *Tick) match(p *plan, generation uint64) {
	b := t.b
	var complete bool
	t.rows, complete = b.index.Match(p.topic, b.limits.Load().MatchNodes, t.rows[:0])
	if !complete {
		t.stats.MatchesCut++
	}
	*p = plan{topic: p.topic, generation: generation}
	p.targets = p.first[:0]
	shared := len(t.rows)
	for i := range t.rows {
		if t.rows[i].Group != 0 {
			shared = i
			break
		}
	}
	plain := t.rows[:shared]
	slices.SortFunc(plain, func(x, y route.Row) int { return int(x.To) - int(y.To) })
	for i := 0; i < len(plain); {
		n := i + 1
		for n < len(plain) && plain[n].To == plain[i].To {
			n++
		}
		if c := b.table.resolve(plain[i].To); c != nil {
			p.targets = append(p.targets, merge(c, plain[i:n]))
		}
		i = n
	}
	p.groups = b.shares(t.rows[shared:], p.topic)
}

// cost is about how many targets would take as much memory.
func (p *plan) cost() int {
	n := 1 + len(p.topic)/64 + len(p.targets)
	for _, s := range p.groups {
		n += 2 * len(s.members)
	}
	return n
}

// merge makes one target of a client's matching subscriptions.
func merge(c *Client, rows []route.Row) target {
	to := target{client: c}
	var others []route.Row
	for _, r := range rows {
		to.qos = max(to.qos, r.QoS)
		to.retain = to.retain || r.RetainAsPublished
		if r.ID != 0 {
			to.ids = append(to.ids, r.ID)
		}
		if r.NoLocal {
			to.noLocal = true
		} else {
			others = append(others, r)
		}
	}
	if to.noLocal && len(others) > 0 {
		own := merge(c, others)
		to.own = &own
	}
	return to
}

// group is a shared subscription's group: what it remembers from message to
// message.
type group struct {
	filter  string // as its members wrote it
	chooser route.Chooser
}

// share is a group in a plan.
type share struct {
	group   *group
	topic   uint64 // hash
	rows    []route.Row
	members []target // of rows
}

// shares are the groups of rows, which stand group by group.
func (b *Broker) shares(rows []route.Row, topic string) []*share {
	var list []*share
	for i := 0; i < len(rows); {
		n := i + 1
		for n < len(rows) && rows[n].Group == rows[i].Group {
			n++
		}
		s := &share{group: b.group(rows[i].Group), topic: b.hash(topic)}
		for _, r := range rows[i:n] {
			if c := b.table.resolve(r.To); c != nil {
				s.rows = append(s.rows, r)
				s.members = append(s.members, merge(c, []route.Row{r}))
			}
		}
		if len(s.members) > 0 {
			list = append(list, s)
		}
		i = n
	}
	return list
}

// group is the state of a group.
func (b *Broker) group(id route.Group) *group {
	b.groupsMu.Lock()
	defer b.groupsMu.Unlock()
	g := b.groups[id]
	if g == nil {
		name, path := b.index.GroupName(id)
		g = &group{filter: "$share/" + name + "/" + path}
		if name == "" {
			g.filter = "$queue/" + path
		}
		b.forgetGroups()
		b.groups[id] = g
	}
	return g
}

// forgetGroups drops the state of groups that have no member left, once there
// may be as many of those as of others. The caller holds b.groupsMu.
func (b *Broker) forgetGroups() {
	if len(b.groups) <= 2*b.index.Groups() {
		return
	}
	for id := range b.groups {
		if name, path := b.index.GroupName(id); name == "" && path == "" {
			delete(b.groups, id)
		}
	}
}

// deliver gives the message to one member of the group: to the one whose turn
// it is, or else to the next that is connected, or else to the queue of one that
// is away.
func (s *share) deliver(t *Tick, from *Client, d *message.Draft) bool {
	draw := route.Draw{Topic: s.topic, Random: t.rnd.Uint64()}
	if from != nil {
		draw.Client = t.b.hash(from.ID)
	}
	n := len(s.members)
	first := s.group.chooser.Choose(t.b.o.Strategy, s.rows, draw)
	for _, away := range []bool{false, true} {
		for i := range n {
			if t.offer(&s.members[(first+i)%n], from, d, s, away) {
				return true
			}
		}
	}
	return false
}

// offer gives the message to a member, if that is online or away as asked.
func (t *Tick) offer(m *target, from *Client, d *message.Draft, s *share, away bool) bool {
	m.client.mu.Lock()
	online := m.client.link != nil || m.client.insider
	m.client.mu.Unlock()
	if online == away {
		return false
	}
	r := session.Route{QoS: m.qos, Retain: m.retain && d.Retain, IDs: m.ids, Shared: s.group.filter, Wait: t.parks(m.client, from, min(d.QoS, m.qos))}
	o := t.deliver(m.client, d, &r)
	return o == session.Sent || o == session.Queued
}

// redispatch gives a message that a vanished member of a group had not
// acknowledged to another member.
func (b *Broker) redispatch(t *Tick, it *session.Item) {
	d := message.From(it.Message)
	if it.Message.Expired(t.now) {
		t.stats.Dropped[DropExpired]++
		return
	}
	d.Expiry = it.Message.Remaining(t.now)
	defer t.moving()()
	pl := t.plan(d.Name)
	for _, s := range pl.groups {
		if s.group.filter == it.Shared {
			t.work.Message(&d, false)
			if s.deliver(t, nil, &d) {
				t.stats.Redispatched++
				return
			}
		}
	}
	t.stats.Dropped[DropOffline]++
}
