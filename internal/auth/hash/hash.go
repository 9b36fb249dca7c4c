// Package hash knows the forms in which passwords are kept, for every backend
// that has any.
//
// [Parse] recognises a hash by its own marks and never guesses: what has none,
// as a bare digest in a table of somebody else's, is read with the [Column]
// that the owner named. [Check] compares in constant time, and [New] makes a
// hash of the forms that we write.
//
// A hash is slow on purpose, so two things bound what it may cost. Its
// parameters come from a file or a table and are held to a maximum, which
// [Parse] checks before any work is done: an argon2id hash with 64 GiB of
// memory is refused. And a [Pool] bounds how many are computed at once and how
// many wait, so that a thousand clients that guess passwords leave the event
// loops their processors.
//
// Nothing remembers who has just been right. A cache of successes would hold a
// fast verifier of each password in memory, which is what slow hashes are there
// to avoid; it would let in a client whose password has been changed; and it
// helps only those that connect often, which a token or a certificate helps
// more.
package hash

import (
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Hash is a password as it is kept. Its zero value fits nothing.
type Hash struct {
	form
	lanes uint32 // processors that it takes
	slow  bool
}

// form is a kind of hash, with the parameters and the salt of one.
type form interface {
	fits(password []byte) bool
}

// maxText is the longest text of a hash.
const maxText = 1024

// ErrNoHash is what Parse says of a text that has no mark of a hash: it may be
// a password in plain text.
var ErrNoHash = errors.New("this is no hash: its form is not one of $6$, $7$, $argon2id$, $2b$, $pbkdf2-…$, pbkdf2_…$ and PBKDF2$")

// Parse reads a hash that tells its form itself: mosquitto's $6$ and $7$,
// argon2id and PBKDF2 as PHC strings, bcrypt, Django's pbkdf2_sha256, and
// PBKDF2$ as mosquitto-go-auth has it. The error does not repeat the text.
func Parse(text string) (Hash, error) {
	if len(text) > maxText {
		return Hash{}, fmt.Errorf("a text of %d bytes is no hash", len(text))
	}
	for _, k := range []struct {
		mark  string
		parse func(rest string) (Hash, error)
	}{
		{"$6$", parseSHA512},
		{"$7$", parseMosquittoPBKDF2},
		{"$argon2", parseArgon2},
		{"$2", parseBcrypt},
		{"$pbkdf2", parsePHCPBKDF2},
		{"pbkdf2_", parseDjango},
		{"PBKDF2$", parseGoAuth},
	} {
		if rest, ok := strings.CutPrefix(text, k.mark); ok {
			return k.parse(rest)
		}
	}
	return Hash{}, ErrNoHash
}

// Check says whether password is the one that was hashed. What it takes does
// not hang from how much of it is right.
func Check(h Hash, password []byte) bool { return h.form != nil && h.fits(password) }

// Kind is a form that New writes.
type Kind string

// The kinds.
const (
	Argon2id     Kind = "argon2id"      // the default
	Bcrypt       Kind = "bcrypt"        // of at most 72 bytes
	SHA512PBKDF2 Kind = "sha512-pbkdf2" // mosquitto's, since 2.0
	SHA512       Kind = "sha512"        // mosquitto's, up to 1.6: fast to check, and to guess
)

// Kinds are all kinds, the default first.
func Kinds() []Kind { return []Kind{Argon2id, Bcrypt, SHA512PBKDF2, SHA512} }

// What New takes. The costs are OWASP's minimum of 2025 for each kind (Password
// Storage Cheat Sheet): about 30 ms, 60 ms and 80 ms of a processor.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonLanes  = 1
	bcryptCost  = 10
	// Iterations are those of SHA512PBKDF2. mosquitto_passwd takes 101.
	Iterations = 210_000
)

// New hashes a password with a salt of its own.
func New(kind Kind, password []byte) (string, error) {
	switch kind {
	case Argon2id:
		salt := newSalt(16)
		sum := argon2.IDKey(password, salt, argonTime, argonMemory, argonLanes, 32)
		b64 := base64.RawStdEncoding.EncodeToString
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes, b64(salt), b64(sum)), nil
	case Bcrypt:
		text, err := bcrypt.GenerateFromPassword(password, bcryptCost)
		if errors.Is(err, bcrypt.ErrPasswordTooLong) {
			err = errors.New("bcrypt sees 72 bytes of a password and no more: take a shorter one, or another hash")
		}
		return string(text), err
	case SHA512PBKDF2:
		return NewPBKDF2(password, Iterations)
	case SHA512:
		salt := newSalt(mosquittoSalt)
		return "$6$" + base64.StdEncoding.EncodeToString(salt) + "$" +
			base64.StdEncoding.EncodeToString(sha512Of(password, salt)), nil
	default:
		return "", fmt.Errorf("%q is no kind of hash", kind)
	}
}

// NewPBKDF2 hashes a password as SHA512PBKDF2, with this many iterations.
func NewPBKDF2(password []byte, iterations int) (string, error) {
	if iterations < 1 || iterations > maxIterations {
		return "", fmt.Errorf("%d iterations are not between 1 and %d", iterations, maxIterations)
	}
	salt := newSalt(mosquittoSalt)
	p := stretched{digest: sha512.New, iterations: iterations, salt: salt, sum: make([]byte, 64)}
	return fmt.Sprintf("$7$%d$%s$%s", iterations,
		base64.StdEncoding.EncodeToString(salt), base64.StdEncoding.EncodeToString(p.of(password))), nil
}

func newSalt(length int) []byte {
	salt := make([]byte, length)
	rand.Read(salt) // never fails, says crypto/rand
	return salt
}

func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// bounded reads a whole number without sign between least and most.
func bounded(what, text string, least, most uint32) (uint32, error) {
	var n uint64
	if text == "" || len(text) > 10 {
		return 0, fmt.Errorf("%s is not a whole number that a hash can have", what)
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%s is not a whole number", what)
		}
		n = n*10 + uint64(c-'0')
	}
	if n < uint64(least) || n > uint64(most) {
		return 0, fmt.Errorf("%s: %d is not between %d and %d", what, n, least, most)
	}
	return uint32(n), nil
}

// decoded are the salt and the sum of a hash.
func decoded(e *base64.Encoding, salt, sum string) (s, h []byte, err error) {
	if s, err = e.DecodeString(salt); err != nil || len(s) == 0 {
		return nil, nil, errors.New("the salt is not base64")
	}
	if h, err = e.DecodeString(sum); err != nil {
		return nil, nil, errors.New("the hash is not base64")
	}
	if len(h) < 16 || len(h) > 64 {
		return nil, nil, fmt.Errorf("the hash has %d bytes, which are not 16 to 64", len(h))
	}
	return s, h, nil
}
