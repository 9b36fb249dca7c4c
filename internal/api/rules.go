package api

import (
	"context"
	"net/http"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/managed"
)

// The paths of the access rules: those of run time, what there is in all, and
// what a change of the files would mean.
const (
	RulesPath     = "/api/v1/rules"
	RulesTestPath = "/api/v1/rules/test"
	AccessPath    = "/api/v1/access"
)

// AccessRules is what a broker decides by.
type AccessRules interface {
	Access() Access
	// TestRules says whose rights other rules would change. An error of package
	// managed tells what is wrong with them.
	TestRules(context.Context, *RulesTest) (*RulesTested, error)
}

// Access is where rules come from, and how many there are.
type Access struct {
	Runtime int  `json:"runtime"`
	Config  int  `json:"config"`
	ACLFile *int `json:"acl_file"` // null: there is none
	// Default is for what no rule matches: allow or deny.
	Default string `json:"default"`
	// Disconnect says that a client is disconnected that publishes where it may
	// not.
	Disconnect bool `json:"disconnect"`
}

// RulesTest is rules that would take the place of those that are in force. The
// run-time rules stay.
type RulesTest struct {
	// Config takes the place of the whole section access of the configuration.
	// null: only ACLFile takes the place of its file.
	Config  *ConfigRules `json:"config,omitempty"`
	ACLFile *ACLText     `json:"acl_file,omitempty"`
	// Watch is for how many seconds to see what clients publish.
	Watch float64 `json:"watch"`
}

// ConfigRules are the rules of a configuration.
type ConfigRules struct {
	Default string        `json:"default,omitempty"`
	Rules   []WrittenRule `json:"rules"`
}

// WrittenRule is a rule and where it stands.
type WrittenRule struct {
	Place string `json:"place"`
	access.Statement
}

// ACLText is an acl_file of mosquitto's.
type ACLText struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// RulesTested is what other rules would mean for connected clients.
type RulesTested struct {
	Clients int `json:"clients"` // that were looked at
	Rights  int `json:"rights"`  // what they are subscribed to and have published
	// Changed is how many rights are not what they were; Changes are the first of
	// them.
	Changed int           `json:"changed"`
	Changes []RightChange `json:"changes"`
}

// RightChange is a right that would not be what it was.
type RightChange struct {
	Client string       `json:"client"`
	User   string       `json:"user,omitempty"` // that it has proved to be
	Action string       `json:"action"`         // publish or subscribe
	Topic  string       `json:"topic"`          // or filter
	QoS    byte         `json:"qos"`
	Retain bool         `json:"retain,omitempty"`
	Before access.Right `json:"before"`
	After  access.Right `json:"after"`
}

// rulesAPI serves the rules.
type rulesAPI struct {
	rules AccessRules
	book  Collection
}

func (a rulesAPI) routes(mux *http.ServeMux) {
	collection{a.book}.routes(mux, RulesPath, "")
	mux.HandleFunc("GET "+AccessPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.rules.Access()) })
	mux.HandleFunc("POST "+RulesTestPath, a.test)
}

func (a rulesAPI) test(w http.ResponseWriter, r *http.Request) {
	body, ok := bodyOf(w, r, maxRules)
	if !ok {
		return
	}
	var t RulesTest
	if err := managed.Decode(body, &t); err != nil {
		wrong(w, err)
		return
	}
	tested, err := a.rules.TestRules(r.Context(), &t)
	if err != nil {
		wrong(w, err)
		return
	}
	answer(w, http.StatusOK, tested)
}

// maxRules bounds the files of a test.
const maxRules = 64 << 20
