package conn

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// connect takes in a CONNECT.
func (c *Conn) connect(t *broker.Tick, body []byte) error {
	p, err := packet.ParseConnect(body)
	if p != nil {
		c.version = p.Version
		c.maxPacket = p.MaximumPacketSize
	}
	if err != nil {
		return err
	}
	if no := c.arrival.refused; no != nil {
		return Unwelcome(no)
	}
	if err := c.check(p); err != nil {
		return err
	}
	if ask := c.door.server.o.Arriving; ask != nil {
		if err := ask(p.ClientID, p.UserName, c.addr()); err != nil {
			return err
		}
	}
	if err := c.door.server.room(); err != nil {
		return err
	}
	c.keep(t, p)
	if p.HasAuthMethod {
		return c.beginProof(t, p)
	}
	return c.decide(t, p)
}

// room says whether one more client may connect.
func (s *Server) room() error {
	most := s.limits.Load().Connections
	if most == 0 || s.o.Broker.Stats().Connected.Load() < most {
		return nil
	}
	return s.full()
}

// full is the refusal for want of room.
func (s *Server) full() error {
	const why = "the server has as many connections as it may"
	code := packet.QuotaExceeded
	if s.o.ServerReference != "" {
		code = packet.UseAnotherServer
	}
	return &Advice{Refusal: packet.Refuse(code, why), Step: "limits.connections", Why: why, Do: "raise limits.connections, or look who is connected"}
}

// keep notes what will be known of the client. CONNECT's own bytes go with the
// read buffer.
func (c *Conn) keep(t *broker.Tick, p *packet.Connect) {
	p.Password = append([]byte(nil), p.Password...)
	if p.Will != nil {
		p.Will.Payload = append([]byte(nil), p.Will.Payload...)
		p.Will.Forward = append([]byte(nil), p.Will.Forward...)
	}
	c.arrival.asked, c.user, c.version, c.cleanStart = p, p.UserName, p.Version, p.CleanStart
	c.keepAlive, c.connectedAt = p.KeepAlive, t.Now()
}

// check looks at what the codec leaves to the server.
func (c *Conn) check(p *packet.Connect) error {
	if p.ClientID == "" && p.Version < packet.V5 && (!p.CleanStart || p.Version == packet.V31) { // 3.1.1 [MQTT-3.1.3-8]
		return packet.Refuse(packet.ClientIdentifierNotValid, "an empty client id needs a clean session")
	}
	if err := c.door.server.limits.Load().names(p.ClientID); err != nil {
		return err
	}
	if w := p.Will; w != nil {
		if err := topic.ValidName(w.Topic, 0); err != nil {
			return packet.Refuse(packet.TopicNameInvalid, "the will: "+err.Error())
		}
	}
	return nil
}

// names says whether a client id is one that a client may have.
func (l *Limits) names(id string) error {
	if most := l.ClientID; most > 0 && len(id) > most {
		return &Advice{
			Refusal: packet.Refuse(packet.ClientIdentifierNotValid, "the client id is too long"), Step: "limits.client_id",
			Why: fmt.Sprintf("the client id has %d bytes and may have %d", len(id), most),
			Do:  "give the client a shorter one (23 bytes are fine with every broker), or raise limits.client_id",
		}
	}
	return nil
}

// keeps says whether a keep-alive is one that a client may have.
func (l *Limits) keeps(p *packet.Connect) error {
	if p.Version < packet.V5 && tooLong(p.KeepAlive, l.KeepAliveMax) { // 5.0 has Server Keep Alive, 3.x no word for it
		return &Advice{
			Refusal: packet.Refuse(packet.QuotaExceeded, "the keep-alive is too long"), Step: "limits.keep_alive_max",
			Why: fmt.Sprintf("the client asks for a keep-alive of %d s (0: none) and may have %d s", p.KeepAlive, l.KeepAliveMax),
			Do:  "give the client a shorter keep-alive, or raise limits.keep_alive_max",
		}
	}
	return nil
}

