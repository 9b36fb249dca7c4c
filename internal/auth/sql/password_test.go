//go:build linux

package sql_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

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
	cheap, err := bcrypt.GenerateFromPassword([]byte("pencil"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	stretched, err := hash.NewPBKDF2([]byte("pencil"), 101)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawStdEncoding.EncodeToString
	salt := []byte("sixteen letters.")
	argon := "$argon2id$v=19$m=64,t=1,p=1$" + b64(salt) + "$" + b64(argon2.IDKey([]byte("pencil"), salt, 1, 64, 1, 32))
	for kind, text := range map[string]string{"": stretched, "bcrypt": string(cheap), "argon2id": argon, "pbkdf2": stretched} {
		pool := hash.NewPool(1, 0)
		s := backends[0].step(t, func(o *sql.Options) {
			o.Hash, o.Pool = kind, pool
			o.Query = "SELECT '" + text + "' AS password_hash FROM users WHERE username = ${username}"
		})
		for _, c := range []struct {
			user, password string
			want           auth.Verdict
		}{{"ann", "pencil", auth.Allow}, {"ann", "pencils", auth.Deny}, {"eve", "pencil", auth.Ignore}} {
			before := pool.Figures().Checked
			if a := check(t, s, as(c.user, c.password)); a.Verdict != c.want || a.Failed {
				t.Errorf("%s, %s: %+v", kind, c.user, a)
			}
			if n := pool.Figures().Checked - before; n != 1 {
				t.Errorf("%s, %s: %d hashes were computed", kind, c.user, n)
			}
		}
	}
}

// Before the first row was read, it costs what hashes do by default.
func TestTheFirstStrangerCostsAsMuch(t *testing.T) {
	for _, kind := range []string{"bcrypt", "argon2id", "pbkdf2"} {
		pool := hash.NewPool(1, 0)
		s := backends[0].step(t, func(o *sql.Options) { o.Hash, o.Pool = kind, pool })
		if a := check(t, s, as("eve", "pencil")); a.Verdict != auth.Ignore || pool.Figures().Checked != 1 {
			t.Errorf("%s: %+v, %+v", kind, a, pool.Figures())
		}
	}
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
