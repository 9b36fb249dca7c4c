package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/fantail-mqtt/fantail/internal/auth/grant"
)

// maxKeys bounds the keys of a set.
const maxKeys = 100

// parseJWKS reads a set of keys (RFC 7517, section 5). Keys of a kind that is
// not known, for another use, or with something wrong are left out, and
// counted; shared secrets too, which have no place in what is handed to
// everybody.
func parseJWKS(text []byte) (keys []key, left int, err error) {
	object, err := grant.Decode(text)
	if err != nil {
		return nil, 0, err
	}
	list, ok := object["keys"].([]any)
	switch {
	case !ok:
		return nil, 0, errors.New("it has no list of keys")
	case len(list) > maxKeys:
		return nil, 0, fmt.Errorf("it has %d keys, which is above %d", len(list), maxKeys)
	}
	for _, v := range list {
		k, err := parseJWK(v)
		if err != nil {
			left++
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, left, fmt.Errorf("it has no key for signatures, and %d others", left)
	}
	return keys, left, nil
}

func parseJWK(v any) (key, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return key{}, errors.New("no object")
	}
	if use, ok := object["use"]; ok && use != "sig" {
		return key{}, errors.New("not for signatures")
	}
	if ops, ok := object["key_ops"]; ok && !has(ops, "verify") {
		return key{}, errors.New("not for signatures")
	}
	public, err := publicJWK(object)
	if err != nil {
		return key{}, err
	}
	k, err := publicKey(public)
	if err != nil {
		return key{}, err
	}
	k.id, _ = object["kid"].(string)
	alg, pinned := object["alg"]
	if !pinned {
		return k, nil
	}
	name, _ := alg.(string)
	if !slices.Contains(k.algorithms, name) {
		return key{}, errors.New("not for signatures")
	}
	k.algorithms = []string{name}
	return k, nil
}

// publicJWK reads the numbers of a key (RFC 7518, section 6; RFC 8037,
// section 2).
func publicJWK(object map[string]any) (any, error) {
	switch object["kty"] {
	case "RSA":
		return rsaJWK(object)
	case "EC":
		return ecJWK(object)
	case "OKP":
		x, err := number(object, "x")
		if err != nil || object["crv"] != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("no key of Ed25519")
		}
		return ed25519.PublicKey(x), nil
	default:
		return nil, errors.New("an unknown kind (kty)")
	}
}

func rsaJWK(object map[string]any) (any, error) {
	n, err := number(object, "n")
	if err != nil {
		return nil, err
	}
	e, err := number(object, "e")
	if err != nil {
		return nil, err
	}
	if len(n) > maxModulus/8+1 {
		return nil, errors.New("n is too large")
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 || exponent.Bit(0) == 0 || exponent.Cmp(big.NewInt(3)) < 0 {
		return nil, errors.New("e is no exponent")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

func ecJWK(object map[string]any) (any, error) {
	var curve elliptic.Curve
	switch object["crv"] {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, errors.New("an unknown curve (crv)")
	}
	size := (curve.Params().BitSize + 7) / 8
	point := append(make([]byte, 0, 1+2*size), 4) // uncompressed (SEC 1, section 2.3.3)
	for _, name := range []string{"x", "y"} {
		v, err := number(object, name)
		if err != nil {
			return nil, err
		}
		if len(v) > size {
			return nil, errors.New(name + " is too large")
		}
		point = append(append(point, make([]byte, size-len(v))...), v...)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, point) // which sees to it that it is on the curve
}

func number(object map[string]any, name string) ([]byte, error) {
	text, ok := object[name].(string)
	if !ok || text == "" {
		return nil, errors.New(name + " is missing")
	}
	return base64.RawURLEncoding.DecodeString(text)
}
