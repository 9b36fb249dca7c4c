// Package broker joins the clients: it keeps their sessions, takes a message
// from one and gives it to all whose subscriptions match, keeps retained
// messages and wills, and publishes $SYS.
//
// # Ticks
//
// All work happens in a [Tick]: a connection's loop has one and uses it for
// every connection that is ready, then ends it. Deliveries append encoded
// packets to each target's pending bytes; the end of the tick writes once to
// every target that was touched. So a batch of messages costs one write for
// each subscriber, whoever published them.
//
// # Locks
//
// Each [Client] has a small lock for its session and pending bytes, held for
// memory work only. Nobody holds two of them. A shard of the registry is locked
// before a client, never after; the router, the retained store and the log are
// locked last. docs/design/locks.md has the whole order.
//
// # Durable state
//
// Every change of durable state is appended to the [Log] as a record, under the
// lock of the client that it changes, so the log has each client's changes in
// their order. An acknowledgement that promises such a change is held back until
// the log says that it is safe. With a [Store], so is what would be a second
// delivery at QoS 2 if it outran its record, and a durable session's messages are
// in memory only as far as its client will soon take them.
package broker

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// Log keeps the records of durable state.
type Log interface {
	// Append adds records to the open frame. body is the message of those that
	// say that a message was queued, else nil. It keeps no reference to the
	// records and does not wait.
	Append(records []byte, body *message.Message)
	// After returns true if all that was appended before is safe. If not, it
	// calls done, once and on another goroutine, when it is, or with the error
	// that prevents it for good.
	After(done func(err error)) (safe bool)
	// Enter begins what has to be safe as a whole or not at all: all that is
	// appended until Leave is in one frame. Enter may wait for others to leave:
	// it is called with no lock held and not a second time before Leave.
	Enter()
	Leave()
}

// Store is a log that has what the records add up to, so that messages need not
// stay in memory.
type Store interface {
	Log
	// Load hands the messages of a client's queue to done, once and on another
	// goroutine: those from a sequence number on, in order, at least one if
	// there is one, and not many more than bytes. What was appended before
	// counts.
	Load(client string, from uint64, bytes int, done func(items []record.Queued, err error))
	// Room returns true if more may be appended. If not, since the disk is
	// slower than its clients, it calls again, once and on another goroutine,
	// when more may be.
	Room(again func()) bool
	// Overdue tells done what has expired at now, in the order of time, from behind
	// a run on or from the first; and when to ask again: now if there is more,
	// 0 if nothing else expires.
	Overdue(now int64, behind record.Run, done func(runs []record.Run, next int64, err error))
	// Standing tells done which of such runs are there still when all that was
	// appended before is. Both call it once, on another goroutine.
	Standing(runs []record.Run, done func(runs []record.Run, err error))
	// Failing says why nothing new can be kept just now, or nil.
	Failing() error
}

// Memory is the log of a broker without a disk: what the broker holds in
// memory is as safe as it gets.
type Memory struct{}

// Append implements Log.
func (Memory) Append([]byte, *message.Message) {}

// After implements Log.
func (Memory) After(func(error)) bool { return true }

// Enter implements Log.
func (Memory) Enter() {}

// Leave implements Log.
func (Memory) Leave() {}

// Options of a broker.
type Options struct {
	Node     string
	Limits   Limits
	Strategy route.Strategy
	Log      Log
	Logger   *slog.Logger
	Wheel    *wheel.Wheel
	// AnyOwner lets a client id be taken over by whoever is let in. Else a session
	// is its owner's.
	AnyOwner bool
	// SysInterval is the time between two refreshes of $SYS; 0: never.
	SysInterval time.Duration
}

// Limits are the broker's.
type Limits struct {
	session.Limits
	TopicLevels           int
	Subscriptions         int
	WildcardSubscriptions int
	MatchNodes            int
	RetainedMessages      int
	RetainedBytes         int64
	QueuedBytes           int64 // of all sessions together
	QueuedMemory          int64 // of those queues that are in memory; 0: no bound
	AllPendingBytes       int64 // of all clients together; 0: no bound

	// Of each client; 0: no bound.
	MessagesOut            limit.Rate
	BytesOut               limit.Rate
	ClientRetainedMessages int
	ClientRetainedBytes    int64
}

