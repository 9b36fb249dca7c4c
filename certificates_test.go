package fantail_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// pki is an authority in a folder, as an owner has it.
type pki struct {
	t    *testing.T
	dir  string
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, key := p.sign(template)
	p.key = key
	var err error
	if p.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p.write("ca.pem", "CERTIFICATE", der)
	der, key = p.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, DNSNames: []string{"localhost"}})
	p.write("server.pem", "CERTIFICATE", der)
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.write("server.key", "EC PRIVATE KEY", private)
	p.revoke()
	return p
}

// sign makes a certificate; the first is the authority's own.
func (p *pki) sign(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.last++
	template.SerialNumber, template.NotAfter = big.NewInt(p.last), time.Now().Add(time.Hour)
	parent, signer := p.ca, p.key
	if parent == nil {
		parent, signer = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer); err != nil {
		p.t.Fatal(err)
	}
	return der, key
}

// revoke writes the list of revoked certificates.
func (p *pki) revoke(serials ...int64) {
	p.t.Helper()
	p.last++
	list := &x509.RevocationList{Number: big.NewInt(p.last), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, p.ca, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("revoked.pem", "X509 CRL", der)
}

func (p *pki) write(name, kind string, der []byte) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// client is a client's side of TLS; template may be nil for none.
func (p *pki) client(template *x509.Certificate) *tls.Config {
	p.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	c.RootCAs.AddCert(p.ca)
	if template != nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		der, key := p.sign(template)
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	}
	return c
}

func (p *pki) listener() fantail.Listener {
	p.t.Helper()
	q := url.Values{}
	for key, file := range map[string]string{"cert": "server.pem", "key": "server.key", "client_ca": "ca.pem", "crl": "revoked.pem"} {
		q.Set(key, filepath.Join(p.dir, file))
	}
	q.Set("client_cert", "optional")
	return listener(p.t, "tls://127.0.0.1:0?"+q.Encode())
}

// A certificate is worth a user name and a client id, whatever CONNECT says,
// until it is revoked.
func TestCertificatesOfClients(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		p := newPKI(t)
		c := fantail.Config{
			Listeners: []fantail.Listener{p.listener()},
			Auth:      fantail.Auth{Users: users().Users, Chain: []fantail.Step{{Certificate: &fantail.StepCertificate{ClientID: "san_dns"}}, {Users: &fantail.StepUsers{}}}},
		}
		s := serve(t, transport, c, nil)
		dial := func(config *tls.Config, user, password string) (*client.Client, error) {
			return client.Dial(t.Context(), client.Options{
				URL: "mqtts://" + s.mqtt[0], TLS: config, ClientID: "mine", CleanStart: true,
				HasUserName: user != "", UserName: user, Password: []byte(password),
			})
		}
		porch := p.client(&x509.Certificate{Subject: pkix.Name{CommonName: "porch"}, DNSNames: []string{"d-1"}})
		serial := p.last
		for _, user := range []string{"", "ann"} { // whose name it cannot borrow
			in, err := dial(porch, user, "wrong")
			if err != nil {
				t.Fatal(err)
			}
			if id := in.Connack().AssignedClientID; id != "d-1" {
				t.Errorf("the client id is %q", id)
			}
			_ = in.Close()
		}
		s.log.wait(t, "client connected", "client=d-1")
		wild := p.client(&x509.Certificate{Subject: pkix.Name{CommonName: "#"}, DNSNames: []string{"d-2"}})
		for name, refused := range map[string]struct {
			config         *tls.Config
			user, password string
			code           packet.Code
		}{
			"a certificate for all topics": {wild, "", "", packet.NotAuthorized},
			"a wrong password, without":    {p.client(nil), "ann", "wrong", packet.BadUserNameOrPassword},
			"nothing":                      {p.client(nil), "", "", packet.NotAuthorized},
		} {
			if _, err := dial(refused.config, refused.user, refused.password); !refusedWith(err, refused.code) {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.log.wait(t, "connection refused", "step=auth.certificate", "means something in topics")
		if in, err := dial(p.client(nil), "ann", "pencil"); err != nil {
			t.Errorf("a password: %v", err)
		} else {
			_ = in.Close()
		}
		p.revoke(serial)
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(porch, "", ""); err == nil {
			t.Error("a revoked certificate is let in")
		}
		s.log.wait(t, "connection refused", "tls_handshake", "CN=porch", "revoked")
	})
}

func refusedWith(err error, code packet.Code) bool {
	r, refused := errors.AsType[*packet.Refusal](err)
	return refused && r.Code == code
}
