// Package fantail is an MQTT broker: MQTT 3.1, 3.1.1 and 5.0 over TCP, TLS,
// WebSocket and unix sockets, inside your program or as the command fantail.
//
//	b, err := fantail.New(fantail.Config{})
//	if err != nil {
//		return err
//	}
//	return b.Run(ctx) // serves until ctx ends
//
// The program itself publishes and subscribes with [Broker.Publish] and
// [Broker.Subscribe]; it decides who may connect with an [Authenticator] and
// what clients may do with an [Authorizer].
package fantail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/conn"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/listen"
	"github.com/fantail-mqtt/fantail/internal/lock"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/rulebook"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/store"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// ConnectRequest is what a client says of itself when it connects.
type ConnectRequest = conn.Request

// Authenticator decides who may connect, in place of the configuration's auth.
type Authenticator = conn.Authenticator

// ClientInfo is what is known of a connected client.
type ClientInfo = broker.Info

// Grant is what an [Authenticator] knows of a client that it lets in.
type Grant = access.Grant

// Ask is what a client asks an [Authorizer] for.
type Ask = access.Ask

// Action is what a client wants to do with a topic: [PublishTo],
// [SubscribeTo], or [ReceiveFrom] for a message that a subscription matches.
type Action = access.Action

// The actions.
const (
	PublishTo   = access.Publish
	SubscribeTo = access.Subscribe
	ReceiveFrom = access.Receive
)

// Authorizer decides what a connected client may do. It is asked on an event
// loop and must not wait.
type Authorizer = broker.Access

// LastingAuthorizer is an Authorizer whose answers for a connection stay the
// same as long as Version does: it is asked once for each topic that the
// connection publishes to, until Version changes.
type LastingAuthorizer = broker.LastingAccess

// Message is an application message.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte // 0, 1 or 2
	Retain  bool
	Expiry  time.Duration // 0: it does not expire; whole seconds count
	// Properties are the MQTT 5.0 properties that reach subscribers unchanged.
	Properties packet.ForwardProperties
}

// Broker is an MQTT broker. Set its hooks before Run.
type Broker struct {
	config  config.Config
	logger  *slog.Logger
	version string

	authenticator Authenticator
	authorizer    Authorizer // nil: policy decides
	policy        *access.Policy
	book          *rulebook.Book // the rules of run time
	gate          *gate

	wheel  *wheel.Wheel
	broker *broker.Broker
	conns  *conn.Server
	lock   *lock.Lock
	store  *store.Store // nil: state is in memory
	guard  *guard

	control *api.Control // nil: no data folder
	ready   chan struct{}
	closed  sync.Once

	mu        sync.Mutex // guards the rest
	group     loop.Group
	listeners []*listen.Listener
	web       []*api.Server
	draining  bool
	running   bool
	rules     ruleSet // of the configuration

	settingUp sync.Mutex // guards the rest, while the rules change by it
	setUp     bool       // whether clients can show who they are
}

// New makes a broker. It opens no listener: Run serves. With a data folder it
// locks that, and reads the state that is in it.
func New(c Config) (*Broker, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	if c.Durability == config.DurabilityFsync && c.Data == "" {
		return nil, errors.New("durability: fsync needs a folder to keep state in: set data")
	}
	b := &Broker{config: c, logger: slog.Default(), ready: make(chan struct{})}
	if c.Data != "" {
		l, err := lock.Acquire(c.Data)
		if err != nil {
			return nil, err
		}
		b.lock = l
	}
	if err := b.assemble(); err != nil {
		b.release()
		return nil, err
	}
	b.UseVersion("devel")
	return b, nil
}

// assemble makes the parts, with the state that is on disk.
func (b *Broker) assemble() error {
	c := &b.config
	strategy, err := route.ParseStrategy(c.Shared)
	if err != nil {
		return err // Validate has seen to it
	}
	var log broker.Log = broker.Memory{}
	if c.Durability == config.DurabilityFsync {
		if b.store, err = store.Open(filepath.Join(c.Data, "store"), store.Options{Logger: forwardLog(b)}); err != nil {
			return fmt.Errorf("%w: choose another with --data, and bring a backup into it with --restore", err)
		}
		log = b.store
	}
	b.wheel = wheel.New()
	b.guard = newGuard(b)
	b.broker = broker.New(broker.Options{
		Node: c.Node, Limits: brokerLimits(&c.Limits), Strategy: strategy,
		Log: log, Logger: forwardLog(b), Wheel: b.wheel, AnyOwner: c.Auth.ClientIDs == config.ClientIDsShared, SysInterval: max(c.SysInterval, 0),
	})
	b.policy = access.NewPolicy(access.Sources{})
	b.broker.UseAccess(b.policy)
	if b.store != nil {
		if err := b.broker.Restore(b.store.Recover); err != nil {
			return fmt.Errorf("read the state in %s: %w: choose another with --data, and bring a backup into it with --restore", c.Data, err)
		}
	}
	if b.gate, err = b.newGate(); err != nil { // which reads settings
		return err
	}
	if err := b.openRules(); err != nil {
		return err
	}
	b.watchSetUp()
	b.guard.watchBans()
	return nil
}

