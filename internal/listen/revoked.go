package listen

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// revocations are the certificate revocation lists of a listener, each by the
// authority that signed it (RFC 5280, section 5).
type revocations struct {
	file  string
	lists []*revocationList
}

type revocationList struct {
	issuer  *x509.Certificate
	signer  authority
	begins  time.Time
	expires time.Time
	serials map[string]time.Time // in hexadecimal: when
}

// loadRevocations reads the lists of a PEM file. Each has to be signed by one
// of the authorities: a list that anybody could have written revokes nothing.
func loadRevocations(l config.Listener, authorities []*x509.Certificate) (*revocations, error) {
	text, err := os.ReadFile(l.CRL)
	if err != nil {
		return nil, fmt.Errorf("%s: the revocation list cannot be read: let this user read it, or correct crl: %w", l.URL(), err)
	}
	r := &revocations{file: l.CRL}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := newRevocationList(block.Bytes, authorities)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", l.URL(), l.CRL, err)
		}
		r.lists = append(r.lists, list)
	}
	if len(r.lists) == 0 {
		return nil, fmt.Errorf("%s: %s holds no revocation list: crl has to be a PEM file with an X509 CRL block", l.URL(), l.CRL)
	}
	return r, nil
}

func newRevocationList(der []byte, authorities []*x509.Certificate) (*revocationList, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("a revocation list in it cannot be read: %w", err)
	}
	for _, e := range parsed.Extensions {
		if e.Critical { // it makes the list one of changes, or of a part (RFC 5280, section 5.2)
			return nil, fmt.Errorf("the revocation list of %s holds only a part of what is revoked (extension %v): give the whole list", parsed.Issuer, e.Id)
		}
	}
	issuer, err := signer(parsed, authorities)
	if err != nil {
		return nil, err
	}
	list := &revocationList{issuer: issuer, signer: authorityOf(issuer), begins: parsed.ThisUpdate, expires: parsed.NextUpdate, serials: map[string]time.Time{}}
	for _, e := range parsed.RevokedCertificateEntries {
		list.serials[e.SerialNumber.Text(16)] = e.RevocationTime
	}
	return list, nil
}

// signer is the authority that signed a list.
func signer(list *x509.RevocationList, authorities []*x509.Certificate) (*x509.Certificate, error) {
	var wrong error
	for _, c := range authorities {
		if !bytes.Equal(c.RawSubject, list.RawIssuer) {
			continue
		}
		if wrong = list.CheckSignatureFrom(c); wrong == nil {
			return c, nil
		}
	}
	if wrong != nil {
		return nil, fmt.Errorf("the revocation list of %s is not signed by that authority, or its certificate in client_ca may not sign lists: %w", list.Issuer, wrong)
	}
	return nil, fmt.Errorf("the revocation list of %s belongs to no authority of client_ca: add its certificate there, or leave the list out", list.Issuer)
}

// authority tells one apart by its name and key: it may have several
// certificates.
type authority [sha256.Size]byte

func authorityOf(c *x509.Certificate) authority {
	return sha256.Sum256(slices.Concat(c.RawSubject, c.RawSubjectPublicKeyInfo)) // each says how long it is
}

// of finds the newest list of an authority.
func (r *revocations) of(issuer authority) (newest *revocationList) {
	for _, l := range r.lists {
		if l.signer == issuer && (newest == nil || l.begins.After(newest.begins)) {
			newest = l
		}
	}
	return newest
}

// check refuses a client whose certificate is revoked, or whose authority has
// no list that is valid today: then nobody can say that it is not revoked. An
// authority in between may do without a list. One way to a known authority
// that is not cut is enough.
func (r *revocations) check(state *tls.ConnectionState, now time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return nil // client_cert is optional
	}
	err := errors.New("the certificate was not verified")
	for _, chain := range state.VerifiedChains {
		if err = r.chain(chain, now); err == nil {
			return nil
		}
	}
	return err
}

func (r *revocations) chain(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain[:len(chain)-1] {
		list := r.of(authorityOf(chain[i+1]))
		switch {
		case list == nil && i == 0:
			return &revoked{
				"nobody can say whether the certificate is revoked: " + r.file + " has no list of " + chain[1].Subject.String(),
				"add that authority's list to crl",
			}
		case list == nil:
			continue
		}
		if at, is := list.serials[c.SerialNumber.Text(16)]; is {
			return &revoked{
				fmt.Sprintf("the certificate of %s, serial %s, was revoked on %s", c.Subject, c.SerialNumber.Text(16), at.UTC().Format(time.DateOnly)),
				"give the client a new one",
			}
		}
		if !list.expires.IsZero() && now.After(list.expires) {
			return &revoked{
				fmt.Sprintf("the revocation list of %s in %s has expired on %s", list.issuer.Subject, r.file, list.expires.UTC().Format(time.DateTime)),
				"put a new one there and send the server SIGHUP",
			}
		}
	}
	return nil
}

// revoked is why a revocation list ends a handshake.
type revoked struct{ why, do string }

func (r *revoked) Error() string { return r.why + ": " + r.do }

// authorities are the certificates of a PEM file.
func authorities(text []byte) (list []*x509.Certificate) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			list = append(list, c)
		}
	}
	return list
}
