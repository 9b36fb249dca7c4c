package http

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/auth"
)

// stranger is the certificate of an authority that has signed nothing.
func stranger(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// The file of authorities is read again, as a whole or not at all, and not in
// force before commit.
func TestAuthoritiesAreReadAgain(t *testing.T) {
	s := httptest.NewTLSServer(says(204, ""))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write := func(der []byte) {
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(stranger(t))
	h := step(t, Options{URL: s.URL, CA: ca, Failures: 1000})
	known := func(want bool) {
		t.Helper()
		a := h.Check(t.Context(), client("ann", "pencil"))
		if (a.Verdict == auth.Allow) != want || !want && !strings.Contains(a.Why, "certificate") {
			t.Errorf("%v because %q", a.Verdict, a.Why)
		}
	}
	known(false)
	write(s.Certificate().Raw)
	commit, err := h.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	known(false)
	commit()
	known(true)
	for _, wrong := range []func() error{func() error { return os.WriteFile(ca, nil, 0o600) }, func() error { return os.Remove(ca) }} {
		if err := wrong(); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Prepare(); err == nil || !strings.Contains(err.Error(), "http: ca: ") || !strings.Contains(err.Error(), ca) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
		known(true)
	}
	// No connection that the old authority vouched for is used on.
	write(stranger(t))
	if commit, err = h.Prepare(); err != nil {
		t.Fatal(err)
	}
	commit()
	known(false)
}
