//go:build linux

package ldap_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/ldap"
)

func TestCheck(t *testing.T) {
	each(t, func(t *testing.T, way func(*ldap.Options)) {
		s := step(t, way)
		unknown := auth.Ignore
		if s.Check(t.Context(), as("eve", "pencil")).Verdict == auth.Deny {
			unknown = auth.Deny // a directory does not tell an unknown name from a wrong password
		}
		for name, c := range map[string]struct {
			user, password string
			want           auth.Verdict
		}{
			"the right password":               {"ann", "pencil", auth.Allow},
			"a name in other letters":          {"ANN", "pencil", auth.Allow},
			"a wrong password":                 {"ann", "pencils", auth.Deny},
			"no password":                      {"ann", "", auth.Deny},
			"a password of zeros":              {"ann", "\x00", auth.Deny},
			"a password with a zero in it":     {"ann", "pencil\x00", auth.Deny},
			"an unknown user":                  {"eve", "pencil", unknown},
			"no name":                          {"", "pencil", auth.Ignore},
			"a name of metacharacters":         {strange, "pencil", auth.Allow},
			"a name of metacharacters, wrong":  {strange, "x", auth.Deny},
			"anybody":                          {"*", "pencil", unknown},
			"a part of a name":                 {"an*", "pencil", unknown},
			"a filter's end":                   {"ann)(uid=*", "pencil", unknown},
			"a filter's end and a comment":     {"*)(|(uid=ann", "pencil", unknown},
			"a DN's end":                       {"ann,ou=people,dc=example,dc=org", "pencil", unknown},
			"a second attribute":               {"ann+cn=A Person", "pencil", unknown},
			"another entry":                    {"twin,ou=more", "pencil", unknown},
			"the empty name of the directory":  {",", "pencil", unknown},
			"an octet that is written escaped": {`\61nn`, "pencil", unknown},
			"an attribute's value in BER":      {"#0403616e6e", "pencil", unknown},
			"a zero":                           {"ann\x00", "pencil", auth.Ignore},
			"a line's end":                     {"ann\n", "pencil", auth.Ignore},
			"a space before the name":          {" ann", "pencil", auth.Ignore},
			"a space behind the name":          {"ann ", "pencil", auth.Ignore},
			"bytes that are no text":           {"ann\xff", "pencil", auth.Ignore},
		} {
			t.Run(name, func(t *testing.T) {
				if a := check(t, s, as(c.user, c.password)); a.Verdict != c.want || a.Failed {
					t.Errorf("%+v, want %v", a, c.want)
				}
			})
		}
		if f := s.Breaker().Figures(); f.Failed != 0 {
			t.Errorf("what clients said counts against the directory: %+v", f)
		}
	})
}

