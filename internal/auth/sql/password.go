package sql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/auth/hash"
)

// Where the salt of a bare digest stands.
const (
	SaltPrefix = "prefix"
	SaltSuffix = "suffix"
	SaltNone   = "none"
)

// password checks passwords against what the database has.
type password struct {
	column hash.Column
	pool   *hash.Pool
	decoy  hash.Hash // that of a client without a row
}

// newPassword reads how the owner calls the hash. Those that say of themselves
// what they are need no name, and any of their names will do.
func newPassword(o *Options) (*password, error) {
	p := &password{pool: o.Pool}
	if p.pool == nil {
		p.pool = hash.NewPool(0, 0)
	}
	switch {
	case slices.Contains(hash.Algorithms(), o.Hash):
		p.column.Algorithm = o.Hash
	case !slices.Contains([]string{"", "bcrypt", "argon2id", "pbkdf2"}, o.Hash):
		return nil, fmt.Errorf("hash %q is unknown", o.Hash)
	}
	if p.digest() {
		p.column.Salt = strings.TrimSuffix(cmp.Or(o.SaltPosition, SaltPrefix), SaltNone)
	} else if o.SaltPosition != "" {
		return nil, fmt.Errorf("salt_position is for a digest: %s needs none", cmp.Or(o.Hash, "a hash that says what it is"))
	}
	if err := p.column.Validate(); err != nil {
		return nil, err
	}
	return p, p.disguise(o.Hash)
}

// digest says whether the hash is bare.
func (p *password) digest() bool {
	return p.column.Algorithm != "" && p.column.Algorithm != "plain"
}

// disguise makes the decoy, which costs what the hashes in the table do by
// default.
func (p *password) disguise(kind string) error {
	if p.column.Algorithm != "" {
		return nil // a digest takes no time to speak of
	}
	text, err := hash.New(map[string]hash.Kind{
		"": hash.Bcrypt, "bcrypt": hash.Bcrypt, "argon2id": hash.Argon2id, "pbkdf2": hash.SHA512PBKDF2,
	}[kind], []byte("a decoy"))
	if err != nil {
		return err
	}
	p.decoy, err = hash.Parse(text)
	return err
}

// parse reads the hash of a row. An error says what is wrong with it in words
// without it.
func (p *password) parse(a *account) (hash.Hash, error) {
	text := a.hash
	if p.column.Algorithm != "plain" {
		text = strings.TrimSpace(text) // of a column of CHAR
	}
	return p.column.Parse(text, a.salt)
}

// fits says whether a password is the one that was hashed. The error says that
// there are too many to check just now.
func (p *password) fits(ctx context.Context, h hash.Hash, given []byte) (bool, error) {
	return p.pool.Check(ctx, h, given)
}

// pretend takes as long as fits does: the time tells nobody whether there is
// an account.
func (p *password) pretend(ctx context.Context, given []byte) {
	_, _ = p.pool.Check(ctx, p.decoy, given)
}
