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

// rule is one of the rules in an acl member.
type rule struct {
	allow   bool
	actions access.Action
	topic   string
	exact   bool  // the topic has no placeholders and wildcards
	qos     []int // empty: any
	retain  *bool // nil: either
}

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
// Both are EMQX's.
func rulesOf(v any) (*access.Rules, error) {
	var rules []rule
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
	return compile(rules)
}

// both is what "all" means: who may subscribe may receive.
const (
	subscribe = access.Subscribe | access.Receive
	both      = access.Publish | subscribe
)

// ruleLists reads the form of lists.
func ruleLists(lists map[string]any) ([]rule, error) {
	var rules []rule
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
		for _, t := range topics {
			rules = append(rules, topicRule(rule{allow: true, actions: l.actions}, t))
		}
	}
	for name := range lists {
		if name != "pub" && name != "sub" && name != "all" {
			return nil, fmt.Errorf("has a member %q: there are pub, sub and all", name)
		}
	}
	return append(rules, rule{actions: both, topic: "#"}), nil
}

// topicRule is a rule for a topic, which EMQX lets begin with "eq " where it
// is to be taken as it is written.
func topicRule(r rule, topic string) rule {
	const literally = "eq "
	if len(topic) > len(literally) && topic[:len(literally)] == literally {
		r.exact, topic = true, topic[len(literally):]
	}
	r.topic = topic
	return r
}

// ruleList reads the form of rules.
func ruleList(list []any) ([]rule, error) {
	var rules []rule
	for i, v := range list {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("has a rule %d that is no object", i+1)
		}
		more, err := ruleObject(object)
		if err != nil {
			return nil, fmt.Errorf("has a rule %d whose %w", i+1, err)
		}
		rules = append(rules, more...)
	}
	return rules, nil
}

// ruleObject reads a rule, which has one topic or several. A member that is not
// known could narrow the rule, so it is an error.
func ruleObject(object map[string]any) (rules []rule, err error) {
	var r rule
	var topics []string
	for name, v := range object {
		switch name {
		case "permission":
			r.allow = v == "allow"
			if v != "allow" && v != "deny" {
				err = errors.New("permission is neither allow nor deny")
			}
		case "action":
			r.actions, err = actionOf(v)
		case "topic", "topics":
			var more []string
			if more, err = texts(v); err != nil {
				err = fmt.Errorf("%s %w", name, err)
			}
			topics = append(topics, more...)
		case "qos":
			r.qos, err = qosOf(v)
		case "retain":
			r.retain, err = retainOf(v)
		default:
			err = fmt.Errorf("member %q is unknown: there are permission, action, topic, topics, qos and retain", name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case object["permission"] == nil:
		return nil, errors.New("permission is missing")
	case r.actions == 0:
		return nil, errors.New("action is missing")
	case len(topics) == 0:
		return nil, errors.New("topic is missing")
	}
	for _, t := range topics {
		rules = append(rules, topicRule(r, t))
	}
	return rules, nil
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

func qosOf(v any) ([]int, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []int
	for _, v := range list {
		n, ok := v.(json.Number)
		if !ok || !slices.Contains([]string{"0", "1", "2"}, n.String()) {
			return nil, errors.New("qos is none of 0, 1 and 2, nor a list of them")
		}
		out = append(out, int(n[0]-'0'))
	}
	return out, nil
}

func retainOf(v any) (*bool, error) {
	switch v := v.(type) {
	case bool:
		return &v, nil
	case string:
		if v == "all" {
			return nil, nil
		}
	}
	return nil, errors.New("retain is none of true, false and all")
}

// compile hands the rules to who decides by them.
func compile([]rule) (*access.Rules, error) {
	return nil, errors.New("cannot be followed by this version")
}
