//go:build linux

package sql_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/sql"
)

func TestCheck(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, nil)
		for name, c := range map[string]struct {
			user, password string
			want           auth.Verdict
		}{
			"the right password":                     {"ann", "pencil", auth.Allow},
			"a wrong password":                       {"ann", "pencils", auth.Deny},
			"no password":                            {"ann", "", auth.Deny},
			"an unknown user":                        {"eve", "pencil", auth.Ignore},
			"no name":                                {"", "pencil", auth.Ignore},
			"a name of metacharacters":               {strange, "pencil", auth.Allow},
			"a name of metacharacters, wrong":        {strange, "x", auth.Deny},
			"an account without a password":          {"none", "", auth.Deny},
			"an account with an empty one":           {"empty", "", auth.Deny},
			"a condition that is always true":        {"' OR '1'='1", "pencil", auth.Ignore},
			"a comment":                              {"ann' -- ", "pencil", auth.Ignore},
			"a comment of MySQL":                     {"ann'#", "pencil", auth.Ignore},
			"a second statement":                     {"ann'; DROP TABLE users; --", "pencil", auth.Ignore},
			"a union":                                {"x' UNION SELECT 'x', 'x', true -- ", "x", auth.Ignore},
			"a backslash":                            {`ann\`, "pencil", auth.Ignore},
			"a backslash and a quote":                {`ann\' OR 1=1 -- `, "pencil", auth.Ignore},
			"the half of a multi-byte character":     {"ann\xbf' OR 1=1 -- ", "pencil", auth.Ignore},
			"a zero":                                 {"ann\x00", "pencil", auth.Ignore},
			"the name of a parameter":                {"$1", "pencil", auth.Ignore},
			"a placeholder":                          {"${username}", "pencil", auth.Ignore},
			"a wildcard":                             {"%", "pencil", auth.Ignore},
			"an emoji":                               {"\U0001F511", "pencil", auth.Ignore},
			"64 KiB":                                 {strings.Repeat("'", 65535), "pencil", auth.Ignore},
			"a name with a space behind it":          {"eve ", "pencil", auth.Ignore},
			"a password that looks like a parameter": {"ann", "$2", auth.Deny},
		} {
			t.Run(name, func(t *testing.T) {
				if a := check(t, s, as(c.user, c.password)); a.Verdict != c.want || a.Failed {
					t.Errorf("%v (%s), want %v", a.Verdict, a.Why, c.want)
				}
			})
		}
		var rows int
		if err := b.db.QueryRow("SELECT count(*) FROM users").Scan(&rows); err != nil || rows != 5 {
			t.Errorf("the table has %d rows: %v", rows, err)
		}
		if f := s.Breaker().Figures(); f.Failed != 0 {
			t.Errorf("what clients said counts against the database: %+v", f)
		}
	})
}

func TestClientsWithoutANameAndPasswordAreNotAskedFor(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, nil)
		if r := (&access.Request{}); s.Concerns(r) || check(t, s, r).Verdict != auth.Ignore {
			t.Error("it concerns a client that shows nothing")
		}
		if !s.Concerns(as("ann", "")) {
			t.Error("it does not concern a client with a user name")
		}
	})
}

// A number is not a text: what a client says must neither open the breaker nor
// be taken for another number.
func TestANumberIsAskedForByATextThatIsNone(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, func(o *sql.Options) { o.Query = "SELECT password_hash FROM numbers WHERE id = ${username}" })
		if a := check(t, s, as("7", "pencil")); a.Verdict != auth.Allow {
			t.Fatalf("%v: %s", a.Verdict, a.Why)
		}
		for range 20 {
			if a := check(t, s, as("seven", "pencil")); a.Verdict != auth.Ignore || a.Failed {
				t.Fatalf("%v: %s", a.Verdict, a.Why)
			}
		}
	})
}

func TestMistakesOfTheOwner(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		for name, c := range map[string]struct{ query, words string }{
			"a table that is not there":  {"SELECT password_hash FROM nobody WHERE a = ${username}", "nobody"},
			"a column that is not there": {"SELECT nothing FROM users WHERE username = ${username}", "nothing"},
			"no SQL":                     {"SELEKT ${username}", "SELEKT"},
			"no password_hash":           {"SELECT salt FROM users WHERE username = ${username}", "password_hash"},
			"a column that comes twice":  {"SELECT password_hash, salt, salt FROM users WHERE username = ${username}", "salt twice"},
			"more than one row":          {"SELECT password_hash FROM users WHERE username <> ${clientid}", "more than one row"},
			"no boolean":                 {"SELECT password_hash, 'maybe' AS is_superuser FROM users WHERE username = ${username}", "maybe"},
			"no JSON":                    {"SELECT password_hash, 'x' AS client_attrs FROM users WHERE username = ${username}", "JSON"},
		} {
			t.Run(name, func(t *testing.T) {
				s := b.step(t, func(o *sql.Options) { o.Query = c.query })
				for range 10 { // it stays what it is: the breaker does not open
					a := check(t, s, as("ann", "pencil"))
					if a.Verdict != auth.Deny || !a.Failed || !strings.Contains(a.Why, c.words) || !strings.Contains(a.Do, "query") {
						t.Fatalf("%+v", a)
					}
				}
			})
		}
	})
}

