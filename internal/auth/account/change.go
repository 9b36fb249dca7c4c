package account

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/internal/managed"
)

// AsSCRAM is what KeptAs is of a password that is kept as a verifier of
// SCRAM-SHA-256, which is the default.
const AsSCRAM = "scram-sha-256"

// Input is an account as somebody sends it. What is nil is not said.
type Input struct {
	// Password is the new one, and KeptAs the form in which it is kept: AsSCRAM
	// or a hash.Kind.
	Password *string `json:"password"`
	KeptAs   string  `json:"kept_as"`
	// In place of a password: what another broker keeps of it.
	SCRAM        string `json:"scram"`
	Hash         string `json:"hash"`
	Algorithm    string `json:"algorithm"`
	Salt         string `json:"salt"`
	SaltPosition string `json:"salt_position"`

	Groups     *[]string          `json:"groups"`
	Attributes *map[string]string `json:"attributes"`
	Superuser  *bool              `json:"superuser"`
	Limits     *string            `json:"limits"`
	ClientID   *string            `json:"client_id"`
	Disabled   *bool              `json:"disabled"`
	Created    *time.Time         `json:"created"` // when it is not now
}

// View is an account as it is shown: without what is kept of its password.
type View struct {
	Name   string `json:"name"`
	KeptAs string `json:"kept_as"`
	Rights
	Created time.Time `json:"created"`
}

// Named is an account with its name and with what is kept of its password.
type Named struct {
	Name string `json:"name"`
	Account
}

func view(name string, acc *Account) View {
	return View{Name: name, KeptAs: acc.keptAs(), Rights: acc.Rights, Created: acc.Created}
}

// keptAs is the form of a secret in a word.
func (s *Secret) keptAs() string {
	if s.SCRAM != "" {
		return AsSCRAM
	}
	return hash.Column{Algorithm: s.Algorithm, Salt: s.SaltPosition}.Describe(s.Hash)
}

// List are up to n accounts with names behind another, in order.
func (a *Accounts) List(after string, n int) (list []any, more bool) {
	for name, acc := range a.table.Behind(after) {
		if len(list) == n {
			return list, true
		}
		list = append(list, view(name, &acc))
	}
	return list, false
}

// Export are they with what is kept of their passwords.
func (a *Accounts) Export(after string, n int) (list []any, more bool) {
	for name, acc := range a.table.Behind(after) {
		if len(list) == n {
			return list, true
		}
		list = append(list, Named{name, acc})
	}
	return list, false
}

// Show is one of them.
func (a *Accounts) Show(name string) (any, error) {
	acc, ok := a.table.Get(name)
	if !ok {
		return nil, a.table.Missing(name)
	}
	return view(name, &acc), nil
}

// Put makes an account what body says; its password stays if that says none. If
// fresh, there may be none yet.
func (a *Accounts) Put(ctx context.Context, name string, body []byte, fresh bool) (added bool, err error) {
	in, s, err := read(body)
	if err != nil {
		return false, err
	}
	outcome, err := a.table.Change(ctx, name, func(old *Account) (Account, error) {
		if old != nil && fresh {
			return Account{}, a.table.Exists(name)
		}
		return in.replace(old, s)
	})
	return outcome == managed.Added, err
}

// Patch changes what body says of an account.
func (a *Accounts) Patch(ctx context.Context, name string, body []byte) error {
	var in Input
	if err := managed.Decode(body, &in); err != nil {
		return err
	}
	if in.Password != nil && in.KeptAs == "" {
		in.KeptAs = a.asBefore(name)
	}
	s, err := in.secret()
	if err != nil {
		return err
	}
	_, err = a.table.Change(ctx, name, func(old *Account) (Account, error) {
		if old == nil {
			return Account{}, a.table.Missing(name)
		}
		return in.apply(*old, s), nil
	})
	return err
}

// asBefore is the form of an account's password, if a new one should have it too.
func (a *Accounts) asBefore(name string) string {
	old, ok := a.table.Get(name)
	if !ok || old.SCRAM != "" {
		return AsSCRAM
	}
	switch as := old.keptAs(); hash.Kind(as) {
	case hash.Argon2id, hash.Bcrypt, hash.SHA512PBKDF2:
		return as
	default:
		return AsSCRAM
	}
}

// Drop removes an account.
func (a *Accounts) Drop(ctx context.Context, name string) error { return a.table.Drop(ctx, name) }

