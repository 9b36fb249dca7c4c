package fantail

import (
	"fmt"
	"log/slog"
	"reflect"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/rulebook"
)

// ruleSet is what a configuration says of access, with its acl_file.
type ruleSet struct {
	config, acl []access.Rule
	hasACL      bool
	effect      access.Effect // for what no rule matches; 0: it hangs from the rest
	disconnect  bool
}

// readRules reads what the configuration says, and the acl_file as it is now.
func readRules(a *config.Access) (r ruleSet, err error) {
	r = ruleSet{config: a.List(), effect: a.Effect(), disconnect: a.DenyAction == config.DenyDisconnect, hasACL: a.ACLFile != ""}
	if r.hasACL {
		if r.acl, err = config.ReadACL(a.ACLFile); err != nil {
			return r, fmt.Errorf("access.acl_file: %w", err)
		}
	}
	return r, nil
}

// change makes the set ready to be taken over.
func (r *ruleSet) change() (func(*access.Sources), error) {
	rules, err := access.Compile(r.config)
	if err != nil {
		return nil, err
	}
	var acl *access.Rules
	if r.hasACL {
		if acl, err = access.Compile(r.acl); err != nil {
			return nil, err
		}
	}
	effect, disconnect := r.effect, r.disconnect
	return func(s *access.Sources) {
		s.Config, s.ACLFile, s.Default, s.Disconnect = rules, acl, effect, disconnect
	}, nil
}

// openRules gives the policy its rules: those of the configuration, and those of
// run time as they are kept.
func (b *Broker) openRules() (err error) {
	if b.rules, err = readRules(&b.config.Access); err != nil {
		return err
	}
	change, err := b.rules.change()
	if err != nil {
		return err
	}
	b.policy.Update(change)
	b.book = rulebook.New(rulebook.Options{Settings: b.broker, Logger: forwardLog(b), Apply: func(rules *access.Rules) {
		b.changeRules(func(s *access.Sources) { s.Runtime = rules })
	}})
	return nil
}

// changeRules changes the rules for whoever asks from now on, and ends the
// subscriptions that they do not allow any more.
func (b *Broker) changeRules(change func(*access.Sources)) {
	b.policy.Update(change)
	if b.authorizer == nil {
		b.broker.Reassess()
	}
}

// reloadRules reads the rules of the configuration anew. Nothing of it is in
// force before commit.
func (b *Broker) reloadRules(a *config.Access) (commit func(), err error) {
	next, err := readRules(a)
	if err != nil {
		return nil, err
	}
	change, err := next.change()
	if err != nil {
		return nil, err
	}
	return func() {
		before := b.rules
		b.rules = next
		if reflect.DeepEqual(before, next) {
			return
		}
		b.changeRules(change)
		b.logger.Info("access rules changed", difference(&before, &next)...)
	}, nil
}

// difference says what has changed, for the log.
func difference(before, after *ruleSet) (attrs []any) {
	for _, s := range []struct {
		name          string
		before, after []access.Rule
	}{{"rules", before.config, after.config}, {"acl_file", before.acl, after.acl}} {
		if added, removed := without(s.after, s.before), without(s.before, s.after); added+removed > 0 {
			attrs = append(attrs, slog.String(s.name, fmt.Sprintf("%d, of which %d are new, and %d are gone", len(s.after), added, removed)))
		} else if !reflect.DeepEqual(s.before, s.after) {
			attrs = append(attrs, slog.String(s.name, "the same, in other places"))
		}
	}
	if before.hasACL != after.hasACL {
		attrs = append(attrs, slog.Bool("has_acl_file", after.hasACL))
	}
	if before.effect != after.effect {
		attrs = append(attrs, slog.String("default", defaultWord(after.effect)))
	}
	if before.disconnect != after.disconnect {
		attrs = append(attrs, slog.Bool("disconnect", after.disconnect))
	}
	return attrs
}

func defaultWord(e access.Effect) string {
	if e == 0 {
		return "deny if there is a rule"
	}
	return e.String()
}

// without is how many rules are not among others.
func without(list, others []access.Rule) (n int) {
	known := map[string]int{}
	for i := range others {
		known[others[i].String()]++
	}
	for i := range list {
		if text := list[i].String(); known[text] > 0 {
			known[text]--
			continue
		}
		n++
	}
	return n
}
