//go:build linux

package sql_test

import (
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/sql"
)

func TestRulesOfAClient(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, func(o *sql.Options) {
			o.AccessQuery = "SELECT permission, action, topic, qos, retain FROM acl WHERE username = ${username} ORDER BY topic"
		})
		decide := func(user string, a access.Ask) access.Decision {
			r := as(user, "pencil")
			answer := check(t, s, r)
			if answer.Verdict != auth.Allow {
				t.Fatalf("%+v", answer)
			}
			return answer.Grant.Rules.Decide(&access.Info{ClientID: r.ClientID, UserName: user, Grant: &answer.Grant}, a)
		}
		for _, c := range []struct {
			ask              access.Ask
			matched, allowed bool
		}{
			{access.Ask{Action: access.Publish, Topic: "c/c-1/x"}, true, true},
			{access.Ask{Action: access.Publish, Topic: "c/c-2/x"}, false, false},
			{access.Ask{Action: access.Publish, Topic: "a/secret"}, true, false},
			{access.Ask{Action: access.Subscribe, Topic: "b/1"}, true, true},
			{access.Ask{Action: access.Receive, Topic: "b/1"}, true, true},
			{access.Ask{Action: access.Publish, Topic: "b/1"}, false, false},
			{access.Ask{Action: access.Publish, Topic: "d", QoS: 1}, true, true},
			{access.Ask{Action: access.Publish, Topic: "d", QoS: 2}, false, false},
			{access.Ask{Action: access.Publish, Topic: "e", Retain: true}, true, false},
			{access.Ask{Action: access.Publish, Topic: "e"}, false, false},
		} {
			if d := decide("ann", c.ask); d.Matched != c.matched || d.Allowed != c.allowed {
				t.Errorf("%+v: %+v", c.ask, d)
			}
		}
		if a := check(t, s, as("root", "pencil")); a.Verdict != auth.Allow || a.Grant.Rules != nil {
			t.Errorf("a superuser has rules: %+v", a)
		}
		if a := check(t, s, as(strange, "pencil")); a.Verdict != auth.Allow || a.Grant.Rules != nil {
			t.Errorf("a client without rows has rules: %+v", a)
		}
	})
}

func TestMistakesInRules(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		for query, words := range map[string]string{
			"SELECT 'allow' AS permission, 'publish' AS action FROM users WHERE username = ${username}":                        "no column topic",
			"SELECT 'allow' AS permission, 'publish' AS action, 'a/#/b' AS topic FROM users WHERE username = ${username}":      "a/#/b",
			"SELECT 'Yes' AS permission, 'publish' AS action, 'a' AS topic FROM users WHERE username = ${username}":            "neither allow nor deny",
			"SELECT 'allow' AS permission, 'pub' AS action, 'a' AS topic FROM users WHERE username = ${username}":              "none of publish",
			"SELECT 'allow' AS permission, 'all' AS action, NULL AS topic FROM users WHERE username = ${username}":             "topic is NULL",
			"SELECT 'allow' AS permission, 'all' AS action, 'a' AS topic, 3 AS qos FROM users WHERE username = ${username}":    "none of 0, 1 and 2",
			"SELECT 'allow' AS permission, 'all' AS action, 'a' AS topic, 'x' AS retain FROM users WHERE username=${username}": "true, false",
			"SELECT 'allow' AS permission, 'all' AS action, 'a' AS topic, 1 AS ip FROM users WHERE username = ${username}":     "column ip",
			"SELECT permission, action, topic FROM rights WHERE username = ${username}":                                        "rights",
		} {
			s := b.step(t, func(o *sql.Options) { o.AccessQuery = query })
			a := check(t, s, as("ann", "pencil"))
			if !a.Failed || !strings.Contains(a.Why, words) || !strings.Contains(a.Do, "acl_query") {
				t.Errorf("%s: %+v", query, a)
			}
		}
	})
}
