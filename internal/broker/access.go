package broker

import (
	"bytes"
	"log/slog"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// Access decides what a client may do. It is asked on an event loop: it must
// not wait.
type Access interface {
	// Access returns nil to allow, or why not.
	Access(who *Info, a access.Ask) error
}

// LastingAccess is an Access whose answers for a connection stay the same as
// long as Version does. So it is asked once for the topics that the connection
// publishes to, not for each message; and it is asked, once too, whether a
// client may receive what its subscriptions match ([access.Receive]).
type LastingAccess interface {
	Access
	Version() uint64
}

// Policy is a LastingAccess that can tell more.
type Policy interface {
	LastingAccess
	// Open says that it allows everything but what begins with $ to clients
	// without rules of their own, if somebody knows them or not.
	Open(known bool) bool
	// Reason is a decision in words, for the owner of the broker.
	Reason(who *Info, a access.Ask) access.Explanation
	// Denies says that it denies what a client asks for whatever more than its names
	// may be known of it.
	Denies(who *Info, a access.Ask) bool
	// Disconnects says that a client ends that does what it may not.
	Disconnects() bool
}

// UseAccess sets who decides what clients may do; nil allows everything. It is
// called before the first client connects.
func (b *Broker) UseAccess(a Access) {
	b.access = a
	b.lasting, _ = a.(LastingAccess)
	b.policy, _ = a.(Policy)
}

// free says whether a client may do everything with a topic, by its first byte:
// then nobody needs to be asked.
func (b *Broker) free(link Link, first byte) bool {
	if first == '$' {
		return false
	}
	if b.access == nil || b.policy == nil || link == nil { // who is away is asked about by its Info
		return b.access == nil
	}
	known, ruled := link.Standing()
	return !ruled && b.policy.Open(known)
}

// grants are answers of a LastingAccess that a tick remembers. A connection has
// an Info of its own, which no other gets while it is remembered here: whoever
// connects again is asked for again.
type grants struct {
	version uint64
	known   map[grant]error
}

type grant struct {
	who    *Info
	topic  string
	qos    byte
	retain bool
}

const (
	maxGrants     = 1 << 12
	maxGrantTopic = 256 // bytes of a topic that is remembered
)

// mayPublish says whether a client may publish to a topic, and logs if not.
func (t *Tick) mayPublish(link Link, name []byte, qos byte, retain bool) error {
	if t.b.free(link, name[0]) {
		return nil
	}
	err := t.ask(link, name, qos, retain)
	if err != nil {
		t.b.logDenied(t.now, link.Info(), access.Ask{Action: access.Publish, Topic: string(name), QoS: qos, Retain: retain}, err)
	}
	return err
}

func (t *Tick) ask(link Link, name []byte, qos byte, retain bool) error {
	b := t.b
	if b.lasting == nil || len(name) > maxGrantTopic || bytes.HasPrefix(name, []byte("$SYS/")) {
		return b.allow(link, string(name), qos, retain)
	}
	who := link.Info()
	g, version := &t.grants, b.lasting.Version() // before the answer
	if g.version != version || len(g.known) >= maxGrants {
		clear(g.known)
		g.version = version
	}
	if err, ok := g.known[grant{who, string(name), qos, retain}]; ok {
		return err
	}
	topic := string(name)
	err := b.allow(link, topic, qos, retain)
	if g.known == nil {
		g.known = map[grant]error{}
	}
	g.known[grant{who, topic, qos, retain}] = err
	return err
}

// mayReceive says whether a client may receive what is published to a topic.
func (b *Broker) mayReceive(who *Info, topic string) bool {
	if b.lasting == nil || who == nil || b.policy != nil && topic[0] != '$' && (who.Grant == nil || who.Grant.Rules == nil) && b.policy.Open(who.Grant != nil) {
		return true
	}
	return b.lasting.Access(who, access.Ask{Action: access.Receive, Topic: topic}) == nil
}

// doubt makes what waits for a client be asked about before it is sent: it was
// let in by other rules, or for somebody of whom less or more was known. The caller
// has opened c.
func (t *Tick) doubt(c *Client) {
	b := t.b
	if b.lasting == nil || c.session.Settled() {
		if c.busy != nil {
			c.busy.doubted = false
		}
		return
	}
	c.more().doubted = true
	who := c.who()
	t.work.May = func(topic string) bool { return b.mayReceive(who, topic) }
}

// Reassess ends the subscriptions that are not allowed any more, and has what
// waits asked about before it is sent. It is for after the rules have changed: what
// is published from then on is asked about anyhow.
func (b *Broker) Reassess() {
	if b.access == nil {
		return
	}
	b.each(func(c *Client) {
		b.do(func(t *Tick) { b.reassess(t, c) })
	})
}

func (b *Broker) reassess(t *Tick, c *Client) {
	who, over := b.endDenied(t, c)
	for _, a := range over {
		b.logDenied(t.now, who, a, b.access.Access(who, a))
	}
}

// endDenied ends the subscriptions that are not allowed. Of a client that has not
// come back since the start, too little is known to say: it is asked about then.
func (b *Broker) endDenied(t *Tick, c *Client) (who *Info, over []access.Ask) {
	t.open(c)
	defer t.shut(c)
	if who = c.who(); c.gone || who == nil || who.Restored {
		return nil, nil
	}
	t.doubt(c)
	for s := range c.session.Subscriptions {
		a := access.Ask{Action: access.Subscribe, Topic: s.Filter, QoS: s.QoS}
		if b.access.Access(who, a) != nil {
			over = append(over, a)
		}
	}
	for _, a := range over {
		t.stats.SubscriptionsRefused++
		c.session.Unsubscribe(a.Topic)
		b.remove(t, c, a.Topic)
	}
	return who, over
}

// logDenied logs what a client may not do, unless the same was logged of it a
// moment ago.
func (b *Broker) logDenied(now int64, who *Info, a access.Ask, err error) {
	say, held := b.Hush.Say(now, who.ClientID, a.Action.String())
	if !say {
		return
	}
	var r access.Explanation
	switch {
	case b.policy != nil:
		r = b.policy.Reason(who, a)
	case err != nil:
		r.Why = err.Error()
	}
	key, what := "topic", "publish refused"
	if a.Action == access.Subscribe {
		key, what = "filter", "subscription refused"
	}
	attrs := []any{slog.String("client", who.ClientID), slog.String("user", who.UserName), slog.String(key, a.Topic), slog.String("why", r.Why)}
	if r.Rule != "" {
		attrs = append(attrs, slog.String("rule", r.Rule))
	}
	if r.Do != "" {
		attrs = append(attrs, slog.String("do", r.Do))
	}
	if held > 0 {
		attrs = append(attrs, slog.Int("held_back", held))
	}
	b.o.Logger.Info(what, attrs...)
}

// AllowWill says whether a client may leave a will on a topic. It is asked when
// the client connects: later nobody is there to hear the answer.
func (b *Broker) AllowWill(link Link, w *packet.Will) error {
	return b.allow(link, w.Topic, w.QoS, w.Retain)
}

func (b *Broker) allow(link Link, topic string, qos byte, retain bool) error {
	if strings.HasPrefix(topic, "$SYS/") {
		return packet.Refuse(packet.NotAuthorized, "topics under $SYS are the broker's own")
	}
	if b.access == nil {
		return nil
	}
	return b.access.Access(link.Info(), access.Ask{Action: access.Publish, Topic: topic, QoS: qos, Retain: retain})
}