// release gives back what New has taken.
func (b *Broker) release() {
	b.gate.close()
	if b.broker != nil {
		b.broker.Close()
		b.wheel.Close()
	}
	if b.store != nil {
		if err := b.store.Close(); err != nil {
			b.logger.Error("cannot close the store", slog.Any("err", err))
		}
	}
	if b.control != nil { // after the store, whose end frees a backup that waits for it
		b.control.Close()
	}
	if b.lock != nil {
		_ = b.lock.Release()
	}
}

// UseLogger sets where the broker logs; without it, slog's default.
func (b *Broker) UseLogger(l *slog.Logger) { b.logger = l }

// UseAuthenticator sets who decides who may connect.
func (b *Broker) UseAuthenticator(a Authenticator) { b.authenticator = a }

// UseAuthorizer sets who decides what clients may do, in place of the
// configuration's access rules.
func (b *Broker) UseAuthorizer(a Authorizer) {
	b.authorizer = a
	b.broker.UseAccess(a)
}

// Reassess ends the subscriptions that the Authorizer does not allow any more.
// It is for after its rules have changed.
func (b *Broker) Reassess() { b.broker.Reassess() }

// UseVersion sets the version that the broker shows of itself.
func (b *Broker) UseVersion(v string) {
	b.version = v
	b.broker.SetVersion(v)
}

// ErrRunning is returned by a second Run.
var ErrRunning = errors.New("the broker runs already, or has run: make a new one")

// Run serves until ctx ends, then sends the clients away, waits for them a
// moment, and releases everything. It returns nil after a clean end, or why
// the broker could not start.
func (b *Broker) Run(ctx context.Context) error {
	defer b.Close()
	if err := b.start(); err != nil {
		return err
	}
	close(b.ready)
	<-ctx.Done()
	b.drain()
	return nil
}

// Ready is closed once all listeners accept.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addresses are the URLs that are served, with real ports, once Ready.
func (b *Broker) Addresses() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]string, 0, len(b.listeners)+len(b.web))
	for _, l := range b.listeners {
		list = append(list, l.Addr())
	}
	for _, w := range b.web {
		list = append(list, w.Addr())
	}
	return list
}

// Publish publishes a message of the program's own. At QoS 1 and 2, and with
// Retain, it returns once all that has to be stored is: ctx bounds that wait, and
// does not take the message back.
func (b *Broker) Publish(ctx context.Context, m Message) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	kept := &message.Message{
		Topic: m.Topic, Payload: append([]byte(nil), m.Payload...), Forward: packet.AppendForward(nil, &m.Properties),
		QoS: m.QoS, Retain: m.Retain,
	}
	if m.Expiry > 0 {
		kept.Expiry, kept.HasExpiry = uint32(max(m.Expiry/time.Second, 1)), true
	}
	code, err := b.broker.PublishInside(ctx, kept)
	if err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	if code.Failed() {
		return fmt.Errorf("publish to %q: %w", m.Topic, packet.Refuse(code, "the broker has no room for it"))
	}
	return nil
}

// maxText is the longest string or binary property that MQTT can carry.
const maxText = 65_535

// check finds what could not be encoded, or what subscribers would have to
// call malformed.
func (m *Message) check() error {
	if m.QoS > 2 {
		return fmt.Errorf("QoS is %d", m.QoS)
	}
	p := &m.Properties
	texts := []string{m.Topic, p.ContentType, p.ResponseTopic}
	for _, u := range p.User {
		texts = append(texts, u.Key, u.Value)
	}
	for _, text := range texts {
		if len(text) > maxText {
			return errors.New("a string is longer than 65,535 bytes")
		}
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) { // [MQTT-1.5.4-1], [MQTT-1.5.4-2]
			return errors.New("a string is not UTF-8 text or holds U+0000")
		}
	}
	if len(p.CorrelationData) > maxText {
		return errors.New("the correlation data is longer than 65,535 bytes")
	}
	if p.HasPayloadFormat && p.PayloadFormat > 1 || strings.ContainsAny(p.ResponseTopic, "+#") { // [MQTT-3.3.2-14]
		return errors.New("a property has a value that it cannot have")
	}
	if most := packet.MaxLength / 2; len(m.Payload) > most {
		return fmt.Errorf("the payload is larger than %d bytes", most)
	}
	return nil
}

// Subscribe calls f for each message that matches the topic filter, one at a
// time and in order, retained ones first, until stop is called. f holds nobody
// up: when it falls far behind, messages for it are dropped and counted.
func (b *Broker) Subscribe(filter string, f func(Message)) (stop func(), err error) {
	stop, err = b.broker.SubscribeInside(filter, func(m *message.Message) { f(outside(m)) })
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", filter, err)
	}
	return stop, nil
}

