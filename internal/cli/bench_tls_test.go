package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
)

func TestBenchOverTLS(t *testing.T) {
	cert, key := selfSigned(t)
	port := strconv.Itoa(run(t, fantail.Config{}, "tls://127.0.0.1:0?cert="+cert+"&key="+key)[0])
	cases := map[string]struct {
		args string
		code int
	}{
		"TLS":                       {"--cafile " + cert + " -p " + port, 0},
		"a URL":                     {"--cafile " + cert + " -L mqtts://localhost:" + port, 0},
		"WebSocket over it":         {"--ws --cafile " + cert + " -p " + port, 0},
		"an authority nobody knows": {"--tls -p " + port, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			args := strings.Fields("pairs --clients 2 --qos 1 --duration 50ms --warmup 0s " + c.args)
			code, figures, said := benched(t, args...)
			if code != c.code {
				t.Fatalf("exit status %d, want %d; it said: %s", code, c.code, said)
			}
			if code == 0 && (figures["received"] == 0.0 || figures["received"] != figures["sent"]) {
				t.Errorf("%v sent, %v received", figures["sent"], figures["received"])
			}
		})
	}
}

// selfSigned makes a certificate for localhost, which is its own authority.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}
