// Package session holds the MQTT rules of one client as a state machine: a
// packet goes in, work comes out. It reads no clock, opens no socket, takes no
// lock and starts no goroutine, so a test can replay any history exactly.
//
// Outgoing QoS 1 and 2 messages pass two places. The window holds what was sent
// and is not finished, in the order of sending; it has room for as many as the
// client's Receive Maximum and the server's own limit allow. The queue behind
// it holds what waits for room, or for the client to come back. A step that
// frees room drains the queue into it.
//
// QoS 0 messages wait beside them, where [Limits.QueueQoS0] lets them, and only
// in memory. They are the first to go when the session has no room for more.
//
// A session that ends with its connection never sends anything twice, so its
// window remembers packet identifiers only, not messages.
//
// Where the log of changes takes its time, a durable session keeps only the head
// of its queue in memory, and nothing at all while the client is away: the rest
// is in the log's store, counted here, and asked for with [Work.Load] as the
// client takes it. And what would be a second delivery at QoS 2 if it outran its
// change, a first PUBLISH or a PUBREL, is not sent before [Session.Safe].
package session

import (
	"strings"

	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// Limits are the server's own, the same for every session.
type Limits struct {
	ReceiveMaximum    uint16 // unfinished incoming QoS 1 and 2 messages
	TopicAliasMaximum uint16 // both ways
	InFlight          uint16 // unfinished outgoing messages
	QueueMessages     int
	QueueBytes        int
	QueueQoS0         bool // messages of QoS 0 may wait
	PendingBytes      int  // encoded bytes that wait for a slow client
	HeadMessages      int  // of a queue that are in memory, if a store has it
	HeadBytes         int  // of the same
}

// Terms are what a connection agreed on.
type Terms struct {
	Expiry         uint32 // seconds that the session outlives the connection; Never: without end
	MaximumPacket  uint32 // the client's; 0: without limit
	ReceiveMaximum uint16 // the client's; 0: 65,535
	AliasMaximum   uint16 // the client's
	Version        packet.Version
	WithoutProblem bool // Request Problem Information was 0
}

// Never is the session expiry interval without end (5.0, section 3.1.2.11.2).
const Never = 0xFFFF_FFFF

// Session is the state of one client. The zero value is a new session. There may
// be a million that are idle, so the order of the fields leaves no gaps.
type Session struct {
	Terms
	online bool
	leaves bool // it will end with this connection, but its messages are still in the store
	shares bool // it has or had a shared subscription
	lastID uint16
	count  uint32 // of subs

	out   *outgoing // nil: nothing in flight or queued
	inbox *incoming // nil: no topic alias, nothing unfinished
	seq   uint64

	subs subscriptions
}

// Subscription is one of the session's.
type Subscription struct {
	packet.Subscription
	ID uint32 // subscription identifier; 0: none
}

// outgoing exists while messages are in flight or queued.
type outgoing struct {
	window  line
	tangled bool // the packet identifiers of window are not in the order in which they are given out
	flying  int  // how many of window were sent on this connection
	waiting int  // how many of window wait for their change to be safe, to be sent then
	queue   line
	bytes   int // of the queued messages
	aliases map[string]uint16
	lossy   *lossy // nil: no QoS 0 message waits
	expires int64  // no message in queue and lossy expires before; 0: none does
	looked  int64  // when expired ones were last looked for

	// stored messages are queued behind those of queue; only the store has them.
	stored      int
	storedBytes int
	held        uint64 // every message up to here is done, or in window or queue
	maybe       uint64 // up to here an earlier process may have sent QoS 1 messages unnoticed
	loading     bool   // messages have been asked for
	connection  uint32 // counts connections and their ends, to know what was asked for before
}

// Item is one outgoing QoS 1 or 2 message.
type Item struct {
	Seq     uint64           // counts the session's messages, from 1
	Message *message.Message // nil: cannot be sent again, or (QoS 2) need not be
	IDs     []uint32         // subscription identifiers
	Shared  string           // the shared subscription that it came through, or ""
	ID      uint16           // packet identifier; 0 while queued
	QoS     byte
	Retain  bool

	Released bool // QoS 2: PUBREC came, PUBREL went
	due      bool // to be sent on this connection
	wait     bool // not before its change is safe
	tried    bool // may have been sent
}

// Tried says whether the message may have reached the client.
func (it *Item) Tried() bool { return it.tried }

// Durable says whether the log has the session.
func (s *Session) Durable() bool { return s.Outlives() || s.leaves }

// Outlives says whether the session outlives its connection.
func (s *Session) Outlives() bool { return s.Expiry > 0 }

// Online says whether the session has a connection.
func (s *Session) Online() bool { return s.online }

// Begin starts a connection on the session. What is unfinished will be sent
// again by Drain [MQTT-4.4.0-1].
func (s *Session) Begin(t Terms) {
	s.leaves = s.Durable() && s.out.unloaded()
	s.Terms, s.online = t, true
	if s.ReceiveMaximum == 0 {
		s.ReceiveMaximum = 65_535
	}
	s.inbox.reconnect()
	o := s.out
	if o == nil {
		return
	}
	o.aliases, o.flying, o.waiting = nil, 0, 0
	o.loading = false
	o.connection++
	window := o.window.all()
	for i := range window {
		window[i].due = true
		if window[i].wait {
			o.waiting++
		}
	}
}

// End ends the connection. The session stays if it is durable; its messages are
// then left to the store, if there is one.
func (s *Session) End(w *Work) {
	s.online = false
	s.inbox.forgetAliases()
	if s.out != nil {
		s.out.aliases = nil
		s.out.loading = false
		s.out.connection++
		if s.stores(w) {
			s.out.unload()
		}
	}
	s.Trim()
}

// Trim gives back memory that an idle session does not need.
func (s *Session) Trim() {
	if o := s.out; o != nil && o.window.len()+o.queue.len()+o.stored == 0 && o.lossy == nil && o.aliases == nil {
		s.out = nil
	}
	if in := s.inbox; in != nil && len(in.open) == 0 && in.aliases == nil {
		s.inbox = nil
	}
}

// Queued is how many messages wait, and how many bytes they hold.
func (s *Session) Queued() (messages, bytes int) {
	if s.out == nil {
		return 0, 0
	}
	return s.out.waits()
}

// Settled says that nothing waits to be sent: what was kept for the client is gone,
// or on its way on this connection.
func (s *Session) Settled() bool {
	o := s.out
	return o == nil || o.flying == o.window.len() && o.queue.len()+o.stored == 0 && o.lossy == nil
}

// InFlight is how many outgoing messages are unfinished.
func (s *Session) InFlight() int {
	if s.out == nil {
		return 0
	}
	return s.out.window.len()
}

// Unfinished yields every outgoing message that is in memory: first those in
// flight, then the queue, each in order.
func (s *Session) Unfinished(yield func(Item) bool) {
	if s.out == nil {
		return
	}
	for _, it := range s.out.window.all() {
		if !yield(it) {
			return
		}
	}
	for _, it := range s.out.queue.all() {
		if !yield(it) {
			return
		}
	}
}

// --- subscriptions ---

// Subscribe adds or replaces a subscription [MQTT-3.8.4-3].
func (s *Session) Subscribe(sub Subscription) (existed bool) {
	s.shares = s.shares || strings.HasPrefix(sub.Filter, "$share/") || strings.HasPrefix(sub.Filter, "$queue/")
	existed = s.subs.put(&sub)
	if !existed {
		s.count++
	}
	return existed
}

// Unsubscribe removes a subscription, if it is there [MQTT-3.10.4-1].
func (s *Session) Unsubscribe(filter string) (existed bool) {
	existed = s.subs.remove(filter)
	if existed {
		s.count--
	}
	return existed
}

// Subscriptions yields the session's, by filter.
func (s *Session) Subscriptions(yield func(Subscription) bool) { s.subs.all(yield) }

// SubscriptionCount is how many there are.
func (s *Session) SubscriptionCount() int { return int(s.count) }

// Subscribed says whether the session has a subscription of this filter.
func (s *Session) Subscribed(filter string) bool { return s.subs.find(filter).found }
