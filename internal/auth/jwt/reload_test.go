package jwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/auth"
)

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPublicKeysAreReadAgain(t *testing.T) {
	p := pairs()
	name := file(t, publicPEM(t, p.rsa))
	j := step(t, Options{PublicKey: name, Algorithms: []string{"RS256", "EdDSA"}})
	old, fresh := sign(t, "RS256", p.rsa, nil, object{}), sign(t, "EdDSA", p.ed, nil, object{})
	wantAllow(t, show(t, j, old)) // and is remembered
	write(t, name, publicPEM(t, p.ed))
	commit, err := j.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	wantAllow(t, show(t, j, old)) // nothing is in force yet
	commit()
	wantAllow(t, show(t, j, fresh))
	wantDeny(t, show(t, j, old), "no key of")
	for what, text := range map[string][]byte{"nothing": nil, "a key of another algorithm": publicPEM(t, p.p256), "a half": publicPEM(t, p.ed)[:60]} {
		write(t, name, text)
		if _, err := j.Prepare(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
		wantAllow(t, show(t, j, fresh))
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Prepare(); err == nil || !strings.Contains(err.Error(), "jwt: public_key: the file cannot be read: let") {
		t.Errorf("%v", err)
	}
	wantAllow(t, show(t, j, fresh))
}

// The server of keys is known by the new file, and looked at again at once.
func TestTheAuthorityOfAServerOfKeysIsReadAgain(t *testing.T) {
	p, i := pairs(), &issuer{}
	i.set(jwkOf("k", p.ed))
	s := httptest.NewTLSServer(i)
	defer s.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	other, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	as := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }
	write(t, ca, as(other))
	j := step(t, Options{JWKS: &JWKS{URL: s.URL, CA: ca, Refresh: time.Hour}, Logger: slog.New(slog.DiscardHandler)})
	token := sign(t, "EdDSA", p.ed, object{"kid": "k"}, object{})
	if a := show(t, j, token); !a.Failed || !strings.Contains(a.Why, "certificate") {
		t.Fatalf("%v: %s", a.Verdict, a.Why)
	}
	write(t, ca, []byte("nonsense"))
	if _, err := j.Prepare(); err == nil || !strings.Contains(err.Error(), "jwt: jwks_ca: "+ca+" holds no certificate") {
		t.Errorf("%v", err)
	}
	write(t, ca, as(s.Certificate().Raw))
	commit, err := j.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	commit()
	until := time.Now().Add(10 * time.Second)
	for show(t, j, token).Verdict != auth.Allow {
		if time.Now().After(until) {
			t.Fatalf("%+v", show(t, j, token))
		}
	}
}

// A reload asks for the keys of a server, of which one may be gone.
func TestAReloadLooksAtTheServerOfKeys(t *testing.T) {
	p, i := pairs(), &issuer{}
	i.set(jwkOf("k", p.ed), jwkOf("old", p.p256))
	s := httptest.NewServer(i)
	defer s.Close()
	j := step(t, Options{JWKS: &JWKS{URL: s.URL, Refresh: time.Hour}, Logger: slog.New(slog.DiscardHandler)})
	old := sign(t, "ES256", p.p256, object{"kid": "old"}, object{})
	wantAllow(t, show(t, j, old))
	i.set(jwkOf("k", p.ed))
	commit, err := j.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	commit()
	until := time.Now().Add(10 * time.Second)
	for show(t, j, old).Verdict != auth.Deny {
		if time.Now().After(until) {
			t.Fatal("the old key is good still")
		}
	}
}
