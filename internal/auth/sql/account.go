package sql

import (
	database "database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// newAccount reads a row by the names of its columns. NULL is what is not
// there.
func newAccount(columns []string, values []database.NullString) (*account, error) {
	a := &account{}
	seen := map[string]bool{}
	for i, name := range columns {
		name = strings.ToLower(name)
		if seen[name] {
			return nil, misuse("the query gives the column " + name + " twice")
		}
		seen[name] = true
		if !values[i].Valid {
			continue
		}
		if err := a.set(name, values[i].String); err != nil {
			return nil, misuse("the column " + name + " of the client's row " + err.Error())
		}
	}
	if !seen["password_hash"] {
		return nil, misuse("the query gives no column password_hash")
	}
	return a, nil
}

// set takes in one column.
func (a *account) set(name, value string) (err error) {
	switch name {
	case "password_hash":
		a.hash = value
	case "salt":
		a.salt = value
	case "is_superuser":
		a.grant.Superuser, err = truth(value)
	case "username":
		a.grant.UserName = value
		err = mqttName(value)
	case "client_id":
		a.grant.ClientID = value
		err = mqttName(value)
	case "groups":
		a.grant.Groups, err = list(value)
	case "limits":
		a.grant.Limits = value
	case "client_attrs":
		err = a.attributes(value)
	default:
		a.attribute(name, value)
	}
	return err
}

func (a *account) attribute(name, value string) {
	if a.grant.Attributes == nil {
		a.grant.Attributes = map[string]string{}
	}
	a.grant.Attributes[name] = value
}

// attributes reads a JSON object of texts, numbers, and true or false.
func (a *account) attributes(value string) error {
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		return fmt.Errorf("is no JSON object such as {\"site\": \"north\"}")
	}
	for name, v := range object {
		switch v := v.(type) {
		case string:
			a.attribute(name, v)
		case json.Number:
			a.attribute(name, v.String())
		case bool:
			a.attribute(name, strconv.FormatBool(v))
		case nil:
		default:
			return fmt.Errorf("has for %q neither a text nor a number", name)
		}
	}
	return nil
}

// truth reads what the databases, and people who have no boolean type, write.
func truth(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "1", "\x01", "t", "true", "y", "yes", "on":
		return true, nil
	case "", "0", "\x00", "f", "false", "n", "no", "off":
		return false, nil
	default:
		return false, fmt.Errorf("is neither true nor false: %q", value)
	}
}

// list reads a JSON array, an array of PostgreSQL's, or names with commas
// between them.
func list(value string) ([]string, error) {
	value = strings.TrimSpace(value)
	switch {
	case strings.HasPrefix(value, "["):
		var names []string
		if err := json.Unmarshal([]byte(value), &names); err != nil {
			return nil, fmt.Errorf("is no JSON array of texts")
		}
		return names, nil
	case strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}"):
		return array(value[1 : len(value)-1])
	}
	var names []string
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// array reads the inside of {a,"b c",NULL} (8.15.6 of PostgreSQL's manual).
func array(text string) ([]string, error) {
	var names []string
	for text != "" {
		var name string
		if text[0] == '{' {
			return nil, fmt.Errorf("is an array of arrays")
		}
		if text[0] == '"' {
			var b strings.Builder
			i := 1
			for ; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' && i+1 < len(text) {
					i++
				}
				b.WriteByte(text[i])
			}
			if i == len(text) {
				return nil, fmt.Errorf("is no array: a quote is missing")
			}
			name, text = b.String(), text[i+1:]
			names = append(names, name)
			text = strings.TrimPrefix(text, ",")
			continue
		}
		name, text, _ = strings.Cut(text, ",")
		if name != "NULL" {
			names = append(names, name)
		}
	}
	return names, nil
}

// mqttName checks what takes the place of what the client said.
func mqttName(value string) error {
	if len(value) > 65_535 || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return fmt.Errorf("has characters that no name has")
	}
	return nil
}
