package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// reader carries the values of a syntax tree into a Config. The decoder of
// the YAML library stops at the first mistake and forgets the lines; this
// walk goes on and keeps them, for the checks that come after.
type reader struct {
	dir        string          // where the file lies
	lines      map[string]int  // of each key that was written
	broken     map[string]bool // items that could not be read
	mistakes   []Mistake
	expansions []expansion
}

// add reports a mistake at the line of the key, or of the nearest key around
// it that has one.
func (r *reader) add(key, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{Line: r.line(key), Key: key, Text: fmt.Sprintf(format, args...)})
}

// addOnce reports a mistake unless the key has one: a value that could not be
// read is not also out of range.
func (r *reader) addOnce(key, text string) {
	item, _, _ := strings.Cut(key, "].")
	has := func(m Mistake) bool { return m.Key == key }
	if !r.broken[strings.TrimSuffix(item, "]")+"]"] && !slices.ContainsFunc(r.mistakes, has) {
		r.add(key, "%s", text)
	}
}

func (r *reader) line(key string) int {
	for key != "" {
		if line, ok := r.lines[key]; ok {
			return line
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

// mapping reads a map into the struct that into points to.
func (r *reader) mapping(node ast.Node, path string, into any) {
	pairs, ok := node.(ast.MapNode)
	if !ok {
		r.addAt(node, path, "here go keys and values, such as %s", strings.Join(keysOf(into), ", "))
		r.broken[path] = true
		return
	}
	fields := fieldsOf(into)
	for entries := pairs.MapRange(); entries.Next(); {
		name, key := entries.Key(), ""
		if name.IsMergeKey() {
			r.addAt(name, path, "merge keys are not read here: write the values out")
			continue
		}
		key = name.GetToken().Value
		full := join(path, key)
		field, known := fields[key]
		if !known {
			r.addAt(name, full, "%s", r.unknownKey(path, key, keysOf(into)))
			continue
		}
		if line, twice := r.lines[full]; twice {
			r.addAt(name, full, "is written twice, first in line %d", line)
			continue
		}
		r.lines[full] = lineOf(name)
		r.value(entries.Value(), full, field)
	}
}

// addAt reports a mistake at a node.
func (r *reader) addAt(node ast.Node, key, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{Line: lineOf(node), Key: key, Text: fmt.Sprintf(format, args...)})
}

// unknownKey says where the key that was meant is: in this map by a similar
// name, or elsewhere by the same.
func (r *reader) unknownKey(path, key string, here []string) string {
	if near := nearest(key, here); near != "" {
		return "unknown key: did you mean " + join(path, near) + "?"
	}
	for _, section := range []struct {
		name, where string
		keys        []string
	}{
		{"", " at the top level", keysOf(Config{})},
		{"auth", "", keysOf(Auth{})},
		{"access", "", keysOf(Access{})},
		{"limits", "", keysOf(Limits{})},
		{"log", "", keysOf(Log{})},
		{"loop", "", keysOf(Loop{})},
	} {
		if slices.Contains(section.keys, key) {
			return "unknown key: did you mean " + join(section.name, key) + section.where + "?"
		}
	}
	return "unknown key: the keys here are " + strings.Join(here, ", ")
}

func (r *reader) value(node ast.Node, path string, into any) {
	switch node.(type) {
	case nil, *ast.NullNode: // a key with nothing after it is left out
		if p := reflect.ValueOf(into).Elem(); p.Kind() == reflect.Pointer && p.Type().Elem().Kind() == reflect.Struct { // but for one that names a thing
			p.Set(reflect.New(p.Type().Elem()))
		}
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.addAt(node, path, "anchors, aliases and tags are not read here: write the value out")
		return
	}
	switch into := into.(type) {
	case *[]Listener:
		*into = nil
		r.sequence(node, path, func(node ast.Node, path string) {
			*into = append(*into, Listener{})
			r.listener(node, path, &(*into)[len(*into)-1])
		})
	case *access.Words:
		r.words(node, path, into)
	case *map[string]string:
		r.texts(node, path, into)
	case *map[string]Secret:
		var texts map[string]string
		r.texts(node, path, &texts)
		*into = map[string]Secret{}
		for name, text := range texts {
			(*into)[name] = Secret(text)
		}
	default:
		r.reflected(node, path, reflect.ValueOf(into).Elem())
	}
}

// reflected reads what is known by its kind alone.
func (r *reader) reflected(node ast.Node, path string, into reflect.Value) {
	switch into.Kind() {
	case reflect.Struct:
		r.mapping(node, path, into.Addr().Interface())
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		r.value(node, path, into.Interface())
	case reflect.Slice:
		into.SetZero()
		r.sequence(node, path, func(node ast.Node, path string) {
			into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
			r.value(node, path, into.Index(into.Len()-1).Addr().Interface())
		})
	case reflect.Map:
		r.named(node, path, into)
	default:
		r.scalar(node, path, into.Addr().Interface())
	}
}

// named reads a map of names, which are the owner's, to structs.
func (r *reader) named(node ast.Node, path string, into reflect.Value) {
	pairs, ok := node.(ast.MapNode)
	if !ok {
		r.addAt(node, path, "here go names, each with its keys and values")
		return
	}
	into.SetZero()
	for entries := pairs.MapRange(); entries.Next(); {
		name := entries.Key().GetToken().Value
		full := join(path, name)
		if line, twice := r.lines[full]; twice {
			r.addAt(entries.Key(), full, "is written twice, first in line %d", line)
			continue
		}
		r.lines[full] = lineOf(entries.Key())
		if into.IsNil() {
			into.Set(reflect.MakeMap(into.Type()))
		}
		value := reflect.New(into.Type().Elem())
		r.value(entries.Value(), full, value.Interface())
		into.SetMapIndex(reflect.ValueOf(name), value.Elem())
	}
}

// texts reads a map of names and texts that are the owner's.
func (r *reader) texts(node ast.Node, path string, into *map[string]string) {
	pairs, ok := node.(ast.MapNode)
	if !ok {
		r.addAt(node, path, "here go names, each with its text")
		return
	}
	*into = map[string]string{}
	for entries := pairs.MapRange(); entries.Next(); {
		name := entries.Key().GetToken().Value
		full := join(path, name)
		if line, twice := r.lines[full]; twice {
			r.addAt(entries.Key(), full, "is written twice, first in line %d", line)
			continue
		}
		r.lines[full] = lineOf(entries.Key())
		var text string
		r.value(entries.Value(), full, &text)
		(*into)[name] = text
	}
}

// words reads a list of texts that may be written as its only item.
func (r *reader) words(node ast.Node, path string, into *access.Words) {
	*into = access.Words{}
	item := func(node ast.Node, path string) {
		var text string
		r.scalar(node, path, &text)
		*into = append(*into, text)
	}
	if _, isList := node.(*ast.SequenceNode); isList {
		r.sequence(node, path, item)
		return
	}
	item(node, path)
}

func (r *reader) sequence(node ast.Node, path string, item func(ast.Node, string)) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		r.addAt(node, path, "here goes a list: write each item on a line of its own that begins with -")
		return
	}
	for i, value := range list.Values {
		key := fmt.Sprintf("%s[%d]", path, i)
		r.lines[key] = lineOf(value)
		item(value, key)
	}
}

