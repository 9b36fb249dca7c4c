//go:build linux

package sql_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/sql"
)

func TestColumnsBecomeAGrant(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		for columns, want := range map[string]access.Grant{
			"is_superuser":               {Superuser: true},
			"'on' AS is_superuser":       {Superuser: true},
			"'0' AS IS_SUPERUSER":        {},
			"NULL AS is_superuser":       {},
			"username":                   {UserName: "root"}, // as the table has it
			"'c-9' AS client_id":         {ClientID: "c-9"},
			"NULL AS client_id":          {},
			"'slow' AS limits":           {Limits: "slow"},
			"'a, b ,' AS groups_":        {Attributes: map[string]string{"groups_": "a, b ,"}},
			"'a, b ,' AS \"groups\"":     {Groups: []string{"a", "b"}},
			"'[\"a b\"]' AS \"groups\"":  {Groups: []string{"a b"}},
			"12 AS floor, NULL AS house": {Attributes: map[string]string{"floor": "12"}},
			"'{\"site\": \"north\", \"n\": 7, \"ok\": true, \"x\": null}' AS client_attrs": {Attributes: map[string]string{"site": "north", "n": "7", "ok": "true"}},
		} {
			if b.driver == sql.DriverMySQL {
				columns = replaceQuotes(columns)
			}
			s := b.step(t, func(o *sql.Options) {
				o.Query = "SELECT password_hash, " + columns + " FROM users WHERE username = ${username}"
			})
			a := check(t, s, as("root", "pencil"))
			if a.Verdict != auth.Allow {
				t.Errorf("%s: %+v", columns, a)
				continue
			}
			if diff := cmp.Diff(want, a.Grant, cmp.AllowUnexported(access.Rules{})); diff != "" {
				t.Errorf("%s: %s", columns, diff)
			}
		}
	})
}

// replaceQuotes writes the name of a column as MySQL does, but for those in a
// text.
func replaceQuotes(columns string) string {
	if columns == "'a, b ,' AS \"groups\"" {
		return "'a, b ,' AS `groups`"
	}
	if columns == "'[\"a b\"]' AS \"groups\"" {
		return "'[\"a b\"]' AS `groups`"
	}
	return columns
}

func TestTypesOfPostgreSQL(t *testing.T) {
	for _, b := range backends {
		if b.driver != sql.DriverPostgres {
			continue
		}
		for columns, want := range map[string]access.Grant{
			`ARRAY['a','b c','d"e,\f',NULL] AS groups`:      {Groups: []string{"a", "b c", `d"e,\f`}},
			`ARRAY[]::text[] AS groups`:                     {},
			`'{"site": {"a": 1}}'::jsonb->'site' AS x`:      {Attributes: map[string]string{"x": `{"a": 1}`}},
			`'{"site": "north"}'::jsonb AS client_attrs`:    {Attributes: map[string]string{"site": "north"}},
			`1.50::numeric AS x, 'k'::char(3) AS y`:         {Attributes: map[string]string{"x": "1.50", "y": "k  "}},
			`'\x6b'::bytea AS x, '10.0.0.1/24'::inet AS ip`: {Attributes: map[string]string{"x": "k", "ip": "10.0.0.1/24"}},
		} {
			s := b.step(t, func(o *sql.Options) {
				o.Query = "SELECT password_hash, " + columns + " FROM users WHERE username = ${username}"
			})
			a := check(t, s, as("ann", "pencil"))
			if diff := cmp.Diff(want, a.Grant, cmp.AllowUnexported(access.Rules{})); a.Verdict != auth.Allow || diff != "" {
				t.Errorf("%s: %+v %s", columns, a, diff)
			}
		}
	}
}

func TestOtherPlaceholders(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, func(o *sql.Options) {
			o.Query = "SELECT password_hash FROM users WHERE username = ${username} AND ${clientid} = 'c-1' AND ${ip} = '' AND ${username} = ${username}"
		})
		if a := check(t, s, as("ann", "pencil")); a.Verdict != auth.Allow {
			t.Errorf("%+v", a)
		}
		r := as("ann", "pencil")
		r.ClientID = "c-2"
		if a := check(t, s, r); a.Verdict != auth.Ignore {
			t.Errorf("%+v", a)
		}
	})
}