// Link is the connection of a client, as the broker sees it.
type Link interface {
	// Write takes all parts, one behind the other, and returns whether they have
	// left; if not, the connection calls Broker.Writable once they have. If it
	// kept them, they may not change until then.
	Write(parts [][]byte) (flushed, kept bool)
	// Gathers says that Write takes several parts, and packets that begin in one and
	// end in the next. It does not change.
	Gathers() bool
	// Kick ends the connection: pending is written first, then, to a 5.0
	// client, a DISCONNECT with the reason.
	Kick(pending []byte, why *packet.Refusal)
	// Again makes the connection call Broker.Writable on its loop soon.
	Again()
	// Join says which client the connection is one of. It is called inside
	// Broker.Connect, before everything else.
	Join(c *Client)
	// Info says who it is. It does not change.
	Info() *Info
	// Standing says whether a step of the authentication knows the client, and
	// whether there are access rules for it alone.
	Standing() (known, ruled bool)
	// Version is that of the protocol, as in Info.
	Version() packet.Version
	// Due ends the connection if its keep-alive is over at now (unix
	// milliseconds), and returns when to ask again, or 0. It must not wait. It
	// is called after Broker.Watch, at the latest at the time given there.
	Due(now int64) (next int64)
}

// Info is what is known of a connected client.
type Info = access.Info

// Broker is the meeting point of all clients.
type Broker struct {
	o        Options
	store    Store                       // the log, if it is one; else nil
	access   Access                      // nil: everything is allowed
	lasting  LastingAccess               // access, if it is one; else nil
	policy   Policy                      // the same
	observed atomic.Pointer[Observation] // nil: nobody observes
	Hush     limit.Hush                  // of what is logged of clients
	limits   atomic.Pointer[Limits]
	version  atomic.Pointer[string]
	index    *route.Index
	table    table
	shards   [shardCount]shard
	stats    Stats
	ticks    sync.Pool
	start    time.Time
	seed     maphash.Seed

	retained      *route.Retained[retained]
	retaining     sync.Mutex // one change of the retained store at a time, in the order of the log
	retainedBytes atomic.Int64
	keepers       keepers // guarded by retaining
	reaping       wheel.Entry
	reapAt        int64 // guarded by retaining

	cutAt atomic.Int64 // when it was last logged that a match was cut short

	groupsMu sync.Mutex // guards groups
	groups   map[route.Group]*group

	settings settings

	sweeper sweeper

	queuedBytes  atomic.Int64 // of all sessions, exact at the end of each tick
	queuedMemory atomic.Int64 // the same of what is in memory
	pendingBytes atomic.Int64 // encoded, of all clients that do not take them
	behind       atomic.Bool  // the store has no room for more, and has said so

	sys  sys
	stop context.CancelFunc
	done sync.WaitGroup
}

// New starts a broker; Close stops it.
func New(o Options) *Broker {
	ctx, stop := context.WithCancel(context.Background())
	b := &Broker{
		o: o, index: route.NewIndex(), retained: route.NewRetained[retained](),
		groups: map[route.Group]*group{}, start: time.Now(), seed: maphash.MakeSeed(), stop: stop,
	}
	b.store, _ = o.Log.(Store)
	b.sweeper.b = b
	l := o.Limits
	b.limits.Store(&l)
	b.SetVersion("")
	for i := range b.shards {
		b.shards[i].late = map[string]*Client{}
	}
	b.ticks.New = func() any { return b.NewTick() }
	if o.SysInterval > 0 {
		b.done.Add(1)
		go b.refreshSys(ctx) // ends with Close, which waits for it
	}
	return b
}

// Close stops the broker's own goroutines. Connections are their owner's.
func (b *Broker) Close() {
	b.stop()
	b.done.Wait()
}

// SetLimits replaces the limits; what is over a new one stays.
func (b *Broker) SetLimits(l Limits) { b.limits.Store(&l) }

// SetVersion sets the version that $SYS shows.
func (b *Broker) SetVersion(v string) { b.version.Store(&v) }

// do runs f in a tick of its own, for work that comes from no connection.
func (b *Broker) do(f func(t *Tick)) {
	t, _ := b.ticks.Get().(*Tick)
	t.Begin()
	f(t)
	t.End()
	b.ticks.Put(t)
}
