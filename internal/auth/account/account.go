// Package account is the step of the authentication for accounts that are
// managed at run time.
//
// An [Account] is kept with a verifier of SCRAM-SHA-256, by which its password
// may be sent in CONNECT or proved by AUTH; or with a hash of another form, by
// which it can only be sent. Never both: the weaker of two is what a thief of the
// store would go for. That of SCRAM is the weaker one, since the client has to
// compute it too.
//
// A change is in force at once. Grants do not change, so whoever is connected by
// an account that has been changed, disabled or removed is disconnected, and
// comes back with what it may do now, if it may.
//
// An unknown name takes as long to check as one of the accounts would, and an
// account cannot be told from its challenge: see [auth.SCRAM].
package account

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/internal/managed"
	"github.com/fantail-mqtt/fantail/packet"
)

// Space is that of the accounts among the settings.
const Space = "account"

// Account is an account as it is kept, under its user name.
type Account struct {
	Secret
	Rights
	Created time.Time `json:"created"`
}

// Secret is what is kept of a password: SCRAM, or Hash with what it takes to
// read it.
type Secret struct {
	SCRAM string `json:"scram,omitempty"` // see auth.ParseVerifier
	Hash  string `json:"hash,omitempty"`
	// Algorithm is that of a hash that does not tell its form: see hash.Column.
	Algorithm    string `json:"algorithm,omitempty"`
	Salt         string `json:"salt,omitempty"`
	SaltPosition string `json:"salt_position,omitempty"` // prefix or suffix
}