// The directory of these tests lets in a name without a password: that it is
// denied is this step's doing.
func TestAnEmptyPasswordDoesNotReachTheDirectory(t *testing.T) {
	c, err := client.DialURL("ldap://" + slapd.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.UnauthenticatedBind("uid=ann,ou=people,dc=example,dc=org"); err != nil {
		t.Fatalf("the directory is stricter than this test needs: %v", err)
	}
	each(t, func(t *testing.T, way func(*ldap.Options)) {
		s := step(t, way)
		for _, r := range []*access.Request{as("ann", ""), {UserName: "ann", HasUserName: true}} {
			a := check(t, s, r)
			if a.Verdict != auth.Deny || a.Failed || !strings.Contains(a.Why, "no password") {
				t.Errorf("%+v", a)
			}
		}
	})
}

// begun is how many binds and searches the directory has begun, but for those of
// the monitor.
func begun(t *testing.T, monitor *client.Conn) (n [2]int) {
	t.Helper()
	for i, op := range []string{"Bind", "Search"} {
		found, err := monitor.Search(client.NewSearchRequest("cn="+op+",cn=Operations,cn=Monitor", client.ScopeBaseObject, client.NeverDerefAliases,
			0, 0, false, "(objectClass=*)", []string{"monitorOpInitiated"}, nil))
		if err != nil || len(found.Entries) != 1 {
			t.Fatalf("%v: %v", found, err)
		}
		if n[i], err = strconv.Atoi(found.Entries[0].GetAttributeValue("monitorOpInitiated")); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// An unknown name costs the directory what a known one with a wrong password
// does, so the time does not tell which names there are. It is counted in what the
// directory does: clocks are not to be trusted.
func TestAnUnknownNameCostsWhatAKnownOneDoes(t *testing.T) {
	monitor, err := client.DialURL("ldap://" + slapd.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	if err := monitor.Bind("cn=admin,dc=example,dc=org", "admin"); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, way func(*ldap.Options)) {
		s := step(t, way)
		cost := func(user, password string, want auth.Verdict) (n [2]int) {
			t.Helper()
			before := begun(t, monitor)
			if a := check(t, s, as(user, password)); a.Verdict != want || a.Failed {
				t.Errorf("%s: %+v, want %v", user, a, want)
			}
			n = begun(t, monitor)
			return [2]int{n[0] - before[0], n[1] - before[1] - 2} // two looks at the monitor
		}
		unknown := auth.Deny
		if s.Check(t.Context(), as("eve", "guess")).Verdict == auth.Ignore {
			unknown = auth.Ignore
		}
		for _, password := range []string{"guess", "", "\x00"} {
			known := cost("ann", password, auth.Deny)
			if password == "guess" && known[0] == 0 {
				t.Error("nothing is bound for a wrong password")
			}
			for _, name := range []string{"eve", "*", "mallory"} {
				if got := cost(name, password, unknown); got != known {
					t.Errorf("%s with the password %q: %d binds and %d searches, of ann %d and %d", name, password, got[0], got[1], known[0], known[1])
				}
			}
		}
	})
}

func TestAUserThatIsTwo(t *testing.T) {
	a := check(t, step(t, bySearch), as("twin", "pencil"))
	if !a.Failed || !strings.Contains(a.Why, "more than one entry") {
		t.Errorf("%+v", a)
	}
}

func TestGrant(t *testing.T) {
	groups := func(o *ldap.Options) {
		o.GroupBase, o.GroupFilter = "ou=groups,dc=example,dc=org", "(&(objectClass=groupOfNames)(member=${dn}))"
	}
	admins := func(o *ldap.Options) { o.SuperuserGroup = "CN=Admins, ou=groups,dc=example,dc=org" }
	memberOf := func(o *ldap.Options) { o.GroupAttribute = "memberOf" }
	for name, c := range map[string]struct {
		user    string
		changes []func(*ldap.Options)
		want    access.Grant
	}{
		"nothing is asked for": {"ann", nil, access.Grant{}},
		"the name as it is written there": {
			"ANN", []func(*ldap.Options){func(o *ldap.Options) { o.UserAttribute = "UID" }}, access.Grant{UserName: "ann"},
		},
		"attributes": {
			"ann",
			[]func(*ldap.Options){func(o *ldap.Options) { o.Attributes = map[string]string{"site": "l", "car": "carLicense"} }},
			access.Grant{Attributes: map[string]string{"site": "north"}},
		},
		"groups by memberOf": {"ann", []func(*ldap.Options){memberOf, admins}, access.Grant{Groups: []string{"a, (b)", "admins"}, Superuser: true}},
		"a group of the same name elsewhere": {
			strange, []func(*ldap.Options){memberOf, admins}, access.Grant{Groups: []string{"a, (b)", "admins"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, way func(*ldap.Options)) { granted(t, c.user, c.want, append(c.changes, way)) })
		})
	}
	t.Run("a search for groups", func(t *testing.T) {
		granted(t, "ann", access.Grant{Groups: []string{"a, (b)", "admins"}, Superuser: true}, []func(*ldap.Options){bySearch, groups, admins})
		granted(t, strange, access.Grant{Groups: []string{"a, (b)"}}, []func(*ldap.Options){bySearch, groups, admins})
	})
}

func granted(t *testing.T, user string, want access.Grant, changes []func(*ldap.Options)) {
	t.Helper()
	a := check(t, step(t, changes...), as(user, "pencil"))
	slices.Sort(a.Grant.Groups)
	if diff := cmp.Diff(want, a.Grant, cmp.AllowUnexported(access.Rules{})); a.Verdict != auth.Allow || diff != "" {
		t.Errorf("%v, %s: %s", a.Verdict, a.Why, diff)
	}
}

func TestMistakesOfTheOwner(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ldap.Options)
		words  string
	}{
		"a wrong password of the service": {func(o *ldap.Options) { o.BindPassword = "wrong" }, "bind_dn"},
		"a base that is not there":        {func(o *ldap.Options) { o.Base = "ou=nobody,dc=example,dc=org" }, "search for the client"},
		"a base for groups that is not there": {func(o *ldap.Options) {
			o.GroupBase, o.GroupFilter = "ou=nobody,dc=example,dc=org", "(member=${dn})"
		}, "groups"},
	} {
		t.Run(name, func(t *testing.T) {
			s := step(t, bySearch, c.change)
			for range 10 { // it stays what it is: the breaker does not open
				a := check(t, s, as("ann", "pencil"))
				if !a.Failed || !strings.Contains(a.Why, c.words) || a.Do == "" || strings.Contains(a.Why, secret) {
					t.Fatalf("%+v", a)
				}
			}
		})
	}
}

