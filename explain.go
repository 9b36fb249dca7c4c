package fantail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/packet"
)

// explain says what the broker would do with a client, and why.
func (b *Broker) explain(ctx context.Context, q *api.Question) (*api.Explained, error) {
	r, err := request(q)
	if err != nil {
		return nil, err
	}
	var action access.Action
	switch q.Action {
	case "connect":
		return b.explainConnect(ctx, r), nil
	case "publish":
		action = access.Publish
	case "subscribe":
		action = access.Subscribe
	case "receive":
		action = access.Receive
	default:
		return nil, fmt.Errorf("the action %q is unknown: it is one of connect, publish, subscribe and receive", q.Action)
	}
	if q.Topic == "" {
		return nil, errors.New("the topic is missing")
	}
	return b.explainAccess(ctx, r, access.Ask{Action: action, Topic: q.Topic, QoS: q.QoS, Retain: q.Retain})
}

// request is a question in the words of a client.
func request(q *api.Question) (*ConnectRequest, error) {
	address := q.Address
	if address == "" {
		address = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no IP address", q.Address)
	}
	if q.QoS > 2 {
		return nil, fmt.Errorf("QoS is %d", q.QoS)
	}
	return &ConnectRequest{
		ClientID: q.Client, UserName: q.User, HasUserName: q.User != "", Password: []byte(q.Password), HasPassword: q.Password != "",
		Version: packet.V5,
		Peer:    access.Peer{Addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)), Transport: "tcp", Listener: q.Listener},
	}, nil
}

// explainConnect asks the chain as if the client connected.
func (b *Broker) explainConnect(ctx context.Context, r *ConnectRequest) *api.Explained {
	if e := b.explainBan(r); e != nil {
		return e
	}
	if b.authenticator != nil {
		g, err := b.authenticator.Authenticate(ctx, r)
		e := &api.Explained{Allowed: err == nil, By: "the program's Authenticator", Why: "it lets the client in"}
		if err != nil {
			e.Why = err.Error()
		} else if g != nil && g.By != "" {
			e.By = g.By
		}
		return e
	}
	trials := b.gate.chain.Authenticate(ctx, r)
	last := &trials[len(trials)-1]
	e := &api.Explained{Allowed: last.Verdict == auth.Allow, By: last.Step, Why: last.Why, Do: last.Do, Steps: taken(trials)}
	g, err := verdict(trials)
	if refusal, ok := errors.AsType[*packet.Refusal](err); ok {
		e.Hears = refusal.Error()
		return e
	}
	id := r.ClientID
	if g != nil && g.ClientID != "" {
		id = g.ClientID
	}
	if err := b.broker.Claim(id, info(r, g)); err != nil {
		e.Allowed, e.By, e.Why, e.Do = false, "auth.client_ids", err.Error(), "give this device a client id of its own"
		if refusal, ok := errors.AsType[*packet.Refusal](err); ok {
			e.Hears = refusal.Error()
		}
	}
	return e
}

// explainBan finds a ban of the client, or returns nil.
func (b *Broker) explainBan(r *ConnectRequest) *api.Explained {
	now, a := time.Now(), ipOf(r.Peer.Addr)
	found := b.guard.bans.Address(a, now)
	hears := "" // the connection ends unheard
	if found == nil {
		found = b.guard.bans.Client(r.ClientID, r.UserName, a, now)
		hears = packet.Refuse(packet.Banned, heard(packet.Banned)).Error()
	}
	if found == nil {
		return nil
	}
	return &api.Explained{By: "ban " + found.ID, Why: found.Why(), Do: found.Do(), Hears: hears}
}

func taken(trials []auth.Trial) []api.StepTaken {
	list := make([]api.StepTaken, 0, len(trials))
	for i := range trials {
		t := &trials[i]
		list = append(list, api.StepTaken{Step: t.Step, Verdict: t.Verdict.String(), Why: t.Why, Do: t.Do, Took: t.Took.Seconds()})
	}
	return list
}

// info is a client that would have connected so.
func info(r *ConnectRequest, g *Grant) *ClientInfo {
	i := &ClientInfo{
		ClientID: r.ClientID, UserName: r.UserName, Addr: r.Peer.Addr, Listener: r.Peer.Listener, Transport: r.Peer.Transport,
		Version: r.Version, Grant: g,
	}
	if g != nil && g.UserName != "" {
		i.UserName = g.UserName
	}
	if g != nil && g.ClientID != "" {
		i.ClientID = g.ClientID
	}
	return i
}

// explainAccess asks the rules: for the client that is connected, else for one
// that the authentication would let in, and without a password for one that has
// proved its user name.
func (b *Broker) explainAccess(ctx context.Context, r *ConnectRequest, a access.Ask) (*api.Explained, error) {
	who, connected := b.broker.Who(r.ClientID)
	var steps []api.StepTaken
	switch {
	case connected:
	case r.HasPassword && b.authenticator == nil:
		trials := b.gate.chain.Authenticate(ctx, r)
		steps = taken(trials)
		g, err := verdict(trials)
		if err != nil {
			last := &trials[len(trials)-1]
			return &api.Explained{By: last.Step, Why: "the client does not even come in: " + last.Why, Do: last.Do, Steps: steps}, nil
		}
		who = info(r, g)
	case r.HasUserName:
		who = info(r, &Grant{UserName: r.UserName})
	default:
		who = info(r, nil)
	}
	if b.authorizer != nil {
		err := b.authorizer.Access(who, a)
		e := &api.Explained{Allowed: err == nil, By: "the program's Authorizer", Why: "it allows that", Connected: connected, Steps: steps}
		if err != nil {
			e.Why = err.Error()
		}
		return e, nil
	}
	x := b.policy.Explain(who, a)
	e := &api.Explained{Allowed: x.Allowed, By: x.Source, Why: x.Why, Do: x.Do, Connected: connected, Steps: steps, Access: &x}
	if x.Rule != "" {
		e.By = x.Rule
	}
	return e, nil
}
