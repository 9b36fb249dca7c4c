//go:build linux

package sql_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/sql"
)

// The files that the DSN names are read again, and no idle connection is used on
// that the old ones vouched for.
func TestFilesOfTheDSNAreReadAgain(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(ca, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	each(t, func(t *testing.T, b *backend) {
		if b.driver != sql.DriverPostgres { // a DSN of MySQL names no files
			commit, err := b.step(t, nil).Prepare()
			if err != nil {
				t.Fatal(err)
			}
			commit()
			return
		}
		u, err := url.Parse(b.dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {ca}}.Encode()
		other, _, err := newCertificate()
		if err != nil {
			t.Fatal(err)
		}
		write(other)
		s := b.step(t, func(o *sql.Options) { o.DSN, o.Failures = u.String(), 1000 })
		known := func(want bool) {
			t.Helper()
			a := check(t, s, as("ann", "pencil"))
			if (a.Verdict == auth.Allow) != want || !want && !strings.Contains(a.Why, "certificate") {
				t.Errorf("%+v", a)
			}
		}
		reload := func() {
			t.Helper()
			commit, err := s.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			commit()
		}
		known(false)
		write(b.cert)
		known(false)
		reload()
		known(true)
		wrong := func(words ...string) {
			t.Helper()
			_, err := s.Prepare()
			if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v", err)
			}
			for _, word := range append(words, "sql: dsn: ") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v, which lacks %q", err, word)
				}
			}
			known(true)
		}
		write("nonsense")
		wrong("ca.pem", "cannot be used for TLS: give PEM files")
		if err := os.Remove(ca); err != nil {
			t.Fatal(err)
		}
		wrong(ca+" cannot be read: let this user read it", "no such file")
		write(other)
		reload()
		known(false)
	})
}
