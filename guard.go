package fantail

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/fantail-mqtt/fantail/internal/ban"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/conn"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/overload"
	"github.com/fantail-mqtt/fantail/packet"
)

// guard keeps out who is banned, who comes too fast or too often, and everybody
// while there is no room.
type guard struct {
	b        *Broker
	entrance *limit.Entrance
	users    *limit.Users
	load     *overload.Watch
	bans     *ban.List
	flapping *ban.Detector
	hush     limit.Hush // its own: a crowd of clients must not fill it
}

// Reasons of the guard's own, which are names of counters.
const (
	reasonBanned     = "banned"
	reasonOverloaded = "overloaded"
)

func newGuard(b *Broker) *guard {
	l := &b.config.Limits
	return &guard{
		b: b, entrance: limit.NewEntrance(limit.Bounds{}), users: limit.NewUsers(userBounds(l)), load: overload.New(int64(l.Memory)),
		bans: ban.NewList(), flapping: ban.NewDetector(flapping(l)),
	}
}

// set brings limits into force. The caller holds b.mu: the listeners are open.
func (g *guard) set(l *config.Limits) {
	bounds := limit.Bounds{
		Connects: limit.Rate(l.ConnectRate), AddressConnects: limit.Rate(l.PerAddress.ConnectRate), AddressConnections: l.PerAddress.Connections,
		Strangers: max(l.Unauthenticated.Connections, 0), AddressStrangers: max(l.Unauthenticated.PerAddress, 0),
		Listeners: map[string]limit.ListenerBounds{},
	}
	for _, at := range g.b.listeners {
		c := at.Config()
		bounds.Listeners[at.Addr()] = limit.ListenerBounds{Connects: limit.Rate(c.ConnectRate), Connections: c.MaxConnections}
	}
	g.entrance.SetBounds(bounds)
	g.users.SetBounds(userBounds(l))
	g.load.SetMemory(int64(l.Memory))
	g.flapping.SetFlapping(flapping(l))
	g.b.gate.guesses.SetMost(max(l.WrongPasswords, 0))
}

func userBounds(l *config.Limits) limit.UserBounds {
	return limit.UserBounds{Connections: l.PerUser.Connections, Messages: limit.Rate(l.PerUser.MessagesIn), Bytes: limit.Rate(l.PerUser.BytesIn)}
}

func flapping(l *config.Limits) ban.Flapping {
	f := ban.Flapping{Connects: l.Flapping.Connects, Window: l.Flapping.Window, Ban: l.Flapping.Ban}
	if !l.Flapping.Enabled {
		f.Ban = 0
	}
	return f
}

// Enter implements listen.Guard.
func (g *guard) Enter(h limit.Holder, listener string, a netip.Addr, descriptor int) (p *limit.Pass, wait time.Duration, no *limit.Refusal) {
	now := time.Now()
	no = g.overloaded(descriptor, now)
	if banned := g.banned(a, now); banned != nil {
		no = banned
	}
	if no != nil && no.Silent { // it is not worth counting
		g.tell(slog.LevelWarn, no, a, listener)
		return nil, 0, no
	}
	p, wait, refused := g.entrance.Enter(h, listener, a, limit.At(now.UnixMilli()))
	if no == nil {
		no = refused
	}
	if no != nil {
		g.tell(slog.LevelWarn, no, a, listener)
	}
	return p, wait, no
}

// overloaded says whether there is no room for a connection. Its descriptor is
// below 0 if it is not known.
func (g *guard) overloaded(descriptor int, now time.Time) *limit.Refusal {
	full, last := g.load.Full(descriptor, now)
	if full == "" {
		return nil
	}
	return &limit.Refusal{Reason: reasonOverloaded, Code: packet.ServerBusy, Why: full, Silent: last}
}

// Come implements listen.Guard.
func (g *guard) Come(p *limit.Pass, a netip.Addr) (wait time.Duration, no *limit.Refusal) {
	now := time.Now()
	if no = g.banned(a, now); no == nil && p != nil {
		wait, no = p.Come(a, limit.At(now.UnixMilli()))
	}
	if no != nil {
		g.tell(slog.LevelWarn, no, a, "")
	}
	return wait, no
}

