package conform

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed statements.tsv
var statementList string

// Side says whom a statement binds.
type Side string

// The four sides of the list.
const (
	Client  Side = "client"
	Server  Side = "server"
	Both    Side = "both"
	Network Side = "network"
)

// Statement is one normative statement of the standard, by its number there.
type Statement struct {
	Version string // 3.1.1 or 5.0
	ID      string // MQTT-3.1.0-1
	Side    Side
	Says    string // in our own words
}

// BindsServer reports whether a server can break the statement.
func (s Statement) BindsServer() bool { return s.Side == Server || s.Side == Both }

// Statements returns the whole list in the order of the standard.
func Statements() ([]Statement, error) {
	lines := strings.Split(strings.TrimSpace(statementList), "\n")
	out := make([]Statement, 0, len(lines))
	for n, line := range lines[1:] { // the first line names the columns
		f := strings.Split(line, "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("statements.tsv line %d: %d columns, want 4", n+2, len(f))
		}
		out = append(out, Statement{Version: f[0], ID: f[1], Side: Side(f[2]), Says: f[3]})
	}
	return out, nil
}
