package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// ParseRule reads one access rule, in YAML or in JSON, which is YAML:
//
//	{allow: publish, user: porch, topic: home/porch/#}
//
// Its error is an *Error with every mistake.
func ParseRule(text []byte) (access.Statement, error) {
	var s access.Statement
	root, mistake := document(text)
	if mistake != nil {
		return s, asError("", []Mistake{{Text: mistake.Text}})
	}
	r := reader{lines: map[string]int{}, broken: map[string]bool{}}
	if root != nil {
		r.mapping(root, "", &s)
	}
	if !r.broken[""] {
		_, problems := s.Rule("")
		for _, p := range problems {
			r.addOnce(p.Field, p.Text)
		}
	}
	for i := range r.mistakes {
		r.mistakes[i].Line = 0 // there is mostly one
	}
	if err := asError("", r.mistakes); err != nil {
		return access.Statement{}, err
	}
	return s, nil
}

// maxACL bounds an acl_file.
const maxACL = 16 * MiB

// ReadACL reads an acl_file of mosquitto's. Each mistake is in its error, with
// the file and the line.
func ReadACL(path string) ([]access.Rule, error) {
	text, err := ACLText(path)
	if err != nil {
		return nil, err
	}
	rules, err := access.ParseACL(filepath.Base(path), text)
	if err != nil {
		_, err = access.ParseACL(path, text) // as an editor finds it
	}
	return rules, err
}

// ACLText is what is written in an acl_file.
func ACLText(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, int64(maxACL)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > int(maxACL) {
		return nil, fmt.Errorf("%s is larger than %s: this is no acl_file", path, maxACL)
	}
	return text, nil
}
