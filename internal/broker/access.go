package broker

import (
	"bytes"
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

// UseAccess sets who decides what clients may do; nil allows everything. It is
// called before the first client connects.
func (b *Broker) UseAccess(a Access) {
	b.access = a
	b.lasting, _ = a.(LastingAccess)
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

// mayPublish says whether a client may publish to a topic.
func (t *Tick) mayPublish(link Link, name []byte, qos byte, retain bool) error {
	b := t.b
	if b.access == nil && name[0] != '$' {
		return nil
	}
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
	if b.lasting == nil || who == nil {
		return true
	}
	return b.lasting.Access(who, access.Ask{Action: access.Receive, Topic: topic}) == nil
}

// who is the client's connection, or the last one that it had; nil if nobody
// ever asks. The caller holds c.mu.
func (c *Client) who() *Info {
	switch {
	case c.link != nil:
		return c.link.Info()
	case c.busy != nil:
		return c.busy.who
	default:
		return nil
	}
}

// remember keeps who the client is while it is away. The caller holds c.mu.
func (b *Broker) remember(c *Client, who *Info) {
	if b.access != nil || who.Owner() != "" {
		c.more().who = who
	}
}

// claim says whether a connection may have the session of a client id. It is
// its owner's: who has proved another user name, or none, may not. The caller
// holds c.mu.
func (b *Broker) claim(c *Client, by *Info) error {
	owner := c.who().Owner()
	if owner == "" || owner == by.Owner() || b.o.AnyOwner {
		return nil
	}
	return &Claimed{ClientID: c.ID, Owner: owner}
}

// Claimed is why a client id is refused: its session is another user's.
type Claimed struct{ ClientID, Owner string }

func (e *Claimed) Error() string {
	return "the client id " + e.ClientID + " has a session of the user " + e.Owner
}

// Unwrap is what the client hears.
func (e *Claimed) Unwrap() error {
	return packet.Refuse(packet.ClientIdentifierNotValid, "the client id is in use by another user")
}

// Reassess ends the subscriptions that are not allowed any more. It is for
// after the rules have changed: what is published from then on is asked about
// anyhow.
func (b *Broker) Reassess() {
	if b.access == nil {
		return
	}
	b.each(func(c *Client) {
		b.do(func(t *Tick) { b.reassess(t, c) })
	})
}

func (b *Broker) reassess(t *Tick, c *Client) {
	t.open(c)
	defer t.shut(c)
	who := c.who()
	if c.gone || who == nil {
		return
	}
	var over []string
	for s := range c.session.Subscriptions {
		if err := b.access.Access(who, access.Ask{Action: access.Subscribe, Topic: s.Filter, QoS: s.QoS}); err != nil {
			b.refusedFilter(t, c, s.Filter, "the subscription ends: "+err.Error())
			over = append(over, s.Filter)
		}
	}
	for _, filter := range over {
		c.session.Unsubscribe(filter)
		b.remove(t, c, filter)
	}
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
