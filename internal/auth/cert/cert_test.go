package cert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/cert"
)

// made is a certificate that was written and read again.
func made(t *testing.T, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func cn(names ...string) pkix.Name {
	n := pkix.Name{Organization: []string{"home"}}
	for _, name := range names {
		n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name})
	}
	return n
}

func TestCheck(t *testing.T) {
	uri := func(text string) []*url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	for name, c := range map[string]struct {
		options      cert.Options
		template     x509.Certificate
		user, client string // of who is let in
		why          string // of who is not
	}{
		"the common name":              {cert.Options{}, x509.Certificate{Subject: cn("porch")}, "porch", "", ""},
		"a common name with spaces":    {cert.Options{}, x509.Certificate{Subject: cn("The Porch é")}, "The Porch é", "", ""},
		"the whole name":               {cert.Options{User: "dn"}, x509.Certificate{Subject: cn("porch")}, "CN=porch,O=home", "", ""},
		"a host":                       {cert.Options{User: "san_dns"}, x509.Certificate{DNSNames: []string{"porch.example.org"}}, "porch.example.org", "", ""},
		"an address":                   {cert.Options{User: "san_email"}, x509.Certificate{EmailAddresses: []string{"ann@example.org"}}, "ann@example.org", "", ""},
		"a URI":                        {cert.Options{User: "san_uri"}, x509.Certificate{URIs: uri("spiffe://example.org/porch")}, "spiffe://example.org/porch", "", ""},
		"a client id":                  {cert.Options{ClientID: "san_dns"}, x509.Certificate{Subject: cn("porch"), DNSNames: []string{"d-1"}}, "porch", "d-1", ""},
		"no common name":               {cert.Options{}, x509.Certificate{Subject: pkix.Name{Organization: []string{"home"}}}, "", "", "no cn"},
		"an empty common name":         {cert.Options{}, x509.Certificate{Subject: cn("")}, "", "", "no cn"},
		"two common names":             {cert.Options{}, x509.Certificate{Subject: cn("porch", "root")}, "", "", "2 of cn"},
		"two hosts":                    {cert.Options{User: "san_dns"}, x509.Certificate{DNSNames: []string{"a", "b"}}, "", "", "2 of san_dns"},
		"no host":                      {cert.Options{User: "san_dns"}, x509.Certificate{Subject: cn("porch")}, "", "", "no san_dns"},
		"no client id":                 {cert.Options{ClientID: "san_dns"}, x509.Certificate{Subject: cn("porch")}, "", "", "no san_dns"},
		"all topics":                   {cert.Options{}, x509.Certificate{Subject: cn("#")}, "", "", "means something in topics"},
		"one level":                    {cert.Options{}, x509.Certificate{Subject: cn("a+b")}, "", "", "means something in topics"},
		"two levels":                   {cert.Options{}, x509.Certificate{Subject: cn("a/b")}, "", "", "means something in topics"},
		"a wildcard in a URI":          {cert.Options{User: "san_uri"}, x509.Certificate{URIs: uri("urn:+")}, "", "", "means something in topics"},
		"a zero":                       {cert.Options{}, x509.Certificate{Subject: cn("root\x00.porch")}, "", "", "cannot be seen"},
		"a line's end":                 {cert.Options{}, x509.Certificate{Subject: cn("porch\n")}, "", "", "cannot be seen"},
		"text that runs the other way": {cert.Options{}, x509.Certificate{Subject: cn("po\u202erch")}, "", "", "cannot be seen"},
		"a space of no width":          {cert.Options{}, x509.Certificate{Subject: cn("porch\u200b")}, "", "", "cannot be seen"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := cert.New(c.options)
			if err != nil {
				t.Fatal(err)
			}
			r := &access.Request{ClientID: "mine", UserName: "root", HasUserName: true, Password: []byte("x"), HasPassword: true}
			r.Peer.Certificate = made(t, &c.template)
			a := s.Check(t.Context(), r)
			if c.why != "" {
				if a.Verdict != auth.Deny || a.Failed || !strings.Contains(a.Why, c.why) || a.Do == "" {
					t.Errorf("%+v", a)
				}
				return
			}
			if a.Verdict != auth.Allow || a.Grant.UserName != c.user || a.Grant.ClientID != c.client {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestWhoShowsNoCertificateIsNotKnown(t *testing.T) {
	s, err := cert.New(cert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &access.Request{UserName: "root", HasUserName: true}
	if s.Concerns(r) || s.Check(t.Context(), r).Verdict != auth.Ignore {
		t.Error("it lets in, or denies")
	}
}

func TestUnknownParts(t *testing.T) {
	for _, o := range []cert.Options{{User: "serial"}, {ClientID: "CN"}} {
		if _, err := cert.New(o); err == nil || !strings.Contains(err.Error(), "san_dns") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
