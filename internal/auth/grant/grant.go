package grant

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// Names are the members that hold the parts of a grant. An empty name: the
// object does not say. A name with dots looks into objects, as in
// realm_access.roles, unless there is a member of just that name.
type Names struct {
	UserName, ClientID, Superuser, Groups, Attributes, Limits, Rules, Expires string
}

// Of makes the grant. What the object lacks is empty. The error names the
// member, and not its value.
func (n Names) Of(object map[string]any) (access.Grant, error) {
	var g access.Grant
	for _, part := range []struct {
		name string
		read func(v any) error
	}{
		{n.UserName, text(&g.UserName)},
		{n.ClientID, text(&g.ClientID)},
		{n.Limits, text(&g.Limits)},
		{n.Superuser, flag(&g.Superuser)},
		{n.Groups, func(v any) (err error) { g.Groups, err = texts(v); return err }},
		{n.Attributes, func(v any) (err error) { g.Attributes, err = attributes(v); return err }},
		{n.Rules, func(v any) (err error) { g.Rules, err = rulesOf(v); return err }},
		{n.Expires, func(v any) (err error) { g.Expires, err = Millis(v); return err }},
	} {
		if part.name == "" {
			continue
		}
		v, ok := Find(object, part.name)
		if !ok || v == nil {
			continue
		}
		if err := part.read(v); err != nil {
			return access.Grant{}, fmt.Errorf("%s %w", part.name, err)
		}
	}
	return g, nil
}

// Find is the member of a name, or of a path of names with dots.
func Find(object map[string]any, name string) (v any, ok bool) {
	if v, ok := object[name]; ok {
		return v, true
	}
	first, rest, dotted := strings.Cut(name, ".")
	if !dotted {
		return nil, false
	}
	inner, ok := object[first].(map[string]any)
	if !ok {
		return nil, false
	}
	return Find(inner, rest)
}

// lastSecond is the end of the year 9999. A later time was meant in
// milliseconds.
const lastSecond = 253_402_300_799

// Millis is a time in seconds since 1970 (RFC 7519's NumericDate, which may
// have a fraction) in milliseconds.
func Millis(v any) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, errors.New("is no number of seconds since 1970")
	}
	f, err := n.Float64()
	switch {
	case err != nil || f < 0:
		return 0, errors.New("is no number of seconds since 1970")
	case f > lastSecond:
		return 0, fmt.Errorf("is after the year 9999: it is counted in seconds, as %d is now", time.Now().Unix())
	}
	return int64(f * 1000), nil
}

func text(into *string) func(v any) error {
	return func(v any) (err error) {
		switch v := v.(type) {
		case string:
			*into = v
		case json.Number:
			*into = v.String()
		default:
			err = errors.New("is no text")
		}
		if strings.ContainsRune(*into, 0) { // [MQTT-1.5.4-2]
			return errors.New("holds U+0000")
		}
		return err
	}
}

func flag(into *bool) func(v any) error {
	return func(v any) error {
		b, ok := v.(bool)
		if !ok {
			return errors.New("is neither true nor false")
		}
		*into = b
		return nil
	}
}

// texts are those of a list, or a single one.
func texts(v any) ([]string, error) {
	if s, ok := v.(string); ok {
		return []string{s}, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("is no list of texts")
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, errors.New("is no list of texts")
		}
		out = append(out, s)
	}
	return out, nil
}

func attributes(v any) (map[string]string, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("is no object of texts")
	}
	out := make(map[string]string, len(object))
	for name, v := range object {
		switch v := v.(type) {
		case string:
			out[name] = v
		case json.Number:
			out[name] = v.String()
		case bool:
			out[name] = fmt.Sprint(v)
		default:
			return nil, fmt.Errorf("is no object of texts: see %q", name)
		}
	}
	return out, nil
}
