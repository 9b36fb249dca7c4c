// Package sql looks clients up in a database: PostgreSQL, or MySQL and MariaDB.
//
// The owner writes the query. Its placeholders, such as ${username}, become
// parameters of a statement that the database parses without them, so nothing
// that a client says can be read as SQL; settings of a driver that would paste
// values into the text are refused or switched off. The query's one row says
// what is known of the client, each column by its name. No row: somebody else
// may know the client. Two rows are a mistake, since nobody could say which of
// them the client is.
//
// A breaker stands in front of the database. What the database answers, be it
// that the query is wrong, is no failure in the breaker's eyes: only one that
// cannot be reached, is too slow, or has no room is left alone for a while.
package sql

import (
	"cmp"
	"context"
	database "database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/breaker"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/packet"
)

// Options of the step. What is 0 or empty has its default.
type Options struct {
	Driver string // DriverPostgres or DriverMySQL
	DSN    string // how the driver finds the database: it holds a password
	// Query gives one row for a client; AccessQuery, if it is not empty, the
	// client's own rules.
	Query, AccessQuery string
	// Hash is how password_hash was made: empty for one that says so itself.
	Hash string
	// SaltPosition is where the salt of a bare digest stands.
	SaltPosition string
	// Pool bounds how many passwords are checked at a time; nil: one of its own.
	Pool *hash.Pool
	// Timeout bounds what one client may cost. Default: 5s.
	Timeout time.Duration
	// Connections to the database at a time. Default: 8.
	Connections int
	// ConnectionLifetime is after what time a connection is replaced.
	// Default: 30m.
	ConnectionLifetime time.Duration
	// Failures in a row leave the database alone for Rest. Default: 5, and 5s.
	Failures int
	Rest     time.Duration
	Logger   *slog.Logger
}

// The drivers.
const (
	DriverPostgres = "postgres"
	DriverMySQL    = "mysql"
)

// SQL is the step.
type SQL struct {
	db          *database.DB
	dsn         string
	connector   *connector
	connections int // at most
	dialect     dialect
	query       *statement
	access      *statement // nil: no rules
	password    *password
	breaker     *breaker.Breaker
}

// New makes the step. It does not connect: the database may come later.
func New(o Options) (*SQL, error) {
	d, err := dialectOf(o.Driver)
	if err != nil {
		return nil, err
	}
	s := &SQL{dialect: d, dsn: o.DSN, connections: cmp.Or(o.Connections, 8)}
	if s.password, err = newPassword(&o); err != nil {
		return nil, err
	}
	if s.query, err = prepare(d, o.Query); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	if o.AccessQuery != "" {
		if s.access, err = prepare(d, o.AccessQuery); err != nil {
			return nil, fmt.Errorf("acl_query: %w", err)
		}
	}
	first, err := d.connector(o.DSN)
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	s.connector = newConnector(first)
	s.db = database.OpenDB(s.connector)
	s.db.SetMaxOpenConns(s.connections)
	s.db.SetMaxIdleConns(s.connections)
	s.db.SetConnMaxLifetime(cmp.Or(o.ConnectionLifetime, 30*time.Minute))
	s.breaker = breaker.New(breaker.Options{
		Name: s.Name(), Timeout: cmp.Or(o.Timeout, 5*time.Second), Concurrent: s.connections, Failures: o.Failures, Rest: o.Rest, Logger: o.Logger,
	})
	return s, nil
}

// Close closes the connections to the database.
func (s *SQL) Close() { _ = s.db.Close() }

// Name implements auth.Step.
func (s *SQL) Name() string { return "auth.sql" }

// Breaker is what stands in front of the database.
func (s *SQL) Breaker() *breaker.Breaker { return s.breaker }

// Concerns implements auth.Step. A client that gives neither a user name nor a
// password has nothing to be checked.
func (s *SQL) Concerns(r *access.Request) bool {
	return r.HasPassword || r.HasUserName
}

