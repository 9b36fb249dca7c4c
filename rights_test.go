package fantail_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// rights is a LastingAuthorizer whose answers a test changes: what is closed
// begins with one of its words, as in "receive secret/".
type rights struct {
	version atomic.Uint64
	closed  atomic.Pointer[[]string]
}

func (r *rights) close(words ...string) {
	r.closed.Store(&words)
	r.version.Add(1)
}

func (r *rights) Version() uint64 { return r.version.Load() }

func (r *rights) Access(who *fantail.ClientInfo, a fantail.Ask) error {
	list := r.closed.Load()
	if list == nil {
		return nil
	}
	for _, word := range *list {
		action, topic, _ := strings.Cut(word, " ")
		user, topic, _ := strings.Cut(topic, " ")
		if action == a.Action.String() && user == who.UserName && strings.HasPrefix(a.Topic, topic) {
			return errors.New("it is closed to " + user)
		}
	}
	return nil
}

// proven lets everybody in as the user that it says it is, if it says one.
type proven struct{ expires time.Duration }

func (p proven) Authenticate(_ context.Context, r *fantail.ConnectRequest) (*fantail.Grant, error) {
	if !r.HasUserName {
		return nil, nil
	}
	g := &fantail.Grant{By: "the test"}
	if p.expires > 0 {
		g.Expires = time.Now().Add(p.expires).UnixMilli()
	}
	return g, nil
}

// guarded is a broker whose clients prove their user names, with rights.
func guarded(t *testing.T, transport string, c fantail.Config) (*server, *rights) {
	t.Helper()
	r := &rights{}
	return serve(t, transport, c, func(b *fantail.Broker) {
		b.UseAuthenticator(proven{})
		b.UseAuthorizer(r)
	}), r
}

func as(user string, change ...func(*packet.Connect)) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.HasUserName, c.UserName = user != "", user
		for _, f := range change {
			f(c)
		}
	}
}

func TestWhatAClientMayNotReceiveIsNotDelivered(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, r := guarded(t, transport, fantail.Config{})
		ann := s.device(t, "a", as("ann")).to("#", 1)
		bob := s.device(t, "b", as("bob")).to("#", 1)
		shared := s.device(t, "c", as("ann")).to("$share/g/secret/#", 1)
		pub := s.device(t, "p", as("pub"))
		pub.say("secret/a", "1")
		ann.hears("1")
		bob.hears("1")
		shared.hears("1")
		r.close("receive ann secret/")
		pub.say("secret/a", "2")
		bob.hears("2")
		pub.say("open", "3")
		ann.hears("3")
		bob.hears("3")
		shared.quiet()
		s.reaches(t, `messages_dropped_total{reason="may_not_receive"}`, 2)
		r.close()
		pub.say("secret/a", "4")
		ann.hears("4")
		bob.hears("4")
		shared.hears("4")
	})
}

func TestRetainedMessagesThatAClientMayNotReceive(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, r := guarded(t, transport, fantail.Config{})
		pub := s.device(t, "p", as("pub"))
		pub.keep("secret/a", "1")
		pub.keep("tell/a", "2")
		r.close("receive ann secret/")
		s.device(t, "a", as("ann")).to("#", 1).hears("2")
	})
}

func TestRightsOfAClientThatIsAway(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, r := guarded(t, transport, fantail.Config{})
		s.device(t, "a", as("ann", lasting)).to("#", 1).lose()
		pub := s.device(t, "p", as("pub"))
		r.close("receive ann secret/")
		pub.say("secret/a", "1")
		pub.say("open", "2")
		back, _ := s.connect(t, "a", as("ann", lasting))
		back.hears("2")
		back.quiet()
	})
}

// What has waited is not given to a client that may not receive it by then, be it
// queued, or in flight when the connection was lost.
func TestWhatWaitedForAClientIsAskedAboutWhenItComesBack(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, r := guarded(t, transport, fantail.Config{})
		two := func(c *packet.Connect) { c.ReceiveMaximum = 2 }
		ann := s.device(t, "a", as("ann", lasting, two)).to("#", 1)
		pub := s.device(t, "p", as("pub"))
		say := func(topics ...string) {
			for _, topic := range topics {
				pub.say(topic, topic)
			}
		}
		say("secret/flying", "open/flying")
		for range 2 { // which it does not acknowledge
			ann.nextPublish()
		}
		say("secret/queued", "open/queued", "secret/last")
		ann.lose()
		r.close("receive ann secret/")
		back, _ := s.connect(t, "a", as("ann", lasting, two))
		back.hears("open/flying", "open/queued")
		back.quiet()
		s.reaches(t, `messages_dropped_total{reason="may_not_receive"}`, 3)
		s.reaches(t, "queue_messages", 0)
		r.close() // what comes then is given to it
		say("secret/new")
		back.hears("secret/new")
	})
}

// So it is for a client that is connected, and slow.
func TestWhatWaitsForAConnectedClientIsAskedAboutAfterAChange(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, r := guarded(t, transport, fantail.Config{})
		ann := s.device(t, "a", as("ann", lasting, func(c *packet.Connect) { c.ReceiveMaximum = 1 })).to("#", 1)
		pub := s.device(t, "p", as("pub"))
		for _, topic := range []string{"open", "secret/queued", "tell/queued"} {
			pub.say(topic, topic)
		}
		first := ann.nextPublish()
		r.close("receive ann secret/")
		s.Reassess()
		ann.answer(packet.PUBACK, first.ID)
		ann.hears("tell/queued")
		s.reaches(t, `messages_dropped_total{reason="may_not_receive"}`, 1)
	})
}

