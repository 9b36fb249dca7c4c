package sql

import (
	"database/sql/driver"
	"errors"

	"github.com/go-sql-driver/mysql"
)

type mysqlDialect struct{}

func (mysqlDialect) parameter(int) string { return "?" }

func (mysqlDialect) connector(dsn string) (driver.Connector, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil || c.Net != "tcp" && c.Net != "unix" { // it may repeat a part of the password
		return nil, errors.New("is not such as user:password@tcp(host:3306)/database?tls=true")
	}
	// The driver's own way to paste parameters into the text, and what a query
	// could do beyond asking.
	c.InterpolateParams, c.MultiStatements, c.AllowAllFiles = false, false, false
	c.Logger = &mysql.NopLogger{} // errors are returned as well
	return mysql.NewConnector(c)
}

// fault goes by the number of the error.
func (mysqlDialect) fault(err error) fault {
	if misused(err) {
		return faultOfQuery
	}
	e, answered := errors.AsType[*mysql.MySQLError](err)
	if !answered {
		return faultOfDatabase
	}
	switch e.Number {
	case 1267, 1270, 1271, 1292, 1300, 1366, 1406, 3854, 3988: // characters that a column cannot have, numbers that are none
		return faultOfClient
	case 1040, 1043, 1044, 1045, 1049, 1053, 1129, 1130, 1203, 1205, 1213, 1226, 1317, 1698, 1969, 3024, 4151:
		return faultOfDatabase // nobody comes in, there is no room, it took too long, it ends
	default:
		return faultOfQuery
	}
}

func (mysqlDialect) stale(err error) bool {
	return broken(err) || errors.Is(err, mysql.ErrInvalidConn)
}
