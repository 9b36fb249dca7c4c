// Package client is a small MQTT client: 3.1, 3.1.1 and 5.0 over tcp, tls,
// ws, wss and unix sockets.
//
// [Dial] connects and waits for the CONNACK. From then on two goroutines serve
// the [Client]: the reader takes packets in, calls [Options.OnMessage] and
// completes what waits for an answer; the writer owns the socket's other side
// and sends everything that has gathered since its last write with one call.
// The reader never waits for the writer, so two peers that both have much to
// say cannot block each other. Both end with the connection, which
// [Client.Disconnect], [Client.Close], the server or the network ends; nothing
// here connects again: who wants that calls Dial in a loop.
//
// What the server refuses comes back as a [*packet.Refusal] with its reason
// code, in CONNACK, PUBACK, SUBACK and DISCONNECT alike.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// Options say where and how to connect. Only URL is needed.
type Options struct {
	// URL is where to connect: mqtt (or tcp), mqtts (tls, ssl), ws, wss or
	// unix. Without a port it is the usual one; a WebSocket without a path asks
	// for /mqtt. A user and a password in it count if UserName is not set.
	URL string
	// TLS is for mqtts and wss; nil is the default configuration.
	TLS *tls.Config
	// NetDial opens the connection below TLS and WebSocket; nil is a
	// [net.Dialer].
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)

	Version    packet.Version // 0 is 5.0
	ClientID   string         // empty: the server assigns one (3.1.1: with CleanStart only)
	CleanStart bool
	KeepAlive  time.Duration // in whole seconds; 0 is off

	HasUserName bool // set it for a user name that is empty
	UserName    string
	Password    []byte // nil: none

	Will       *packet.Will
	Properties packet.ConnectProperties

	// OnMessage gets each message, in order, on the reader's goroutine. A
	// message of QoS 1 or 2 is acknowledged once it returns. It must not call
	// Publish, Subscribe, Unsubscribe or Disconnect, which wait for what only
	// the reader can read.
	OnMessage func(*Message)
	// OnDisconnect is called once, last of all, on the reader's goroutine: with
	// nil after a Disconnect or Close, else with what ended the connection.
	OnDisconnect func(error)
	// OnAuth answers an AUTH of the server during the connection's set-up or a
	// re-authentication (5.0, section 4.12); nil refuses it. A nil answer sends
	// nothing.
	OnAuth func(*packet.Auth) (*packet.Auth, error)
	// Trace sees every packet, as it is sent or has come. The frame's body
	// holds until Trace returns. It is called from several goroutines, but
	// never at once.
	Trace func(sent bool, f packet.Frame)

	// Resume is the former client of this session: its open QoS 2 deliveries
	// are remembered if the server has kept the session, so that none of them
	// reaches OnMessage twice. Publishes that it left open are not sent again.
	Resume *Client
}

// ErrClosed is what a call returns once Disconnect or Close has ended the
// connection.
var ErrClosed = errors.New("client is closed")

// NoReason is the Why of a refusal of a server that gave none but its code.
const NoReason = "the server gave no reason"

// Client is one connection to a server. Its methods may be called from any
// goroutine.
type Client struct {
	// Set by Dial.
	opts    Options
	conn    net.Conn
	version packet.Version
	connack packet.Connack
	id      string
	window  chan struct{} // one token for each open publish [MQTT-3.3.4-7]

	wake    chan struct{} // tells the writer that out has something
	dying   chan struct{} // closed when err is set
	said    chan struct{} // closed when the writer has written a DISCONNECT
	flushed chan struct{} // closed when the writer has ended
	done    chan struct{} // closed when the reader has ended, after OnDisconnect

	// Owned by the reader.
	buf, in []byte // in is the part of buf that is not parsed yet
	parsed  packet.Publish
	aliases map[uint16]string
	inbound map[uint16]struct{} // QoS 2 ids between PUBLISH and PUBREL

	traceMu sync.Mutex // held while Trace runs
	takeMu  sync.Mutex // held while a message is delivered and acknowledged
	drained atomic.Bool

	mu      sync.Mutex    // guards the rest; held for memory work only
	out     []byte        // encoded, waiting for the writer
	room    chan struct{} // closed when the writer has taken out
	last    uint16        // the packet identifier given out last
	open    map[uint16]*exchange
	pinged  bool // a PINGREQ has no answer yet
	leaving bool // Disconnect was called
	ending  bool // a DISCONNECT is the last packet of out
	err     error
}

