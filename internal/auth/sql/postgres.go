package sql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

type postgres struct{}

func (postgres) parameter(n int) string { return "$" + strconv.Itoa(n) }

func (postgres) connector(dsn string) (driver.Connector, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, misread(dsn, err)
	}
	if c.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return nil, errors.New("default_query_exec_mode=simple_protocol pastes what a client says into the query: use exec, which also works through a pooler")
	}
	return stdlib.GetConnector(*c), nil
}

// misread says what is wrong with a DSN, or a file that it names. The driver's
// own words may repeat the password, but for those about files.
func misread(dsn string, err error) error {
	if e, is := errors.AsType[*fs.PathError](err); is {
		return fmt.Errorf("%s cannot be read: let this user read it, or correct the path: %w", e.Path, e.Err)
	}
	inner, files := errors.Unwrap(err), regexp.MustCompile(`\bssl(rootcert|cert|key)=('[^']*'|[^&\s']*)`).FindAllString(dsn, -1)
	if inner != nil && len(files) > 0 && strings.HasSuffix(err.Error(), ": failed to configure TLS ("+inner.Error()+")") {
		return fmt.Errorf("%s cannot be used for TLS: give PEM files with certificates, and the key that belongs to sslcert: %w", strings.Join(files, ", "), inner)
	}
	return errors.New("is not such as postgres://user:password@host:5432/database?sslmode=verify-full")
}

// fault goes by the class of SQLSTATE (appendix A of PostgreSQL's manual).
func (postgres) fault(err error) fault {
	if misused(err) {
		return faultOfQuery
	}
	e, answered := errors.AsType[*pgconn.PgError](err)
	if !answered || len(e.Code) != 5 {
		return faultOfDatabase
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return faultOfDatabase
	}
	switch e.Code[:2] {
	case "22": // data exception
		return faultOfClient
	case "08", "28", "53", "54", "57", "58", "F0", "XX":
		return faultOfDatabase
	default:
		return faultOfQuery
	}
}

// stale also knows what a server says that ends, and of a statement that was
// prepared before a table changed.
func (postgres) stale(err error) bool {
	if e, answered := errors.AsType[*pgconn.PgError](err); answered {
		return strings.HasPrefix(e.Code, "57P0") || e.Code == "0A000"
	}
	return broken(err) || pgconn.SafeToRetry(err)
}
