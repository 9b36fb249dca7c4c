// Package auth says whether a client is who it says it is.
//
// [Users] knows names and passwords from the configuration and keeps of each
// password only a verifier: what SCRAM-SHA-256 needs of it (RFC 5802, section
// 3), salted and stretched with PBKDF2. A password in CONNECT is checked
// against it with [Users.Check], and the conversation of an enhanced
// authentication (5.0, section 4.12) is an [Exchange].
//
// Neither tells whether a user exists: every name has a verifier. That of an
// unknown name is derived from the name under a secret, as the salts of the
// known ones are, so it is as good to look at, as slow to check, the same
// each time, and nothing fits it.
//
// [Anonymous] is the policy for clients that show nothing.
package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// User is a name and password as the configuration has them.
type User struct{ Name, Password string }

// iterations is what RFC 7677, section 4, asks for at least. More would make
// a CONNECT slower than its client needs: about a millisecond as it is.
const iterations = 4096

const saltLength = 16

// Users checks passwords. It does not change, so any number of goroutines may
// use it.
type Users struct {
	byName   map[string]*known // by the name as configured
	prepared map[string]*known // by the name as SCRAM sends it
	secret   []byte            // salts and the verifiers of unknown names come from it
	server   *scram.Server
}

type known struct {
	name     string
	verifier scram.StoredCredentials
}

// NewUsers derives the verifiers, which takes about a millisecond for each
// user. The error tells all mistakes at once, and no password.
func NewUsers(users []User) (*Users, error) {
	u := &Users{
		byName:   make(map[string]*known, len(users)),
		prepared: make(map[string]*known, len(users)),
		secret:   make([]byte, sha256.Size),
	}
	rand.Read(u.secret) // never fails, says crypto/rand
	var errs []error
	for i, user := range users {
		if err := u.add(user); err != nil {
			errs = append(errs, fmt.Errorf("user %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	server, err := scram.SHA256.NewServer(u.credentials)
	if err != nil {
		return nil, fmt.Errorf("set up SCRAM-SHA-256: %w", err)
	}
	u.server = server
	return u, nil
}

func (u *Users) add(user User) error {
	if user.Name == "" {
		return errors.New("name is empty")
	}
	name := prepare(user.Name)
	if other := u.prepared[name]; other != nil {
		if other.name != user.Name {
			return fmt.Errorf("name %q is the same as %q, written in another way", user.Name, other.name)
		}
		return fmt.Errorf("name %q comes twice", user.Name)
	}
	if strings.HasSuffix(user.Password, zero) {
		return fmt.Errorf("the password of %q ends with a zero byte, which no client can show", user.Name)
	}
	verifier, err := derive(user.Password, u.salt(name))
	if err != nil {
		return fmt.Errorf("derive the verifier of %q: %w", user.Name, err)
	}
	k := &known{name: user.Name, verifier: verifier}
	u.byName[user.Name], u.prepared[name] = k, k
	return nil
}

// Name implements Step.
func (u *Users) Name() string { return "auth.users" }

// Concerns implements Step.
func (u *Users) Concerns(r *access.Request) bool { return r.HasUserName && len(u.byName) > 0 }

// Check implements Step.
func (u *Users) Check(_ context.Context, r *access.Request) Answer {
	if !u.Concerns(r) {
		return Passed("the client shows no user name")
	}
	ok := u.fits(r.UserName, r.Password)
	switch _, known := u.byName[r.UserName]; {
	case !known:
		return Passed("there is no such user")
	case !ok:
		return Denied(packet.BadUserNameOrPassword, "the password is wrong", "correct the password in the client, or that in auth.users")
	default:
		return Allowed(access.Grant{}, "user name and password are right")
	}
}

// fits says whether password is that of the user name, which must be written
// as it is configured. It takes about a millisecond of work, and as long for
// an unknown name as for a known one: keep it off the event loops.
func (u *Users) fits(name string, password []byte) bool {
	want := u.unknown(prepare(name))
	k, ok := u.byName[name]
	if ok {
		want = k.verifier
	}
	got, err := derive(string(password), want.Salt)
	if err != nil {
		return false
	}
	fits := subtle.ConstantTimeCompare(got.StoredKey, want.StoredKey) == 1
	return fits && ok && !bytes.HasSuffix(password, []byte(zero))
}

// zero does not change a password that it ends: to HMAC, which fills its key up
// with zeros (RFC 2104, section 2), "secret" and "secret\x00" are one.
const zero = "\x00"

// credentials finds the verifier of a name that came by SCRAM.
func (u *Users) credentials(name string) (scram.StoredCredentials, error) {
	name = prepare(name)
	v := u.unknown(name)
	if k, ok := u.prepared[name]; ok {
		v = k.verifier
	}
	return v, nil
}

// salt is the salt of a prepared name, known or not.
func (u *Users) salt(name string) string { return string(u.derived("salt", name)[:saltLength]) }

// unknown is the verifier of a name that is not known.
func (u *Users) unknown(name string) scram.StoredCredentials {
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: u.salt(name), Iters: iterations},
		StoredKey:  u.derived("stored key", name),
		ServerKey:  u.derived("server key", name),
	}
}

func (u *Users) derived(what, name string) []byte {
	return mac(mac(u.secret, what), name)
}

// derive stretches a password into its verifier (RFC 5802, section 3).
func derive(password, salt string) (scram.StoredCredentials, error) {
	salted, err := pbkdf2.Key(sha256.New, prepare(password), []byte(salt), iterations, sha256.Size)
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: salt, Iters: iterations},
		StoredKey:  stored[:],
		ServerKey:  mac(salted, "Server Key"),
	}, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// prepare brings a name or password into the one form in which SCRAM clients
// use it (RFC 5802, section 5.1). What has none, as bytes that are no text and
// characters younger than SASLprep, stays as it is.
func prepare(s string) string {
	p, err := stringprep.SASLprep.Prepare(s)
	if err != nil || p == "" {
		return s
	}
	return p
}