// Dial connects and waits until the server has accepted; ctx bounds that time
// only. A refusal is a [*packet.Refusal].
func Dial(ctx context.Context, opts Options) (*Client, error) {
	target, err := parseURL(opts.URL)
	if err != nil {
		return nil, err
	}
	if opts.Version == 0 {
		opts.Version = packet.V5
	}
	if user := target.user; user != nil && !opts.HasUserName && opts.UserName == "" {
		opts.HasUserName, opts.UserName = true, user.Username()
		if pw, ok := user.Password(); ok && opts.Password == nil {
			opts.Password = []byte(pw)
		}
	}
	connect, err := opts.connect()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target.address, err)
	}
	conn, err := target.dial(ctx, &opts)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target.address, err)
	}
	c := newClient(opts, conn)
	if err := c.handshake(ctx, connect); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", target.address, err)
	}
	c.settle(connect)
	go c.write() // ended by fail, or once it has written a DISCONNECT
	go c.read()  // ended by fail, or by the server's end of the connection
	return c, nil
}

// Open opens the connection that [Dial] would use, TLS and WebSocket included,
// and says nothing on it. Only what opts says about that counts.
func Open(ctx context.Context, opts Options) (net.Conn, error) {
	target, err := parseURL(opts.URL)
	if err != nil {
		return nil, err
	}
	conn, err := target.dial(ctx, &opts)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target.address, err)
	}
	return conn, nil
}

func newClient(opts Options, conn net.Conn) *Client {
	return &Client{
		opts:    opts,
		conn:    conn,
		version: opts.Version,
		wake:    make(chan struct{}, 1),
		dying:   make(chan struct{}),
		said:    make(chan struct{}),
		flushed: make(chan struct{}),
		done:    make(chan struct{}),
		room:    make(chan struct{}),
		aliases: map[uint16]string{},
		inbound: map[uint16]struct{}{},
		open:    map[uint16]*exchange{},
		last:    uint16(rand.Uint32()), // a resumed session may know the low ones
	}
}

func (o *Options) connect() (*packet.Connect, error) {
	seconds := o.KeepAlive / time.Second
	if seconds < 0 || seconds > 65_535 {
		return nil, fmt.Errorf("keep alive of %v is not between 0 and 65535 seconds", o.KeepAlive)
	}
	c := &packet.Connect{
		Version:     o.Version,
		CleanStart:  o.CleanStart,
		KeepAlive:   uint16(seconds),
		ClientID:    o.ClientID,
		Will:        o.Will,
		HasUserName: o.HasUserName || o.UserName != "",
		UserName:    o.UserName,
		HasPassword: o.Password != nil,
		Password:    o.Password,
	}
	if o.Version == packet.V5 {
		c.ConnectProperties = o.Properties
	} else if c.HasPassword && !c.HasUserName { // 3.1.1 [MQTT-3.1.2-22]
		return nil, errors.New("MQTT 3 sends no password without a user name")
	}
	for _, text := range []string{o.ClientID, o.UserName, string(o.Password)} {
		if len(text) > maxText {
			return nil, errTooLong
		}
	}
	if w := o.Will; w != nil {
		if err := checkTopic(w.Topic); err != nil {
			return nil, fmt.Errorf("will: %w", err)
		}
		if len(w.Payload) > maxText {
			return nil, fmt.Errorf("will: payload of %d bytes is longer than 65535", len(w.Payload))
		}
	}
	return c, nil
}

// handshake sends the CONNECT and reads as far as the CONNACK. What came
// behind it stays in c.in for the reader.
func (c *Client) handshake(ctx context.Context, connect *packet.Connect) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	err := c.exchangeConnect(connect)
	if !stop() && err != nil {
		return fmt.Errorf("wait for the server to accept: %w", ctx.Err())
	}
	if err != nil {
		return err
	}
	return c.conn.SetDeadline(time.Time{})
}

func (c *Client) exchangeConnect(connect *packet.Connect) error {
	if err := c.send(packet.AppendConnect(nil, connect)); err != nil {
		return err
	}
	for {
		f, err := c.next()
		if err != nil {
			return fmt.Errorf("wait for the server to accept: %w", err)
		}
		switch f.Type {
		case packet.AUTH:
			answer, err := c.answerAuth(f)
			if err != nil {
				return err
			}
			if answer == nil {
				continue
			}
			if err := c.send(packet.AppendAuth(nil, answer, 0)); err != nil {
				return err
			}
		case packet.CONNACK:
			return c.accept(f)
		default:
			return fmt.Errorf("server answered CONNECT with %v", f.Type)
		}
	}
}

// send writes before there is a writer.
func (c *Client) send(b []byte) error {
	c.trace(b)
	_, err := c.conn.Write(b)
	return err
}

