package broker

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Drop is why a message was dropped: the one name that log, metric and API use.
type Drop int

// The reasons.
const (
	DropOffline         Drop = iota // QoS 0, and the client is away
	DropSlow                        // QoS 0, and the client does not keep up
	DropQueueFull                   // QoS 1 or 2, and the session's queue is full, or all of them together
	DropQueueFull0                  // QoS 0, and the same: the newest had no room, or the oldest made some
	DropTooLarge                    // for the client's Maximum Packet Size
	DropExpired                     // its expiry interval passed in a queue
	DropNotAuthorized               // the publisher may not
	DropMayNotReceive               // a subscriber may not
	DropRetainedFull                // no room for one more retained message
	DropRetainedExpired             // a retained message's expiry interval passed
	DropRetainedRevoked             // the publisher of a retained message may not publish it any more
	DropInside                      // a subscriber inside the process does not keep up
	DropStore                       // the disk is full or fails
	DropLost                        // the store had it and cannot read it any more
	DropRateIn                      // the publisher sends faster than it may
	DropRateOut                     // QoS 0, and the client would get more than its rate
	dropKinds
)

// Drops are all reasons.
func Drops() []Drop {
	d := make([]Drop, dropKinds)
	for i := range d {
		d[i] = Drop(i)
	}
	return d
}

func (d Drop) String() string {
	return [...]string{
		"offline", "slow_client", "queue_full", "queue_full_qos0", "packet_too_large", "expired", "not_authorized", "may_not_receive", "retained_full",
		"retained_expired", "retained_revoked", "slow_subscriber_inside", "store_failing", "unreadable", "rate_in", "rate_out",
	}[d]
}

// counts are what a tick counts; its end adds them to the broker's.
type counts struct {
	PublishReceived      [3]uint64 // by QoS
	PublishSent          [3]uint64
	PacketsReceived      uint64
	ReceivedBytes        uint64
	SentBytes            uint64
	Queued               uint64
	MatchesCut           uint64
	SubscriptionsRefused uint64
	Redispatched         uint64
	Flushes              uint64
	Dropped              [dropKinds]uint64
}

// Stats are the broker's counters, for anybody to read.
type Stats struct {
	PublishReceived      [3]atomic.Uint64 // by QoS
	PublishSent          [3]atomic.Uint64
	PacketsReceived      atomic.Uint64
	ReceivedBytes        atomic.Uint64
	SentBytes            atomic.Uint64
	Queued               atomic.Uint64 // messages that had to wait
	MatchesCut           atomic.Uint64 // publishes whose match met its budget
	SubscriptionsRefused atomic.Uint64
	Redispatched         atomic.Uint64 // messages of shared subscriptions given to another member
	Flushes              atomic.Uint64 // writes to connections
	Ticks                atomic.Uint64 // rounds of work
	Dropped              [dropKinds]atomic.Uint64

	Connected  atomic.Int64
	Sessions   atomic.Int64
	MaxClients atomic.Int64
	Takeovers  atomic.Uint64
	Slowed     atomic.Uint64 // times a connection was not read because the disk did not keep up
	Expired    atomic.Uint64 // sessions

	RateSlowed Reasons // times a client was not read because it was over a rate, by that

	Closed  Reasons // why connections of clients ended
	Refused Reasons // why connections ended before they were a client's
}

// Reasons counts events by a short name. The names are few and fixed.
type Reasons struct {
	mu sync.Mutex // guards n
	n  map[string]uint64
}

// Add counts one.
func (r *Reasons) Add(reason string) {
	r.mu.Lock()
	if r.n == nil {
		r.n = map[string]uint64{}
	}
	r.n[reason]++
	r.mu.Unlock()
}

// Counts is a copy of all counts.
func (r *Reasons) Counts() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.n)
}

func (s *Stats) add(c *counts) {
	for i := range c.PublishReceived {
		bump(&s.PublishReceived[i], &c.PublishReceived[i])
		bump(&s.PublishSent[i], &c.PublishSent[i])
	}
	bump(&s.PacketsReceived, &c.PacketsReceived)
	bump(&s.ReceivedBytes, &c.ReceivedBytes)
	bump(&s.SentBytes, &c.SentBytes)
	bump(&s.Queued, &c.Queued)
	bump(&s.MatchesCut, &c.MatchesCut)
	bump(&s.SubscriptionsRefused, &c.SubscriptionsRefused)
	bump(&s.Redispatched, &c.Redispatched)
	bump(&s.Flushes, &c.Flushes)
	for i := range c.Dropped {
		bump(&s.Dropped[i], &c.Dropped[i])
	}
}

// bump moves n into a.
func bump(a *atomic.Uint64, n *uint64) {
	if *n != 0 {
		a.Add(*n)
		*n = 0
	}
}

// Stats are the broker's counters.
func (b *Broker) Stats() *Stats { return &b.stats }

// Subscriptions is how many there are.
func (b *Broker) Subscriptions() int { return b.index.Len() }

// RetainedCount is how many messages are retained, and how many bytes they
// hold.
func (b *Broker) RetainedCount() (messages int, bytes int64) {
	return b.retained.Len(), b.retainedBytes.Load()
}

// Waiting is how many messages wait for their clients, and how many bytes they
// hold. It asks every session.
func (b *Broker) Waiting() (messages, bytes int) {
	b.each(func(c *Client) {
		c.mu.Lock()
		m, n := c.session.Queued()
		c.mu.Unlock()
		messages += m
		bytes += n
	})
	return messages, bytes
}
