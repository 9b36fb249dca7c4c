package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// certificates are a listener's, as last read from its files.
type certificates struct {
	listener config.Listener
	current  atomic.Pointer[tls.Config]
	revoked  atomic.Pointer[revocations] // nil without a list
	// base is what connections are made with: it only looks up current.
	base *tls.Config
}

func loadCertificates(c config.Listener) (*certificates, error) {
	cs := &certificates{listener: c}
	cs.base = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return cs.current.Load(), nil },
	}
	commit, err := cs.prepare()
	if err != nil {
		return nil, err
	}
	commit()
	return cs, nil
}

func (cs *certificates) prepare() (commit func(), err error) {
	c, revoked, err := tlsConfig(cs.listener)
	if err != nil {
		return nil, err
	}
	return func() {
		cs.revoked.Store(revoked)
		cs.current.Store(c)
	}, nil
}

func tlsConfig(l config.Listener) (c *tls.Config, revoked *revocations, err error) {
	cert, err := tls.LoadX509KeyPair(l.Cert, l.Key)
	if err != nil {
		return nil, nil, certificateError(l, err)
	}
	c = &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		CipherSuites: suites(),
		// Browsers offer http/1.1 for a WebSocket. Who offers neither and does
		// offer something meant another server.
		NextProtos: []string{"mqtt", "http/1.1"},
		// A packet is one record: the small first records of the standard
		// library are made for web pages.
		DynamicRecordSizingDisabled: true,
	}
	if l.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	revoked, err = checkClients(c, l)
	return c, revoked, err
}

// suites are those of TLS 1.2: a key exchange that keeps what was said secret
// when the certificate's key is found later, and a cipher that authenticates
// (RFC 9325, section 4.2). The standard library's own list also has CBC with
// SHA-1. TLS 1.3 has no others.
func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// checkClients sets what clients have to show, and returns what is revoked of
// it.
func checkClients(c *tls.Config, l config.Listener) (*revocations, error) {
	if l.ClientCA == "" || l.ClientCert == config.ClientCertNone {
		return nil, nil
	}
	pem, err := os.ReadFile(l.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("%s: the client CA cannot be read: let this user read it, or correct client_ca: %w", l.URL(), err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate: client_ca has to be a PEM file with a CERTIFICATE block", l.URL(), l.ClientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if l.ClientCert == config.ClientCertOptional {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	// A ticket would stand for a certificate after its CA is gone.
	c.SessionTicketsDisabled = true
	if l.CRL == "" {
		return nil, nil
	}
	revocations, err := loadRevocations(l, authorities(pem))
	c.VerifyConnection = func(s tls.ConnectionState) error { return revocations.check(&s, time.Now()) }
	return revocations, err
}

func certificateError(l config.Listener, err error) error {
	if _, unreadable := errors.AsType[*fs.PathError](err); unreadable {
		return fmt.Errorf("%s: the certificate cannot be read: let this user read it, or correct cert and key: %w", l.URL(), err)
	}
	return fmt.Errorf("%s: %s and %s are no certificate with its key: give PEM files that belong together: %w", l.URL(), l.Cert, l.Key, err)
}
