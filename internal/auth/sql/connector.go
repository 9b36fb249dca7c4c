package sql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
)

// connector makes connections as the DSN says, and the files that it names: who
// signed the database's certificate, and what the broker shows of itself. They
// can be read anew while the broker runs.
type connector struct {
	current atomic.Pointer[driver.Connector]
}

func newConnector(c driver.Connector) *connector {
	k := &connector{}
	k.current.Store(&c)
	return k
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	return (*c.current.Load()).Connect(ctx)
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return (*c.current.Load()).Driver() }

// Prepare reads the files that the DSN names anew. The caller commits what was
// read, or drops it. A connection that is in use stays until it is replaced by
// its age.
func (s *SQL) Prepare() (commit func(), err error) {
	fresh, err := s.dialect.connector(s.dsn)
	if err != nil {
		return nil, fmt.Errorf("sql: dsn: %w", err)
	}
	return func() {
		s.connector.current.Store(&fresh)
		s.db.SetMaxIdleConns(-1) // which closes those there are
		s.db.SetMaxIdleConns(s.connections)
	}, nil
}
