package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// list makes a revocation list of the CA.
func (k *keys) list(change func(*x509.RevocationList), serials ...*big.Int) []byte {
	k.t.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(k.serial.Add(1)), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
	}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, k.ca, k.caKey)
	if err != nil {
		k.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// serialOf is that of a client's certificate.
func serialOf(t *testing.T, c *tls.Config) *big.Int {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.SerialNumber
}

// revoking is a listener with a revocation list.
func (w *world) revoking(list []byte) (l *Listener, file string) {
	w.t.Helper()
	file = filepath.Join(w.t.TempDir(), "revoked.pem")
	w.rewrite(file, list)
	k := w.pki()
	return w.open(config.Listener{Scheme: "tls", Cert: k.cert, Key: k.key, ClientCA: k.caFile, ClientCert: config.ClientCertOptional, CRL: file}), file
}

func (w *world) rewrite(file string, text []byte) {
	w.t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// comes expects that a client gets through its handshake.
func (w *world) comes(l *Listener, c *tls.Config) {
	w.t.Helper()
	nc := tls.Client(w.connect(l), c)
	if _, err := nc.Write([]byte{connectByte}); err != nil {
		w.t.Fatal(err)
	}
	receive(w.t, w.probes)
}

// stays expects that it does not, and what the log says of that.
func (w *world) stays(l *Listener, c *tls.Config, words ...string) {
	w.t.Helper()
	nc := tls.Client(w.connect(l), c)
	_, _ = nc.Write([]byte{connectByte}) // may fail only at the next step, in TLS 1.3
	if _, err := nc.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		w.t.Errorf("the client hears %v", err)
	}
	w.wantRefusal(ReasonTLSHandshake, words...)
}

func TestRevokedCertificates(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		good, stolen := k.clientWith("porch"), k.clientWith("stolen")
		l, file := w.revoking(k.list(nil, big.NewInt(4711), serialOf(t, stolen)))
		w.comes(l, good)
		w.comes(l, k.client()) // it shows none
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := stolen.Clone()
			c.MaxVersion = version
			w.stays(l, c, "CN=stolen", "revoked on 2026-01-02", "give the client a new one")
		}

		w.rewrite(file, k.list(nil, serialOf(t, good)))
		w.comes(l, good) // it is not read yet
		if err := reload(l); err != nil {
			t.Fatal(err)
		}
		w.stays(l, good, "CN=porch", "revoked")
		w.comes(l, stolen)
		w.rewrite(file, []byte("no list"))
		if err := reload(l); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("a broken list is reloaded: %v", err)
		}
		w.stays(l, good, "CN=porch", "revoked")
	})
}

func TestExpiredRevocationList(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		stolen := k.clientWith("stolen")
		expired := func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Minute) }
		l, file := w.revoking(k.list(expired, serialOf(t, stolen)))
		w.stays(l, k.clientWith("porch"), file+" has expired on", "SIGHUP")
		w.stays(l, stolen, "CN=stolen", "revoked")
		w.comes(l, k.client())
		older := k.list(func(l *x509.RevocationList) {
			expired(l)
			l.ThisUpdate = time.Now().Add(-2 * time.Hour)
		})
		w.rewrite(file, append(older, k.list(nil)...)) // the newest counts
		if err := reload(l); err != nil {
			t.Fatal(err)
		}
		w.comes(l, k.clientWith("porch"))
	})
}

// intermediate is a client whose certificate is signed by an authority in
// between, and that authority.
func (k *keys) intermediate() (c *tls.Config, between *x509.Certificate) {
	k.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(k.serial.Add(1)), Subject: pkix.Name{CommonName: "between"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.ca, &key.PublicKey, k.caKey)
	if err != nil {
		k.t.Fatal(err)
	}
	if between, err = x509.ParseCertificate(der); err != nil {
		k.t.Fatal(err)
	}
	c = k.client()
	under := &keys{t: k.t, ca: between, caKey: key}
	leaf, leafKey := under.issue("leaf")
	c.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf, der}, PrivateKey: leafKey}}
	return c, between
}

func TestAuthoritiesInBetween(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		c, between := k.intermediate()
		l, file := w.revoking(k.list(nil))
		w.stays(l, c, "no list of CN=between", file)
		w.rewrite(file, k.list(nil, between.SerialNumber))
		if err := reload(l); err != nil {
			t.Fatal(err)
		}
		w.stays(l, c, "no list of CN=between")
		r, err := loadRevocations(l.config, []*x509.Certificate{k.ca})
		if err != nil {
			t.Fatal(err)
		}
		r.lists = append(r.lists, &revocationList{issuer: between, signer: authorityOf(between), expires: time.Now().Add(time.Hour)})
		leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		chain := []*x509.Certificate{leaf, between, k.ca}
		if err := r.chain(chain, time.Now()); err == nil || !strings.Contains(err.Error(), "CN=between") {
			t.Errorf("an authority that is revoked: %v", err)
		}
		other := &x509.Certificate{RawSubject: []byte("x"), SerialNumber: big.NewInt(1)}
		if err := r.chain([]*x509.Certificate{leaf, between, other}, time.Now()); err != nil {
			t.Errorf("an authority without a list of its own authority: %v", err)
		}
	})
}

func TestListsThatAreNone(t *testing.T) {
	k := newKeys(t)
	stranger := newKeys(t)
	critical := func(l *x509.RevocationList) { // a list of changes (RFC 5280, section 5.2.4)
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	}
	forged := &keys{t: t, ca: k.ca, caKey: stranger.caKey} // by another key, in the name of the CA
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	same := *k.ca
	same.PublicKey = stranger.caKey.Public()
	der, err := x509.CreateRevocationList(rand.Reader, template, &same, forged.caKey)
	if err != nil {
		t.Fatal(err)
	}
	stranger.serial.Store(100)
	stranger.newCA()
	for name, c := range map[string]struct {
		text  []byte
		words string
	}{
		"nothing":              {nil, "holds no revocation list"},
		"a certificate":        {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.ca.Raw}), "holds no revocation list"},
		"a broken list":        {pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")}), "cannot be read"},
		"another authority's":  {stranger.list(nil), "belongs to no authority of client_ca"},
		"a forged one":         {pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), "is not signed by that authority"},
		"a list of changes":    {k.list(critical), "only a part"},
		"a good and a bad one": {append(k.list(nil), stranger.list(nil)...), "belongs to no authority"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "revoked.pem")
			if err := os.WriteFile(file, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := loadCertificates(config.Listener{Cert: k.cert, Key: k.key, ClientCA: k.caFile, ClientCert: config.ClientCertRequire, CRL: file})
			if err == nil || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), file) {
				t.Errorf("%v", err)
			}
		})
	}
	_, err = loadCertificates(config.Listener{Cert: k.cert, Key: k.key, ClientCA: k.caFile, ClientCert: config.ClientCertRequire, CRL: "/nowhere"})
	if err == nil || !strings.Contains(err.Error(), "correct crl") {
		t.Errorf("%v", err)
	}
}
