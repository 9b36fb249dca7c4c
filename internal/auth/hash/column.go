package hash

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	stdhash "hash"
)

// Column says how the passwords in a table of somebody else's are kept. The
// zero value is that of hashes that tell their form themselves.
type Column struct {
	// Algorithm is empty, or plain, md5, sha1, sha256 or sha512, in hexadecimal.
	Algorithm string
	// Salt says where in the digested text the salt is: SaltNone, SaltPrefix or
	// SaltSuffix.
	Salt string
}

// Where the salt of a row is.
const (
	SaltNone   = ""
	SaltPrefix = "prefix"
	SaltSuffix = "suffix"
)

// Algorithms are what a Column may have.
func Algorithms() []string { return []string{"plain", "md5", "sha1", "sha256", "sha512"} }

// Validate says what is wrong with the column.
func (c Column) Validate() error {
	_, err := c.Parse("", "")
	if errors.Is(err, errDigest) || errors.Is(err, ErrNoHash) {
		return nil
	}
	return err
}

var errDigest = errors.New("the hash in the table is not the digest of its algorithm in hexadecimal")

// Parse reads what stands in a row, with the row's salt. The error repeats
// neither.
func (c Column) Parse(text, salt string) (Hash, error) {
	var digest func() stdhash.Hash
	switch c.Algorithm {
	case "":
		if c.Salt != SaltNone {
			return Hash{}, errors.New("a salt beside the hash needs an algorithm: other hashes hold their own")
		}
		return Parse(text)
	case "plain":
		if c.Salt != SaltNone {
			return Hash{}, errors.New("plain passwords have no salt")
		}
		return Hash{form: plain(text)}, nil
	case "md5":
		digest = md5.New
	case "sha1":
		digest = sha1.New
	case "sha256":
		digest = sha256.New
	case "sha512":
		digest = sha512.New
	default:
		return Hash{}, fmt.Errorf("the algorithm %q is not known: it is one of plain, md5, sha1, sha256, sha512, or none for hashes that tell their form", c.Algorithm)
	}
	f := digested{digest: digest}
	switch c.Salt {
	case SaltNone:
	case SaltPrefix:
		f.before = salt
	case SaltSuffix:
		f.after = salt
	default:
		return Hash{}, fmt.Errorf("the place of the salt %q is not known: it is prefix or suffix, or empty for none", c.Salt)
	}
	var err error
	if f.sum, err = hex.DecodeString(text); err != nil || len(f.sum) != digest().Size() {
		return Hash{}, errDigest
	}
	return Hash{form: f}, nil
}

// plain is the password itself.
type plain string

// fits compares digests, which are equally long, so that the time tells
// nothing of the length either.
func (f plain) fits(password []byte) bool {
	want, got := sha256.Sum256([]byte(f)), sha256.Sum256(password)
	return same(got[:], want[:])
}

// digested is a digest of the password with its salt.
type digested struct {
	digest        func() stdhash.Hash
	before, after string
	sum           []byte
}

func (f digested) fits(password []byte) bool {
	h := f.digest()
	h.Write([]byte(f.before))
	h.Write(password)
	h.Write([]byte(f.after))
	return same(h.Sum(nil), f.sum)
}
