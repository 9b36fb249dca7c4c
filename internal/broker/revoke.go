package broker

import (
	"log/slog"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/message"
)

// A retained message stays when its publisher has gone, and would stay when the
// publisher has lost the right to it (CVE-2018-12546). So where rules decide, it
// has the names of its publisher with it, and these are asked about when it is
// about to be given to a new subscriber.
//
// No more is asked about than the names tell. Who was let in with rules of its own
// or as a superuser is not remembered: nobody knows what it might do today.

// by is who publishes a message over a connection, as far as it is to be
// remembered.
func (b *Broker) by(link Link, first byte) (h message.SourceHandle) {
	if b.policy == nil || link == nil || b.free(link, first) {
		return h
	}
	return publisher(link.Info())
}

// publisher is what is remembered of a client.
func publisher(who *Info) (h message.SourceHandle) {
	g := who.Grant
	switch {
	case who.Restored: // it may have had rules of its own
		return h
	case g == nil:
		return message.Source{Client: who.ClientID}.Handle()
	case g.Superuser || g.Rules != nil:
		return h
	default:
		return message.Source{Client: who.ClientID, User: who.UserName, Known: true}.Handle()
	}
}

// revoked says whether the publisher of a retained message may not publish it any
// more. Then it is removed.
func (b *Broker) revoked(t *Tick, m retained) bool {
	if m.by.None() || b.policy == nil {
		return false
	}
	s := m.by.Source()
	t.past.Info = Info{ClientID: s.Client, UserName: s.User}
	if s.Known {
		t.past.grant.UserName = s.User
		t.past.Grant = &t.past.grant
	}
	a := access.Ask{Action: access.Publish, Topic: m.Topic, QoS: m.QoS, Retain: true}
	if !b.policy.Denies(&t.past.Info, a) {
		return false
	}
	b.retaining.Lock()
	now, ok := b.retained.Get(m.Topic, 0)
	there := ok && now.Message == m.Message
	if there {
		b.unretain(t, m.Message)
	}
	b.retaining.Unlock()
	if there {
		t.stats.Dropped[DropRetainedRevoked]++
		b.logRevoked(t, a)
	}
	return true
}

// logRevoked logs that the message of t.past is removed.
func (b *Broker) logRevoked(t *Tick, a access.Ask) {
	who := &t.past.Info
	say, held := b.Hush.Say(t.now, who.ClientID, "revoked")
	if !say {
		return
	}
	r := b.policy.Reason(who, a)
	attrs := []any{
		slog.String("reason", DropRetainedRevoked.String()), slog.String("topic", a.Topic), slog.String("client", who.ClientID),
		slog.String("user", who.UserName), slog.String("why", "its publisher may not publish it any more: "+r.Why),
	}
	if r.Rule != "" {
		attrs = append(attrs, slog.String("rule", r.Rule))
	}
	if held > 0 {
		attrs = append(attrs, slog.Int("held_back", held))
	}
	b.o.Logger.Info("retained message removed", attrs...)
}

// past is a client that published something.
type past struct {
	Info
	grant access.Grant
}
