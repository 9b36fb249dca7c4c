// Package auth says whether a client is who it says it is.
//
// A [Chain] of steps decides; what a step is made of is in a package of its own
// below this one. [Users] is the step that needs nothing: it knows names and
// passwords from the configuration and keeps of each password only a
// [Verifier], which is what SCRAM-SHA-256 needs of it. A password in CONNECT is
// checked against it with [Users.Check]. The conversation of an enhanced
// authentication (5.0, section 4.12) is an [Exchange] of a [SCRAM], which knows
// the accounts of several steps.
//
// Neither tells whether a user exists: an unknown name has a verifier too, which
// is derived from the name under a [Secret]. It is as slow to check as a known
// one, and nothing fits it.
//
// [Anonymous] is the policy for clients that show nothing.
package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// User is a name and password as the configuration has them.
type User struct{ Name, Password string }

// Users checks passwords. It does not change, so any number of goroutines may
// use it.
type Users struct {
	byName   map[string]*known // by the name as configured
	prepared map[string]*known // by the name as SCRAM sends it
	secret   Secret            // salts and the verifiers of unknown names come from it
	pool     Pool
}

type known struct {
	name     string
	verifier Verifier
}

// Pool bounds how many passwords are checked at once.
type Pool interface {
	// Do calls f when its turn has come; the error says why it did not.
	Do(ctx context.Context, f func()) error
}

// NewUsers derives the verifiers, which takes about a millisecond for each
// user. The error tells all mistakes at once, and no password.
func NewUsers(users []User, secret Secret, pool Pool) (*Users, error) {
	u := &Users{pool: pool, byName: make(map[string]*known, len(users)), prepared: make(map[string]*known, len(users)), secret: secret}
	var errs []error
	for i, user := range users {
		if err := u.add(user); err != nil {
			errs = append(errs, fmt.Errorf("user %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return u, nil
}

func (u *Users) add(user User) error {
	if user.Name == "" {
		return errors.New("name is empty")
	}
	name := Prepare(user.Name)
	if other := u.prepared[name]; other != nil {
		if other.name != user.Name {
			return fmt.Errorf("name %q is the same as %q, written in another way", user.Name, other.name)
		}
		return fmt.Errorf("name %q comes twice", user.Name)
	}
	if strings.HasSuffix(user.Password, zero) {
		return fmt.Errorf("the password of %q ends with a zero byte, which no client can show", user.Name)
	}
	verifier, err := derive(user.Password, u.secret.salt(name), iterations)
	if err != nil {
		return fmt.Errorf("derive the verifier of %q: %w", user.Name, err)
	}
	k := &known{name: user.Name, verifier: verifier}
	u.byName[user.Name], u.prepared[name] = k, k
	return nil
}

// Count is how many there are.
func (u *Users) Count() int { return len(u.byName) }

// Name implements Step.
func (u *Users) Name() string { return "auth.users" }

// Concerns implements Step.
func (u *Users) Concerns(r *access.Request) bool { return r.HasUserName && len(u.byName) > 0 }

// Check implements Step.
func (u *Users) Check(ctx context.Context, r *access.Request) Answer {
	if !u.Concerns(r) {
		return Passed("the client shows no user name")
	}
	var ok bool
	err := u.pool.Do(ctx, func() { ok = u.fits(r.UserName, r.Password) })
	if err != nil {
		return Failure("the password was not checked: "+err.Error(), "let clients wait longer before they try again")
	}
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
	want := u.secret.Decoy(name)
	k, ok := u.byName[name]
	if ok {
		want = k.verifier
	}
	return want.Fits(password) && ok
}

// Proof implements Source.
func (u *Users) Proof(prepared string) (Proof, bool) {
	k, ok := u.prepared[prepared]
	if !ok {
		return Proof{}, false
	}
	return Proof{User: k.name, Verifier: k.verifier}, true
}
