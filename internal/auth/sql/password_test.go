//go:build linux

package sql_test

import (
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/internal/auth/sql"
)

// Each hash is of "pencil", with the salt "pepper" where it has one beside it.
func TestHashes(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		for name, c := range map[string]struct{ hash, position, column string }{
			"plain":               {"plain", "", "'pencil'"},
			"sha256":              {"sha256", "", b.digest("sha256", "'pencil'")},
			"sha256, in capitals": {"sha256", "none", "UPPER(" + b.digest("sha256", "'pencil'") + ")"},
			"sha256, salt before": {"sha256", "", b.digest("sha256", "CONCAT(salt, 'pencil')")},
			"sha512, salt behind": {"sha512", "suffix", b.digest("sha512", "CONCAT('pencil', salt)")},
			"sha512, no salt":     {"sha512", "none", b.digest("sha512", "'pencil'")},
			"md5, salt before":    {"md5", "prefix", "MD5(CONCAT(salt, 'pencil'))"},
			"a padded column":     {"md5", "none", "CAST(MD5('pencil') AS CHAR(60))"},
		} {
			t.Run(name, func(t *testing.T) {
				columns := c.column + " AS password_hash, salt"
				if !strings.Contains(c.column, "salt") && c.position != "none" {
					columns = c.column + " AS password_hash"
				}
				s := b.step(t, func(o *sql.Options) {
					o.Hash, o.SaltPosition, o.Query = c.hash, c.position, "SELECT "+columns+" FROM users WHERE username = ${username}"
				})
				if a := check(t, s, as("ann", "pencil")); a.Verdict != auth.Allow {
					t.Errorf("%+v", a)
				}
				if a := check(t, s, as("ann", "pencils")); a.Verdict != auth.Deny || a.Failed {
					t.Errorf("%+v", a)
				}
			})
		}
	})
}

// digest is how the database computes one, in hexadecimal.
func (b *backend) digest(kind, text string) string {
	if b.driver == sql.DriverMySQL {
		return "SHA2(" + text + ", " + kind[3:] + ")"
	}
	return "encode(" + kind + "(" + text + "::bytea), 'hex')"
}

// What says of itself what it is needs no name; and who has no row costs as
// much as who has one.
func TestHashesThatSayWhatTheyAre(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		for _, kind := range []hash.Kind{hash.Bcrypt, hash.Argon2id, hash.SHA512PBKDF2} {
			text, err := hash.New(kind, []byte("pencil"))
			if err != nil {
				t.Fatal(err)
			}
			pool := hash.NewPool(1, 0)
			s := b.step(t, func(o *sql.Options) {
				o.Hash, o.Pool = strings.TrimPrefix(string(kind), "sha512-"), pool
				o.Query = "SELECT '" + text + "' AS password_hash FROM users WHERE username = ${username}"
			})
			for user, want := range map[string]auth.Verdict{"ann": auth.Allow, "eve": auth.Ignore} {
				before := pool.Figures().Checked
				if a := check(t, s, as(user, "pencil")); a.Verdict != want {
					t.Errorf("%s, %s: %+v", kind, user, a)
				}
				if n := pool.Figures().Checked - before; n != 1 {
					t.Errorf("%s, %s: %d hashes were computed", kind, user, n)
				}
			}
			if a := check(t, s, as("ann", "pencils")); a.Verdict != auth.Deny || a.Failed {
				t.Errorf("%s: %+v", kind, a)
			}
		}
	})
}

func TestAHashThatIsNone(t *testing.T) {
	for _, kind := range []string{"", "bcrypt", "sha256", "md5"} {
		s := backends[0].step(t, func(o *sql.Options) {
			o.Hash, o.Query = kind, "SELECT 'pencil' AS password_hash FROM users WHERE username = ${username}"
		})
		a := check(t, s, as("ann", "pencil"))
		if !a.Failed || strings.Contains(a.Why+a.Do, "pencil") || !strings.Contains(a.Do, "hash") {
			t.Errorf("%q: %+v", kind, a)
		}
	}
}
