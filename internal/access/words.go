package access

import (
	"fmt"
	"strings"
)

// String says what the rule does, without its place.
func (r *Rule) String() string {
	var b strings.Builder
	b.WriteString(r.Effect.String() + " " + r.Actions.words())
	if len(r.Topics) == 0 {
		b.WriteString(" on every topic")
	} else {
		b.WriteString(" on " + strings.Join(r.Topics, ", "))
	}
	if r.QoS.limits() {
		b.WriteString(" at QoS " + r.QoS.words())
	}
	if r.Retain != RetainedOrNot {
		b.WriteString(", " + r.Retain.String())
	}
	if who := r.who(); who != "" {
		b.WriteString(", for " + who)
	}
	return b.String()
}

// who lists the conditions for the client.
func (r *Rule) who() string {
	var list []string
	add := func(what, value string) {
		if value != "" {
			list = append(list, what+" "+value)
		}
	}
	if r.Standing != Anyone {
		list = append(list, r.Standing.String())
	}
	add("user", r.User)
	add("client", r.Client)
	add("group", r.Group)
	add("address", r.Address)
	add("attribute", r.Attribute)
	add("listener", r.Listener)
	return strings.Join(list, ", ")
}

// words names the actions of a sum.
func (a Action) words() string {
	if a == Publish|Subscribe|Receive {
		return "all"
	}
	var list []string
	for _, one := range []Action{Publish, Subscribe, Receive} {
		if a&one != 0 {
			list = append(list, one.String())
		}
	}
	return strings.Join(list, ", ")
}

func (s QoS) words() string {
	var list []string
	for q := byte(0); q <= 2; q++ {
		if s.Has(q) {
			list = append(list, string('0'+rune(q)))
		}
	}
	return strings.Join(list, ", ")
}

// words says why a rule is not about what is asked.
func (c *compiled) words(m miss, s *subject, q *question) string {
	r := &c.rule
	switch m {
	case missAction:
		return "it is about " + r.Actions.words()
	case missUser:
		return "it is for user " + r.User + "; " + s.userWords()
	case missClient:
		return fmt.Sprintf("it is for client %s, this one is %q", r.Client, s.ClientID)
	case missStanding:
		if r.Standing == Nameless {
			return fmt.Sprintf("it is for clients without a user name, this one is %q", s.user)
		}
		return "it is for " + r.who()
	case missGroup:
		return "the client is not in group " + r.Group
	case missAddress:
		return "the client's address is not in " + r.Address
	case missAttribute:
		return fmt.Sprintf("the client has no attribute %s", r.Attribute)
	case missListener:
		return fmt.Sprintf("it is for listener %s, the client came over %q", r.Listener, s.Listener)
	case missQoS:
		return "it is about QoS " + r.QoS.words()
	case missRetain:
		if r.Retain == Retained {
			return "it is about retained messages that are published"
		}
		return "it is about messages that are not retained"
	case missEmpty:
		return "the client has no value for a placeholder in " + strings.Join(r.Topics, ", ")
	case missWidens:
		return "a value of the client holds /, + or # or begins with $, which placeholders do not take, in " +
			strings.Join(r.Topics, ", ")
	default:
		return c.apartWords(q)
	}
}

func (c *compiled) apartWords(q *question) string {
	topics := strings.Join(c.rule.Topics, ", ")
	if q.Action == Subscribe && c.rule.Effect == Allow {
		return topics + " does not cover the filter"
	}
	return topics + " does not match"
}

// userWords says who the client is to rules about users.
func (s *subject) userWords() string {
	switch {
	case s.user != "":
		return fmt.Sprintf("this one is %q", s.user)
	case s.UserName != "":
		return fmt.Sprintf("nobody has checked the user name %q of this one", s.UserName)
	default:
		return "this one has no user name"
	}
}
