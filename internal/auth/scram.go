package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// Source is a step whose clients can prove to know a password without sending
// it.
type Source interface {
	Name() string
	// Proof finds what a client has to prove that gives this name, in the form in
	// which SCRAM sends it. It is asked on an event loop: it must not wait.
	Proof(prepared string) (p Proof, known bool)
}

// Proof is what a client has to prove, and what is known of it once it has.
type Proof struct {
	User     string   // the name as it is kept
	Verifier Verifier // the zero one fits nothing
	Grant    access.Grant
}

// SCRAM is SCRAM-SHA-256 with the accounts of several sources, of which the first
// that knows a name has it.
//
// It does not tell whether a user exists: every name has a verifier. That of an
// unknown name is derived from the name under a secret, so it is as good to look
// at as a known one, the same each time, and nothing fits it.
type SCRAM struct {
	secret  Secret
	sources []Source
	nonce   func() string // nil: a random one
}

// Secret is what is known to nobody but this broker, and stays the same.
type Secret [sha256.Size]byte

// NewSecret makes one up.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails, says crypto/rand
	return s
}

// NewSCRAM makes one.
func NewSCRAM(secret Secret, sources ...Source) *SCRAM {
	return &SCRAM{secret: secret, sources: sources}
}

// Begin starts an authentication with the method that the client named. The
// error is a [*packet.Refusal]: there is but [SCRAMSHA256], and it binds to no
// channel.
func (s *SCRAM) Begin(method string) (*Exchange, error) {
	if method != SCRAMSHA256 {
		return nil, packet.Refuse(packet.BadAuthenticationMethod, "authentication method is not "+SCRAMSHA256)
	}
	x := &Exchange{scram: s}
	server, err := scram.SHA256.NewServer(x.credentials)
	if err != nil {
		return nil, fmt.Errorf("set up SCRAM-SHA-256: %w", err)
	}
	if s.nonce != nil {
		server.WithNonceGenerator(s.nonce)
	}
	x.conv = server.NewConversation()
	return x, nil
}

// proof finds that of a name as it came.
func (s *SCRAM) proof(name string) (p Proof, known bool) {
	name = Prepare(name)
	for _, source := range s.sources {
		if p, known = source.Proof(name); known {
			p.Grant.By = source.Name()
			return p, p.Verifier.StoredKey != nil
		}
	}
	return Proof{}, false
}

// Decoy is the verifier of a name that is not known.
func (s Secret) Decoy(name string) Verifier {
	name = Prepare(name)
	return Verifier{
		Salt: s.salt(name), Iterations: iterations, StoredKey: s.derived("stored key", name), ServerKey: s.derived("server key", name),
	}
}

// salt is the salt of a prepared name.
func (s Secret) salt(name string) string { return string(s.derived("salt", name)[:saltLength]) }

func (s Secret) derived(what, name string) []byte { return mac(mac(s[:], what), name) }

// Verifier is what is kept of a password to check it, sent or proved (RFC 5802,
// section 3): it is salted and stretched with PBKDF2.
type Verifier struct {
	Salt                 string
	Iterations           int
	StoredKey, ServerKey []byte
}

// iterations is what RFC 7677, section 4, asks for at least. More would make
// a CONNECT slower than its client needs: about a millisecond as it is. All
// verifiers of ours have as many, so that the number tells nothing.
const iterations = 4096

const saltLength = 16

// NewVerifier makes that of a password, with a salt of its own.
func NewVerifier(password string) (Verifier, error) {
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails, says crypto/rand
	return derive(password, string(salt), iterations)
}

// Fits says whether a password is the one. It takes about a millisecond of work:
// keep it off the event loops.
func (v Verifier) Fits(password []byte) bool {
	got, err := derive(string(password), v.Salt, v.Iterations)
	fits := err == nil && subtle.ConstantTimeCompare(got.StoredKey, v.StoredKey) == 1
	return fits && !bytes.HasSuffix(password, []byte(zero))
}

// zero does not change a password that it ends: to HMAC, which fills its key up
// with zeros (RFC 2104, section 2), "secret" and "secret\x00" are one.
const zero = "\x00"

// derive stretches a password.
func derive(password, salt string, iterations int) (Verifier, error) {
	salted, err := pbkdf2.Key(sha256.New, Prepare(password), []byte(salt), iterations, sha256.Size)
	if err != nil {
		return Verifier{}, err
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return Verifier{Salt: salt, Iterations: iterations, StoredKey: stored[:], ServerKey: mac(salted, "Server Key")}, nil
}

// String is the text form, which is PostgreSQL's:
// SCRAM-SHA-256$iterations:salt$storedkey:serverkey.
func (v Verifier) String() string {
	text := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", SCRAMSHA256, v.Iterations, text([]byte(v.Salt)), text(v.StoredKey), text(v.ServerKey))
}

// maxIterations are some seconds of a processor.
const maxIterations = 10_000_000

// ParseVerifier reads the text form. The error does not repeat it.
func ParseVerifier(text string) (v Verifier, err error) {
	rest, ok := strings.CutPrefix(text, SCRAMSHA256+"$")
	head, keys, ok2 := strings.Cut(rest, "$")
	number, salt, ok3 := strings.Cut(head, ":")
	stored, server, ok4 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 || !ok4 {
		return Verifier{}, errors.New("it is not SCRAM-SHA-256$iterations:salt$storedkey:serverkey")
	}
	if v.Iterations, err = strconv.Atoi(number); err != nil || v.Iterations < 1 || v.Iterations > maxIterations {
		return Verifier{}, fmt.Errorf("the iterations are not between 1 and %d", maxIterations)
	}
	var parts [3][]byte
	for i, part := range []string{salt, stored, server} {
		if parts[i], err = base64.StdEncoding.DecodeString(part); err != nil {
			return Verifier{}, errors.New("a part is not base64")
		}
	}
	if n := len(parts[0]); n == 0 || n > 64 || len(parts[1]) != sha256.Size || len(parts[2]) != sha256.Size {
		return Verifier{}, errors.New("the salt or a key is none of SCRAM-SHA-256")
	}
	v.Salt, v.StoredKey, v.ServerKey = string(parts[0]), parts[1], parts[2]
	return v, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// Prepare brings a name or password into the one form in which SCRAM clients
// use it (RFC 5802, section 5.1). What has none, as bytes that are no text and
// characters younger than SASLprep, stays as it is.
func Prepare(s string) string {
	p, err := stringprep.SASLprep.Prepare(s)
	if err != nil || p == "" {
		return s
	}
	return p
}
