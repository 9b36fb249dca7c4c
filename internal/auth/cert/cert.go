// Package cert takes the name of a client out of its certificate.
//
// The listener has verified the certificate during the TLS handshake: against
// its client_ca, and its revocation list if it has one. A certificate that was
// not verified never comes here. So the name that the authority has put into
// it is the client's, whatever user name CONNECT gives, as with mosquitto's
// use_identity_as_username: nobody can borrow another name.
//
// Such a name ends up in topics, by the placeholders of rules. One with a
// character that means something there, or that cannot be seen, is refused, as
// is a certificate with two common names, of which two programs may each
// believe another.
package cert

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/packet"
)

// Options of the step.
type Options struct {
	// User is the part of the certificate that is the user name: CN, the
	// default, or another.
	User string
	// ClientID is the part that is the client id; empty: the client says so.
	ClientID string
}

// The parts of a certificate.
const (
	CN       = "cn"
	DN       = "dn" // as in RFC 2253: CN=porch,O=home
	SANDNS   = "san_dns"
	SANEmail = "san_email"
	SANURI   = "san_uri"
)

// Cert is the step.
type Cert struct{ user, clientID string }

// New makes the step.
func New(o Options) (*Cert, error) {
	c := &Cert{cmp.Or(o.User, CN), o.ClientID}
	for _, part := range []string{c.user, c.clientID} {
		switch part {
		case "", CN, DN, SANDNS, SANEmail, SANURI:
		default:
			return nil, fmt.Errorf("%q is no part of a certificate: write cn, dn, san_dns, san_email or san_uri", part)
		}
	}
	return c, nil
}

// Name implements auth.Step.
func (c *Cert) Name() string { return "auth.certificate" }

// Concerns implements auth.Step.
func (c *Cert) Concerns(r *access.Request) bool { return r.Peer.Certificate != nil }

// Check implements auth.Step.
func (c *Cert) Check(_ context.Context, r *access.Request) auth.Answer {
	if !c.Concerns(r) {
		return auth.Passed("the client shows no certificate, or the listener asks for none: it needs client_ca")
	}
	var g access.Grant
	var err error
	if g.UserName, err = name(r.Peer.Certificate, c.user); err != nil {
		return refused(err)
	}
	if c.clientID != "" {
		if g.ClientID, err = name(r.Peer.Certificate, c.clientID); err != nil {
			return refused(err)
		}
	}
	return auth.Allowed(g, "the certificate is good")
}

func refused(err error) auth.Answer {
	return auth.Denied(packet.NotAuthorized, "the client's certificate is good, but "+err.Error(),
		"give the client a certificate with a proper name, or take the name from another part of it")
}

// name is a part of a certificate as a name.
func name(c *x509.Certificate, part string) (string, error) {
	values, err := parts(c, part)
	switch {
	case err != nil:
		return "", err
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("it has no %s", part)
	case len(values) > 1:
		return "", fmt.Errorf("it has %d of %s, and nobody can say which of them is the client's name", len(values), part)
	}
	return values[0], proper(values[0], part)
}

// parts are all values of a part.
func parts(c *x509.Certificate, part string) (values []string, err error) {
	switch part {
	case CN:
		return commonNames(c)
	case DN:
		return []string{c.Subject.String()}, nil
	case SANDNS:
		return c.DNSNames, nil
	case SANEmail:
		return c.EmailAddresses, nil
	case SANURI:
		for _, u := range c.URIs {
			values = append(values, u.String())
		}
		return values, nil
	default:
		return nil, fmt.Errorf("%q is no part of a certificate", part)
	}
}

// commonNames are those of the subject: x509 tells only the last.
func commonNames(c *x509.Certificate) (values []string, err error) {
	for _, a := range c.Subject.Names {
		if !a.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			continue
		}
		text, ok := a.Value.(string)
		if !ok {
			return nil, errors.New("its cn is no text")
		}
		values = append(values, text)
	}
	return values, nil
}

// proper says what is wrong with a name. A URI has slashes; a rule that allows
// is not widened by them.
func proper(name, part string) error {
	special := "+#/"
	if part == SANURI {
		special = "+#"
	}
	invisible := func(r rune) bool { return unicode.IsControl(r) || !unicode.IsGraphic(r) }
	switch {
	case !utf8.ValidString(name) || strings.ContainsFunc(name, invisible):
		return fmt.Errorf("its %s has characters that cannot be seen: %q", part, name)
	case strings.ContainsAny(name, special):
		return fmt.Errorf("its %s %q has a character that means something in topics: one of %s", part, name, special)
	case len(name) > 65_535:
		return fmt.Errorf("its %s has %d bytes", part, len(name))
	default:
		return nil
	}
}
