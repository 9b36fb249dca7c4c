package sql

import (
	"context"
	database "database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// maxRules bounds the rules of one client, which live as long as it is
// connected.
const maxRules = 1000

// rules are the client's own, in the order of the rows. None: those that hold
// for everybody decide.
func (s *SQL) rules(ctx context.Context, r *access.Request) (*access.Rules, error) {
	rows, err := s.db.QueryContext(ctx, s.access.text, s.access.values(r)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := ruleColumns(rows)
	if err != nil {
		return nil, err
	}
	var list []access.Rule
	for rows.Next() {
		if len(list) == maxRules {
			return nil, misuse(fmt.Sprintf("the acl_query gives more than %d rows for the client", maxRules))
		}
		values, err := texts(rows, len(columns))
		if err != nil {
			return nil, err
		}
		rule, err := newRule(columns, values)
		if err != nil {
			return nil, misuse(fmt.Sprintf("row %d of the acl_query: %v", len(list)+1, err))
		}
		rule.ID = fmt.Sprintf("acl_query, row %d", len(list)+1)
		list = append(list, rule)
	}
	if err := rows.Err(); err != nil || len(list) == 0 {
		return nil, err
	}
	rules, err := access.Compile(list)
	if err != nil {
		return nil, misuse(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return rules, nil
}

// ruleColumns are the names of the columns. One that is not known could narrow
// a rule, so it is a mistake.
func ruleColumns(rows *database.Rows) ([]string, error) {
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for i, name := range columns {
		columns[i] = strings.ToLower(name)
		if !slices.Contains([]string{"permission", "action", "topic", "qos", "retain"}, columns[i]) {
			return nil, misuse("the acl_query gives a column " + name + ": there are permission, action, topic, qos and retain")
		}
	}
	for _, name := range []string{"permission", "action", "topic"} {
		if !slices.Contains(columns, name) {
			return nil, misuse("the acl_query gives no column " + name)
		}
	}
	return columns, nil
}

// newRule reads one row.
func newRule(columns []string, values []database.NullString) (rule access.Rule, err error) {
	for i, name := range columns {
		value := values[i]
		if !value.Valid && name != "qos" && name != "retain" {
			return rule, errors.New(name + " is NULL")
		}
		switch name {
		case "permission":
			rule.Effect, err = effect(value.String)
		case "action":
			rule.Actions, err = actions(value.String)
		case "topic":
			rule.Topics = []string{value.String}
		case "qos":
			rule.QoS, err = levels(value.String)
		case "retain":
			rule.Retain, err = retained(value.String)
		}
		if err != nil {
			return rule, fmt.Errorf("%s %q %w", name, value.String, err)
		}
	}
	return rule, nil
}

func effect(word string) (access.Effect, error) {
	switch strings.ToLower(word) {
	case "allow":
		return access.Allow, nil
	case "deny":
		return access.Deny, nil
	default:
		return 0, errors.New("is neither allow nor deny")
	}
}

// actions reads the names of actions. Who may subscribe may receive what comes
// of it.
func actions(words string) (set access.Action, err error) {
	for word := range strings.SplitSeq(words, ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "publish":
			set |= access.Publish
		case "subscribe":
			set |= access.Subscribe | access.Receive
		case "receive":
			set |= access.Receive
		case "all":
			set |= access.Publish | access.Subscribe | access.Receive
		default:
			return 0, errors.New("is none of publish, subscribe, receive and all")
		}
	}
	return set, nil
}

func levels(words string) (set access.QoS, err error) {
	if words == "" {
		return 0, nil
	}
	for word := range strings.SplitSeq(words, ",") {
		word = strings.TrimSpace(word)
		if len(word) != 1 || word[0] < '0' || word[0] > '2' {
			return 0, errors.New("is none of 0, 1 and 2, nor a list of them")
		}
		set |= access.QoSOf(word[0] - '0')
	}
	return set, nil
}

func retained(word string) (access.Retain, error) {
	if word == "" || strings.EqualFold(word, "all") {
		return access.RetainedOrNot, nil
	}
	is, err := truth(word)
	switch {
	case err != nil:
		return 0, errors.New("is none of true, false and all")
	case is:
		return access.Retained, nil
	default:
		return access.NotRetained, nil
	}
}
