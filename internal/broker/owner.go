package broker

import "github.com/fantail-mqtt/fantail/packet"

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
	if b.access != nil && (b.policy == nil || !b.policy.Open(who.Grant != nil)) || who.Owner() != "" {
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

// Claim says whether a client may connect by a client id.
func (b *Broker) Claim(id string, by *Info) error {
	c := b.client(id)
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.claim(c, by)
}

// Who is the client that is connected by a client id.
func (b *Broker) Who(id string) (who *Info, connected bool) {
	link := b.Connection(id)
	if link == nil {
		return nil, false
	}
	return link.Info(), true
}

// Connection is that of a client id, or nil.
func (b *Broker) Connection(id string) Link { return b.client(id).connection() }

// Claimed is why a client id is refused: its session is another user's.
type Claimed struct{ ClientID, Owner string }

func (e *Claimed) Error() string {
	return "the client id " + e.ClientID + " has a session of the user " + e.Owner
}

// Unwrap is what the client hears.
func (e *Claimed) Unwrap() error {
	return packet.Refuse(packet.ClientIdentifierNotValid, "the client id is in use by another user")
}