func outside(m *message.Message) Message {
	out := Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}
	if m.HasExpiry {
		out.Expiry = time.Duration(m.Expiry) * time.Second
	}
	out.Properties, _ = packet.ParseForward(m.Forward) // it was parsed when it came in
	return out
}

// Reload takes over from c what can change while the broker runs, its limits,
// access rules and users, and reads the certificates, the acl_file, the password
// files and the other files of auth.chain anew. Connections stay, with what they
// were promised: the receive maximum and the topic alias maximum are for the next
// Run, a packet limit is for connections to come. But those end whose user is gone
// or has another password, and those whose certificate is revoked. What is wrong
// is returned and leaves everything as it was.
func (b *Broker) Reload(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if err := b.takeOver(c.WithDefaults()); err != nil {
		return err
	}
	b.lookSetUp()
	b.sendAway()
	return nil
}

// takeOver brings into force what can change.
func (b *Broker) takeOver(c Config) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all changes
	all.add(b.gate.reload(&c.Auth))
	all.add(b.reloadRules(&c.Access))
	for _, l := range b.listeners {
		all.add(l.Prepare())
	}
	commit, err := all.join()
	if err != nil {
		return err
	}
	commit()
	c.Limits.ReceiveMaximum = b.config.Limits.ReceiveMaximum
	c.Limits.TopicAliasMaximum = b.config.Limits.TopicAliasMaximum
	b.config.Limits = c.Limits
	b.broker.SetLimits(brokerLimits(&c.Limits))
	if b.conns != nil {
		b.conns.SetLimits(connLimits(&c.Limits))
	}
	b.guard.set(&c.Limits)
	return nil
}

// Close releases what New took. Run does so by itself.
func (b *Broker) Close() {
	b.closed.Do(func() {
		b.mu.Lock()
		listeners, web, group := b.listeners, b.web, b.group
		b.listeners, b.web, b.running = nil, nil, true
		b.mu.Unlock()
		for _, l := range listeners {
			l.Close()
		}
		for _, w := range web {
			w.Close()
		}
		if group != nil {
			group.Close()
		}
		if b.conns != nil { // no loop begins an authentication any more
			b.conns.Close()
		}
		b.release()
	})
}

// The head of a durable session's queue that is in memory, at most about this.
const (
	headMessages = 256
	headBytes    = 32 << 10
)

func brokerLimits(l *config.Limits) broker.Limits {
	return broker.Limits{
		Limits: session.Limits{
			ReceiveMaximum: uint16(l.ReceiveMaximum), TopicAliasMaximum: uint16(max(l.TopicAliasMaximum, 0)), InFlight: uint16(l.InFlight),
			QueueMessages: l.QueueMessages, QueueBytes: int(l.QueueBytes), QueueQoS0: l.QueueQoS0, PendingBytes: int(l.PendingBytes),
			HeadMessages: headMessages, HeadBytes: headBytes,
		},
		TopicLevels: l.TopicLevels, Subscriptions: l.Subscriptions, WildcardSubscriptions: l.WildcardSubscriptions,
		MatchNodes: l.MatchNodes, RetainedMessages: l.RetainedMessages, RetainedBytes: int64(l.RetainedBytes), QueuedBytes: int64(l.QueuesBytes),
		QueuedMemory: int64(l.QueuesMemory), AllPendingBytes: int64(l.AllPendingBytes),
		MessagesOut: limit.Rate(l.MessagesOut), BytesOut: limit.Rate(l.BytesOut),
		ClientRetainedMessages: l.ClientRetainedMessages, ClientRetainedBytes: int64(l.ClientRetainedBytes),
	}
}

func connLimits(l *config.Limits) conn.Limits {
	c := clientLimits(l)
	c.Sets = make(map[string]*conn.Limits, len(l.Sets))
	for name, set := range l.Sets {
		merged := l.With(set)
		own, client := clientLimits(&merged), brokerLimits(&merged)
		own.Client = &client
		c.Sets[name] = &own
	}
	return c
}

func clientLimits(l *config.Limits) conn.Limits {
	return conn.Limits{
		Packet: int(l.Packet), ConnectPacket: int(l.ConnectPacket), ConnectTimeout: l.ConnectTimeout, KeepAliveMax: uint16(l.KeepAliveMax / time.Second),
		ClientID: l.ClientID, SessionExpiryMax: uint32(l.SessionExpiryMax / time.Second), Connections: int64(l.Connections),
		Messages: limit.Rate(l.MessagesIn), Bytes: limit.Rate(l.BytesIn),
		WithoutQoS2: l.MaximumQoS < 2, WithoutQoS1: l.MaximumQoS < 1, WithoutRetain: l.NoRetain,
		MessageExpiryMax: uint32(l.MessageExpiryMax / time.Second), RetainedExpiry: uint32(l.RetainedExpiry / time.Second),
		ReceiveMaximum: uint16(l.ReceiveMaximum), TopicAliasMaximum: uint16(max(l.TopicAliasMaximum, 0)),
	}
}
