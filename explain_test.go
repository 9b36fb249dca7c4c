package fantail_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// explained is what the broker says of a decision.
type explained struct {
	Allowed       bool
	By, Why, Do   string
	Hears         string
	Limits        []string
	Connected     bool
	Steps         []struct{ Step string }
	t             *testing.T
	question, all string
}

func explain(t *testing.T, data string, question fields) *explained {
	t.Helper()
	x := &explained{t: t, question: fmt.Sprint(question), all: tells(t, data, http.MethodPost, "/api/v1/explain", question, http.StatusOK)}
	if err := json.Unmarshal([]byte(x.all), x); err != nil {
		t.Fatal(err)
	}
	return x
}

// denied has to be, by something.
func (x *explained) denied(by, why string) {
	x.t.Helper()
	if x.Allowed || x.By != by || !strings.Contains(x.Why, why) {
		x.t.Errorf("%s: %s, want by %s: %q", x.question, x.all, by, why)
	}
}

func (x *explained) allowed() {
	x.t.Helper()
	if !x.Allowed {
		x.t.Errorf("%s: %s", x.question, x.all)
	}
}

func TestExplainTellsWhosePasswordIsNotLookedAt(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, data := manage(t, transport, fantail.Config{
			Auth:   fantail.Auth{Users: []fantail.User{{Name: "ann", Password: "pencil"}, {Name: "bob", Password: "eraser"}}},
			Limits: fantail.Limits{WrongPasswords: 3},
		})
		question := fields{"action": "connect", "client": "a", "user": "ann", "password": "pencil"}
		for range 5 { // to ask is no guess
			explain(t, data, fields{"action": "connect", "client": "a", "user": "ann", "password": "pen"}).denied("auth.users", "wrong")
		}
		for range 3 {
			explain(t, data, question).allowed()
			if a := s.dial(t).hello("a", shows("ann", "pen")); a.Code != packet.BadUserNameOrPassword {
				t.Fatal(a.Code)
			}
		}
		const why = "too many wrong passwords came for the user name from this address: none is looked at for "
		x := explain(t, data, question)
		x.denied("limits.wrong_passwords", why)
		a := s.dial(t).hello("a", shows("ann", "pencil"))
		if a.Code != packet.ConnectionRateExceeded || x.Hears != packet.Refuse(a.Code, a.Reason).Error() {
			t.Errorf("it hears %q and %v, %q", x.Hears, a.Code, a.Reason)
		}
		s.log.wait(t, "connection refused", "step="+x.By, why, "do="+x.Do)
		explain(t, data, fields{"action": "connect", "client": "a", "user": "ann"}).denied("limits.wrong_passwords", why)
		explain(t, data, fields{"action": "connect", "client": "a", "user": "bob", "password": "eraser"}).allowed()
		question["address"] = "192.0.2.1"
		explain(t, data, question).allowed()
	})
}

func TestExplainTellsOfCountsOfConnections(t *testing.T) {
	ann := fantail.Auth{Anonymous: "always", Users: []fantail.User{{Name: "ann", Password: "pencil"}}}
	for name, c := range map[string]struct {
		limits  fantail.Limits
		options string
		by      string
		why     string
	}{
		"of an address":  {fantail.Limits{PerAddress: fantail.PerAddress{Connections: 1}}, "", "address_connections", "limits.per_address.connections of 1"},
		"of a listener":  {fantail.Limits{}, "?max_connections=1", "listener_connections", "max_connections of 1"},
		"of a user":      {fantail.Limits{PerUser: fantail.PerUser{Connections: 1}}, "", "user_connections", "limits.per_user.connections"},
		"of all clients": {fantail.Limits{Connections: 1}, "", "limits.connections", "as many connections as it may"},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, transport string) {
				s, data := manage(t, transport, fantail.Config{
					Auth: ann, Limits: c.limits, Listeners: []fantail.Listener{listener(t, "tcp://127.0.0.1:0"+c.options)},
				})
				question := fields{"action": "connect", "client": "b", "user": "ann", "password": "pencil", "listener": s.Addresses()[0]}
				for range 5 {
					explain(t, data, question).allowed()
				}
				first := s.device(t, "a", shows("ann", "pencil"))
				x := explain(t, data, question)
				x.denied(c.by, c.why)
				a := s.dial(t).hello("b", shows("ann", "pencil"))
				if x.Hears != packet.Refuse(a.Code, a.Reason).Error() {
					t.Errorf("it hears %q and %v, %q", x.Hears, a.Code, a.Reason)
				}
				s.log.wait(t, "refused", x.Why)
				first.bye(packet.Disconnect{})
				eventually(t, func() bool { return explain(t, data, question).Allowed }, func() any { return "after it has left" })
			})
		})
	}
}

func TestExplainTellsOfRatesOfConnects(t *testing.T) {
	for name, c := range map[string]struct {
		limits  fantail.Limits
		options string
		why     string
	}{
		"of all":        {fantail.Limits{ConnectRate: 1}, "", "limits.connect_rate of 1"},
		"of an address": {fantail.Limits{PerAddress: fantail.PerAddress{ConnectRate: 1}}, "", "limits.per_address.connect_rate of 1"},
		"of a listener": {fantail.Limits{}, "?connect_rate=1", "its connect_rate of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := openTo(c.limits)
			cfg.Listeners = []fantail.Listener{listener(t, "tcp://127.0.0.1:0"+c.options)}
			s, data := manage(t, "auto", cfg)
			question := fields{"action": "connect", "client": "b", "listener": s.Addresses()[0]}
			for range 20 {
				explain(t, data, question).allowed()
			}
			var x *explained
			eventually(t, func() bool {
				x = explain(t, data, question)
				s.dial(t)
				return !x.Allowed && len(s.log.having("connections refused", x.Why)) > 0
			}, func() any { return x.all })
			x.denied("connect_rate", c.why)
		})
	}
}

func TestExplainTellsOfRatesOfMessages(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := openTo(fantail.Limits{MessagesIn: 1, BytesIn: 1 << 20, MaximumQoS: 1, PerUser: fantail.PerUser{MessagesIn: 1000}})
		c.Auth.Users = []fantail.User{{Name: "ann", Password: "pencil"}}
		c.Access.Default = "allow"
		s, data := manage(t, transport, c)
		question := fields{"action": "publish", "client": "a", "user": "ann", "topic": "t"}
		rates := "limits.messages_in: 1 messages a second, limits.bytes_in: 1048576 bytes a second, limits.per_user.messages_in: 1000 messages a second"
		x := explain(t, data, question) // as it would be
		if x.allowed(); strings.Join(x.Limits, ", ") != rates {
			t.Errorf("%q, want %s", x.Limits, rates)
		}
		pub := s.device(t, "a", shows("ann", "pencil"))
		for range 10 {
			x = explain(t, data, question)
		}
		if x.allowed(); !x.Connected || strings.Join(x.Limits, ", ") != rates {
			t.Errorf("%s, want %s", x.all, rates)
		}
		explain(t, data, fields{"action": "publish", "client": "a", "topic": "t", "qos": 2}).denied("qos_not_supported", "the QoS is above limits.maximum_qos")
		pub.flood("t", 20, 1)
		const slowed = "limits.messages_in: 1 messages a second; more has come: nothing is read from the client for "
		eventually(t, func() bool { return strings.HasPrefix(explain(t, data, question).Limits[0], slowed) }, func() any { return explain(t, data, question).all })
	})
}
