package access

import (
	"errors"
	"fmt"
)

// Rules decide what clients may do: the first of them that matches. They do not
// change.
//
// Rules that name a user or a client are found by that name, so that a broker
// may have one for each of its devices. The others are all looked at.
type Rules struct {
	list             []*compiled
	byUser, byClient map[string][]int32 // in their order
	rest             []int32
}

// Decision is what rules say.
type Decision struct {
	Matched bool
	Allowed bool
	Rule    *Rule // that matched
}

// Compile makes rules ready. Its error names every mistake.
func Compile(list []Rule) (*Rules, error) {
	r := &Rules{byUser: map[string][]int32{}, byClient: map[string][]int32{}}
	var wrong []error
	for i := range list {
		c, problems := list[i].compile()
		for _, p := range problems {
			wrong = append(wrong, fmt.Errorf("%s: %w", list[i].place(i), p))
		}
		r.add(c)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return r, nil
}

func (r *Rule) place(i int) string {
	if r.ID == "" {
		return fmt.Sprintf("rule %d", i+1)
	}
	return r.ID
}

func (r *Rules) add(c *compiled) {
	n := int32(len(r.list))
	r.list = append(r.list, c)
	switch user, client := c.rule.User, c.rule.Client; {
	case user != "" && c.user == nil:
		r.byUser[user] = append(r.byUser[user], n)
	case client != "" && c.client == nil:
		r.byClient[client] = append(r.byClient[client], n)
	default:
		r.rest = append(r.rest, n)
	}
}

// Len is the number of rules. nil has none.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.list)
}

// candidates are the rules that may be about a client, in their order.
type candidates struct {
	rules *Rules
	lists [3][]int32
}

func (r *Rules) candidates(s *subject) candidates {
	if r == nil {
		return candidates{}
	}
	return candidates{r, [3][]int32{r.byUser[s.user], r.byClient[s.ClientID], r.rest}}
}

func (c *candidates) next() *compiled {
	first := -1
	for i, l := range c.lists {
		if len(l) > 0 && (first < 0 || l[0] < c.lists[first][0]) {
			first = i
		}
	}
	if first < 0 {
		return nil
	}
	n := c.lists[first][0]
	c.lists[first] = c.lists[first][1:]
	return c.rules.list[n]
}

// Decide asks the rules in their order. To subscribe, a rule that allows has to
// cover the filter, and one that denies has to share a name with it.
func (r *Rules) Decide(who *Info, a Ask) Decision {
	s, q := seen(who), questionOf(a)
	return r.decide(&s, &q)
}

func (r *Rules) decide(s *subject, q *question) Decision {
	for list := r.candidates(s); ; {
		c := list.next()
		if c == nil {
			return Decision{}
		}
		if c.meets(s, q) == hit {
			return Decision{Matched: true, Allowed: c.rule.Effect == Allow, Rule: &c.rule}
		}
	}
}
