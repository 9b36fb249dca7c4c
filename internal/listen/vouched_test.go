package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"
)

// signed is a certificate, of itself if nobody else signs it.
type signed struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

func sign(t *testing.T, name string, serial int64, by *signed) *signed {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signed{c, key}
}

// revokes is the authority's list, which is good until an hour from now or, if it
// has expired, an hour ago.
func (s *signed) revokes(t *testing.T, expired bool, serials ...int64) *revocationList {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	if expired {
		template.NextUpdate = time.Now().Add(-time.Hour)
	}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, s.Certificate, s.key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := newRevocationList(der, []*x509.Certificate{s.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhatCanBeTakenBack(t *testing.T) {
	root, other := sign(t, "root", 1, nil), sign(t, "other", 1, nil)
	between := sign(t, "between", 0x1f, root)
	leaf := sign(t, "porch", 0x2a, between)
	one := []*x509.Certificate{leaf.Certificate, between.Certificate, root.Certificate}
	two := []*x509.Certificate{leaf.Certificate, other.Certificate}
	for name, c := range map[string]struct {
		chains [][]*x509.Certificate
		lists  []*revocationList
		want   string
	}{
		"nothing is revoked":                {[][]*x509.Certificate{one}, []*revocationList{root.revokes(t, false), between.revokes(t, false, 7)}, ""},
		"the certificate":                   {[][]*x509.Certificate{one}, []*revocationList{between.revokes(t, false, 7, 0x2a)}, "serial 2a of CN=between was revoked on 2026-01-02"},
		"the authority in between":          {[][]*x509.Certificate{one}, []*revocationList{between.revokes(t, false), root.revokes(t, false, 0x1f)}, "serial 1f of CN=root"},
		"the serial, by another authority":  {[][]*x509.Certificate{one}, []*revocationList{root.revokes(t, false, 0x2a), other.revokes(t, false, 0x2a)}, ""},
		"a list that has expired":           {[][]*x509.Certificate{one}, []*revocationList{between.revokes(t, true)}, ""},
		"it, by a list that has expired":    {[][]*x509.Certificate{one}, []*revocationList{between.revokes(t, true, 0x2a)}, "serial 2a"},
		"no list at all any more":           {[][]*x509.Certificate{one}, nil, ""},
		"one of two ways":                   {[][]*x509.Certificate{one, two}, []*revocationList{between.revokes(t, false, 0x2a)}, ""},
		"both ways":                         {[][]*x509.Certificate{one, two}, []*revocationList{between.revokes(t, false, 0x2a), other.revokes(t, false, 0x2a)}, "serial 2a of CN=other"},
		"the certificate of the root alone": {[][]*x509.Certificate{one}, []*revocationList{root.revokes(t, false, 1)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cs := &certificates{}
			state := &tls.ConnectionState{VerifiedChains: c.chains}
			if cs.vouch(state) != nil {
				t.Error("without a list, something is kept")
			}
			cs.revoked.Store(&revocations{})
			if cs.vouch(&tls.ConnectionState{}) != nil {
				t.Error("without a certificate, something is kept")
			}
			v := cs.vouch(state)
			if why := v.Fault(); why != "" {
				t.Errorf("at first: %s", why)
			}
			cs.revoked.Store(&revocations{lists: c.lists})
			if why := v.Fault(); (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
				t.Errorf("%q, want %q", why, c.want)
			}
		})
	}
}
