package broker

import (
	"hash/maphash"
	"log/slog"
	"slices"

	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
)

// plan is where the messages of one topic go, worked out once and, if the topic
// comes again, kept by a tick until a subscription changes that could match.
type plan struct {
	topic   string
	mark    route.Mark
	access  uint64 // Version of the LastingAccess that was asked
	barred  int    // how many more there are who may not receive
	targets []target
	groups  []*share
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

// plan finds or makes the plan of a topic. It is valid until the next call.
func (t *Tick) plan(name []byte) *plan {
	p := t.last // a client that publishes much does so to the same topic
	if p == nil || p.topic != string(name) {
		p = t.plans[string(name)]
	}
	switch {
	case p == nil && !t.cameLately(name):
		t.passing.topic = string(name)
		t.make(&t.passing)
		return &t.passing
	case p == nil:
		p = t.newPlan(name)
		t.renew(p, name)
	case !t.b.index.Holds(&p.mark, name) || t.b.lasting != nil && p.access != t.b.lasting.Version():
		t.renew(p, name)
	}
	t.last = p
	return p
}

// cameLately says whether a topic came before, if that was lately: what comes once
// is not worth keeping, and where there are more topics than can be kept, each
// would drive out another that is not used again before it is driven out itself.
func (t *Tick) cameLately(name []byte) bool {
	if t.sights == nil {
		t.sights = make([][sightSlot]uint32, sightSlots)
	}
	hash := maphash.Bytes(t.b.seed, name)
	slot, mark := &t.sights[hash%sightSlots], uint32(hash>>32)|1
	if slices.Contains(slot[:], mark) {
		return true
	}
	copy(slot[1:], slot[:])
	slot[0] = mark
	return false
}

// renew makes a plan that is kept.
func (t *Tick) renew(p *plan, name []byte) {
	t.planned -= p.cost()
	p.mark = t.b.index.Mark(name) // before the match
	t.make(p)
	t.planned += p.cost()
}

// newPlan is an empty plan. With as many as may be it forgets all and uses
// their memory again, one after the other: to look for one that is not needed
// would cost more than to make it again.
func (t *Tick) newPlan(name []byte) *plan {
	if t.planned >= maxPlanned {
		clear(t.plans)
		t.allPlans, t.last, t.planned = nil, nil, 0
	}
	if len(t.plans) >= maxPlans {
		clear(t.plans)
	}
	if len(t.plans) == len(t.allPlans) {
		t.allPlans = append(t.allPlans, &plan{})
		t.planned += t.allPlans[len(t.plans)].cost()
	}
	p := t.allPlans[len(t.plans)]
	t.planned -= p.cost()
	p.topic = string(name)
	t.planned += p.cost()
	t.plans[p.topic] = p
	return p
}

// make works a plan out.
func (t *Tick) make(p *plan) {
	b := t.b
	p.barred = 0
	if b.lasting != nil {
		p.access = b.lasting.Version() // before the answers
	}
	var complete bool
	t.rows, complete = b.index.Match(p.topic, b.limits.Load().MatchNodes, t.rows[:0])
	if !complete {
		t.effort += b.limits.Load().MatchNodes / nodesPerEffort
		t.stats.MatchesCut++
		b.warnCut(t.now, p.topic)
	}
	clear(p.targets)
	p.targets = p.targets[:0]
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
		if c := b.table.resolve(plain[i].To); c != nil && p.admits(b, c) {
			p.targets = append(p.targets, merge(c, plain[i:n]))
		}
		i = n
	}
	p.groups = b.shares(t.rows[shared:], p)
}

// admits says whether a client may receive the messages of the plan's topic.
func (p *plan) admits(b *Broker, c *Client) bool {
	if b.lasting == nil || c.insider {
		return true
	}
	c.mu.Lock()
	if b.free(c.link, p.topic[0]) {
		c.mu.Unlock()
		return true
	}
	who := c.who()
	c.mu.Unlock()
	if b.mayReceive(who, p.topic) {
		return true
	}
	p.barred++
	return false
}

// nodesPerEffort is how many nodes of the index are about as much to look at as a
// message is to deliver.
const nodesPerEffort = 4

// cutEvery is the time between two warnings that a match was cut short, in
// milliseconds: whoever can cause one can cause many.
const cutEvery = 60_000

// warnCut logs that not every subscriber of a topic may have been found.
func (b *Broker) warnCut(now int64, topic string) {
	if last := b.cutAt.Load(); last == 0 || now-last >= cutEvery {
		if b.cutAt.CompareAndSwap(last, now) {
			b.o.Logger.Warn("too many filters with wildcards could match: some subscribers may not have been found",
				slog.String("topic", topic), slog.Int("limits.match_nodes", b.limits.Load().MatchNodes))
		}
	}
}

// cost is about how many targets would take as much memory.
func (p *plan) cost() int {
	n := 1 + len(p.topic)/64 + cap(p.targets)
	for _, s := range p.groups {
		n += 2 * len(s.members)
	}
	return n
}

// merge makes one target of a client's matching subscriptions.
func merge(c *Client, rows []route.Row) target {
	to := target{client: c}
	for _, r := range rows {
		to.qos = max(to.qos, r.QoS)
		to.retain = to.retain || r.RetainAsPublished
		to.noLocal = to.noLocal || r.NoLocal
		if r.ID != 0 {
			to.ids = append(to.ids, r.ID)
		}
	}
	if !to.noLocal {
		return to
	}
	others := slices.DeleteFunc(slices.Clone(rows), func(r route.Row) bool { return r.NoLocal })
	if len(others) > 0 {
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
func (b *Broker) shares(rows []route.Row, p *plan) []*share {
	var list []*share
	for i := 0; i < len(rows); {
		n := i + 1
		for n < len(rows) && rows[n].Group == rows[i].Group {
			n++
		}
		s := &share{group: b.group(rows[i].Group), topic: b.hash(p.topic)}
		for _, r := range rows[i:n] {
			if c := b.table.resolve(r.To); c != nil && p.admits(b, c) {
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
	c := m.client
	r := session.Route{QoS: m.qos, Retain: m.retain && d.Retain, IDs: m.ids, Shared: s.group.filter, Wait: t.parks(c, from, min(d.QoS, m.qos))}
	if c.insider {
		return !away && c.busy.inside.deliver(d, &r) == session.Sent
	}
	c.mu.Lock()
	if (c.link == nil) != away {
		c.mu.Unlock()
		return false
	}
	t.take(c)
	o := t.deliverOpened(c, d, &r)
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
