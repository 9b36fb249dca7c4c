package config

import (
	"fmt"
	"path/filepath"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// Access says who may do what.
type Access struct {
	// Default is for what no rule matches: AccessAllow or AccessDeny. Empty: deny
	// if there is any rule or an ACLFile, else allow.
	Default string `yaml:"default"`
	// ACLFile is one of mosquitto's. It is asked after Rules.
	ACLFile string `yaml:"acl_file"`
	// DenyAction says what becomes of a client that publishes what it may not:
	// DenyIgnore or DenyDisconnect.
	DenyAction string `yaml:"deny_action"`
	// Rules are asked in their order; the first that matches decides.
	Rules []AccessRule `yaml:"rules"`
	// File is that which the rules stand in; empty: none.
	File string `yaml:"-"`
}

// AccessRule is a rule and where it stands.
type AccessRule struct {
	access.Statement `yaml:",inline"`
	// Line is that in the file; 0: it is in none.
	Line int `yaml:"-"`
}

// What no rule matches is allowed or denied.
const (
	AccessAllow = "allow"
	AccessDeny  = "deny"
)

// What becomes of a client that does what it may not.
const (
	// DenyIgnore refuses the packet, and the client stays.
	DenyIgnore = "ignore"
	// DenyDisconnect ends the connection.
	DenyDisconnect = "disconnect"
)

// List is the rules as they are asked. Validate has found no mistake in them.
func (a *Access) List() []access.Rule {
	list := make([]access.Rule, 0, len(a.Rules))
	for i := range a.Rules {
		r, _ := a.Rules[i].Rule(a.place(i))
		list = append(list, r)
	}
	return list
}

// Effect is the default for what no rule matches; 0: there is none.
func (a *Access) Effect() access.Effect {
	switch a.Default {
	case AccessAllow:
		return access.Allow
	case AccessDeny:
		return access.Deny
	default:
		return 0
	}
}

// place is where a rule stands: its key, and its line for who looks for it.
func (a *Access) place(i int) string {
	key := fmt.Sprintf("access.rules[%d]", i)
	if a.Rules[i].Line == 0 {
		return key
	}
	if a.File == "" {
		return fmt.Sprintf("%s (line %d)", key, a.Rules[i].Line)
	}
	return fmt.Sprintf("%s (%s:%d)", key, filepath.Base(a.File), a.Rules[i].Line)
}

func (k *check) access(a *Access) {
	if a.Default != "" { // which hangs from the rest
		k.oneOf("access.default", a.Default, AccessAllow, AccessDeny)
	}
	k.oneOf("access.deny_action", a.DenyAction, DenyIgnore, DenyDisconnect)
	for i := range a.Rules {
		_, problems := a.Rules[i].Rule("")
		for _, p := range problems {
			k.add(fmt.Sprintf("access.rules[%d].%s", i, p.Field), "%s", p.Text)
		}
	}
}