func (c *Client) accept(f packet.Frame) error {
	v := c.version
	if len(f.Body) == 2 {
		v = packet.V311 // a server of 3.x answers in its own words
	}
	ack, err := packet.ParseConnack(f.Body, v)
	if err != nil {
		return err
	}
	if ack.Code.Failed() {
		return packet.Refuse(ack.Code, why(ack.Reason))
	}
	if v != c.version && c.version == packet.V5 {
		return errors.New("server answered a CONNECT of 5.0 with a CONNACK of 3.1.1")
	}
	ack.AuthData = append([]byte(nil), ack.AuthData...)
	c.connack = ack
	return nil
}

// settle takes over what the CONNACK says.
func (c *Client) settle(connect *packet.Connect) {
	c.id = c.opts.ClientID
	if c.connack.AssignedClientID != "" {
		c.id = c.connack.AssignedClientID
	}
	if c.connack.HasServerKeepAlive { // [MQTT-3.2.2-21]
		c.opts.KeepAlive = time.Duration(c.connack.ServerKeepAlive) * time.Second
	}
	window := int(c.connack.ReceiveMaximum)
	if window == 0 {
		window = 65_535
	}
	c.window = make(chan struct{}, window)
	if old := c.opts.Resume; old != nil && c.connack.SessionPresent && !connect.CleanStart {
		<-old.done // its reader has let go of the map
		c.inbound = old.inbound
	}
	c.opts.Resume = nil
}

// Connack is what the server answered to the CONNECT.
func (c *Client) Connack() packet.Connack { return c.connack }

// ID is the client identifier in use: the server's, if it assigned one.
func (c *Client) ID() string { return c.id }

// Version is the protocol version in use.
func (c *Client) Version() packet.Version { return c.version }

// Done is closed once the connection has ended and OnDisconnect has returned.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil while the connection stands, then what ended it: [ErrClosed]
// after Disconnect or Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Drain leaves all further messages to the server: they are neither delivered
// nor acknowledged, so that a session that is resumed gets them again. It may
// be called from OnMessage, whose message is still acknowledged.
func (c *Client) Drain() { c.drained.Store(true) }

// Disconnect sends what waits and a DISCONNECT (5.0: with d, which may be
// nil) and waits until the server has taken it, or ctx ends.
func (c *Client) Disconnect(ctx context.Context, d *packet.Disconnect) error {
	if d == nil {
		d = new(packet.Disconnect)
	}
	c.takeMu.Lock() // a message that was delivered is acknowledged first
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	more := c.finish(d)
	c.takeMu.Unlock()
	if !more {
		return c.Close()
	}
	// The server closes the connection. To close it before would lose what is
	// still on its way, where the system answers unread bytes with a reset.
	grace := time.NewTimer(2 * time.Second)
	defer grace.Stop()
	err := errors.New("the server does not take what is left to send")
	select {
	case <-c.dying:
		err = errors.New("the connection ended before")
	case <-ctx.Done():
		err = ctx.Err()
	case <-grace.C:
	}
	c.Close()
	select {
	case <-c.said:
		return nil
	default:
		return fmt.Errorf("disconnect: %w", err)
	}
}

// finish leaves a DISCONNECT to the writer as its last packet; false if the
// connection has ended or is ending already.
func (c *Client) finish(d *packet.Disconnect) bool {
	b := packet.AppendDisconnect(nil, d, c.version, c.connack.MaximumPacketSize)
	c.mu.Lock()
	ended := c.err != nil || c.ending
	if !ended {
		c.ending = true
		c.out = append(c.out, b...)
	}
	c.mu.Unlock()
	if ended {
		return false
	}
	c.trace(b)
	c.poke()
	return true
}

// Close ends the connection without a DISCONNECT, so that the server publishes
// the will, and waits until both goroutines have ended. It must not be called
// from a callback.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	<-c.flushed
	<-c.done
	return nil
}

// fail ends the connection; the first error counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if c.leaving {
		err = ErrClosed // whatever it looked like: we asked for it
	}
	c.err = err
	open := c.open
	c.open = map[uint16]*exchange{}
	close(c.dying)
	c.mu.Unlock()
	c.conn.Close()
	for id, x := range open {
		x.finish(answer{id: id, err: fmt.Errorf("wait for the server's answer: %w", err)})
	}
}

// why is the reason string of a refusal, or NoReason.
func why(reason string) string {
	if reason != "" {
		return reason
	}
	return NoReason
}

func (c *Client) trace(b []byte) {
	if c.opts.Trace == nil {
		return
	}
	f, _, err := packet.Split(b, len(b))
	if err == nil {
		c.traceFrame(true, f)
	}
}

func (c *Client) traceFrame(sent bool, f packet.Frame) {
	if c.opts.Trace == nil {
		return
	}
	c.traceMu.Lock()
	defer c.traceMu.Unlock()
	c.opts.Trace(sent, f)
}
