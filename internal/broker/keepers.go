package broker

// keepers count what is retained for each client that has a bound for that. What
// was retained before the process started is nobody's.
type keepers struct {
	topics  map[string]kept
	clients map[string]*keeper
}

// kept is a topic whose retained message counts.
type kept struct {
	client string
	bytes  int64
}

// keeper is a client.
type keeper struct {
	messages int
	bytes    int64
}

// keeping are the limits of what is retained for a client; nil: none.
func (b *Broker) keeping(c *Client) *Limits {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	l := c.limitsOr(b.limits.Load())
	c.mu.Unlock()
	if l.ClientRetainedMessages == 0 && l.ClientRetainedBytes == 0 {
		return nil
	}
	return l
}

// keep counts a message that is retained in place of another one or of none. It
// says no if the client has as much as its limits, if there are any, let it have.
func (k *keepers) keep(c *Client, l *Limits, topic string, bytes int64) bool {
	if l == nil {
		k.forget(topic)
		return true
	}
	var has keeper
	if p := k.clients[c.ID]; p != nil {
		has = *p
	}
	if old, ok := k.topics[topic]; ok && old.client == c.ID {
		has.messages--
		has.bytes -= old.bytes
	}
	if l.ClientRetainedMessages > 0 && has.messages >= l.ClientRetainedMessages ||
		l.ClientRetainedBytes > 0 && has.bytes+bytes > l.ClientRetainedBytes {
		return false
	}
	k.forget(topic)
	if k.topics == nil {
		k.topics, k.clients = map[string]kept{}, map[string]*keeper{}
	}
	p := k.clients[c.ID]
	if p == nil {
		p = &keeper{}
		k.clients[c.ID] = p
	}
	p.messages++
	p.bytes += bytes
	k.topics[topic] = kept{c.ID, bytes}
	return true
}

// forget ends the counting of a topic.
func (k *keepers) forget(topic string) {
	old, ok := k.topics[topic]
	if !ok {
		return
	}
	delete(k.topics, topic)
	p := k.clients[old.client]
	p.messages--
	p.bytes -= old.bytes
	if p.messages == 0 {
		delete(k.clients, old.client)
	}
}
