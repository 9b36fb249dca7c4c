package access

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fantail-mqtt/fantail/topic"
)

// pattern is a filter with placeholders.
//
// A client may choose what comes into it: its client id mostly, often its user
// name. So a value must not turn the filter into a wider one (CVE-2017-7650:
// the user name "#"), nor into one for somebody else's topics (the client id
// "porch/lamp" under ${clientid}/#) or the broker's ("$SYS"). A rule that such
// a value comes into does not match. One that denies still matches with a
// slash in the value: leaving it out would widen what the others allow.
type pattern struct {
	text    string
	plain   []byte // the filter, if it has no placeholders
	parts   []part
	literal bool // only the very filter is meant
}

// part is a text or a placeholder.
type part struct {
	text  string
	value value
	name  string // of the attribute
}

type value byte

const (
	text value = iota
	userName
	clientID
	attribute
)

// compilePattern reads a topic of a rule.
func compilePattern(t string, syntax Syntax) (pattern, error) {
	p := pattern{text: t}
	filter := t
	if syntax == Own {
		filter, p.literal = strings.CutPrefix(t, "eq ")
	}
	if filter == "" {
		return p, errors.New("the topic filter is empty")
	}
	var err error
	if p.parts, err = partsOf(filter, syntax); err != nil {
		return p, err
	}
	example := p.example()
	f, err := topic.ParseFilter(example, 0)
	if syntax != Own && f.Kind != topic.Plain { // mosquitto takes them as they are
		example = strings.Replace(example, "$", "_", 1)
		f, err = topic.ParseFilter(example, 0)
	}
	if err != nil {
		return p, fmt.Errorf("%q is no topic filter: %w", t, err)
	}
	if f.Kind != topic.Plain {
		return p, fmt.Errorf("%q: write what follows the prefix; a rule holds for $share/<group>/, $queue/ and $local/ too", t)
	}
	if len(p.parts) == 1 && p.parts[0].value == text {
		p.plain, p.parts = []byte(filter), nil
	}
	return p, nil
}

// example is the filter with something harmless in its placeholders.
func (p *pattern) example() string {
	var b strings.Builder
	for _, part := range p.parts {
		if part.value == text {
			b.WriteString(part.text)
			continue
		}
		b.WriteByte('x')
	}
	return b.String()
}

// partsOf takes a filter apart at its placeholders.
func partsOf(filter string, syntax Syntax) ([]part, error) {
	var parts []part
	begin := 0
	for i := 0; i < len(filter); {
		part, length, err := placeholder(filter[i:], syntax)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", filter, err)
		}
		if length == 0 {
			i++
			continue
		}
		parts = appendText(parts, filter[begin:i])
		parts = append(parts, part)
		i += length
		begin = i
	}
	return appendText(parts, filter[begin:]), nil
}

func appendText(parts []part, s string) []part {
	if s == "" {
		return parts
	}
	return append(parts, part{text: s})
}

// placeholder reads the one that the text begins with; it has length 0 if
// there is none.
func placeholder(s string, syntax Syntax) (p part, length int, err error) {
	switch {
	case syntax == Exact:
		return p, 0, nil
	case strings.HasPrefix(s, "%u"):
		return part{value: userName}, 2, nil
	case strings.HasPrefix(s, "%c"):
		return part{value: clientID}, 2, nil
	case syntax == Percent || !strings.HasPrefix(s, "${"):
		return p, 0, nil
	}
	name, _, closed := strings.Cut(s[2:], "}")
	if !closed {
		return p, 0, errors.New("${ has no }")
	}
	switch attr, isAttr := strings.CutPrefix(name, "attr."); {
	case name == "username":
		p.value = userName
	case name == "clientid":
		p.value = clientID
	case isAttr && attr != "":
		p.value, p.name = attribute, attr
	default:
		return p, 0, fmt.Errorf("${%s} is unknown: there are ${username}, ${clientid} and ${attr.NAME}", name)
	}
	return p, len(name) + 3, nil
}

// fill appends the filter for a client to dst. It does not allocate if there
// is room.
func (p *pattern) fill(dst []byte, s *subject, e Effect) ([]byte, miss) {
	broad := false
	for i := range p.parts {
		part := &p.parts[i]
		if part.value == text {
			dst = append(dst, part.text...)
			continue
		}
		if part.value == attribute && s.faceless && s.Grant != nil && e == Allow {
			dst, broad = append(dst, '+'), true
			continue
		}
		v := s.value(part)
		if v == "" {
			return nil, missEmpty
		}
		for j := range len(v) {
			if c := v[j]; wild(c) || c == '/' && e == Allow {
				return nil, missWidens
			}
		}
		if len(dst) == 0 && v[0] == '$' && e == Allow {
			return nil, missWidens
		}
		dst = append(dst, v...)
	}
	if broad {
		dst = wholeLevels(dst)
	}
	return dst, hit
}

// wholeLevels makes each level with a + in it one that is nothing but that: what
// stands for any value stands for any that it is a part of.
func wholeLevels(filter []byte) []byte {
	out := filter[:0] // never ahead of what is read
	begin, broad := 0, false
	for i, c := range filter {
		switch {
		case c == '/':
			out, begin, broad = append(out, c), i+1, false
		case broad: // there is a + for it
		case c == '+':
			out, broad = append(out[:len(out)-(i-begin)], c), true
		default:
			out = append(out, c)
		}
	}
	return out
}