func TestSlowDatabase(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		const patience = 300 * time.Millisecond
		s := b.step(t, func(o *sql.Options) {
			o.Query, o.Timeout = query+" AND "+b.sleep, patience
		})
		start := time.Now()
		a := check(t, s, as("ann", "pencil"))
		if !a.Failed || !strings.Contains(a.Why, "no answer within 300ms") || !strings.Contains(a.Do, "dsn") {
			t.Errorf("%+v", a)
		}
		if took := time.Since(start); took > 10*patience {
			t.Errorf("it took %v", took)
		}
	})
}

func TestFrozenDatabase(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, func(o *sql.Options) { o.Timeout, o.Rest = 300*time.Millisecond, time.Millisecond })
		if a := check(t, s, as("ann", "pencil")); a.Verdict != auth.Allow {
			t.Fatalf("%+v", a)
		}
		b.Freeze()
		defer b.Thaw()
		for range 3 { // over the connection that there is, and over new ones
			if a := check(t, s, as("ann", "pencil")); !a.Failed {
				t.Fatalf("%+v", a)
			}
		}
		b.Thaw()
		comesBack(t, s)
	})
}

func TestDatabaseGoesAndComesBack(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, func(o *sql.Options) { o.Rest = time.Millisecond })
		if a := check(t, s, as("ann", "pencil")); a.Verdict != auth.Allow {
			t.Fatalf("%+v", a)
		}
		b.Stop()
		other := b.step(t, nil) // it does not wait for the database
		for range 8 {
			for _, s := range []*sql.SQL{s, other} {
				a := check(t, s, as("ann", "pencil"))
				if !a.Failed || !strings.Contains(a.Why, "does not answer") {
					t.Fatalf("%+v", a)
				}
				if strings.Contains(a.Why, secret) {
					t.Fatal("the password of the database is in the log")
				}
			}
		}
		start := time.Now()
		if a := check(t, other, as("ann", "pencil")); !strings.Contains(a.Why, "not asked") || time.Since(start) > time.Second {
			t.Errorf("%+v", a)
		}
		if err := b.Again(); err != nil {
			t.Fatal(err)
		}
		comesBack(t, s)
	})
}

// An idle connection that died is no reason to send a client away.
func TestARestartInBetweenIsNotSeen(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, nil)
		if a := check(t, s, as("ann", "pencil")); a.Verdict != auth.Allow {
			t.Fatalf("%+v", a)
		}
		b.Stop()
		if err := b.Again(); err != nil {
			t.Fatal(err)
		}
		if a := check(t, s, as("ann", "pencil")); a.Verdict != auth.Allow {
			t.Errorf("%+v", a)
		}
	})
}

// comesBack waits until clients are let in again.
func comesBack(t *testing.T, s *sql.SQL) {
	t.Helper()
	until := time.Now().Add(10 * time.Second)
	for {
		a := check(t, s, as("ann", "pencil"))
		if a.Verdict == auth.Allow {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%+v", a)
		}
	}
}

func TestTheDatabaseDoesNotTakeThePassword(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		s := b.step(t, func(o *sql.Options) {
			o.DSN = strings.NewReplacer(secret, "other", "s3cret%2Fat%3Athe%40database", "other").Replace(b.dsn)
		})
		if a := check(t, s, as("ann", "pencil")); !a.Failed || !strings.Contains(a.Do, "dsn") {
			t.Errorf("%+v", a)
		}
	})
}

// What a pooler needs does not paste values into the text either.
func TestPoolersMode(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		if b.driver != sql.DriverPostgres {
			return
		}
		s := b.step(t, func(o *sql.Options) { o.DSN += "&default_query_exec_mode=exec" })
		for user, want := range map[string]auth.Verdict{"ann": auth.Allow, strange: auth.Allow, "' OR '1'='1": auth.Ignore, `\' OR 1=1 -- `: auth.Ignore} {
			if a := check(t, s, as(user, "pencil")); a.Verdict != want || a.Failed {
				t.Errorf("%s: %+v", user, a)
			}
		}
	})
}

// The DSN of these tests asks for values in the text. The database says
// whether it was given a statement with parameters.
func TestTheDatabaseSeesParameters(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		prepared := map[string]string{
			sql.DriverPostgres: "SELECT 'pencil' AS password_hash FROM pg_stat_activity WHERE pid = pg_backend_pid() AND query LIKE '%$1%' AND ${username} = 'ann'",
			sql.DriverMySQL: "SELECT 'pencil' AS password_hash FROM information_schema.SESSION_STATUS " +
				"WHERE VARIABLE_NAME = 'COM_STMT_PREPARE' AND VARIABLE_VALUE > 0 AND ${username} = 'ann'",
		}[b.driver]
		s := b.step(t, func(o *sql.Options) { o.Query = prepared })
		if a := check(t, s, as("ann", "pencil")); a.Verdict != auth.Allow {
			t.Errorf("%+v", a)
		}
	})
}

// MySQL lets one account have many names; the query gives its own.
func TestSpellingsOfMySQL(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		if b.driver != sql.DriverMySQL {
			return
		}
		s := b.step(t, func(o *sql.Options) {
			o.Query = "SELECT password_hash, username FROM users WHERE username = ${username}"
		})
		for _, user := range []string{"ANN", "Ann", "ann "} {
			if a := check(t, s, as(user, "pencil")); a.Verdict != auth.Allow || a.Grant.UserName != "ann" {
				t.Errorf("%q: %+v", user, a)
			}
		}
	})
}
