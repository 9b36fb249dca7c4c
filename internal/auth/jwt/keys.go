package jwt

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/golang-jwt/jwt/v5"
)

// method is the one of an algorithm's name in RFC 7518, RFC 8037 or RFC 9864,
// or nil. "none" has none.
func method(alg string) jwt.SigningMethod {
	switch alg {
	case "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA":
		return jwt.GetSigningMethod(alg)
	case "Ed25519":
		return jwt.SigningMethodEdDSA
	default:
		return nil
	}
}

// key is one that tokens are verified with.
type key struct {
	id         string // empty: it has none
	public     any    // as the library takes it; []byte: a secret
	algorithms []string
}

// The least that RFC 7518 (sections 3.2 and 3.3) has keys be, and the most
// that a signature may cost to verify.
const (
	minSecret  = 32
	minModulus = 2048
	maxModulus = 8192
)

func secretKey(secret []byte) (key, error) {
	if block, _ := pem.Decode(secret); block != nil {
		return key{}, errors.New("it is a PEM file: write the name of a file with the public key as public_key")
	}
	if len(secret) < minSecret {
		return key{}, fmt.Errorf("it has %d bytes, which is below %d (RFC 7518, section 3.2): guessing it would be too easy", len(secret), minSecret)
	}
	return key{public: secret, algorithms: []string{"HS256", "HS384", "HS512"}}, nil
}

// publicKey makes a key of one that a library has read.
func publicKey(public any) (key, error) {
	k := key{public: public}
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minModulus || bits > maxModulus {
			return key{}, fmt.Errorf("an RSA key of %d bits: there should be %d to %d (RFC 7518, section 3.3)", bits, minModulus, maxModulus)
		}
		k.algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch public.Curve.Params().BitSize {
		case 256:
			k.algorithms = []string{"ES256"}
		case 384:
			k.algorithms = []string{"ES384"}
		case 521:
			k.algorithms = []string{"ES512"}
		default:
			return key{}, fmt.Errorf("the curve %s, which no algorithm of tokens uses", public.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		k.algorithms = []string{"EdDSA", "Ed25519"}
	default:
		return key{}, fmt.Errorf("a key of a kind that no algorithm of tokens uses (%T)", public)
	}
	return k, nil
}

// maxPEM bounds a file of public keys.
const maxPEM = 1 << 20

// readPEM reads the public keys and certificates of a file.
func readPEM(file string) ([]key, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: let this user read it, or correct the path: %w", err)
	}
	if len(text) > maxPEM {
		return nil, fmt.Errorf("%s has %d bytes: this is no file of keys", file, len(text))
	}
	var keys []key
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		public, err := parsePEM(block)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		k, err := publicKey(public)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no public key: it should hold a line -----BEGIN PUBLIC KEY-----", file)
	}
	return keys, nil
}

func parsePEM(block *pem.Block) (any, error) {
	switch {
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("this is a private key, which belongs to who signs tokens alone: take its public one")
	default:
		return nil, fmt.Errorf("%q is no public key", block.Type)
	}
}

// keySet are the keys of one moment, and the tokens that were verified with
// them. It does not change, but for those.
type keySet struct {
	keys []key
	from string // for the log
	seen *seen
}

// newKeySet narrows the algorithms of keys down to those that are allowed
// (none: all), and leaves out keys that are good for none.
func newKeySet(keys []key, allowed []string, from string) *keySet {
	s := &keySet{from: from, seen: newSeen()}
	for _, k := range keys {
		if len(allowed) > 0 {
			k.algorithms = slices.DeleteFunc(slices.Clone(k.algorithms), func(a string) bool { return !slices.Contains(allowed, a) })
		}
		if len(k.algorithms) > 0 {
			s.keys = append(s.keys, k)
		}
	}
	return s
}

// maxTries bounds the keys that one token is verified with: each try costs,
// and anybody may send a token.
const maxTries = 8

// candidates are the keys that may have signed a token. named says that those
// with its kid are among them.
func (s *keySet) candidates(h *header) (list []*key, named bool) {
	for i := range s.keys {
		k := &s.keys[i]
		if k.id != "" && h.hasKid && k.id != h.kid {
			continue
		}
		named = named || h.hasKid && k.id == h.kid
		if slices.Contains(k.algorithms, h.alg) {
			list = append(list, k)
		}
	}
	return list, named
}

// verify says whether a key of the set has signed the token.
func (s *keySet) verify(t *token) error {
	list, _ := s.candidates(&t.header)
	switch {
	case len(list) == 0:
		return refuse("let the issuer sign with one of them", "no key of %s is for the token's algorithm %s and key name (kid) %.64q: %s",
			s.from, t.header.alg, t.header.kid, s.describe())
	case len(list) > maxTries:
		return refuse("let the issuer name the key (kid)", "the token names no key (kid), and %d keys of %s could be meant", len(list), s.from)
	}
	m := method(t.header.alg)
	for _, k := range list {
		if m.Verify(string(t.signed), t.signature, k.public) == nil {
			return nil
		}
	}
	return refuse("give the client a token that was signed for this broker, or the broker the key of its issuer",
		"the signature of the token is wrong: it was not made with %s", s.from)
}

// describe lists the keys for the log.
func (s *keySet) describe() string {
	if len(s.keys) == 0 {
		return "there is none"
	}
	var b strings.Builder
	b.WriteString("there are ")
	for i, k := range s.keys {
		if i == maxTries {
			b.WriteString(" and more")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if k.id != "" {
			fmt.Fprintf(&b, "%.64q for ", k.id)
		}
		b.WriteString(strings.Join(k.algorithms, "/"))
	}
	return b.String()
}

// fixed is a source of keys that do not change.
type fixed struct{ set *keySet }

func newFixed(keys []key, allowed []string, from string) (*fixed, error) {
	set := newKeySet(keys, allowed, from)
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("algorithms: %s is for none of %s", from, strings.Join(allowed, ", "))
	}
	return &fixed{set: set}, nil
}

func (f *fixed) now() *keySet                                    { return f.set }
func (f *fixed) ready(context.Context, *header) (*keySet, error) { return f.set, nil }
func (f *fixed) prepare() (func(), error)                        { return func() {}, nil }
func (f *fixed) start()                                          {}
func (f *fixed) close()                                          {}

// filed is a source of keys that are in a file.
type filed struct {
	file    string
	allowed []string
	set     atomic.Pointer[keySet]
}

func newFile(file string, allowed []string) (*filed, error) {
	f := &filed{file: file, allowed: allowed}
	commit, err := f.prepare()
	if err != nil {
		return nil, err
	}
	commit()
	return f, nil
}

func (f *filed) prepare() (commit func(), err error) {
	keys, err := readPEM(f.file)
	if err != nil {
		return nil, fmt.Errorf("public_key: %w", err)
	}
	fixed, err := newFixed(keys, f.allowed, f.file)
	if err != nil {
		return nil, err
	}
	return func() { f.set.Store(fixed.set) }, nil
}

func (f *filed) now() *keySet                                    { return f.set.Load() }
func (f *filed) ready(context.Context, *header) (*keySet, error) { return f.set.Load(), nil }
func (f *filed) start()                                          {}
func (f *filed) close()                                          {}
