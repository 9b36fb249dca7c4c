package sql

import (
	"database/sql/driver"
	"errors"
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
	if err != nil { // it may repeat the password
		return nil, errors.New("is not such as postgres://user:password@host:5432/database?sslmode=verify-full, or names a file that cannot be read")
	}
	if c.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return nil, errors.New("default_query_exec_mode=simple_protocol pastes what a client says into the query: use exec, which also works through a pooler")
	}
	return stdlib.GetConnector(*c), nil
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
