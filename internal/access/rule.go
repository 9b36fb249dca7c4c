package access

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Effect is what a rule does with what it matches. Its zero value is neither:
// a rule that forgot to say so is refused.
type Effect byte

// The effects.
const (
	Allow Effect = iota + 1
	Deny
)

func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	default:
		return "no effect"
	}
}

// Standing is how well a client is known.
type Standing byte

// The standings that a rule can ask for.
const (
	Anyone Standing = iota
	// Anonymous clients were let in without being known: the user name that
	// they may have sent says nothing.
	Anonymous
	// Authenticated clients are those that a step of the authentication knows.
	Authenticated
	// Nameless clients have no user name that was checked.
	Nameless
)

func (s Standing) String() string {
	switch s {
	case Anonymous:
		return "clients without an account"
	case Authenticated:
		return "clients with an account"
	case Nameless:
		return "clients without a user name"
	default:
		return "anyone"
	}
}

// Syntax is how the topics and the names of a rule are read.
type Syntax byte

// The syntaxes.
const (
	// Own topics hold ${username}, ${clientid}, ${attr.NAME}, %u and %c; and
	// "eq " before a filter stands for that very filter.
	Own Syntax = iota
	// Exact topics are plain filters, and a name between slashes is a name: lines
	// "topic" of an acl_file.
	Exact
	// Percent is Exact with %u and %c in topics: lines "pattern" of an acl_file.
	Percent
)

// QoS is a set of levels; 0 stands for all of them.
type QoS byte

// QoSOf is the set of these levels.
func QoSOf(levels ...byte) QoS {
	var set QoS
	for _, q := range levels {
		set |= 1 << q
	}
	return set
}

// QoSUpTo is the set of the levels up to most.
func QoSUpTo(most byte) QoS { return 1<<(most+1) - 1 }

const anyQoS QoS = 0b111

// Has says whether the level is in the set.
func (s QoS) Has(q byte) bool { return s == 0 || s&(1<<q) != 0 }

func (s QoS) limits() bool { return s != 0 && s != anyQoS }

// Retain says which messages a rule is about.
type Retain byte

// The kinds of message. To subscribe and to receive count as not retained:
// the condition is for those who publish.
const (
	RetainedOrNot Retain = iota
	Retained
	NotRetained
)

func (r Retain) String() string {
	switch r {
	case Retained:
		return "retained"
	case NotRetained:
		return "not retained"
	default:
		return "retained or not"
	}
}

// Rule allows or denies something to somebody. All of its conditions have to
// hold; one that is empty holds always.
type Rule struct {
	// ID is where the rule stands, such as "acl:12", or its name.
	ID      string
	Effect  Effect
	Actions Action // a sum

	// User and Client are a name, or a regular expression between slashes,
	// which matches what it finds anywhere in the name: write /^dev-/. The user
	// name of a client that nobody knows is not looked at.
	User, Client string
	Group        string
	Address      string // an address or a CIDR; no unix socket is in one
	Attribute    string // name=value
	Listener     string
	Standing     Standing

	// Topics are filters, of which one has to match. None: every topic.
	Topics []string
	Syntax Syntax
	QoS    QoS
	Retain Retain
}

// Problem is something wrong with a rule.
type Problem struct {
	Field string // as it is called in a [Statement]
	Text  string
}

func (p Problem) Error() string { return p.Field + ": " + p.Text }

// Check says what is wrong with a rule.
func (r *Rule) Check() []Problem {
	_, problems := r.compile()
	return problems
}

// maxRegexp bounds a regular expression: its program is some ten times as long.
const maxRegexp = 1000

// compiled is a rule that is ready to be asked.
type compiled struct {
	rule         Rule
	user, client *regexp.Regexp // nil: the name itself, or anything
	prefix       netip.Prefix
	name, value  string // of the attribute
	topics       []pattern
}

func (r *Rule) compile() (*compiled, []Problem) {
	c := &compiled{rule: *r}
	var problems []Problem
	add := func(field, format string, args ...any) {
		problems = append(problems, Problem{field, fmt.Sprintf(format, args...)})
	}
	if r.Effect != Allow && r.Effect != Deny {
		add("allow", "is missing: a rule says allow or deny, with what of publish, subscribe, receive")
	}
	if r.Effect != 0 && r.Actions == 0 || r.Actions&^(Publish|Subscribe|Receive) != 0 {
		add(r.Effect.field(), "names no action: write publish, subscribe, receive or all")
	}
	var err error
	if c.user, err = r.expression(r.User); err != nil {
		add("user", "%v", err)
	}
	if c.client, err = r.expression(r.Client); err != nil {
		add("client", "%v", err)
	}
	if r.Address != "" {
		if c.prefix, err = prefix(r.Address); err != nil {
			add("address", "%v", err)
		}
	}
	if r.Attribute != "" {
		var ok bool
		if c.name, c.value, ok = strings.Cut(r.Attribute, "="); !ok || c.name == "" {
			add("attribute", "%q is not written name=value", r.Attribute)
		}
	}
	if r.Standing > Nameless {
		add("authenticated", "the standing %d is unknown", r.Standing)
	}
	if r.QoS&^anyQoS != 0 {
		add("qos", "is 0, 1 or 2")
	}
	if r.QoS.limits() && r.Actions == Receive {
		add("qos", "is of what is published or subscribed to: this rule is about receive alone")
	}
	if r.Retain != RetainedOrNot && r.Actions&Publish == 0 {
		add("retain", "is of what is published: this rule is not about that")
	}
	for _, t := range r.Topics {
		p, err := compilePattern(t, r.Syntax)
		if err == nil && p.literal && r.Effect == Allow {
			err = fmt.Errorf("%q: eq is for rules that deny", t)
		}
		if err != nil {
			add("topic", "%v", err)
			continue
		}
		c.topics = append(c.topics, p)
	}
	return c, problems
}

func (e Effect) field() string {
	if e == Deny {
		return "deny"
	}
	return "allow"
}

// expression compiles the name if it is a regular expression.
func (r *Rule) expression(name string) (*regexp.Regexp, error) {
	if r.Syntax != Own || len(name) < 2 || name[0] != '/' || name[len(name)-1] != '/' {
		return nil, nil
	}
	if len(name) > maxRegexp {
		return nil, fmt.Errorf("the regular expression has %d bytes, which is above %d", len(name), maxRegexp)
	}
	re, err := regexp.Compile(name[1 : len(name)-1])
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression: %w", name, err)
	}
	return re, nil
}

// prefix reads an address or a CIDR.
func prefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return p, fmt.Errorf("%q is no CIDR: write it as 192.0.2.0/24", text)
		}
		if p.Addr().Is4In6() {
			return p, fmt.Errorf("%q is an IPv4 network written as IPv6: write it as 192.0.2.0/24", text)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no address: write 192.0.2.1, 2001:db8::1 or 192.0.2.0/24", text)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}
