package conn

import (
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

// state is how far a connection has come.
type state byte

const (
	awaiting state = iota // a CONNECT
	deciding              // somebody is deciding about it
	proving               // an enhanced authentication is under way
	up
	over
)

// Conn is one connection. There may be a million that are idle, so it has what
// is said in CONNECT and nothing twice, and the order of the fields leaves no
// gaps; what few connections have hangs at extra.
type Conn struct {
	door *door
	sock loop.Conn

	arrival *arrival // owned by the loop; nil once the client is connected

	// set by the loop before the client is connected, read by anyone after
	client      *broker.Client
	extra       *extra // nil: nothing
	user        string
	connectedAt int64 // unix milliseconds
	last        atomic.Uint32
	maxPacket   uint32 // the client's
	limit       uint32 // ours, as it was when the client heard of it
	expiry      uint32 // session expiry interval of the CONNECT, in seconds
	keepAlive   uint16 // seconds
	version     packet.Version
	cleanStart  bool

	// owned by the loop
	state   state
	stalled bool // reading pauses until the client reads
	crowded bool // reading pauses until the store has room
	slowed  bool // reading pauses until the client's rates let it go on

	kicked atomic.Pointer[packet.Refusal]
	info   atomic.Pointer[broker.Info] // nil until somebody asks
}

// arrival is what a connection has until its client is connected.
type arrival struct {
	conn    *Conn
	timer   wheel.Entry
	asked   *packet.Connect // nil until it has come
	pass    *limit.Pass     // nil: nobody counts
	refused *limit.Refusal  // nil: it may come in
}

// Evict implements limit.Holder.
func (a *arrival) Evict(why limit.Refusal) {
	a.conn.sock.Post(func(loop.Local) {
		if a.waits() {
			a.conn.evicted(&why)
		}
	})
}

// waits says whether the connection is no client's yet.
func (a *arrival) waits() bool {
	s := a.conn.state
	return s == awaiting || s == deciding || s == proving
}

// Timer implements wheel.Owner.
func (a *arrival) Timer() *wheel.Entry { return &a.timer }

// Due implements wheel.Owner.
func (a *arrival) Due(int64) (next int64) {
	a.conn.sock.Post(func(loop.Local) {
		if a.waits() {
			a.conn.timedOut()
		}
	})
	return 0
}

// lease ends a connection when the grant of its client expires.
type lease struct {
	conn  *Conn
	timer wheel.Entry
}

// Timer implements wheel.Owner.
func (e *lease) Timer() *wheel.Entry { return &e.timer }

// Due implements wheel.Owner.
func (e *lease) Due(int64) (next int64) {
	e.conn.sock.Post(func(l loop.Local) {
		if c := e.conn; c.state == up {
			c.fail(tick(l), packet.Refuse(packet.MaximumConnectTime, "what the client showed to be let in has expired"))
		}
	})
	return 0
}

// extra is what few connections have.
type extra struct {
	addr    net.Addr       // of the client, if it is not the sock's
	auth    *proof         // owned by the loop
	grant   *access.Grant  // nil: nobody knows the client
	voucher access.Voucher // nil: nothing can be taken back
	lease   *lease         // owned by the loop; nil: the client may stay
	meter   *meter         // nil: no limit of the client's own
	pass    *limit.Pass    // nil: nobody counts
	user    *limit.User    // nil: nobody counts

	// until the client is connected
	origin      string            // of a browser's WebSocket
	certificate *x509.Certificate // of the client
}

// more is the connection's extra, made if there is none. It is for the loop,
// before the client is connected.
func (c *Conn) more() *extra {
	if c.extra == nil {
		c.extra = &extra{}
	}
	return c.extra
}

// auth is the enhanced authentication, or nil.
func (c *Conn) auth() *proof {
	if c.extra == nil {
		return nil
	}
	return c.extra.auth
}

func (c *Conn) origin() string {
	if c.extra == nil {
		return ""
	}
	return c.extra.origin
}

func (c *Conn) certificate() *x509.Certificate {
	if c.extra == nil {
		return nil
	}
	return c.extra.certificate
}

// meter is what watches the client's own limits, or nil.
func (c *Conn) meter() *meter {
	if c.extra == nil {
		return nil
	}
	return c.extra.meter
}

func (c *Conn) grant() *access.Grant {
	if c.extra == nil {
		return nil
	}
	return c.extra.grant
}

func (c *Conn) voucher() access.Voucher {
	if c.extra == nil {
		return nil
	}
	return c.extra.voucher
}

// holds says whether what the client was let in by is so still.
func (c *Conn) holds() bool {
	v := c.voucher()
	return c.grant().Holds() && (v == nil || v.Fault() == "")
}

// id is the client's, as far as it is known.
func (c *Conn) id() string {
	switch {
	case c.client != nil:
		return c.client.ID
	case c.arrival != nil && c.arrival.asked != nil:
		return c.arrival.asked.ClientID
	default:
		return ""
	}
}

// addr is the client's address.
func (c *Conn) addr() net.Addr {
	if c.extra != nil && c.extra.addr != nil {
		return c.extra.addr
	}
	return c.sock.RemoteAddr()
}

// Time is kept in steps of the wheel since the server's start: four bytes last
// for years, and who is late by a step hears of it by the wheel no sooner.

// hear notes that a packet came at unix milliseconds now.
func (c *Conn) hear(now int64) {
	c.last.Store(uint32(max((now-c.door.server.start+wheel.Resolution-1)/wheel.Resolution, 0)))
}

// heard is when the last packet came, in unix milliseconds and not early.
func (c *Conn) heard() int64 { return c.door.server.start + int64(c.last.Load())*wheel.Resolution }

// patience is 1.5 × keep-alive, in milliseconds; 0: without end.
func (c *Conn) patience() int64 { return int64(c.keepAlive) * 1500 }

// tick is the loop's own tick, begun.
func tick(l loop.Local) *broker.Tick {
	t, _ := l.(*broker.Tick)
	t.Begin()
	return t
}

// Data implements loop.Handler: it takes in whole packets.
func (c *Conn) Data(l loop.Local, b []byte) (n int) {
	t := tick(l)
	packets := 0
	for n < len(b) && (c.state == awaiting || c.state == proving || c.state == up) {
		if c.state == awaiting && b[0]>>4 != byte(packet.CONNECT) {
			c.fail(t, packet.Refuse(packet.ProtocolError, "the first packet is not CONNECT")) // [MQTT-3.1.0-1]
			break
		}
		f, size, err := packet.Split(b[n:], int(c.limit))
		if err != nil {
			c.fail(t, err)
			break
		}
		if size == 0 {
			break
		}
		n += size
		packets++
		if err := c.packet(t, f); err != nil {
			c.fail(t, err)
		}
		if m := c.meter(); m != nil && c.state == up && m.over(t, f, size, b[n:]) {
			break
		}
	}
	if c.state == over {
		return len(b)
	}
	if packets > 0 {
		t.Received(packets, n)
	}
	if packets > 0 && c.state == up { // before that, the connect timeout runs
		c.hear(t.Now())
	}
	c.slowDown()
	return n
}

// slowDown stops reading from a client that does not read its answers, and from
// any while the disk does not keep up.
func (c *Conn) slowDown() {
	if c.state != up {
		return
	}
	if !c.stalled && c.client.Pending() > 2*c.door.server.o.PendingBytes {
		c.stalled = true
		c.sock.Pause()
	}
	if !c.crowded && !c.door.server.o.Broker.Room(c) {
		c.crowded = true
		c.sock.Pause()
	}
}

// Uncrowd implements broker.Crowded.
func (c *Conn) Uncrowd() { c.sock.Post(c.uncrowd) }

// uncrowd goes on when the store has room again.
func (c *Conn) uncrowd(l loop.Local) {
	c.crowded = false
	if c.state != up {
		return
	}
	t := tick(l)
	if c.keepAlive > 0 { // nothing could come meanwhile
		c.hear(t.Now())
		c.door.server.o.Broker.Watch(c.client, t.Now()+c.patience())
	}
	c.resume(l)
}

// resume reads on, unless something else keeps it from that.
func (c *Conn) resume(l loop.Local) {
	if !c.stalled && !c.crowded && !c.slowed {
		c.sock.Resume(l)
	}
}

// Writable implements loop.Handler.
func (c *Conn) Writable(l loop.Local) {
	if c.state != up {
		return
	}
	t := tick(l)
	c.door.server.o.Broker.Writable(t, c.client, c)
	if c.stalled {
		c.stalled = false
		c.resume(l)
	}
}

// packet takes in one packet.
func (c *Conn) packet(t *broker.Tick, f packet.Frame) error {
	if c.state == up && f.Type == packet.PUBLISH { // the hot one first
		if err := packet.ParsePublish(t.Packet(), f.Flags, f.Body, c.version, packet.FromClient); err != nil {
			return err
		}
		if m := c.meter(); m != nil {
			return m.publish(t)
		}
		return c.door.server.o.Broker.Publish(t, c.client, c, t.Packet())
	}
	if err := packet.CheckFlags(f, c.speaks()); err != nil {
		return err
	}
	switch c.state {
	case awaiting:
		return c.connect(t, f.Body)
	case proving:
		return c.prove(t, f)
	default:
		return c.control(t, f)
	}
}

// speaks is the version to parse packets by.
func (c *Conn) speaks() packet.Version {
	if c.version == 0 {
		return packet.V5
	}
	return c.version
}

// control takes in any packet of a connected client but PUBLISH.
func (c *Conn) control(t *broker.Tick, f packet.Frame) error {
	b, v := c.door.server.o.Broker, c.version
	switch f.Type {
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a, err := packet.ParseAck(f.Type, f.Body, v)
		if err != nil {
			return err
		}
		return b.Acknowledge(t, c.client, c, f.Type, &a)
	case packet.SUBSCRIBE:
		p, err := packet.ParseSubscribe(f.Body, v)
		if err != nil {
			return err
		}
		return b.Subscribe(t, c.client, c, p)
	case packet.UNSUBSCRIBE:
		p, err := packet.ParseUnsubscribe(f.Body, v)
		if err != nil {
			return err
		}
		return b.Unsubscribe(t, c.client, c, p)
	case packet.PINGREQ:
		if err := packet.ParseEmpty(f.Body); err != nil {
			return err
		}
		return b.Ping(t, c.client, c)
	case packet.DISCONNECT:
		return c.disconnect(t, f.Body)
	case packet.AUTH:
		return c.reauthenticate(t, f.Body)
	case packet.CONNECT:
		return packet.Refuse(packet.ProtocolError, "a second CONNECT") // [MQTT-3.1.0-2]
	default:
		return packet.Refuse(packet.ProtocolError, f.Type.String()+" is a packet of the server's")
	}
}

// disconnect takes in a DISCONNECT.
func (c *Conn) disconnect(t *broker.Tick, body []byte) error {
	d, err := packet.ParseDisconnect(body, c.version, packet.FromClient)
	if err != nil {
		return err
	}
	e := broker.Ending{Reason: "the client disconnected", DropWill: d.Code == packet.Success}
	if d.HasSessionExpiry {
		if c.expiry == 0 && d.SessionExpiry > 0 { // 5.0, section 3.14.2.2.2
			return packet.Refuse(packet.ProtocolError, "DISCONNECT sets a session expiry that CONNECT did not have")
		}
		limits, _ := c.door.server.limitsOf(c.grant())
		expiry := limits.cap(d.SessionExpiry)
		e.NewExpiry = &expiry
	}
	if d.Code != packet.Success {
		e.Reason = "the client disconnected: " + d.Code.String()
	}
	c.end(t, "client_disconnect", e, "")
	c.sock.Finish(nil, io.EOF)
	return nil
}

// fail ends the connection by our decision; the client hears the reason if
// its version has a way [MQTT-4.13.1-1].
func (c *Conn) fail(t *broker.Tick, err error) {
	if errors.Is(err, broker.ErrTakenOver) {
		return // Kick has ended or is ending it
	}
	if c.state != up {
		c.refuse(err)
		return
	}
	r := asRefusal(err)
	out := c.end(t, name(r.Code), broker.Ending{Reason: r.Error()}, r.Why)
	c.sock.Finish(c.goodbye(out, r), r)
}

// goodbye appends the DISCONNECT that a 5.0 client gets; 3.x has none.
func (c *Conn) goodbye(out []byte, r *packet.Refusal) []byte {
	if c.version < packet.V5 {
		return out
	}
	d := packet.Disconnect{Code: r.Code, Reason: r.Why}
	if r.Code == packet.UseAnotherServer || r.Code == packet.ServerMoved {
		d.ServerReference = c.door.server.o.ServerReference
	}
	return packet.AppendDisconnect(out, &d, c.version, c.maxPacket)
}

// end takes the client off the connection. It returns what was waiting to be
// written.
func (c *Conn) end(t *broker.Tick, reason string, e broker.Ending, why string) []byte {
	c.state = over
	if c.extra != nil && c.extra.lease != nil {
		c.door.server.o.Wheel.Stop(c.extra.lease)
	}
	c.door.server.o.Broker.Stats().Closed.Add(reason)
	attrs := []any{
		slog.String("client", c.id()), slog.String("addr", c.addr().String()), slog.String("reason", reason),
	}
	if why != "" {
		attrs = append(attrs, slog.String("why", why))
	}
	c.door.server.o.Logger.Info("client gone", attrs...)
	return c.door.server.o.Broker.Disconnect(t, c.client, c, e)
}

// Closed implements loop.Handler.
func (c *Conn) Closed(l loop.Local, err error) {
	c.gone(l, err)
	c.leave()
	if !c.kicked.CompareAndSwap(nil, &packet.Refusal{}) { // too late for another Kick
		c.door.server.leaving.Add(-1)
	}
}

// gone ends what the stream carried, before or after the stream itself.
func (c *Conn) gone(l loop.Local, err error) {
	if c.auth() != nil {
		c.extra.auth = nil
	}
	switch c.state {
	case over:
	case up:
		reason, why := c.ending(err)
		c.end(tick(l), reason, broker.Ending{Reason: why}, why)
	default:
		c.state = over
		c.door.server.o.Wheel.Stop(c.arrival)
		c.door.server.o.Broker.Stats().Refused.Add("peer_closed")
		c.door.server.o.Logger.Debug("connection ended before CONNECT", slog.String("addr", c.addr().String()), slog.Any("err", err))
	}
}

// ending says why the stream of a connected client ended.
func (c *Conn) ending(err error) (reason, why string) {
	if r := c.kicked.Load(); r != nil {
		return name(r.Code), r.Error()
	}
	var fault interface { // of a layer below
		error
		Counter() string
	}
	switch {
	case errors.As(err, &fault):
		return fault.Counter(), fault.Error()
	case errors.Is(err, io.EOF):
		return "peer_closed", "the client closed the connection without DISCONNECT"
	case errors.Is(err, loop.ErrGroupClosed):
		return name(packet.ServerShuttingDown), packet.ServerShuttingDown.String()
	default:
		return "connection_lost", "connection lost: " + err.Error()
	}
}

// --- broker.Link ---

// Due implements broker.Link: it watches the keep-alive.
func (c *Conn) Due(now int64) (next int64) {
	if c.keepAlive == 0 {
		return 0
	}
	if until := c.heard() + c.patience(); until > now {
		return until
	}
	c.sock.Post(func(l loop.Local) {
		if c.state == up && !c.crowded && !c.slowed { // [MQTT-3.1.2-22]
			c.fail(tick(l), packet.Refuse(packet.KeepAliveTimeout, "nothing came for one and a half times the keep-alive"))
		}
	})
	return 0
}

// Write implements broker.Link.
func (c *Conn) Write(parts [][]byte) (flushed, kept bool) {
	if g, ok := c.sock.(loop.Gatherer); ok {
		return g.Gather(parts)
	}
	return c.sock.Write(parts[0]), false
}

// Gathers implements broker.Link.
func (c *Conn) Gathers() bool {
	_, ok := c.sock.(loop.Gatherer)
	return ok
}

// Kick implements broker.Link.
func (c *Conn) Kick(pending []byte, why *packet.Refusal) {
	if c.kicked.CompareAndSwap(nil, why) {
		c.door.server.leaving.Add(1)
	}
	c.sock.Finish(c.goodbye(pending, why), why)
	c.sock.Post(func(l loop.Local) { c.gone(l, why) })
}

// Again implements broker.Link.
func (c *Conn) Again() {
	c.sock.Post(func(l loop.Local) {
		if c.state == up {
			c.door.server.o.Broker.Resume(tick(l), c.client, c)
		}
	})
}

// Join implements broker.Link.
func (c *Conn) Join(client *broker.Client) { c.client = client }

// Standing implements broker.Link.
func (c *Conn) Standing() (known, ruled bool) {
	g := c.grant()
	return g != nil, g != nil && g.Rules != nil
}

// Version implements broker.Link.
func (c *Conn) Version() packet.Version { return c.version }

// Info implements broker.Link. Most brokers never ask.
func (c *Conn) Info() *broker.Info {
	if i := c.info.Load(); i != nil {
		return i
	}
	i := c.describe()
	if !c.info.CompareAndSwap(nil, &i) {
		return c.info.Load()
	}
	return &i
}

// describe says who the client is.
func (c *Conn) describe() broker.Info {
	return broker.Info{
		ClientID: c.id(), UserName: c.user, Addr: c.addr(), Listener: c.door.listener, Transport: c.door.transport,
		Version: c.version, CleanStart: c.cleanStart, KeepAlive: c.keepAlive, Expiry: c.expiry, ConnectedAt: c.connectedAt,
		Grant: c.grant(), Voucher: c.voucher(),
	}
}

// asRefusal is what the client hears of an error.
func asRefusal(err error) *packet.Refusal {
	if r, ok := errors.AsType[*packet.Refusal](err); ok {
		return r
	}
	return packet.Refuse(packet.UnspecifiedError, err.Error())
}

// name is the counter's name of a reason code.
func name(c packet.Code) string { return strings.ReplaceAll(strings.ToLower(c.String()), " ", "_") }