// Check implements auth.Step.
func (s *SQL) Check(ctx context.Context, r *access.Request) auth.Answer {
	if !s.Concerns(r) {
		return auth.Passed("the client shows no password")
	}
	var a *account
	if answer, ok := s.ask(ctx, "query", func(ctx context.Context) (err error) {
		a, err = s.look(ctx, r)
		return err
	}); !ok {
		return answer
	}
	if a == nil {
		s.password.pretend(ctx, r.Password)
		return auth.Passed("the query gives no row for the client")
	}
	if a.hash == "" {
		s.password.pretend(ctx, r.Password)
		return auth.Denied(packet.BadUserNameOrPassword, "the client's row has no password_hash", "give the account a password")
	}
	h, err := s.password.parse(a)
	if err != nil {
		return auth.Failure("the client's password_hash cannot be read: "+err.Error(), "correct hash in the configuration, or the row")
	}
	switch ok, err := s.password.fits(ctx, h, r.Password); {
	case err != nil:
		return auth.Failure("the password was not checked: "+err.Error(), "wait: fewer clients connect at once later")
	case !ok:
		return auth.Denied(packet.BadUserNameOrPassword, "the password is wrong", "correct the password in the client, or in the database")
	}
	return s.allow(ctx, r, a)
}

// allow adds the client's own rules.
func (s *SQL) allow(ctx context.Context, r *access.Request, a *account) auth.Answer {
	if s.access == nil || a.grant.Superuser {
		return auth.Allowed(a.grant, "the password is right")
	}
	if answer, ok := s.ask(ctx, "acl_query", func(ctx context.Context) (err error) {
		a.grant.Rules, err = s.rules(ctx, r)
		return err
	}); !ok {
		return answer
	}
	return auth.Allowed(a.grant, "the password is right")
}

// ask lets f ask the database, and says what it means if that goes wrong.
func (s *SQL) ask(ctx context.Context, key string, f func(context.Context) error) (answer auth.Answer, ok bool) {
	var answered error
	err := s.breaker.Do(ctx, func(ctx context.Context) error {
		err := f(ctx)
		if s.dialect.stale(err) && ctx.Err() == nil {
			err = f(ctx) // a connection may have died while it lay idle
		}
		if s.dialect.fault(err) == faultOfDatabase {
			return err
		}
		answered = err
		return nil
	})
	switch {
	case err != nil:
		return auth.Failure("the database does not answer: "+err.Error(), "look whether it runs, and whether dsn is right"), false
	case answered == nil:
		return auth.Answer{}, true
	case s.dialect.fault(answered) == faultOfClient:
		return auth.Passed("the database cannot compare what the client says: " + answered.Error()), false
	default:
		return auth.Failure(answered.Error(), "correct "+key+", or what it finds in the database"), false
	}
}

// account is what the row says of a client.
type account struct {
	hash, salt string
	grant      access.Grant
}

// look finds the client's row; nil: there is none.
func (s *SQL) look(ctx context.Context, r *access.Request) (*account, error) {
	rows, err := s.db.QueryContext(ctx, s.query.text, s.query.values(r)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var a *account
	for rows.Next() {
		if a != nil {
			return nil, errTwoRows
		}
		values, err := texts(rows, len(columns))
		if err != nil {
			return nil, err
		}
		if a, err = newAccount(columns, values); err != nil {
			return nil, err
		}
	}
	return a, rows.Err()
}

// misuse is what the database answered and what makes no sense here.
type misuse string

func (m misuse) Error() string { return string(m) }

const errTwoRows = misuse("the query gives more than one row for the client")

// texts scans a row.
func texts(rows *database.Rows, n int) ([]database.NullString, error) {
	values, into := make([]database.NullString, n), make([]any, n)
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, misuse(err.Error())
	}
	return values, nil
}

// statement is a query with its placeholders.
type statement struct {
	text  string
	names []string // of the values, in their order
}

// prepare turns the placeholders into parameters.
func prepare(d dialect, query string) (*statement, error) {
	text, err := fill.Parse(query)
	if err != nil {
		return nil, err
	}
	s := &statement{}
	s.text = text.Join(func(name string) string {
		s.names = append(s.names, name)
		return d.parameter(len(s.names))
	})
	if len(s.names) == 0 {
		return nil, errors.New("it has no placeholder such as ${username}, so it says the same of every client")
	}
	if quoted(query) {
		return nil, errors.New("a placeholder stands in quotes, which make it a text of its own: leave the quotes out")
	}
	return s, nil
}

func (s *statement) values(r *access.Request) []any {
	values := make([]any, 0, len(s.names))
	for _, name := range s.names {
		values = append(values, fill.Value(r, name))
	}
	return values
}
