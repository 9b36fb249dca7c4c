package jwt

import (
	"bytes"
	"encoding/base64"
	"errors"

	"github.com/fantail-mqtt/fantail/internal/auth/grant"
)

// token is one that has been taken apart; nothing in it is verified.
type token struct {
	header    header
	signed    []byte // the header and the payload, as they are signed
	payload   []byte // in base64
	signature []byte
}

// header is what counts of a token's header.
type header struct {
	alg, kid string
	hasKid   bool
}

// errNoToken says that something is no token at all.
var errNoToken = errors.New("no token")

// parse takes a token apart. It reads the header alone.
func parse(raw []byte) (*token, error) {
	parts := bytes.Split(raw, []byte("."))
	text, err := decode(parts[0])
	if err != nil {
		return nil, errNoToken
	}
	object, err := grant.Decode(text)
	if err != nil {
		return nil, errNoToken
	}
	if len(parts) != 3 {
		return nil, refuse("let the issuer sign it and leave it readable", "the token is encrypted (JWE)")
	}
	t := &token{payload: parts[1], signed: raw[:len(parts[0])+1+len(parts[1])]}
	if t.header, err = readHeader(object); err != nil {
		return nil, err
	}
	if t.signature, err = decode(parts[2]); err != nil {
		return nil, refuse("let the client send the token as it got it", "the signature of the token is not base64url")
	}
	return t, nil
}

// decode reads base64url without padding, of which each text has only one
// form (RFC 7515, section 2).
func decode(part []byte) ([]byte, error) {
	return base64.RawURLEncoding.Strict().AppendDecode(nil, part)
}

// readHeader takes what counts out of a header. Extensions that must be
// understood are not (RFC 7515, section 4.1.11).
func readHeader(object map[string]any) (header, error) {
	var h header
	alg, ok := object["alg"].(string)
	switch {
	case !ok:
		return h, refuse("let the issuer sign it", "the header of the token names no algorithm (alg)")
	case method(alg) == nil:
		return h, refuse("let the issuer sign it in another way", "the algorithm (alg) of the token is none of those that are verified: %.16q", alg)
	}
	if _, critical := object["crit"]; critical {
		return h, refuse("let the issuer leave it out", "the token needs an extension to be understood (crit), and there is none here")
	}
	if cty, ok := object["cty"].(string); ok && cty != "" {
		return h, refuse("let the issuer leave out the outer one", "the token is wrapped around something else (cty)")
	}
	h.alg = alg
	kid, named := object["kid"]
	if !named {
		return h, nil
	}
	if h.kid, h.hasKid = kid.(string); !h.hasKid {
		return h, refuse("let the issuer correct it", "the name of the key (kid) in the token is no text")
	}
	return h, nil
}

// claims reads the payload.
func (t *token) claims() (map[string]any, error) {
	text, err := decode(t.payload)
	if err != nil {
		return nil, refuse("let the issuer correct it", "the claims of the token are not base64url")
	}
	object, err := grant.Decode(text)
	if err != nil {
		return nil, refuse("let the issuer correct it", "the claims of the token cannot be read: %v", err)
	}
	return object, nil
}