// Rights are what an account brings its clients.
type Rights struct {
	Groups     []string          `json:"groups,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Superuser  bool              `json:"superuser,omitempty"`
	Limits     string            `json:"limits,omitempty"`    // the name of a set
	ClientID   string            `json:"client_id,omitempty"` // takes the place of what the client says
	Disabled   bool              `json:"disabled,omitempty"`
}

// Settings is where accounts are kept: the broker.
type Settings interface {
	managed.Settings
	OnSetting(space string, f func(key string, value []byte, gone bool)) (stop func())
}

// Options of the step.
type Options struct {
	Settings Settings
	Secret   auth.Secret // by which names without an account are treated
	Pool     *hash.Pool
	// LimitSet says whether there is a set of limits with a name. nil: any may be.
	LimitSet func(name string) bool
	// Kick ends the connections that are meant. May be nil.
	Kick   func(meant func(*access.Info) bool, why *packet.Refusal) int
	Logger *slog.Logger
}

// Accounts is the step, and the table of accounts.
type Accounts struct {
	o     Options
	table *managed.Table[Account]

	mu     sync.RWMutex      // guards the rest
	spelt  map[string]string // names by the form in which SCRAM sends them, if it is another
	kinds  []kind            // of what is kept
	weight uint64            // their sum
}

// kind is a form of secrets, and how often one was put in.
type kind struct {
	form    string
	example Secret
	weight  uint64
}

// New makes the step.
func New(o Options) *Accounts {
	a := &Accounts{o: o, spelt: map[string]string{}}
	a.table = managed.New(managed.Options[Account]{
		Settings: o.Settings, Space: Space, Noun: "user", Check: a.check, Changed: a.kick,
	})
	o.Settings.OnSetting(Space, a.learn)
	return a
}

// Count is how many accounts there are.
func (a *Accounts) Count() int { return a.table.Count() }

// Name implements auth.Step.
func (a *Accounts) Name() string { return "accounts" }

// Concerns implements auth.Step.
func (a *Accounts) Concerns(r *access.Request) bool { return r.HasUserName && a.Count() > 0 }

// Check implements auth.Step.
func (a *Accounts) Check(ctx context.Context, r *access.Request) auth.Answer {
	if !a.Concerns(r) {
		return auth.Passed("the client shows no user name, or there are no accounts")
	}
	text, known := a.table.Text(r.UserName)
	var acc Account
	if known {
		if err := json.Unmarshal([]byte(text), &acc); err != nil {
			return auth.Failure("the account cannot be read: "+err.Error(), "remove it with fantail ctl user rm, and add it again")
		}
	} else {
		acc.Secret = a.decoy(r.UserName)
	}
	ok, err := a.fits(ctx, acc.Secret, r.Password)
	switch {
	case err != nil:
		return failure(err)
	case !known:
		return auth.Passed("there is no such account")
	case acc.Disabled:
		return auth.Denied(packet.BadUserNameOrPassword, "the account is disabled", "let it in again with fantail ctl user enable")
	case !ok:
		return auth.Denied(packet.BadUserNameOrPassword, "the password is wrong",
			"correct the password in the client, or set another with fantail ctl user passwd")
	default:
		return auth.Allowed(a.grant(r.UserName, text, &acc), "user name and password are right")
	}
}

func failure(err error) auth.Answer {
	if errors.Is(err, hash.ErrBusy) {
		return auth.Failure(err.Error(), "let clients come back one after another, or give the broker more processors")
	}
	return auth.Failure("the password could not be checked: "+err.Error(), "set it anew with fantail ctl user passwd")
}

func (a *Accounts) fits(ctx context.Context, s Secret, password []byte) (bool, error) {
	if s.SCRAM != "" {
		v, err := auth.ParseVerifier(s.SCRAM)
		return err == nil && v.Fits(password), err
	}
	h, err := s.hash()
	if err != nil {
		return false, err
	}
	return a.o.Pool.Check(ctx, h, password)
}

func (s *Secret) hash() (hash.Hash, error) {
	return hash.Column{Algorithm: s.Algorithm, Salt: s.SaltPosition}.Parse(s.Hash, s.Salt)
}

// grant is what is known of a client of an account that was kept as text.
func (a *Accounts) grant(name, text string, acc *Account) access.Grant {
	return access.Grant{
		ClientID: acc.ClientID, Superuser: acc.Superuser, Groups: acc.Groups, Attributes: acc.Attributes, Limits: acc.Limits,
		Still: func() bool { return a.table.Is(name, text) },
	}
}

// Proof implements auth.Source.
func (a *Accounts) Proof(prepared string) (auth.Proof, bool) {
	name := prepared
	a.mu.RLock()
	if spelt, ok := a.spelt[prepared]; ok {
		name = spelt
	}
	a.mu.RUnlock()
	text, ok := a.table.Text(name)
	var acc Account
	if !ok || json.Unmarshal([]byte(text), &acc) != nil {
		return auth.Proof{}, false
	}
	p := auth.Proof{User: name, Grant: a.grant(name, text, &acc)}
	if v, err := auth.ParseVerifier(acc.SCRAM); err == nil && !acc.Disabled {
		p.Verifier = v
	}
	return p, true
}

// learn takes note of an account that was put in or removed.
func (a *Accounts) learn(name string, value []byte, gone bool) {
	prepared := auth.Prepare(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case prepared == name:
	case gone && a.spelt[prepared] == name:
		delete(a.spelt, prepared)
	case !gone:
		a.spelt[prepared] = name
	}
	var acc Account
	if gone || json.Unmarshal(value, &acc) != nil {
		return
	}
	form := acc.form()
	i := slices.IndexFunc(a.kinds, func(k kind) bool { return k.form == form })
	if i < 0 {
		i = len(a.kinds)
		a.kinds = append(a.kinds, kind{form: form, example: acc.Secret})
	}
	a.kinds[i].weight++
	a.weight++
}

// form is what secrets have in common that take as long to check.
func (s *Secret) form() string {
	switch {
	case s.SCRAM != "":
		return auth.SCRAMSHA256
	case s.Algorithm != "":
		return s.Algorithm
	}
	form := s.Hash
	for range 2 { // what stands before salt and hash
		if i := strings.LastIndexByte(form, '$'); i > 0 {
			form = form[:i]
		}
	}
	return form
}

// decoy is a secret for a name without an account, the same each time: one of
// those that accounts have, as often as they have it.
func (a *Accounts) decoy(name string) Secret {
	v := a.o.Secret.Decoy(name)
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.weight > 0 {
		n := binary.BigEndian.Uint64(v.ServerKey) % a.weight
		for _, k := range a.kinds {
			if n < k.weight && k.form != auth.SCRAMSHA256 {
				return k.example
			}
			if n < k.weight {
				break
			}
			n -= k.weight
		}
	}
	return Secret{SCRAM: v.String()}
}

// kick disconnects the clients of accounts that have changed.
func (a *Accounts) kick(names []string) {
	if a.o.Kick == nil {
		return
	}
	changed := make(map[string]bool, len(names))
	for _, name := range names {
		changed[name] = true
	}
	n := a.o.Kick(func(i *access.Info) bool {
		return i.Grant != nil && i.Grant.By == a.Name() && changed[i.UserName] && !i.Grant.Holds()
	}, packet.Refuse(packet.NotAuthorized, "the account has changed"))
	if n > 0 {
		a.o.Logger.Info("clients sent away since their account has changed", slog.Int("clients", n), slog.Int("accounts", len(names)))
	}
}
