package access

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ParseACL reads an acl_file of mosquitto 2.0. The rules are in the order in
// which mosquitto asks them, so that the first that matches decides:
//
//   - "topic deny" of the client's user name, or of clients that have none
//   - "topic read", "write" and "readwrite" of it
//   - once there is a pattern, nothing for clients with + or # in their user
//     name or client id
//   - "pattern deny"
//   - the other patterns
//
// What no line allows is denied: the default of [Sources] says so. "read" is
// to receive; mosquitto lets everybody subscribe, and looks at each message.
//
// Each mistake is in the error, with its line.
func ParseACL(name string, text []byte) ([]Rule, error) {
	p := aclParser{name: name}
	for line := range bytes.Lines(text) {
		p.line++
		if err := p.read(string(line)); err != nil {
			p.wrong = append(p.wrong, fmt.Errorf("%s:%d: %w", name, p.line, err))
		}
	}
	if len(p.wrong) > 0 {
		return nil, errors.Join(p.wrong...)
	}
	return p.rules(), nil
}

type aclParser struct {
	name  string
	line  int
	user  string // as in Rule; empty: clients without a user name
	wrong []error

	topicDeny, topicAllow     []Rule
	patternDeny, patternAllow []Rule
	patterns                  int // the line of the first
}

// spaces are what isspace of C takes for one.
const spaces = " \t\n\v\f\r"

// read reads a line. Words are parted by spaces alone, not by tabs.
func (p *aclParser) read(line string) error {
	if line[0] == '#' {
		return nil
	}
	if strings.IndexByte(line, 0) >= 0 {
		return errors.New("the line holds a zero byte")
	}
	word, rest := word(strings.TrimRight(line, spaces))
	switch word {
	case "":
		return nil
	case "user":
		return p.setUser(rest)
	case "topic":
		return p.add(rest, Rule{User: p.user, Standing: p.standing(), Syntax: Exact}, &p.topicDeny, &p.topicAllow)
	case "pattern":
		if p.patterns == 0 {
			p.patterns = p.line
		}
		return p.add(rest, Rule{Syntax: Percent}, &p.patternDeny, &p.patternAllow)
	default:
		return fmt.Errorf("%q is unknown: a line begins with user, topic, pattern or #", word)
	}
}

// word cuts off the first word. The rest keeps the spaces that it begins with,
// but for the one that ended the word.
func word(s string) (word, rest string) {
	word, rest, _ = strings.Cut(strings.TrimLeft(s, " "), " ")
	return word, rest
}

func (p *aclParser) standing() Standing {
	if p.user == "" {
		return Nameless
	}
	return Anyone
}

func (p *aclParser) setUser(name string) error {
	p.user = strings.Trim(name, spaces)
	if p.user == "" {
		return errors.New("user: the name is missing")
	}
	return nil
}

// add reads what follows "topic" or "pattern".
func (p *aclParser) add(rest string, r Rule, deny, allow *[]Rule) error {
	access, filter := word(rest)
	if access == "" {
		return errors.New("the topic is missing")
	}
	r.ID, r.Effect, r.Actions = fmt.Sprintf("%s:%d", p.name, p.line), Allow, Publish|Receive
	list := allow
	if filter = strings.Trim(filter, spaces); filter == "" {
		access, filter = "readwrite", access
	}
	switch access {
	case "read":
		r.Actions = Receive
	case "write":
		r.Actions = Publish
	case "readwrite":
	case "deny":
		r.Effect, list = Deny, deny
	default:
		return fmt.Errorf("%q is no access: write read, write, readwrite or deny before a topic that has spaces", access)
	}
	if _, err := compilePattern(filter, r.Syntax); err != nil {
		return err
	}
	r.Topics = []string{filter}
	*list = append(*list, r)
	return nil
}

func (p *aclParser) rules() []Rule {
	rules := append(p.topicDeny, p.topicAllow...)
	if p.patterns > 0 {
		guard := Rule{ID: fmt.Sprintf("%s:%d", p.name, p.patterns), Effect: Deny, Actions: Publish | Receive}
		user, client := guard, guard
		user.User, client.Client = "/[+#]/", "/[+#]/"
		rules = append(rules, user, client)
	}
	rules = append(rules, p.patternDeny...)
	return append(rules, p.patternAllow...)
}