// Import puts in several accounts, each with its name; those that are there are
// replaced or refused.
func (a *Accounts) Import(ctx context.Context, list []json.RawMessage, replace bool) (managed.Report, error) {
	edits := make([]managed.Edit[Account], 0, len(list))
	for _, text := range list {
		var in struct {
			Name string `json:"name"`
			Input
		}
		err := managed.Decode(text, &in)
		var s Secret
		if err == nil {
			s, err = in.secret()
		}
		edits = append(edits, managed.Edit[Account]{Name: in.Name, Change: func(old *Account) (Account, error) {
			if err != nil {
				return Account{}, err
			}
			if old != nil && !replace {
				return Account{}, a.table.Exists(in.Name)
			}
			return in.replace(old, s)
		}})
	}
	return a.table.ChangeAll(ctx, edits)
}

func read(body []byte) (in Input, s Secret, err error) {
	if err = managed.Decode(body, &in); err == nil {
		s, err = in.secret() // which takes its time, so before the table is locked
	}
	return in, s, err
}

// secret is what is to be kept of what was sent, the zero one if nothing was.
func (in *Input) secret() (Secret, error) {
	ways := 0
	for _, is := range []bool{in.Password != nil, in.SCRAM != "", in.Hash != ""} {
		if is {
			ways++
		}
	}
	switch {
	case ways > 1:
		return Secret{}, managed.Wrongf("give one of password, scram and hash")
	case in.Password == nil && in.KeptAs != "":
		return Secret{}, managed.Wrongf("kept_as is about a password, which is missing")
	case in.Password != nil:
		return keep(*in.Password, in.KeptAs)
	case in.Hash == "" && in.Algorithm+in.Salt+in.SaltPosition != "":
		return Secret{}, managed.Wrongf("algorithm, salt and salt_position are about a hash, which is missing")
	}
	return Secret{SCRAM: in.SCRAM, Hash: in.Hash, Algorithm: in.Algorithm, Salt: in.Salt, SaltPosition: in.SaltPosition}, nil
}

// maxPassword is what fits into CONNECT.
const maxPassword = 65_535

func keep(password, as string) (Secret, error) {
	switch {
	case password == "":
		return Secret{}, managed.Wrongf("the password is empty")
	case len(password) > maxPassword:
		return Secret{}, managed.Wrongf("the password has more than %d bytes, which fit into no CONNECT", maxPassword)
	case as == "" || as == AsSCRAM:
		v, err := auth.NewVerifier(password)
		return Secret{SCRAM: v.String()}, err
	}
	text, err := hash.New(hash.Kind(as), []byte(password))
	if err != nil {
		return Secret{}, managed.Wrongf("kept_as: %s", err)
	}
	return Secret{Hash: text}, nil
}

// replace is the account as the input says, with the password of the old one if
// it says none.
func (in *Input) replace(old *Account, s Secret) (Account, error) {
	next := Account{Created: time.Now().UTC().Truncate(time.Second)}
	if old != nil {
		next.Secret, next.Created = old.Secret, old.Created
	}
	return in.apply(next, s), nil
}

// apply changes what the input says.
func (in *Input) apply(acc Account, s Secret) Account {
	if s != (Secret{}) {
		acc.Secret = s
	}
	set(&acc.Groups, in.Groups)
	set(&acc.Attributes, in.Attributes)
	set(&acc.Superuser, in.Superuser)
	set(&acc.Limits, in.Limits)
	set(&acc.ClientID, in.ClientID)
	set(&acc.Disabled, in.Disabled)
	set(&acc.Created, in.Created)
	return acc
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// check says what is wrong with an account.
func (a *Accounts) check(name string, acc *Account) error {
	switch {
	case acc.SCRAM == "" && acc.Hash == "":
		return managed.Wrongf("a new user needs a password, or a hash of one")
	case acc.SCRAM != "":
		if _, err := auth.ParseVerifier(acc.SCRAM); err != nil {
			return managed.Wrongf("scram: %s", err)
		}
	default:
		if _, err := acc.hash(); err != nil {
			return managed.Wrongf("hash: %s", err)
		}
	}
	if slices.Contains(acc.Groups, "") {
		return managed.Wrongf("groups: a group has a name")
	}
	for key := range acc.Attributes {
		if key == "" {
			return managed.Wrongf("attributes: an attribute has a name")
		}
	}
	if acc.Limits != "" && a.o.LimitSet != nil && !a.o.LimitSet(acc.Limits) {
		return managed.Wrongf("limits: there is no set %q among limits.sets", acc.Limits)
	}
	prepared := auth.Prepare(name)
	a.mu.RLock()
	spelt := a.spelt[prepared]
	a.mu.RUnlock()
	if spelt == "" && prepared != name {
		if _, ok := a.table.Text(prepared); ok {
			spelt = prepared
		}
	}
	if spelt != "" && spelt != name {
		return managed.Wrongf("the name %q is the same as %q, written in another way", name, spelt)
	}
	return nil
}
