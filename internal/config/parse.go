package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Load reads the file at path. Relative names inside it (data, certificates)
// are taken from the folder it lies in, whatever the working directory is. Its
// error is an *Error with every mistake.
func Load(path string) (*Config, error) { return LoadOver(Defaults(), path) }

// LoadOver is Load for a file that leaves the rest as it is in base.
func LoadOver(base Config, path string) (*Config, error) {
	text, mistake := read(path)
	if mistake != "" {
		return nil, asError(path, []Mistake{{Text: mistake}})
	}
	c, err := parse(base, text, filepath.Dir(path))
	if wrong, ok := errors.AsType[*Error](err); ok {
		wrong.File = path
	}
	if err != nil {
		return nil, err
	}
	c.rebase(filepath.Dir(path))
	if len(c.Access.Rules) > 0 {
		c.Access.File = path
	}
	return c, nil
}

// read returns the text of the file, or what is wrong with it. The bound keeps
// a path that names something else, such as a disk image, from being taken in.
func read(path string) (text []byte, mistake string) {
	const most = 1 << 20
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer file.Close()
	text, err = io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(text) > most {
		return nil, "the file is larger than 1MiB: this is no configuration"
	}
	return text, ""
}

func unreadable(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no such file: create it, or start without --config"
	}
	if why, ok := errors.AsType[*fs.PathError](err); ok {
		err = why.Err
	}
	return "the file cannot be read: " + err.Error()
}

// rebase makes relative file names begin at dir.
func (c *Config) rebase(dir string) {
	join := func(name *string) {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	join(&c.Data)
	join(&c.Access.ACLFile)
	for i := range c.Listeners {
		l := &c.Listeners[i]
		join(&l.Cert)
		join(&l.Key)
		join(&l.ClientCA)
		join(&l.CRL)
	}
	for _, s := range c.Auth.Chain {
		s.JWT.eachFile(join)
		s.HTTP.eachFile(join)
		s.LDAP.eachFile(join)
	}
	for i := range c.Auth.Chain {
		if s := c.Auth.Chain[i].PasswordFile; s != nil {
			join(&s.Path)
		}
	}
}

// Parse reads the text of a file. What it leaves out has its default. Its
// error is an *Error with every mistake.
func Parse(text []byte) (*Config, error) { return parse(Defaults(), text, "") }

// parse reads the text of a file that lies in dir, over what c holds.
func parse(c Config, text []byte, dir string) (*Config, error) {
	root, mistake := document(text)
	if mistake != nil {
		return nil, asError("", []Mistake{*mistake})
	}
	r := reader{dir: dir, lines: map[string]int{}, broken: map[string]bool{}}
	if root != nil {
		r.mapping(root, "", &c)
	}
	c.Listeners = listenersWithDefaults(c.Listeners)
	if len(c.Listeners) == 0 {
		r.add("listeners", "the list is empty: leave the key out for the defaults")
	}
	r.zeroMeansNone(&c)
	for i := range c.Access.Rules {
		c.Access.Rules[i].Line = r.lines[fmt.Sprintf("access.rules[%d]", i)]
	}
	for _, m := range c.mistakes() {
		r.addOnce(m.Key, m.Text)
	}
	r.conceal()
	if err := asError("", r.mistakes); err != nil {
		return nil, err
	}
	return &c, nil
}

// zeroMeansNone keeps a 0 that was written from being taken for a field that
// was left out, where both mean something.
func (r *reader) zeroMeansNone(c *Config) {
	if r.lines["sys_interval"] > 0 && c.SysInterval == 0 {
		c.SysInterval = -1
	}
	if r.lines["limits.topic_alias_maximum"] > 0 && c.Limits.TopicAliasMaximum == 0 {
		c.Limits.TopicAliasMaximum = -1
	}
	for i, s := range c.Auth.Chain {
		if s.JWT != nil && s.JWT.Leeway == 0 && r.lines[fmt.Sprintf("auth.chain[%d].jwt.leeway", i)] > 0 {
			s.JWT.Leeway = -1
		}
	}
	if r.lines["limits.wrong_passwords"] > 0 && c.Limits.WrongPasswords == 0 {
		c.Limits.WrongPasswords = -1
	}
	if r.lines["limits.maximum_qos"] > 0 && c.Limits.MaximumQoS == 0 {
		c.Limits.MaximumQoS = -1
	}
	for _, at := range []struct {
		key  string
		into *int
	}{
		{"limits.unauthenticated.connections", &c.Limits.Unauthenticated.Connections},
		{"limits.unauthenticated.per_address", &c.Limits.Unauthenticated.PerAddress},
	} {
		if r.lines[at.key] > 0 && *at.into == 0 {
			*at.into = -1
		}
	}
	for name, set := range c.Limits.Sets {
		eachField(reflect.ValueOf(&set).Elem(), func(key string, field reflect.Value) {
			if field.CanInt() && field.IsZero() && r.lines["limits.sets."+name+"."+key] > 0 {
				field.SetInt(-1)
			}
		})
		c.Limits.Sets[name] = set
	}
}

// document returns the one document of the text, or nil when it is empty.
func document(text []byte) (ast.Node, *Mistake) {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxMistake(err)
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType:
		case root != nil:
			return nil, &Mistake{Line: lineOf(doc.Body), Text: "the file holds a second document: remove the line --- and what follows"}
		default:
			root = doc.Body
		}
	}
	return root, nil
}

func syntaxMistake(err error) *Mistake {
	var why yaml.Error
	if !errors.As(err, &why) {
		return &Mistake{Text: fmt.Sprintf("this is not YAML: %v", err)}
	}
	line := 0
	if token := why.GetToken(); token != nil && token.Position != nil {
		line = token.Position.Line
	}
	return &Mistake{Line: line, Text: "this is not YAML: " + strings.TrimSpace(why.GetMessage())}
}
