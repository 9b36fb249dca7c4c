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
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// User is a name and password as the configuration has them.
type User struct{ Name, Password string }

// Users checks passwords. Any number of goroutines may use it.
type Users struct {
	table  atomic.Pointer[table]
	secret Secret // salts and the verifiers of unknown names come from it
	pool   Pool
}

// table is a list of users. It does not change.
type table struct {
	byName   map[string]*known // by the name as configured
	prepared map[string]*known // by the name as SCRAM sends it
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
	u := &Users{pool: pool, secret: secret}
	u.table.Store(&table{})
	commit, err := u.Replace(users)
	if err != nil {
		return nil, err
	}
	commit()
	return u, nil
}

// Replace makes another list ready. It is in force once the caller commits it:
// the grants of users that are not in it, or have another password there, hold
// no more.
func (u *Users) Replace(users []User) (commit func(), err error) {
	before := u.table.Load()
	next := &table{byName: make(map[string]*known, len(users)), prepared: make(map[string]*known, len(users))}
	var errs []error
	for i, user := range users {
		if err := next.add(user, u.secret, before); err != nil {
			errs = append(errs, fmt.Errorf("user %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return func() { u.table.Store(next) }, nil
}

// add takes in a user. One that was there before, with the same password, stays
// the same one: its salt comes of its name, so its verifier tells.
func (t *table) add(user User, secret Secret, before *table) error {
	if user.Name == "" {
		return errors.New("name is empty")
	}
	name := Prepare(user.Name)
	if other := t.prepared[name]; other != nil {
		if other.name != user.Name {
			return fmt.Errorf("name %q is the same as %q, written in another way", user.Name, other.name)
		}
		return fmt.Errorf("name %q comes twice", user.Name)
	}
	if strings.HasSuffix(user.Password, zero) {
		return fmt.Errorf("the password of %q ends with a zero byte, which no client can show", user.Name)
	}
	verifier, err := derive(user.Password, secret.salt(name), iterations)
	if err != nil {
		return fmt.Errorf("derive the verifier of %q: %w", user.Name, err)
	}
	k := before.byName[user.Name]
	if k == nil || subtle.ConstantTimeCompare(k.verifier.StoredKey, verifier.StoredKey) == 0 {
		k = &known{name: user.Name, verifier: verifier}
	}
	t.byName[user.Name], t.prepared[name] = k, k
	return nil
}

// grant is that of a user, which holds as long as the user is there and has the
// same password.
func (u *Users) grant(k *known) access.Grant {
	return access.Grant{Still: func() bool { return u.table.Load().byName[k.name] == k }}
}

// Count is how many there are.
func (u *Users) Count() int { return len(u.table.Load().byName) }

// Name implements Step.
func (u *Users) Name() string { return "auth.users" }

// Concerns implements Step.
func (u *Users) Concerns(r *access.Request) bool { return r.HasUserName && u.Count() > 0 }

// Check implements Step.
func (u *Users) Check(ctx context.Context, r *access.Request) Answer {
	if !u.Concerns(r) {
		return Passed("the client shows no user name")
	}
	var k *known
	var ok bool
	err := u.pool.Do(ctx, func() { k, ok = u.fits(r.UserName, r.Password) })
	if err != nil {
		return Failure("the password was not checked: "+err.Error(), "let clients wait longer before they try again")
	}
	switch {
	case k == nil:
		return Passed("there is no such user")
	case !ok:
		return Denied(packet.BadUserNameOrPassword, "the password is wrong", "correct the password in the client, or that in auth.users")
	default:
		return Allowed(u.grant(k), "user name and password are right")
	}
}

// fits finds a user by its name, which must be written as it is configured, and
// says whether the password is its own. It takes about a millisecond of work, and as long for
// an unknown name as for a known one: keep it off the event loops.
func (u *Users) fits(name string, password []byte) (k *known, ok bool) {
	want := u.secret.Decoy(name)
	if k = u.table.Load().byName[name]; k != nil {
		want = k.verifier
	}
	return k, want.Fits(password) && k != nil
}

// Proof implements Source.
func (u *Users) Proof(prepared string) (Proof, bool) {
	k, ok := u.table.Load().prepared[prepared]
	if !ok {
		return Proof{}, false
	}
	return Proof{User: k.name, Verifier: k.verifier, Grant: u.grant(k)}, true
}