// tooLong says whether a keep-alive is more than the most there may be; 0 is
// none, which is the longest.
func tooLong(keepAlive, most uint16) bool {
	return most > 0 && (keepAlive == 0 || keepAlive > most)
}

// decide asks whether the client may connect: at once if that can be said at
// once, else off the loop, going on when the answer is there.
func (c *Conn) decide(t *broker.Tick, p *packet.Connect) error {
	s := c.door.server
	r, _ := s.requests.Get().(*Request)
	*r = Request{
		ClientID: p.ClientID, UserName: p.UserName, HasUserName: p.HasUserName, Password: p.Password,
		HasPassword: p.HasPassword, Version: p.Version,
		Peer: Peer{
			Addr: c.addr(), Transport: c.door.transport, Listener: c.door.listener, Origin: c.origin(), Certificate: c.certificate(), Voucher: c.voucher(),
		},
	}
	if s.o.Quick != nil {
		decided, grant, err := s.o.Quick(r)
		if decided || err != nil {
			*r = Request{}
			s.requests.Put(r)
		}
		switch {
		case err != nil:
			return denied(err)
		case decided:
			return c.accept(t, p, grant, nil)
		}
	}
	c.state = deciding
	c.sock.Pause()
	s.done.Go(func() { // ends with the answer; Server.Close cancels and waits for it
		select {
		case s.seat <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		grant, err := s.o.Authenticator.Authenticate(s.ctx, r)
		<-s.seat
		c.sock.Post(func(l loop.Local) {
			if c.state != deciding {
				return // timed out, or gone
			}
			c.decided(l, p, grant, err)
		})
	})
	return nil
}

func (c *Conn) decided(l loop.Local, p *packet.Connect, grant *access.Grant, err error) {
	t := tick(l)
	if err == nil {
		err = c.accept(t, p, grant, nil)
	}
	if err != nil {
		c.refuse(denied(err))
	}
	c.sock.Resume(l)
}

// denied is what the client hears of a refusal by whatever authenticator.
func denied(err error) error {
	if _, ok := errors.AsType[*packet.Refusal](err); ok {
		return err
	}
	return &Advice{Refusal: packet.Refuse(packet.NotAuthorized, "the client is not let in"), Why: err.Error()}
}

// Advice is a refusal with what the broker's owner should know: which step of
// the authentication made it, why, and what to do about it. The client hears
// the refusal alone; the log has all.
type Advice struct {
	Refusal       *packet.Refusal
	Step, Why, Do string
	Reason        string // the counter; empty: that of the refusal's code
	Told          bool   // the log has it already
}

// heardOf is all that a client hears of why it is refused before anything is
// known of it.
func heardOf(code packet.Code) string {
	switch code {
	case packet.ConnectionRateExceeded:
		return "connections come too fast: try again later"
	case packet.Banned:
		return "the client is banned"
	case packet.QuotaExceeded:
		return "there are too many connections from here"
	default:
		return "the server is busy: try again later"
	}
}

// AdviceOf is a refusal with what the log says of it.
func AdviceOf(err error) Advice {
	a, ok := errors.AsType[*Advice](err)
	if !ok {
		r := asRefusal(err)
		a = &Advice{Refusal: r, Why: r.Why}
	}
	advice := *a
	advice.Reason = cmp.Or(a.Reason, name(a.Refusal.Code))
	return advice
}

func (a *Advice) Error() string { return a.Refusal.Error() + " (" + a.Do + ")" }

// Unwrap is the refusal.
func (a *Advice) Unwrap() error { return a.Refusal }

// Claimed is the refusal of a client id that is another user's.
func Claimed(err error) error {
	c, ok := errors.AsType[*broker.Claimed](err)
	if !ok {
		return err
	}
	r, _ := errors.AsType[*packet.Refusal](err)
	return &Advice{
		Refusal: r, Step: "auth.client_ids", Why: c.Error(),
		Do: "give this device a client id of its own, or let users share client ids with auth.client_ids: shared",
	}
}

// accept connects the client with what was found out about it; final is the
// last answer of an enhanced authentication.
func (c *Conn) accept(t *broker.Tick, p *packet.Connect, grant *access.Grant, final []byte) error {
	s := c.door.server
	if c.extra != nil {
		c.extra.origin, c.extra.certificate = "", nil // they have done their part
	}
	if grant != nil {
		c.more().grant = grant
		c.user = cmp.Or(grant.UserName, c.user)
	}
	limits, err := s.limitsOf(grant)
	if err != nil {
		return err
	}
	if err := limits.keeps(p); err != nil {
		return err
	}
	c.expiry = limits.expiry(p)
	r := t.Connect()
	*r = broker.Connect{CleanStart: p.CleanStart, Will: p.Will, Terms: c.terms(p), Limits: limits.Client}
	if p.Version == packet.V5 {
		c.offer(r, p, limits, final)
	}
	if r.Connack.HasServerKeepAlive {
		c.keepAlive = r.Connack.ServerKeepAlive
	}
	switch {
	case grant != nil && grant.ClientID != "" && grant.ClientID != p.ClientID:
		p.ClientID = grant.ClientID
		r.Connack.AssignedClientID = p.ClientID
	case p.ClientID == "":
		p.ClientID = newClientID()
		r.Connack.AssignedClientID = p.ClientID
	}
	if s.o.Arrived != nil {
		if err := s.o.Arrived(p.ClientID, c.user, c.addr()); err != nil {
			return err
		}
	}
	if p.Will != nil {
		if err := limits.takes(p.Will.QoS, p.Will.Retain); err != nil {
			return err
		}
		if most := limits.mostExpiry(p.Will.Retain); most > 0 && (!p.Will.HasExpiry || p.Will.Expiry > most) {
			p.Will.Expiry, p.Will.HasExpiry = most, true
		}
		if err := s.o.Broker.AllowWill(c, p.Will); err != nil {
			return denied(err)
		}
	}
	if err := fit(&r.Connack, p); err != nil {
		return err
	}
	user, ok := s.share(c.grant(), p.ClientID, c.user)
	if !ok {
		return userFull()
	}
	if !s.o.Broker.Admit(s.limits.Load().Connections) { // others came while somebody decided about this one
		user.Leave(limit.At(t.Now()))
		return s.full()
	}
	c.bind(t, limits, user)
	if c.extra != nil && *c.extra == (extra{}) {
		c.extra = nil
	}
	r.Info = c.describe()
	c.hear(t.Now())
	before := c.state
	c.state = up
	if _, err := s.o.Broker.Connect(t, c, r); err != nil {
		c.state = before
		return Claimed(err)
	}
	s.o.Wheel.Stop(c.arrival)
	c.arrival = nil
	if c.keepAlive > 0 {
		s.o.Broker.Watch(c.client, t.Now()+c.patience())
	}
	if grant != nil && grant.Expires > 0 {
		c.extra.lease = &lease{conn: c}
		s.o.Wheel.Set(c.extra.lease, grant.Expires)
	}
	if !c.holds() { // whoever takes it back has looked for this connection before it was there
		s.o.Broker.Kick(c.client, c, packet.Refuse(packet.NotAuthorized, "what the client was let in by has changed"))
	}
	if s.o.Logger.Enabled(s.ctx, slog.LevelInfo) {
		s.o.Logger.Info("client connected", slog.String("client", c.id()), slog.String("addr", c.addr().String()),
			slog.String("listener", c.door.listener), slog.String("version", p.Version.String()), slog.Int("keepalive", int(c.keepAlive)))
	}
	return nil
}

// share is the client's part in what its user may have. Names that nobody has
// checked count for nothing: who says a name could use it up.
func (s *Server) share(g *access.Grant, id, user string) (share *limit.User, ok bool) {
	if s.o.Users == nil || g == nil {
		return nil, true
	}
	return s.o.Users.Enter(user, s.replaces(id, user))
}

// replaces says whether a client of a user takes the place of another of its
// connections.
func (s *Server) replaces(id, user string) bool {
	now, here := s.o.Broker.Who(id)
	return here && now.UserName == user
}

// userFull is the refusal by a user that has all its connections.
func userFull() error {
	return &Advice{
		Refusal: packet.Refuse(packet.QuotaExceeded, "the user has as many connections as it may"), Reason: "user_connections",
		Why: "the user has its limits.per_user.connections already", Do: "raise it, or look who uses the account",
	}
}

// terms are what the connection agrees on.
func (c *Conn) terms(p *packet.Connect) session.Terms {
	return session.Terms{
		Version: p.Version, Expiry: c.expiry, ReceiveMaximum: p.ReceiveMaximum,
		MaximumPacket: p.MaximumPacketSize, AliasMaximum: p.TopicAliasMaximum, WithoutProblem: p.WithoutProblemInfo,
	}
}

// expiry is how long the session outlives the connection, in seconds.
func (l *Limits) expiry(p *packet.Connect) uint32 {
	if p.Version < packet.V5 && !p.CleanStart {
		return l.cap(session.Never)
	}
	return l.cap(p.SessionExpiry)
}

// cap bounds a session expiry interval by the configuration.
func (l *Limits) cap(expiry uint32) uint32 {
	if most := l.SessionExpiryMax; most > 0 {
		return min(expiry, most)
	}
	return expiry
}

// offer fills in what a 5.0 client is told.
func (c *Conn) offer(r *broker.Connect, p *packet.Connect, limits *Limits, final []byte) {
	o, a := &c.door.server.o, &r.Connack
	limits.announce(o, a)
	if r.Terms.Expiry != p.SessionExpiry {
		a.SessionExpiry, a.HasSessionExpiry = r.Terms.Expiry, true
	}
	if most := limits.KeepAliveMax; tooLong(p.KeepAlive, most) {
		a.ServerKeepAlive, a.HasServerKeepAlive = most, true
	}
	if p.RequestResponseInfo { // [MQTT-3.1.2-28]
		a.ResponseInfo = o.ResponseInfo
	}
	if p.HasAuthMethod { // [MQTT-4.12.0-5]
		a.AuthMethod = p.AuthMethod
		a.AuthData, a.HasAuthData = final, len(final) > 0
	}
}

// fit leaves out what a client with a small Maximum Packet Size cannot take:
// first the capabilities that it can do without knowing. A client that is not
// told a limit may go over it and hears so then.
func fit(a *packet.Connack, p *packet.Connect) error {
	if p.Version < packet.V5 || p.MaximumPacketSize == 0 {
		return nil
	}
	drops := []func(){
		func() { a.TopicAliasMaximum = 0 },
		func() { a.ResponseInfo = "" },
		func() { a.MaximumPacketSize = 0 },
		func() { a.ReceiveMaximum = 0 },
	}
	for {
		if uint32(len(packet.AppendConnack(nil, a, p.Version, p.MaximumPacketSize))) <= p.MaximumPacketSize {
			return nil
		}
		if len(drops) == 0 {
			return packet.Refuse(packet.PacketTooLarge, "the CONNACK does not fit the client's maximum packet size")
		}
		drops[0]()
		drops = drops[1:]
	}
}

func newClientID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	return "auto-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// refuse ends a connection that is no client's yet.
func (c *Conn) refuse(err error) {
	if c.state == over {
		return
	}
	c.state = over
	c.door.server.o.Wheel.Stop(c.arrival)
	a := AdviceOf(err)
	c.door.server.o.Broker.Stats().Refused.Add(a.Reason)
	attrs := []any{
		slog.String("addr", c.addr().String()), slog.String("listener", c.door.listener),
		slog.String("client", shown(c.id())), slog.String("user", shown(c.user)), slog.String("reason", a.Reason), slog.String("why", a.Why),
	}
	for _, s := range []slog.Attr{slog.String("step", a.Step), slog.String("do", a.Do)} {
		if s.Value.String() != "" {
			attrs = append(attrs, s)
		}
	}
	who := c.id() + "@" + c.addr().String()
	if i := strings.LastIndexByte(who, ':'); i > 0 {
		who = who[:i] // the port changes
	}
	level := slog.LevelInfo
	if a.Told {
		level = slog.LevelDebug
	}
	say, held := c.door.server.o.Broker.Hush.Say(time.Now().UnixMilli(), who, a.Reason+" "+a.Step)
	if held > 0 {
		attrs = append(attrs, slog.Int("held_back", held))
	}
	if say {
		c.door.server.o.Logger.Log(c.door.server.ctx, level, "connection refused", attrs...)
	}
	c.sock.Finish(c.refusal(a.Refusal), io.EOF)
}

// shown is what a stranger says of itself as it can stand in the log: its
// beginning, and not a token (JWT), which some clients send as their user name
// and which would let in whoever reads it there.
func shown(s string) string {
	const most = 200
	switch {
	case strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") >= 2:
		return "(a token)"
	case len(s) > most:
		return strings.ToValidUTF8(s[:most], "") + "…"
	default:
		return s
	}
}

// refusal is the CONNACK that says why, where there is one to say it.
func (c *Conn) refusal(r *packet.Refusal) []byte {
	switch v := c.version; {
	case v == 0:
		return nil // nothing is known of the peer
	case r.Code == packet.UnsupportedProtocolVersion:
		// The oldest form, which every client understands [3.1.1 MQTT-3.1.2-2].
		return packet.AppendConnack(nil, &packet.Connack{Code: r.Code}, packet.V311, 0)
	case v < packet.V5 && r.Code == packet.MalformedPacket:
		return nil // [3.1.1 MQTT-3.1.4-1]
	default:
		a := packet.Connack{Code: connackCode(r.Code)}
		a.Reason = r.Why
		if r.Code == packet.UseAnotherServer {
			a.ServerReference = c.door.server.o.ServerReference
		}
		out := packet.AppendConnack(nil, &a, v, c.maxPacket)
		if c.maxPacket > 0 && len(out) > int(c.maxPacket) {
			return nil
		}
		return out
	}
}

// connackCode is the code as a CONNACK can carry it [MQTT-3.2.2-8].
func connackCode(c packet.Code) packet.Code {
	if c == packet.TopicAliasInvalid || c == packet.ReceiveMaximumExceeded {
		return packet.ProtocolError
	}
	return c
}

// evicted ends a connection that is no client's yet in favour of others.
func (c *Conn) evicted(why *limit.Refusal) {
	c.state = over
	c.door.server.o.Wheel.Stop(c.arrival)
	c.door.server.o.Broker.Stats().Refused.Add(why.Reason)
	c.door.server.o.Logger.Debug("connection refused", slog.String("addr", c.addr().String()), slog.String("listener", c.door.listener),
		slog.String("reason", why.Reason), slog.String("why", why.Why))
	c.sock.Close(io.EOF)
}

// timedOut ends a connection whose CONNECT did not come in time.
func (c *Conn) timedOut() {
	c.state = over
	c.door.server.o.Broker.Stats().Refused.Add("connect_timeout")
	c.door.server.o.Logger.Info("connection refused", slog.String("addr", c.addr().String()), slog.String("listener", c.door.listener),
		slog.String("reason", "connect_timeout"), slog.String("why", "no CONNECT came in time"))
	c.sock.Close(io.EOF)
}
