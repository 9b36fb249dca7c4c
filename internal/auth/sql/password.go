package sql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

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
	// usual is what a hash in the table costs, as far as is known: the last
	// one that was read. nil: no time to speak of.
	usual atomic.Pointer[hash.Hash]
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
	if p.column.Algorithm != "" {
		return p, nil // a digest takes no time to speak of
	}
	h, err := hash.Parse(decoy(o.Hash))
	p.usual.Store(&h)
	return p, err
}

// digest says whether the hash is bare.
func (p *password) digest() bool {
	return p.column.Algorithm != "" && p.column.Algorithm != "plain"
}

// decoy is a hash of nothing that anybody has, at the cost that hashes have by
// default.
func decoy(kind string) string {
	switch kind {
	case "argon2id":
		return "$argon2id$v=19$m=19456,t=2,p=1$KhDmy1xZIMGzDIPfgSK4Hw$bMM9cpLQdlNQ6XdgInhFRfdQJpD/lFvmkT91Wr+H67c"
	case "pbkdf2":
		return "$7$210000$IO7oBtZOYqDD2NGt$LD1jxAX6kRaJwQWrpERtdWGTEEAOVZljJKoMUNnhflTySNnkWzHQl1Lym+oPdpeNc7CChDxhTo5wFw+fXtDSTQ=="
	default:
		return "$2a$10$lD7N6tSCu7H5tNITk7q4IuUaC4jtb9gyrVjPvgcx9eItJdzIYkDt6"
	}
}

// parse reads the hash of a row. An error says what is wrong with it in words
// without it.
func (p *password) parse(a *account) (hash.Hash, error) {
	text := a.hash
	if p.column.Algorithm != "plain" {
		text = strings.TrimSpace(text) // of a column of CHAR
	}
	h, err := p.column.Parse(text, a.salt)
	if err == nil && p.column.Algorithm == "" {
		p.usual.Store(&h)
	}
	return h, err
}

// fits says whether a password is the one that was hashed. The error says that
// there are too many to check just now.
func (p *password) fits(ctx context.Context, h hash.Hash, given []byte) (bool, error) {
	return p.pool.Check(ctx, h, given)
}

// pretend takes as long as fits does: the time tells nobody whether there is
// an account.
func (p *password) pretend(ctx context.Context, given []byte) {
	if h := p.usual.Load(); h != nil {
		_, _ = p.pool.Check(ctx, *h, given)
	}
}
