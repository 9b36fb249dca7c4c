package config

import (
	"slices"
	"strings"
	"time"
)

// StepSQL looks clients up in a database.
type StepSQL struct {
	// Driver is DriverPostgres or DriverMySQL, which is also for MariaDB.
	Driver string `yaml:"driver"`
	// DSN is where the database is, and holds a password.
	DSN string `yaml:"dsn"`
	// Query gives one row for a client, and ACLQuery its access rules, if it is
	// not empty.
	Query    string `yaml:"query"`
	ACLQuery string `yaml:"acl_query"`
	// Hash is the form of password_hash. Empty: one that says so itself.
	Hash string `yaml:"hash"`
	// SaltPosition is SaltPrefix, which is the default, SaltSuffix or SaltNone.
	SaltPosition string `yaml:"salt_position"`
	// Timeout bounds what a client may cost. 0: 5s.
	Timeout time.Duration `yaml:"timeout"`
	// Connections are open to the database at most, each for ConnectionLifetime.
	// 0: 8, and 30m.
	Connections        int           `yaml:"connections"`
	ConnectionLifetime time.Duration `yaml:"connection_lifetime"`
	// Failures in a row leave the database alone for Rest. 0: 5, and 5s.
	Failures int           `yaml:"failures"`
	Rest     time.Duration `yaml:"rest"`
}

// String hides the password in DSN from logs.
func (s *StepSQL) String() string { return s.Driver }

// What drivers and places of a salt are called.
const (
	DriverPostgres = "postgres"
	DriverMySQL    = "mysql"

	SaltPrefix = "prefix"
	SaltSuffix = "suffix"
	SaltNone   = "none"
)

func (k *check) sql(key string, s *StepSQL) {
	if s == nil {
		return
	}
	key += ".sql"
	k.oneOf(key+".driver", s.Driver, DriverPostgres, DriverMySQL)
	if s.DSN == "" {
		k.add(key+".dsn", "is missing: it says where the database is")
	}
	if s.Query == "" {
		k.add(key+".query", "is missing: write one such as SELECT password_hash FROM users WHERE username = ${username}")
	}
	k.placeholders(key+".query", s.Query, clientPlaceholders()...)
	k.placeholders(key+".acl_query", s.ACLQuery, clientPlaceholders()...)
	if s.Query != "" && !strings.Contains(s.Query, "${") {
		k.add(key+".query", "has no placeholder such as ${username}, so it says the same of every client")
	}
	bare := []string{"md5", "sha1", "sha256", "sha512"}
	if s.Hash != "" {
		k.oneOf(key+".hash", s.Hash, append([]string{"bcrypt", "argon2id", "pbkdf2", "plain"}, bare...)...)
	}
	if s.SaltPosition != "" {
		k.oneOf(key+".salt_position", s.SaltPosition, SaltPrefix, SaltSuffix, SaltNone)
		if !slices.Contains(bare, s.Hash) {
			k.add(key+".salt_position", "means nothing here: it is for a hash of %s", strings.Join(bare, ", "))
		}
	}
	k.backend(key, s.Timeout, s.Connections, s.Failures, s.Rest)
	between(k, key+".connection_lifetime", s.ConnectionLifetime, 0, 24*time.Hour)
}

// backend checks what all steps have that ask somebody.
func (k *check) backend(key string, timeout time.Duration, connections, failures int, rest time.Duration) {
	if timeout != 0 {
		between(k, key+".timeout", timeout, 10*time.Millisecond, time.Minute)
	}
	between(k, key+".connections", connections, 0, 1000)
	between(k, key+".failures", failures, 0, 1_000_000)
	between(k, key+".rest", rest, 0, time.Hour)
}