func TestReassessEndsSubscriptions(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, r := guarded(t, transport, fantail.Config{})
		ann := s.device(t, "a", as("ann")).to("secret/#", 1).to("open", 1)
		pub := s.device(t, "p", as("pub"))
		r.close("subscribe ann secret/")
		s.Reassess()
		s.log.wait(t, "subscription refused", "filter=secret/#")
		r.close()
		pub.say("secret/a", "1")
		pub.say("open", "2")
		ann.hears("2")
	})
}

func TestAWillIsNotPublishedOnceItsClientMayNot(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, r := guarded(t, transport, fantail.Config{})
		will := func(topic string) func(*packet.Connect) {
			return func(c *packet.Connect) { c.Will = &packet.Will{Topic: topic, Payload: []byte("gone")} }
		}
		sub := s.device(t, "s", as("sub")).to("#", 1)
		a := s.device(t, "a", as("ann", will("secret/a")))
		b := s.device(t, "b", as("ann", will("open/a")))
		r.close("publish ann secret/")
		a.lose()
		s.reaches(t, `messages_dropped_total{reason="not_authorized"}`, 1)
		b.lose()
		if m := sub.take(); string(m.Topic) != "open/a" {
			t.Errorf("a will came on %s", m.Topic)
		}
	})
}

func TestASessionIsItsOwners(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, _ := guarded(t, transport, fantail.Config{})
		ann := s.device(t, "x", as("ann", lasting)).to("a", 1)
		for _, user := range []string{"eve", ""} {
			if ack := s.dial(t).hello("x", as(user)); ack.Code != packet.ClientIdentifierNotValid {
				t.Errorf("%q took a connected client over: %v", user, ack.Code)
			}
		}
		s.log.wait(t, "connection refused", "client=x", "user=eve", "the user ann", "auth.client_ids")
		ann.lose()
		s.reaches(t, "clients_connected", 0)
		if ack := s.dial(t).hello("x", as("eve")); ack.Code != packet.ClientIdentifierNotValid {
			t.Errorf("eve took a session over: %v", ack.Code)
		}
		s.device(t, "p", as("pub")).say("a", "kept")
		back, _ := s.connect(t, "x", as("ann", lasting))
		back.hears("kept")
	})
}

func TestASessionIsItsOwnersAfterARestart(t *testing.T) {
	c := fantail.Config{Data: t.TempDir()}
	s, _ := guarded(t, onDisk, c)
	s.device(t, "x", as("ann", lasting)).to("a", 1)
	s.stop()
	<-s.done
	s, _ = guarded(t, onDisk, c)
	if ack := s.dial(t).hello("x", as("eve")); ack.Code != packet.ClientIdentifierNotValid {
		t.Errorf("eve took a session over: %v", ack.Code)
	}
	if ack := s.dial(t).hello("x", as("ann", lasting)); ack.Code != packet.Success || !ack.SessionPresent {
		t.Errorf("ann: %v, session present %v", ack.Code, ack.SessionPresent)
	}
}

func TestClientIDsMayBeShared(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, _ := guarded(t, transport, fantail.Config{Auth: fantail.Auth{ClientIDs: "shared"}})
		ann := s.device(t, "x", as("ann"))
		s.device(t, "x", as("bob"))
		ann.sentAway(packet.SessionTakenOver)
	})
}

// A grant may give the client another name and another client id.
type renames struct{}

func (renames) Authenticate(context.Context, *fantail.ConnectRequest) (*fantail.Grant, error) {
	return &fantail.Grant{By: "the test", UserName: "real", ClientID: "given", Attributes: map[string]string{"site": "porch"}}, nil
}

func TestAGrantRenamesAClient(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		var seen atomic.Pointer[fantail.ClientInfo]
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) {
			b.UseAuthenticator(renames{})
			b.UseAuthorizer(authorizerOf(func(who *fantail.ClientInfo, _ fantail.Ask) error {
				seen.Store(who)
				return nil
			}))
		})
		w, ack := s.connect(t, "asked", as("said"))
		if ack.AssignedClientID != "given" {
			t.Errorf("assigned %q", ack.AssignedClientID)
		}
		w.to("a", 0)
		if i := seen.Load(); i.ClientID != "given" || i.UserName != "real" || i.Grant.Attributes["site"] != "porch" {
			t.Errorf("known as %+v", i)
		}
	})
}

type authorizerOf func(*fantail.ClientInfo, fantail.Ask) error

func (f authorizerOf) Access(who *access.Info, a access.Ask) error { return f(who, a) }

func TestAClientLeavesWhenItsGrantExpires(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) { b.UseAuthenticator(proven{expires: time.Second}) })
		stays := s.device(t, "b", nil)
		s.device(t, "a", as("ann")).sentAway(packet.MaximumConnectTime)
		stays.quiet()
	})
}

func TestRefusalsOfOneClientAreHeldBackInTheLog(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Auth: users()}, nil)
		for range 5 {
			s.dial(t).hello("x", as("eve"))
		}
		s.dial(t).hello("y", as("eve"))
		s.log.wait(t, "connection refused", "client=y")
		if n := len(s.log.having("connection refused", "client=x")); n != 1 {
			t.Errorf("%d lines of x, want 1", n)
		}
		s.reaches(t, `connections_refused_total{reason="bad_user_name_or_password"}`, 6)
	})
}

func TestTheStepsOfTheAuthenticationAreCounted(t *testing.T) {
	s := serve(t, "auto", fantail.Config{Auth: users()}, nil)
	s.dial(t).hello("x", as("eve"))
	s.dial(t).hello("x", as("ann"))
	s.reaches(t, `auth_total{step="auth.users",verdict="ignore"}`, 1)
	s.reaches(t, `auth_total{step="auth.users",verdict="deny"}`, 1)
	s.reaches(t, `auth_failures_total{step="auth.users"}`, 0)
}
