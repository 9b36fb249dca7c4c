package fantail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

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

// explainAccess asks the limits and the rules: for the client that is connected,
// else for one that the authentication would let in, and without a password for
// one that has proved its user name.
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
	var limits []string
	if a.Action == access.Publish {
		rates, no := b.conns.Rates(who, a.QoS, a.Retain)
		for _, rate := range rates {
			limits = append(limits, rate.String())
		}
		if no != nil {
			e := refusedBy(no)
			e.Connected, e.Steps, e.Limits = connected, steps, limits
			return e, nil
		}
	}
	e := b.explainRules(who, a)
	e.Connected, e.Steps, e.Limits = connected, steps, limits
	return e, nil
}

// explainRules asks the rules about a client.
func (b *Broker) explainRules(who *ClientInfo, a access.Ask) *api.Explained {
	if b.authorizer != nil {
		err := b.authorizer.Access(who, a)
		e := &api.Explained{Allowed: err == nil, By: "the program's Authorizer", Why: "it allows that"}
		if err != nil {
			e.Why = err.Error()
		}
		return e
	}
	x := b.policy.Explain(who, a)
	e := &api.Explained{Allowed: x.Allowed, By: x.Source, Why: x.Why, Do: x.Do, Access: &x}
	if x.Rule != "" {
		e.By = x.Rule
	}
	return e
}
