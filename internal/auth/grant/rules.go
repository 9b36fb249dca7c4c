package grant

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// maxRules bounds the rules of one client, which live as long as it is
// connected.
const maxRules = 1000

// rulesOf reads an acl member, in one of two forms: lists of the topic
// filters to which a client may publish, subscribe, or both, with everything
// else denied,
//
//	{"pub": ["a/${clientid}"], "sub": ["b/#"], "all": ["c/#"]}
//
// or a list of rules, of which the first that fits decides,
//
//	[{"permission": "allow", "action": "publish", "topic": "a/${clientid}"}]
//
// Both are EMQX's. What no rule of a list fits is left to the rules of
// everybody.
func rulesOf(v any) (*access.Rules, error) {
	var rules []access.Rule
	var err error
	switch v := v.(type) {
	case map[string]any:
		rules, err = ruleLists(v)
	case []any:
		rules, err = ruleList(v)
	default:
		err = errors.New("is neither an object of topic lists nor a list of rules")
	}
	if err != nil {
		return nil, err
	}
	if len(rules) > maxRules {
		return nil, fmt.Errorf("has %d rules, which is above %d", len(rules), maxRules)
	}
	compiled, err := access.Compile(rules)
	if err != nil {
		return nil, fmt.Errorf("has a mistake in %w", err)
	}
	return compiled, nil
}

// both is what "all" means: who may subscribe may receive.
const (
	subscribe = access.Subscribe | access.Receive
	both      = access.Publish | subscribe
)

// ruleLists reads the form of lists.
func ruleLists(lists map[string]any) ([]access.Rule, error) {
	var rules []access.Rule
	for _, l := range []struct {
		name    string
		actions access.Action
	}{{"pub", access.Publish}, {"sub", subscribe}, {"all", both}} {
		v, ok := lists[l.name]
		if !ok {
			continue
		}
		topics, err := texts(v)
		if err != nil {
			return nil, fmt.Errorf("has a member %s that %w", l.name, err)
		}
		if len(topics) > 0 { // a rule without any is for all of them
			rules = append(rules, access.Rule{ID: "acl." + l.name, Effect: access.Allow, Actions: l.actions, Topics: topics})
		}
	}
	for name := range lists {
		if name != "pub" && name != "sub" && name != "all" {
			return nil, fmt.Errorf("has a member %q: there are pub, sub and all", name)
		}
	}
	return append(rules, access.Rule{ID: "acl", Effect: access.Deny, Actions: both}), nil
}

// ruleList reads the form of rules.
func ruleList(list []any) ([]access.Rule, error) {
	rules := make([]access.Rule, 0, len(list))
	for i, v := range list {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("has a rule %d that is no object", i+1)
		}
		r, err := ruleOf(object)
		if err != nil {
			return nil, fmt.Errorf("has a rule %d whose %w", i+1, err)
		}
		r.ID = fmt.Sprintf("acl[%d]", i)
		rules = append(rules, r)
	}
	return rules, nil
}

// ruleOf reads a rule, which has one topic or several. A member that is not
// known could narrow the rule, so it is an error.
func ruleOf(object map[string]any) (r access.Rule, err error) {
	for name, v := range object {
		switch name {
		case "permission":
			r.Effect, err = effectOf(v)
		case "action":
			r.Actions, err = actionOf(v)
		case "topic", "topics":
			var topics []string
			if topics, err = texts(v); err != nil {
				err = fmt.Errorf("%s %w", name, err)
			}
			r.Topics = append(r.Topics, topics...)
		case "qos":
			r.QoS, err = qosOf(v)
		case "retain":
			r.Retain, err = retainOf(v)
		default:
			err = fmt.Errorf("member %q is unknown: there are permission, action, topic, topics, qos and retain", name)
		}
		if err != nil {
			return r, err
		}
	}
	switch {
	case r.Effect == 0:
		return r, errors.New("permission is missing")
	case r.Actions == 0:
		return r, errors.New("action is missing")
	case len(r.Topics) == 0:
		return r, errors.New("topic is missing")
	}
	return r, nil
}

func effectOf(v any) (access.Effect, error) {
	switch v {
	case "allow":
		return access.Allow, nil
	case "deny":
		return access.Deny, nil
	default:
		return 0, errors.New("permission is neither allow nor deny")
	}
}

func actionOf(v any) (access.Action, error) {
	switch v {
	case "publish", "pub":
		return access.Publish, nil
	case "subscribe", "sub":
		return subscribe, nil
	case "all":
		return both, nil
	default:
		return 0, errors.New("action is none of publish, subscribe and all")
	}
}

func qosOf(v any) (access.QoS, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var levels []byte
	for _, v := range list {
		n, ok := v.(json.Number)
		if !ok || !slices.Contains([]string{"0", "1", "2"}, n.String()) {
			return 0, errors.New("qos is none of 0, 1 and 2, nor a list of them")
		}
		levels = append(levels, n[0]-'0')
	}
	if len(levels) == 0 {
		return 0, errors.New("qos is an empty list")
	}
	return access.QoSOf(levels...), nil
}

func retainOf(v any) (access.Retain, error) {
	switch v {
	case true:
		return access.Retained, nil
	case false:
		return access.NotRetained, nil
	case "all":
		return access.RetainedOrNot, nil
	default:
		return 0, errors.New("retain is none of true, false and all")
	}
}