func TestTLS(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ldap.Options)
		failed string
	}{
		"ldaps":                {func(o *ldap.Options) { o.URL, o.CA = "ldaps://"+slapd.tls, slapd.ca }, ""},
		"StartTLS":             {func(o *ldap.Options) { o.StartTLS, o.CA = true, slapd.ca }, ""},
		"ldaps, unknown CA":    {func(o *ldap.Options) { o.URL = "ldaps://" + slapd.tls }, "certificate"},
		"StartTLS, unknown CA": {func(o *ldap.Options) { o.StartTLS = true }, "certificate"},
		"ldaps, other name": {func(o *ldap.Options) {
			o.URL, o.CA = "ldaps://"+strings.Replace(slapd.tls, "127.0.0.1", "localhost", 1), slapd.ca
		}, "certificate"},
		"ldaps on the plain port": {func(o *ldap.Options) { o.URL, o.Timeout = "ldaps://"+slapd.plain, time.Second }, "does not answer"},
		"plain on the TLS port":   {func(o *ldap.Options) { o.URL, o.Timeout = "ldap://"+slapd.tls, time.Second }, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, way func(*ldap.Options)) {
				a := check(t, step(t, way, c.change), as("ann", "pencil"))
				if (a.Verdict == auth.Allow) != (c.failed == "") || c.failed != "" && (!a.Failed || !strings.Contains(a.Why, c.failed)) {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

func TestFrozenDirectory(t *testing.T) {
	slapd.Freeze()
	defer slapd.Thaw()
	tls := func(o *ldap.Options) { o.URL, o.CA = "ldaps://"+slapd.tls, slapd.ca }
	startTLS := func(o *ldap.Options) { o.StartTLS, o.CA = true, slapd.ca }
	for _, change := range []func(*ldap.Options){func(*ldap.Options) {}, tls, startTLS} {
		s := step(t, bySearch, change, func(o *ldap.Options) { o.Timeout = 200 * time.Millisecond })
		start := time.Now()
		a := check(t, s, as("ann", "pencil"))
		if took := time.Since(start); !a.Failed || !strings.Contains(a.Why, "no answer within 200ms") || took > 5*time.Second {
			t.Errorf("after %v: %+v", took, a)
		}
	}
}

func TestDirectoryGoesAndComesBack(t *testing.T) {
	s := step(t, bySearch, func(o *ldap.Options) { o.Rest = time.Millisecond })
	slow := step(t, byDN) // it does not wait for the directory
	slapd.Stop()
	for range 8 {
		for _, s := range []*ldap.LDAP{s, slow} {
			if a := check(t, s, as("ann", "pencil")); !a.Failed || !strings.Contains(a.Why, "does not answer") {
				t.Fatalf("%+v", a)
			}
		}
	}
	if a := check(t, slow, as("ann", "pencil")); !strings.Contains(a.Why, "not asked") {
		t.Errorf("%+v", a)
	}
	if err := slapd.Again(); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(10 * time.Second)
	for check(t, s, as("ann", "pencil")).Verdict != auth.Allow {
		if time.Now().After(until) {
			t.Fatal("it does not come back")
		}
	}
}

func TestClientsWithoutANameAreNotAskedFor(t *testing.T) {
	s := step(t, byDN)
	for _, r := range []*access.Request{{}, {HasUserName: true, Password: []byte("x"), HasPassword: true}} {
		if s.Concerns(r) || check(t, s, r).Verdict != auth.Ignore {
			t.Errorf("%+v concerns it", r)
		}
	}
}

// The file of authorities is read again, for both ways to TLS.
func TestAuthoritiesAreReadAgain(t *testing.T) {
	other, _, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	right, err := os.ReadFile(slapd.ca)
	if err != nil {
		t.Fatal(err)
	}
	for name, tls := range map[string]func(*ldap.Options){
		"ldaps":    func(o *ldap.Options) { o.URL = "ldaps://" + slapd.tls },
		"StartTLS": func(o *ldap.Options) { o.StartTLS = true },
	} {
		t.Run(name, func(t *testing.T) {
			ca := filepath.Join(t.TempDir(), "ca.pem")
			write := func(text []byte) {
				if err := os.WriteFile(ca, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write([]byte(other))
			s := step(t, bySearch, tls, func(o *ldap.Options) { o.CA, o.Failures = ca, 1000 })
			known := func(want bool) {
				t.Helper()
				a := check(t, s, as("ann", "pencil"))
				if (a.Verdict == auth.Allow) != want || !want && !strings.Contains(a.Why, "certificate") {
					t.Errorf("%+v", a)
				}
			}
			known(false)
			write(right)
			commit, err := s.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			known(false)
			commit()
			known(true)
			write([]byte("nonsense"))
			if _, err := s.Prepare(); err == nil || !strings.Contains(err.Error(), "ldap: ca: "+ca+" holds no certificate: it has to be") {
				t.Errorf("%v", err)
			}
			known(true)
		})
	}
}
