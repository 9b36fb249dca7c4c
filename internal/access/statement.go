package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Statement is a rule as it is written: in the configuration, in a claim of a
// token, or in the API.
//
//	{allow: [publish, subscribe], user: porch, topic: home/porch/#}
type Statement struct {
	// Allow or Deny has the actions: publish, subscribe, receive, or all.
	Allow Words `yaml:"allow,omitempty" json:"allow,omitempty"`
	Deny  Words `yaml:"deny,omitempty" json:"deny,omitempty"`
	// Who: see Rule.
	User      string `yaml:"user,omitempty" json:"user,omitempty"`
	Client    string `yaml:"client,omitempty" json:"client,omitempty"`
	Group     string `yaml:"group,omitempty" json:"group,omitempty"`
	Address   string `yaml:"address,omitempty" json:"address,omitempty"`
	Attribute string `yaml:"attribute,omitempty" json:"attribute,omitempty"`
	Listener  string `yaml:"listener,omitempty" json:"listener,omitempty"`
	// Authenticated: true for clients that a step knows, false for the others.
	Authenticated *bool `yaml:"authenticated,omitempty" json:"authenticated,omitempty"`
	// Topic is the filters. A rule that denies may leave it out.
	Topic  Words `yaml:"topic,omitempty" json:"topic,omitempty"`
	QoS    Words `yaml:"qos,omitempty" json:"qos,omitempty"`
	Retain *bool `yaml:"retain,omitempty" json:"retain,omitempty"`
}

// Words is a list that may be written as its only item.
type Words []string

// UnmarshalJSON implements json.Unmarshaler: texts and numbers.
func (w *Words) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	var items []json.RawMessage
	if !bytes.HasPrefix(text, []byte("[")) {
		items = []json.RawMessage{text}
	} else if err := json.Unmarshal(text, &items); err != nil {
		return err
	}
	*w = Words{}
	for _, item := range items {
		var word string
		var number json.Number
		if err := json.Unmarshal(item, &number); err == nil && number != "" {
			word = number.String()
		} else if err := json.Unmarshal(item, &word); err != nil {
			return fmt.Errorf("%s is neither a text nor a list of texts", item)
		}
		*w = append(*w, word)
	}
	return nil
}

// Rule makes a rule of what is written, or says what is wrong with it.
func (s *Statement) Rule(id string) (Rule, []Problem) {
	r := Rule{
		ID: id, User: s.User, Client: s.Client, Group: s.Group, Address: s.Address, Attribute: s.Attribute,
		Listener: s.Listener, Standing: standing(s.Authenticated), Retain: retain(s.Retain), Topics: s.Topic,
	}
	var problems []Problem
	add := func(field, format string, args ...any) {
		problems = append(problems, Problem{field, fmt.Sprintf(format, args...)})
	}
	words := s.Allow
	switch {
	case s.Allow != nil && s.Deny != nil:
		add("deny", "a rule either allows or denies: make two of it")
		return r, problems
	case s.Deny != nil:
		r.Effect, words = Deny, s.Deny
		if s.Topic != nil && len(s.Topic) == 0 {
			add("topic", "is an empty list: leave it out to deny every topic")
		}
	case s.Allow != nil:
		r.Effect = Allow
		if len(s.Topic) == 0 {
			add("topic", `is missing: "#" stands for every topic but those that begin with $`)
		}
	}
	for _, word := range words {
		a, ok := action(word)
		if !ok {
			add(r.Effect.field(), "%q is no action: write publish, subscribe, receive or all", word)
		}
		r.Actions |= a
	}
	for _, word := range s.QoS {
		if len(word) != 1 || word[0] < '0' || word[0] > '2' {
			add("qos", "%q is not 0, 1 or 2", word)
			continue
		}
		r.QoS |= QoSOf(word[0] - '0')
	}
	for _, p := range r.Check() {
		same := func(q Problem) bool { return q.Field == p.Field }
		if !slices.ContainsFunc(problems, same) {
			problems = append(problems, p)
		}
	}
	return r, problems
}

func action(word string) (Action, bool) {
	switch strings.ToLower(word) {
	case "publish":
		return Publish, true
	case "subscribe":
		return Subscribe, true
	case "receive":
		return Receive, true
	case "all":
		return Publish | Subscribe | Receive, true
	default:
		return 0, false
	}
}

func standing(authenticated *bool) Standing {
	switch {
	case authenticated == nil:
		return Anyone
	case *authenticated:
		return Authenticated
	default:
		return Anonymous
	}
}

func retain(retained *bool) Retain {
	switch {
	case retained == nil:
		return RetainedOrNot
	case *retained:
		return Retained
	default:
		return NotRetained
	}
}
