package fantail

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/conn"
	"github.com/fantail-mqtt/fantail/internal/listen"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/metrics"
	"github.com/fantail-mqtt/fantail/packet"
)

// start opens all listeners, or none.
func (b *Broker) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		return ErrRunning
	}
	b.running = true
	b.gate.start()
	o := conn.Options{
		Broker: b.broker, Wheel: b.wheel, Logger: b.logger, Authenticator: b.gate, Quick: b.gate.quick,
		Limits: connLimits(&b.config.Limits), ReceiveMaximum: uint16(b.config.Limits.ReceiveMaximum),
		TopicAliasMaximum: uint16(max(b.config.Limits.TopicAliasMaximum, 0)), PendingBytes: int(b.config.Limits.PendingBytes),
		ServerReference: b.config.ServerReference, ResponseInfo: b.config.ResponseInformation,
		Users: b.guard.users, Arriving: b.guard.arriving, Arrived: b.guard.arrived,
	}
	o.Exchange = b.gate.begin
	if b.authenticator != nil {
		o.Authenticator, o.Quick, o.Exchange = b.authenticator, nil, nil
	}
	b.conns = conn.NewServer(o)
	var err error
	if b.group, err = b.newGroup(); err != nil {
		return err
	}
	if err := b.openControl(); err != nil {
		return err
	}
	for _, l := range b.config.Listeners {
		if err := b.open(l); err != nil {
			return err
		}
		b.guard.set(&b.config.Limits)
	}
	return nil
}

// openControl opens the control socket, which is in the data folder.
func (b *Broker) openControl() (err error) {
	if b.config.Data == "" {
		return nil
	}
	o := api.ControlOptions{
		Bans: bans{b.guard}, Data: b.config.Data, Version: b.version, Logger: b.logger, Explain: b.explain,
		Users: b.gate.accounts, Devices: b.gate.devices, Rules: b.book, Access: accessRules{b},
	}
	if b.store != nil {
		o.Store = stored{b}
	}
	b.control, err = api.OpenControl(o)
	return err
}

func (b *Broker) newGroup() (loop.Group, error) {
	o := loop.Options{
		Loops:   b.config.Loop.Loops,
		Tick:    b.config.Loop.Tick,
		Local:   func() loop.Local { return b.broker.NewTick() },
		OnError: b.cannotAccept,
	}
	if b.config.Loop.Transport == config.TransportPortable {
		return loop.NewPortable(o), nil
	}
	return loop.New(o, b.wheel)
}

// cannotAccept logs what a listener says ten times a second while there is no
// descriptor left.
func (b *Broker) cannotAccept(err error) {
	if say, held := b.guard.hush.Say(time.Now().UnixMilli(), "", "accept"); say {
		b.logger.Error("cannot accept", slog.Any("err", err), slog.Int("held_back", held))
	}
}

// open serves one listener.
func (b *Broker) open(l config.Listener) error {
	if l.Scheme == config.SchemeHTTP {
		w, err := api.Open(l.Address, api.Options{Metrics: metrics.Handler(b.broker, b.version, b.disk(), b.gate.figures), Ready: b.isReady})
		if err != nil {
			return err
		}
		b.web = append(b.web, w)
		return nil
	}
	opened, err := listen.Open(listen.Options{
		Group: b.group, Wheel: b.wheel, Refused: b.refused, Guard: b.guard, FirstPacket: b.config.Limits.ConnectTimeout,
		Upper: func(_ loop.Local, c loop.Conn, p listen.Peer) loop.Handler {
			peer := conn.Peer{Addr: p.Addr, Transport: p.Transport, Listener: p.Listener, Origin: p.Origin}
			if p.TLS != nil && len(p.TLS.VerifiedChains) > 0 {
				peer.Certificate = p.TLS.PeerCertificates[0]
			}
			if p.Vouched != nil {
				peer.Voucher = p.Vouched
			}
			return b.conns.AcceptAs(c, peer, conn.Entry{Pass: p.Pass, Due: p.Due, Refused: p.Refused})
		},
	}, l)
	if err != nil {
		return err
	}
	b.listeners = append(b.listeners, opened)
	return nil
}

func (b *Broker) isReady() error {
	select {
	case <-b.ready:
	default:
		return errors.New("starting")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draining {
		return errors.New("shutting down")
	}
	return nil
}

// refused logs and counts a connection that did not come to MQTT.
func (b *Broker) refused(r listen.Refusal) {
	b.broker.Stats().Refused.Add(r.Reason)
	level := slog.LevelInfo
	if r.Reason == listen.ReasonClosedEarly || told(r.Reason) {
		level = slog.LevelDebug // a port scan, or a health check of a load balancer; or it is logged already
	}
	who := r.Addr.String()
	if host, _, err := net.SplitHostPort(who); err == nil {
		who = host // the port changes
	}
	say, held := b.broker.Hush.Say(time.Now().UnixMilli(), who, r.Reason)
	if !say {
		return
	}
	attrs := []slog.Attr{
		slog.String("addr", r.Addr.String()), slog.String("listener", r.Listener), slog.String("reason", r.Reason), slog.String("why", r.Detail),
	}
	if held > 0 {
		attrs = append(attrs, slog.Int("held_back", held))
	}
	b.logger.LogAttrs(context.Background(), level, "connection refused", attrs...)
}

// Draining is how long Run waits at its end for the clients to go.
const Draining = 5 * time.Second

// drain stops accepting and sends the clients away.
func (b *Broker) drain() {
	b.mu.Lock()
	b.draining = true
	listeners := b.listeners
	b.listeners = nil
	b.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	why := packet.Refuse(packet.ServerShuttingDown, "the server is shutting down")
	if b.config.ServerReference != "" {
		why = packet.Refuse(packet.UseAnotherServer, "the server is shutting down")
	}
	b.broker.KickAll(why)
	until := time.NewTimer(Draining)
	defer until.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for b.broker.Stats().Connected.Load() > 0 || b.conns.Leaving() > 0 {
		select {
		case <-until.C:
			return
		case <-look.C:
		}
	}
}

// forwardLog is a logger that uses the one set by UseLogger, whenever that is.
func forwardLog(b *Broker) *slog.Logger { return slog.New(late{b}) }

type late struct{ b *Broker }

func (l late) Enabled(ctx context.Context, level slog.Level) bool {
	return l.b.logger.Handler().Enabled(ctx, level)
}

func (l late) Handle(ctx context.Context, r slog.Record) error {
	return l.b.logger.Handler().Handle(ctx, r)
}

func (l late) WithAttrs(attrs []slog.Attr) slog.Handler { return l.b.logger.Handler().WithAttrs(attrs) }

func (l late) WithGroup(name string) slog.Handler { return l.b.logger.Handler().WithGroup(name) }
