package sql

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// The hashes that do not say of themselves what they are.
const (
	hashSHA256 = "sha256"
	hashSHA512 = "sha512"
	hashMD5    = "md5"
	hashPlain  = "plain"
)

// Where the salt of a bare digest stands.
const (
	SaltPrefix = "prefix"
	SaltSuffix = "suffix"
	SaltNone   = "none"
)

// password checks passwords against what the database has.
type password struct {
	kind   string
	suffix bool
	salted bool
	digest func() hash.Hash // of the bare digests
}

func newPassword(kind, saltPosition string) (*password, error) {
	p := &password{kind: kind, salted: saltPosition != SaltNone, suffix: saltPosition == SaltSuffix}
	switch saltPosition {
	case "", SaltPrefix, SaltSuffix, SaltNone:
	default:
		return nil, fmt.Errorf("salt_position %q is unknown: it is %s, %s or %s", saltPosition, SaltPrefix, SaltSuffix, SaltNone)
	}
	switch kind {
	case hashSHA256:
		p.digest = sha256.New
	case hashSHA512:
		p.digest = sha512.New
	case hashMD5:
		p.digest = md5.New
	case hashPlain:
	default:
		return p, knows(kind)
	}
	return p, nil
}

// fits says whether a password is the one that was stored. An error says that
// nobody could tell, in words without either.
func (p *password) fits(stored, salt string, given []byte) (bool, error) {
	switch {
	case p.kind == hashPlain:
		// The lengths of both stay unknown when their digests are compared.
		a, b := sha256.Sum256([]byte(stored)), sha256.Sum256(given)
		return subtle.ConstantTimeCompare(a[:], b[:]) == 1, nil
	case p.digest != nil:
		want, ok := decode(strings.TrimSpace(stored), p.digest().Size())
		if !ok {
			return false, fmt.Errorf("it is no %s digest in hexadecimal digits or base64", p.kind)
		}
		return subtle.ConstantTimeCompare(p.sum(salt, given), want) == 1, nil
	default:
		return verify(p.kind, strings.TrimSpace(stored), given)
	}
}

// pretend takes as long as fits does: nobody learns by the time whether there
// is an account.
func (p *password) pretend(given []byte) {
	switch {
	case p.kind == hashPlain:
	case p.digest != nil:
		p.sum("", given)
	default:
		decoy(p.kind, given)
	}
}

// sum is the digest of a password with its salt.
func (p *password) sum(salt string, given []byte) []byte {
	h := p.digest()
	if p.salted && !p.suffix {
		h.Write([]byte(salt))
	}
	h.Write(given)
	if p.salted && p.suffix {
		h.Write([]byte(salt))
	}
	return h.Sum(nil)
}

// decode reads a digest of n bytes in hexadecimal digits or in base64.
func decode(text string, n int) (digest []byte, ok bool) {
	var err error
	if len(text) == hex.EncodedLen(n) {
		digest, err = hex.DecodeString(text)
	} else {
		digest, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	}
	return digest, err == nil && len(digest) == n
}