// Leave implements listen.Guard.
func (g *guard) Leave(p *limit.Pass) { p.Leave(limit.At(time.Now().UnixMilli())) }

// banned says whether an address is banned.
func (g *guard) banned(a netip.Addr, now time.Time) *limit.Refusal {
	b := g.bans.Address(a, now)
	if b == nil {
		return nil
	}
	return &limit.Refusal{Reason: reasonBanned, Code: packet.Banned, Why: b.Why(), Do: b.Do(), Silent: true}
}

// arriving decides about a client by what it says of itself.
func (g *guard) arriving(client, user string, addr net.Addr) error {
	return g.kept(g.bans.Client(client, user, ipOf(addr), time.Now()))
}

// kept is the refusal of a client that is banned.
func (g *guard) kept(b *ban.Ban) error {
	if b == nil {
		return nil
	}
	return &conn.Advice{Refusal: packet.Refuse(packet.Banned, "the client is banned"), Why: b.Why(), Do: b.Do()}
}

// arrived decides about a client of which it is known who it is.
func (g *guard) arrived(client, user string, addr net.Addr) error {
	now, a := time.Now(), ipOf(addr)
	if b := g.bans.Client(client, user, a, now); b != nil {
		return g.kept(b)
	}
	length, n, in := g.flapping.Connect(client, limit.Key(a), now)
	if length == 0 {
		return nil
	}
	until := now.Add(length).UTC().Truncate(time.Second)
	made := ban.Ban{Client: client, Until: &until, By: "flapping", Reason: flapped(n, in)}
	if a.IsValid() {
		made.Address = a.Unmap().WithZone("").String()
	}
	kept, err := g.bans.Add(made, now)
	if err != nil {
		return nil // there are too many: this one is let in
	}
	attrs := []any{slog.String("client", client), slog.String("addr", addr.String()), slog.Int("connects", n), slog.Duration("in", in), slog.Duration("ban", length)}
	advice := "a client that connects again and again cannot stay connected: look why its connections end, in the lines before"
	if other, here := g.b.broker.Who(client); here && other.Addr.String() != addr.String() {
		attrs = append(attrs, slog.String("other", other.Addr.String()))
		advice = "most often two devices have one client id, and each ends the other's connection: give each its own"
	}
	g.b.logger.Warn("client banned for flapping", append(attrs, slog.String("ban_id", kept.ID), slog.String("do", advice))...)
	return g.kept(&kept)
}

func flapped(n int, in time.Duration) string {
	return "it connected " + strconv.Itoa(n) + " times in " + max(in, time.Second).Truncate(time.Second).String()
}

// ipOf is the IP address of a, invalid if it has none.
func ipOf(a net.Addr) netip.Addr {
	if p, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return p.AddrPort().Addr()
	}
	if a == nil {
		return netip.Addr{}
	}
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// tell logs a refusal, unless one of its kind was logged lately.
func (g *guard) tell(level slog.Level, no *limit.Refusal, a netip.Addr, listener string) {
	say, held := g.hush.Say(time.Now().UnixMilli(), "", no.Reason)
	if !say {
		return
	}
	attrs := []slog.Attr{slog.String("reason", no.Reason), slog.String("why", no.Why)}
	if no.Do != "" {
		attrs = append(attrs, slog.String("do", no.Do))
	}
	attrs = append(attrs, slog.String("addr", a.String()), slog.String("listener", listener), slog.Int("held_back", held))
	g.b.logger.LogAttrs(context.Background(), level, "connections refused", attrs...)
}

// told says whether the guard logs refusals for a reason by itself.
func told(reason string) bool {
	switch reason {
	case reasonBanned, reasonOverloaded, limit.ReasonConnectRate, limit.ReasonAddressConnections, limit.ReasonListenerConnections, limit.ReasonUnauthenticated:
		return true
	default:
		return false
	}
}
