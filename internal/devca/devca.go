// Package devca is a certificate authority for a developer's own network: a
// key, a certificate, and what it has signed for a server and for clients, all
// ECDSA with P-256, which every TLS library knows, small ones too.
//
// It is no authority for anybody else: it has no list of what it has signed and
// takes nothing back. Whoever has its key can pretend to be any server towards
// those who trust it, so it may sign no other authority and its key is not for
// the server's machine to have in production.
package devca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// How long certificates are good. Apple's systems take no server certificate
// that is good for more than 825 days, whoever has signed it.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 820 * 24 * time.Hour
	// early lets in clients whose clock is late.
	early = 24 * time.Hour
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Pair is a certificate with its key, as PEM.
type Pair struct{ Cert, Key []byte }

// New makes an authority of this name.
func New(name string, now time.Time) (*Authority, Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, Pair{}, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-early), NotAfter: now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	a := &Authority{cert: template, key: key}
	pair, err := a.sign(template, key)
	if err != nil {
		return nil, Pair{}, err
	}
	a, err = Read(pair, now)
	return a, pair, err
}

// Read takes up an authority that New has made.
func Read(p Pair, now time.Time) (*Authority, error) {
	block, _ := pem.Decode(p.Cert)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the certificate is no PEM file")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if block, _ = pem.Decode(p.Key); block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("the key is no PEM file with a PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the key cannot be read: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	switch {
	case !ok || !key.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("the key is not that of the certificate")
	case !cert.IsCA:
		return nil, errors.New("the certificate is not that of an authority")
	case now.After(cert.NotAfter):
		return nil, fmt.Errorf("the certificate was good until %s", cert.NotAfter.Format(time.DateOnly))
	}
	return &Authority{cert: cert, key: key}, nil
}

// Until is the last day of the authority.
func (a *Authority) Until() time.Time { return a.cert.NotAfter }

// Server signs a certificate for these names and addresses.
func (a *Authority) Server(hosts []string, now time.Time) (Pair, error) {
	template := a.leaf(hosts[0], x509.ExtKeyUsageServerAuth, now)
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return a.issue(template)
}

// Client signs a certificate for the client of this name.
func (a *Authority) Client(name string, now time.Time) (Pair, error) {
	return a.issue(a.leaf(name, x509.ExtKeyUsageClientAuth, now))
}

func (a *Authority) leaf(name string, usage x509.ExtKeyUsage, now time.Time) *x509.Certificate {
	until := now.Add(leafLife)
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter
	}
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-early), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true,
	}
}

func (a *Authority) issue(template *x509.Certificate) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	return a.sign(template, key)
}

// sign gives the template a serial number of its own; package x509 makes one.
func (a *Authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return Pair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// CheckHost says whether a certificate can name the host.
func CheckHost(host string) error {
	if net.ParseIP(host) != nil {
		return nil
	}
	if host == "" || len(host) > 253 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._*") != "" {
		return fmt.Errorf("%q is neither a host name nor an address", host)
	}
	return nil
}

// CheckClient says whether a certificate and its files can have the name.
func CheckClient(name string) error {
	const most = 64 // X.520, upper bound of a common name
	if name == "" || len(name) > most || name[0] == '.' || name[0] == '-' ||
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@") != "" {
		return fmt.Errorf("%q is no name of a client: take up to %d letters, digits and . _ - @", name, most)
	}
	return nil
}

// Hosts are the names and addresses under which this machine may be reached,
// with those that are given, each once.
func Hosts(hostname string, addrs []net.Addr, given []string) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	add := func(h string) {
		if h != "" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	if CheckHost(hostname) == nil {
		add(hostname)
		if !strings.Contains(hostname, ".") {
			add(hostname + ".local") // by multicast DNS
		}
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() || n.IP.IsMulticast() {
			continue
		}
		add(n.IP.String())
	}
	for _, h := range given {
		if ip := net.ParseIP(h); ip != nil {
			h = ip.String()
		}
		add(h)
	}
	return hosts
}
