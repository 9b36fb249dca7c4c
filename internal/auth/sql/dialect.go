package sql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// dialect is what the databases differ in.
type dialect interface {
	// parameter is the n-th parameter in a query's text; the first is 1.
	parameter(n int) string
	// connector makes connections; its error does not repeat the DSN, which
	// holds a password.
	connector(dsn string) (driver.Connector, error)
	// fault says whose fault an error of a query is.
	fault(err error) fault
	// stale says whether the query may go through over another connection.
	stale(err error) bool
}

// fault says whose fault an error is.
type fault byte

const (
	faultOfDatabase fault = iota // it is away, or has no room
	faultOfQuery                 // the owner has to correct something
	faultOfClient                // the database makes no sense of what the client says
)

func dialectOf(driver string) (dialect, error) {
	switch driver {
	case DriverPostgres:
		return postgres{}, nil
	case DriverMySQL:
		return mysqlDialect{}, nil
	default:
		return nil, fmt.Errorf("driver %q is unknown: it is %s or %s", driver, DriverPostgres, DriverMySQL)
	}
}

// misused says whether err is one of our own words about an answer.
func misused(err error) bool {
	_, is := errors.AsType[misuse](err)
	return is
}

// broken says whether the connection ended under the query.
func broken(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// quoted says whether a placeholder stands in quotes: the commonest slip of
// who is used to pasting.
func quoted(query string) bool {
	return regexp.MustCompile(`['"%]\$\{[a-z.]+\}|\$\{[a-z.]+\}['"%]`).MatchString(query)
}
