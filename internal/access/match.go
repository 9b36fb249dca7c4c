package access

import (
	"regexp"
	"slices"

	"github.com/fantail-mqtt/fantail/topic"
)

// miss is the condition of a rule that does not hold.
type miss byte

const (
	hit miss = iota
	missAction
	missUser
	missClient
	missStanding
	missGroup
	missAddress
	missAttribute
	missListener
	missQoS
	missRetain
	missTopic
	missEmpty  // a placeholder has no value
	missWidens // a value would widen the filter
)

// question is what is asked, taken apart.
type question struct {
	Ask
	path string // the filter without its prefix, or the name
}

func questionOf(a Ask) question {
	q := question{Ask: a, path: a.Topic}
	if a.Action == Subscribe {
		f, err := topic.ParseFilter(a.Topic, 0)
		if err != nil {
			f.Path = "" // nothing matches it
		}
		q.path = f.Path
	}
	return q
}

// relation is that of a rule's topics to what is asked for.
type relation byte

const (
	apart relation = iota
	touching
	covering
)

// about says whether a rule is about the client and about what it wants to do;
// where is left to relate.
func (c *compiled) about(s *subject, q *question) miss {
	if m := c.concerns(q); m != hit {
		return m
	}
	return c.knows(s)
}

// concerns says whether a rule is about the action. Who may subscribe may
// receive what comes: so a rule about subscribe is one about receive too. QoS
// and Retain are of those who publish and subscribe.
func (c *compiled) concerns(q *question) miss {
	r := &c.rule
	switch {
	case q.Action == Receive:
		if r.Actions&(Receive|Subscribe) == 0 {
			return missAction
		}
		if r.Effect == Deny && r.QoS.limits() {
			return missQoS
		}
	case r.Actions&q.Action == 0:
		return missAction
	case !r.QoS.Has(q.QoS):
		return missQoS
	}
	retained := q.Retain && q.Action == Publish
	if r.Retain == Retained && !retained || r.Retain == NotRetained && retained {
		return missRetain
	}
	return hit
}

// knows says whether a rule is about the client.
func (c *compiled) knows(s *subject) miss {
	r := &c.rule
	switch {
	case r.User != "" && !named(r.User, c.user, s.user):
		return missUser
	case r.Client != "" && !named(r.Client, c.client, s.ClientID):
		return missClient
	case r.Standing == Anonymous && s.Grant != nil,
		r.Standing == Authenticated && s.Grant == nil,
		r.Standing == Nameless && s.user != "":
		return missStanding
	}
	if s.faceless && (s.Grant != nil || r.Group == "" && r.Attribute == "") { // strangers have neither of these
		return c.doubted()
	}
	switch {
	case r.Group != "" && (s.Grant == nil || !slices.Contains(s.Grant.Groups, r.Group)):
		return missGroup
	case r.Listener != "" && r.Listener != s.Listener:
		return missListener
	case r.Attribute != "" && !c.hasAttribute(s):
		return missAttribute
	case r.Address != "" && !c.prefix.Contains(s.address()):
		return missAddress
	}
	return hit
}

// doubted says whether the rule is about a client of which the rest is not known.
func (c *compiled) doubted() miss {
	r := &c.rule
	switch {
	case r.Effect == Allow:
		return hit
	case r.Group != "":
		return missGroup
	case r.Listener != "":
		return missListener
	case r.Attribute != "":
		return missAttribute
	case r.Address != "":
		return missAddress
	default:
		return hit
	}
}

func (c *compiled) hasAttribute(s *subject) bool {
	if s.Grant == nil {
		return false
	}
	v, ok := s.Grant.Attributes[c.name]
	return ok && v == c.value
}

func named(name string, re *regexp.Regexp, is string) bool {
	if re == nil {
		return name == is
	}
	return is != "" && re.MatchString(is)
}

// stackFilter is how long a filter with placeholders is that is filled in
// without an allocation.
const stackFilter = 192

// relate says how the topics of the rule lie to the path. If they are apart,
// it says why.
func (c *compiled) relate(s *subject, path string) (best relation, why miss) {
	if path == "" { // what is asked for is no filter
		return apart, missTopic
	}
	if len(c.topics) == 0 {
		return covering, hit
	}
	why = missTopic
	var room [stackFilter]byte
	for i := range c.topics {
		p := &c.topics[i]
		filter := p.plain
		if filter == nil {
			var m miss
			if filter, m = p.fill(room[:0], s, c.rule.Effect); m != hit {
				why = m
				continue
			}
		}
		switch {
		case p.literal && (!s.faceless || c.rule.Effect == Deny):
			if string(filter) == path {
				return covering, hit
			}
		case covers(filter, path):
			return covering, hit
		case overlaps(filter, path):
			best = touching
		}
	}
	return best, why
}

// meets says whether the rule decides what is asked, or which of its conditions
// does not hold.
func (c *compiled) meets(s *subject, q *question) miss {
	if m := c.about(s, q); m != hit {
		return m
	}
	switch rel, why := c.relate(s, q.path); {
	case rel == covering, rel == touching && c.rule.Effect == Deny:
		return hit
	case rel == touching:
		return missTopic
	default:
		return why
	}
}
