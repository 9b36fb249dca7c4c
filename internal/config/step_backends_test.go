package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const rightSQL = "driver: postgres, dsn: 'postgres://u:s3cret@h/x', query: 'SELECT password_hash FROM t WHERE a = ${username}'"

func TestMistakesInStepsThatAskSomebody(t *testing.T) {
	for step, want := range map[string][]string{
		"sql: {" + rightSQL + "}": nil,
		"sql: {}": {
			`sql.driver: "" is unknown: it is one of postgres, mysql`, "sql.dsn: is missing: it says where the database is",
			"sql.query: is missing: write one such as SELECT password_hash FROM users WHERE username = ${username}",
		},
		"sql: {driver: postgresql, dsn: x, query: '${username}'}": {`sql.driver: "postgresql" is unknown: did you mean postgres?`},
		"sql: {" + rightSQL + ", acl_query: '${password}'}": {
			"sql.acl_query: ${password} is unknown: there are ${username}, ${clientid}, ${ip}, ${listener}, ${transport}, ${cert.cn}, ${cert.dn}, ${cert.serial}",
		},
		"sql: {driver: mysql, dsn: x, query: 'SELECT 1'}":  {"sql.query: has no placeholder such as ${username}, so it says the same of every client"},
		"sql: {" + rightSQL + ", hash: sha265}":            {`sql.hash: "sha265" is unknown: did you mean sha256?`},
		"sql: {" + rightSQL + ", salt_position: prefix}":   {"sql.salt_position: means nothing here: it is for a hash of md5, sha1, sha256, sha512"},
		"sql: {" + rightSQL + ", timeout: 1ms, rest: 25h}": {"sql.timeout: 1ms is below 10ms", "sql.rest: 25h0m0s is above 1h0m0s"},

		"ldap: {url: 'ldaps://h', dn: 'uid=${username},dc=x'}": nil,
		"ldap: {}": {
			"ldap.url: is missing: write a URL such as ldaps://directory.example.org",
			"ldap.dn: is missing: write dn, or base and filter, to say who a client is in the directory",
		},
		"ldap: {url: 'http://h', dn: 'uid=x'}": {
			"ldap.url: begins with neither ldaps:// nor ldap://", "ldap.dn: has no placeholder such as ${username}, so it says the same of every client",
		},
		"ldap: {url: 'ldaps://h', start_tls: true, dn: 'uid=${username}', filter: '(uid=${username})', base: x}": {
			"ldap.start_tls: means nothing here: an ldaps URL begins with TLS", "ldap.filter: means nothing beside dn: leave one of them out",
		},
		"ldap: {url: 'ldap://h', ca: x, filter: '(uid=${username})', bind_dn: cn=x, group_filter: '(m=${dn})', superuser_group: cn=y}": {
			"ldap.ca: means nothing here: nothing is encrypted without start_tls or an ldaps URL", "ldap.base: is missing: it says where filter is looked for",
			"ldap.group_base: is missing: it says where group_filter is looked for", "ldap.bind_password: is missing: without one, bind_dn is nobody",
		},
		"ldap: {url: 'ldap://h', dn: 'uid=${user}', superuser_group: cn=y, connections: -1}": {
			"ldap.dn: ${user} is unknown: there are ${username}, ${clientid}, ${ip}, ${listener}, ${transport}, ${cert.cn}, ${cert.dn}, ${cert.serial}",
			"ldap.superuser_group: is of use only with group_attribute or group_filter, which say what groups a client is in",
			"ldap.connections: -1 is below 0",
		},

		"certificate: {}": nil,
		"certificate":     {`here go keys and values`},
		"certificate: {user: san_uri, client_id: cn}": nil,
		"certificate: {user: subject}":                {`certificate.user: "subject" is unknown: it is one of cn, dn, san_dns, san_email, san_uri`},
	} {
		t.Run(step, func(t *testing.T) {
			_, err := Parse([]byte("auth:\n  chain:\n    - " + step + "\n"))
			var got []string
			if err != nil {
				for _, m := range mistakesOf(t, err) {
					if m.Line != 3 {
						t.Errorf("line %d: %v", m.Line, m)
					}
					got = append(got, strings.TrimPrefix(m.String(), "auth.chain[0]."))
				}
			}
			if len(got) == 1 && len(want) == 1 && strings.Contains(got[0], want[0]) {
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestStepsHideTheirPasswords(t *testing.T) {
	c, err := Parse([]byte("auth: {chain: [{sql: {" + rightSQL + "}}, {ldap: {url: 'ldap://h', dn: 'uid=${username}', bind_dn: cn=x, bind_password: s3cret}}]}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{c.Auth.Chain[0].SQL, c.Auth.Chain[1].LDAP} {
		if text := fmt.Sprint(v); strings.Contains(text, "s3cret") {
			t.Errorf("%s", text)
		}
	}
}

func TestTheCAOfADirectoryIsRelativeToTheFile(t *testing.T) {
	path := write(t, "auth: {chain: [{ldap: {url: 'ldaps://h', dn: 'uid=${username}', ca: ca.pem}}]}\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(path), "ca.pem"); c.Auth.Chain[0].LDAP.CA != want {
		t.Errorf("%s, want %s", c.Auth.Chain[0].LDAP.CA, want)
	}
}
