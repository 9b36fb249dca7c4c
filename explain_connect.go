package fantail

import (
	"cmp"
	"context"
	"time"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/ban"
	"github.com/fantail-mqtt/fantail/internal/conn"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/packet"
)

// explainConnect asks all that is asked about a client that connects, in the same
// order. To be asked counts for nothing: no rate, no ban and no password.
func (b *Broker) explainConnect(ctx context.Context, r *ConnectRequest) *api.Explained {
	if e := b.explainArrival(r); e != nil {
		return e
	}
	e, g := b.explainAuthentication(ctx, r)
	if !e.Allowed {
		return e
	}
	if no := b.explainArrived(info(r, g)); no != nil {
		no.Steps = e.Steps
		return no
	}
	return e
}

// explainArrival says why the client would be refused before it is asked who it
// is, or returns nil.
func (b *Broker) explainArrival(r *ConnectRequest) *api.Explained {
	now, a := time.Now(), ipOf(r.Peer.Addr)
	if found := b.guard.bans.WouldAddress(a, now); found != nil {
		return bannedBy(found, "") // the connection ends unheard
	}
	no := b.guard.overloaded(-1, now)
	if no == nil {
		no = b.guard.entrance.Would(r.Peer.Listener, a, limit.At(now.UnixMilli()))
	}
	if no != nil {
		return refusedBy(conn.Unwelcome(no))
	}
	if found := b.guard.bans.WouldClient(r.ClientID, r.UserName, a, now); found != nil {
		return bannedBy(found, heardBanned())
	}
	if err := b.conns.Expect(r.ClientID); err != nil {
		return refusedBy(err)
	}
	return nil
}

// explainAuthentication asks who the client is.
func (b *Broker) explainAuthentication(ctx context.Context, r *ConnectRequest) (*api.Explained, *Grant) {
	if b.authenticator != nil {
		g, err := b.authenticator.Authenticate(ctx, r)
		e := &api.Explained{Allowed: err == nil, By: "the program's Authenticator", Why: "it lets the client in"}
		if err != nil {
			e.Why = err.Error()
		} else if g != nil && g.By != "" {
			e.By = g.By
		}
		return e, g
	}
	if err := b.gate.unread(r); err != nil {
		return refusedBy(err), nil
	}
	trials := b.gate.chain.Authenticate(ctx, r)
	last := &trials[len(trials)-1]
	e := &api.Explained{Allowed: last.Verdict == auth.Allow, By: last.Step, Why: last.Why, Do: last.Do, Steps: taken(trials)}
	g, err := verdict(trials)
	if err != nil {
		e.Hears = conn.AdviceOf(err).Refusal.Error()
	}
	return e, g
}

// explainArrived says why the client would be refused once it is known who it is,
// or returns nil.
func (b *Broker) explainArrived(who *ClientInfo) *api.Explained {
	if found := b.guard.bans.WouldClient(who.ClientID, who.UserName, ipOf(who.Addr), time.Now()); found != nil {
		return bannedBy(found, heardBanned())
	}
	if err := b.conns.ExpectKnown(who); err != nil {
		return refusedBy(err)
	}
	if err := b.broker.Claim(who.ClientID, who); err != nil {
		return refusedBy(conn.Claimed(err))
	}
	return nil
}

func bannedBy(found *ban.Ban, hears string) *api.Explained {
	return &api.Explained{By: "ban " + found.ID, Why: found.Why(), Do: found.Do(), Hears: hears}
}

// heardBanned is what a client hears that is banned.
func heardBanned() string { return packet.Refuse(packet.Banned, heard(packet.Banned)).Error() }

// refusedBy is a refusal as the log tells it.
func refusedBy(err error) *api.Explained {
	a := conn.AdviceOf(err)
	return &api.Explained{By: cmp.Or(a.Step, a.Reason), Why: a.Why, Do: a.Do, Hears: a.Refusal.Error()}
}
