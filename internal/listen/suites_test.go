package listen

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// rsaCertificate is one with which the suites for RSA, the weak ones too, could
// be served.
func (k *keys) rsaCertificate() (cert, key string) {
	k.t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		k.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(k.serial.Add(1)), Subject: pkix.Name{CommonName: "rsa"},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.ca, &private.PublicKey, k.caKey)
	if err != nil {
		k.t.Fatal(err)
	}
	cert, key = filepath.Join(k.dir, "rsa.pem"), filepath.Join(k.dir, "rsa.key")
	k.write(cert, "CERTIFICATE", der)
	k.write(key, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private))
	return cert, key
}

// weak says why nobody should use a suite, if that is so.
func weak(s *tls.CipherSuite) bool {
	return s.Insecure || strings.Contains(s.Name, "CBC") || strings.Contains(s.Name, "RC4") || strings.Contains(s.Name, "3DES") ||
		!strings.HasPrefix(s.Name, "TLS_ECDHE_")
}

func TestOldVersionsAndWeakSuitesAreRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		rsaCert, rsaKey := k.rsaCertificate()
		ec := w.open(config.Listener{Scheme: "tls", Cert: k.cert, Key: k.key})
		rs := w.open(config.Listener{Scheme: "tls", Cert: rsaCert, Key: rsaKey})
		tried := map[bool]int{}
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if len(s.SupportedVersions) == 1 && s.SupportedVersions[0] == tls.VersionTLS13 {
				continue
			}
			t.Run(s.Name, func(t *testing.T) {
				w.t = t
				l := rs
				if strings.Contains(s.Name, "ECDSA") {
					l = ec
				}
				c := k.client()
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{s.ID}
				nc := tls.Client(w.connect(l), c)
				err := nc.Handshake()
				tried[weak(s)]++
				if weak(s) {
					if err == nil {
						t.Error("it is served")
					}
					w.wantRefusal(ReasonTLSHandshake, "ECDHE and GCM")
					return
				}
				if err != nil {
					t.Error(err)
				}
				_ = nc.Close()
				w.wantRefusal(ReasonClosedEarly)
			})
		}
		if tried[true] < 10 || tried[false] != len(suites()) {
			t.Errorf("%d weak suites and %d good ones were tried", tried[true], tried[false])
		}
		for name, version := range map[string]uint16{"TLS 1.0": tls.VersionTLS10, "TLS 1.1": tls.VersionTLS11} {
			t.Run(name, func(t *testing.T) {
				w.t = t
				c := k.client()
				c.MinVersion, c.MaxVersion = tls.VersionTLS10, version
				if err := tls.Client(w.connect(rs), c).Handshake(); err == nil {
					t.Error("it is served")
				}
				w.wantRefusal(ReasonTLSHandshake, "TLS 1.2 or 1.3")
			})
		}
	})
}
