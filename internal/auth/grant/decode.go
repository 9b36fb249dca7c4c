// Package grant reads what a client may do and be out of a JSON object: the
// claims of a token, or the answer of a server.
//
// The object decides about access, so it is read strictly ([Decode]): what
// two readers could understand in two ways is refused. [Names.Of] makes a
// grant of it. A member of a kind that it cannot have is a mistake of whoever
// wrote the object, and an error, not a grant of less.
package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// depth is how deep objects and lists may be within each other.
const depth = 16

// Decode reads a JSON object: no member comes twice, nothing follows it, and
// it is UTF-8 (RFC 8259; RFC 7519, section 4, lets a reader refuse the first).
// Numbers are json.Number.
func Decode(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	t, err := d.Token()
	if err != nil {
		return nil, wrong(err)
	}
	if t != json.Delim('{') {
		return nil, errors.New("it is no object")
	}
	o, err := object(d, 1)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return o, nil
}

// wrong says what is wrong without what was read: that may be a secret.
func wrong(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is no JSON, from byte %d on", syntax.Offset)
	}
	return errors.New("it is no JSON, or ends too early")
}

func object(d *json.Decoder, level int) (map[string]any, error) {
	if level > depth {
		return nil, fmt.Errorf("it has more than %d levels", depth)
	}
	o := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, wrong(err)
		}
		name, _ := t.(string) // the decoder has seen to it
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("%q comes twice", name)
		}
		if o[name], err = value(d, level); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, wrong(err)
	}
	return o, nil
}

func list(d *json.Decoder, level int) ([]any, error) {
	if level > depth {
		return nil, fmt.Errorf("it has more than %d levels", depth)
	}
	l := []any{}
	for d.More() {
		v, err := value(d, level)
		if err != nil {
			return nil, err
		}
		l = append(l, v)
	}
	if _, err := d.Token(); err != nil {
		return nil, wrong(err)
	}
	return l, nil
}

func value(d *json.Decoder, level int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, wrong(err)
	}
	switch t {
	case json.Delim('{'):
		return object(d, level+1)
	case json.Delim('['):
		return list(d, level+1)
	default:
		return t, nil
	}
}