// listener reads one written as a URL, or as a map of url and options.
func (r *reader) listener(node ast.Node, path string, into *Listener) {
	if _, isMap := node.(ast.MapNode); !isMap {
		var text string
		r.scalar(node, path, &text)
		r.listenerURL(text, path, path, into)
		return
	}
	var written struct {
		URL      string `yaml:"url"`
		Listener `yaml:",inline"`
	}
	r.mapping(node, path, &written)
	if written.URL == "" {
		r.addOnce(path+".url", "is missing: write a URL such as tcp://0.0.0.0:1883")
		r.broken[path] = true
		return
	}
	r.listenerURL(written.URL, path, path+".url", into)
	into.override(written.Listener)
}

// listenerURL reads the URL that was written at the key, for the listener at
// the path.
func (r *reader) listenerURL(text, path, key string, into *Listener) {
	if text == "" {
		r.addOnce(key, "is empty: write a URL such as tcp://0.0.0.0:1883")
		r.broken[path] = true
		return
	}
	l, problems := parseURL(text)
	for _, p := range problems {
		r.add(key, "%s", p.sentence())
	}
	r.broken[path] = len(problems) > 0
	*into = l
}

// override takes the options of a map before those of its URL.
func (l *Listener) override(options Listener) {
	for key, value := range map[*string]string{
		&l.Cert: options.Cert, &l.Key: options.Key, &l.ClientCA: options.ClientCA, &l.CRL: options.CRL,
		&l.ClientCert: options.ClientCert, &l.MinVersion: options.MinVersion,
	} {
		if value != "" {
			*key = value
		}
	}
	l.ProxyProtocol = l.ProxyProtocol || options.ProxyProtocol
	l.MaxConnections = cmp.Or(options.MaxConnections, l.MaxConnections)
	l.ConnectRate = cmp.Or(options.ConnectRate, l.ConnectRate)
}

func (r *reader) scalar(node ast.Node, path string, into any) {
	text, ok := textOf(node)
	if !ok {
		r.addAt(node, path, "here goes a single value")
		return
	}
	value, err := expand(text, r.dir)
	if err != nil {
		r.addAt(node, path, "%v", err)
		return
	}
	if value != text {
		r.expansions = append(r.expansions, expansion{path, text, value})
	}
	if err := setScalar(into, value); err != nil {
		if value != text {
			err = unfit(into, text) // which tells no part of the value
		}
		r.addAt(node, path, "%v", err)
	}
}

// setScalar reads the text into what into points to.
func setScalar(into any, text string) error {
	var err error
	switch into := into.(type) {
	case *string:
		*into = text
	case *Secret:
		if text == Hidden {
			return errors.New("this stands for a secret that is not shown: write the secret itself, or ${env:NAME} or ${file:path}")
		}
		*into = Secret(text)
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*into = text == "true"
	case *int:
		if *into, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
	case *Size:
		*into, err = ParseSize(text)
	case *time.Duration:
		*into, err = parseDuration(text)
	}
	return err
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, err := strconv.Atoi(text); err == nil {
		return 0, fmt.Errorf("%q has no unit: write %ss for seconds", text, text)
	}
	return 0, fmt.Errorf("%q is no time: write a number and a unit, such as 10s, 5m or 1h30m", text)
}

// textOf is the text of a node that holds a single value, as it was written:
// a password 007 stays one.
func textOf(node ast.Node) (string, bool) {
	switch node := node.(type) {
	case *ast.LiteralNode:
		return node.Value.Value, true
	case *ast.StringNode:
		return node.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

func lineOf(node ast.Node) int {
	if node == nil || node.GetToken() == nil || node.GetToken().Position == nil {
		return 0
	}
	return node.GetToken().Position.Line
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
