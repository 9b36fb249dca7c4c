package fantail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/config"
	problem "github.com/fantail-mqtt/fantail/internal/managed"
)

// accessRules answers the API.
type accessRules struct{ b *Broker }

// Access implements api.AccessRules.
func (a accessRules) Access() api.Access {
	s := a.b.policy.Sources()
	x := api.Access{Runtime: s.Runtime.Len(), Config: s.Config.Len(), Default: access.Allow.String(), Disconnect: s.Disconnect}
	if s.Default == access.Deny || s.Default == 0 && !a.b.policy.Open(true) {
		x.Default = access.Deny.String()
	}
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if a.b.rules.hasACL {
		n := lines(a.b.rules.acl)
		x.ACLFile = &n
	}
	return x
}

// lines is how many lines of an acl_file its rules come from.
func lines(acl []access.Rule) int {
	places := map[string]bool{}
	for i := range acl {
		places[acl[i].ID] = true
	}
	return len(places)
}

// The bounds of a test of rules.
const (
	maxWatch   = time.Hour
	maxChanges = 10_000 // that are told one by one
)

// TestRules implements api.AccessRules.
func (a accessRules) TestRules(ctx context.Context, t *api.RulesTest) (*api.RulesTested, error) {
	change, err := changeOf(t)
	if err != nil {
		return nil, err
	}
	if a.b.authorizer != nil {
		return nil, problem.Wrongf("the program that the broker is part of decides what clients may do: rules are not asked")
	}
	watch := time.Duration(t.Watch * float64(time.Second))
	if watch < 0 || watch > maxWatch {
		return nil, problem.Wrongf("watch: %v s is not between 0 and %v", t.Watch, maxWatch)
	}
	o := a.b.broker.Observe()
	if o == nil {
		return nil, errors.New("another test of rules is under way: wait until it ends")
	}
	end := time.NewTimer(watch)
	defer end.Stop()
	select {
	case <-end.C:
	case <-ctx.Done():
	}
	held := o.Stop()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tested := &api.RulesTested{Clients: len(held), Changes: []api.RightChange{}}
	for i := range held {
		tested.Rights += len(held[i].Asks)
	}
	changes := a.b.policy.Changes(change, slices.Values(held))
	tested.Changed = len(changes)
	slices.SortFunc(changes, func(a, b access.Change) int {
		return cmp.Or(strings.Compare(a.Info.ClientID, b.Info.ClientID), -cmp.Compare(a.Ask.Action, b.Ask.Action),
			strings.Compare(a.Ask.Topic, b.Ask.Topic), cmp.Compare(a.Ask.QoS, b.Ask.QoS))
	})
	for _, c := range changes[:min(len(changes), maxChanges)] {
		tested.Changes = append(tested.Changes, api.RightChange{
			Client: c.Info.ClientID, User: c.Info.Owner(), Action: c.Ask.Action.String(), Topic: c.Ask.Topic, QoS: c.Ask.QoS, Retain: c.Ask.Retain,
			Before: c.Before, After: c.After,
		})
	}
	return tested, nil
}

// changeOf makes ready what is to be tested.
func changeOf(t *api.RulesTest) (func(*access.Sources), error) {
	var set ruleSet
	var err error
	if f := t.ACLFile; f != nil {
		set.hasACL = true
		if set.acl, err = access.ParseACL(f.Name, []byte(f.Text)); err != nil {
			return nil, problem.Wrongf("%v", err)
		}
	}
	if t.Config == nil && !set.hasACL {
		return nil, problem.Wrongf("there is nothing to test: give config, acl_file, or both")
	}
	if t.Config != nil {
		if err := set.take(t.Config); err != nil {
			return nil, problem.Wrongf("%v", err)
		}
	}
	change, err := set.change()
	if err != nil {
		return nil, problem.Wrongf("%v", err)
	}
	if t.Config != nil {
		return change, nil
	}
	return func(s *access.Sources) { // the file alone
		var all access.Sources
		change(&all)
		s.ACLFile = all.ACLFile
	}, nil
}

// take takes in what a configuration would say.
func (r *ruleSet) take(c *api.ConfigRules) error {
	var wrong []error
	switch c.Default {
	case "":
	case config.AccessAllow:
		r.effect = access.Allow
	case config.AccessDeny:
		r.effect = access.Deny
	default:
		wrong = append(wrong, fmt.Errorf("default: %q is neither allow nor deny", c.Default))
	}
	for i := range c.Rules {
		place := cmp.Or(c.Rules[i].Place, fmt.Sprintf("rules[%d]", i))
		rule, problems := c.Rules[i].Rule(place)
		for _, p := range problems {
			wrong = append(wrong, fmt.Errorf("%s: %w", place, p))
		}
		r.config = append(r.config, rule)
	}
	return errors.Join(wrong...)
}
