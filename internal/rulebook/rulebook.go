// Package rulebook is the access rules that are managed at run time.
//
// Each rule has a name, and their order is that of the names. A change is made
// in three steps: the rule is checked, then it is kept in the settings, then the
// whole list is compiled and handed to who decides by it. So what is in force is
// what is kept, also after a restart.
//
// A rule that cannot be read any more, as one that a newer version has written,
// stands for a rule that denies everything: to leave out a condition, or all of
// it, could let somebody in.
package rulebook

import (
	"encoding/json"
	"iter"
	"log/slog"
	"strings"
	"sync"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/managed"
)

// Space is where the rules are in the broker's settings.
const Space = "rule"

// maxRules bounds how many there are: each change compiles them all.
const maxRules = 100_000

// Options of a book.
type Options struct {
	Settings managed.Settings
	// Apply takes the rules over: at first, and after each change; nil: there are
	// none. It is called for one change after another.
	Apply  func(*access.Rules)
	Logger *slog.Logger
}

// Book is the rules. Its methods may be called from any goroutine.
type Book struct {
	o     Options
	table *managed.Table[rule]

	mu sync.Mutex // held while rules are compiled and applied, so that the last ones stay
}

// rule is one as it is kept.
type rule struct{ access.Statement }

// UnmarshalJSON implements json.Unmarshaler. It takes no field that it does not
// know for nothing.
func (r *rule) UnmarshalJSON(text []byte) error {
	r.Statement = access.Statement{}
	return managed.Decode(text, &r.Statement)
}

// New makes the book of what is kept, and applies it.
func New(o Options) *Book {
	b := &Book{o: o}
	b.table = managed.New(managed.Options[rule]{Settings: o.Settings, Space: Space, Noun: "rule", Check: b.check})
	b.apply()
	return b
}

// Count is how many rules there are.
func (b *Book) Count() int { return b.table.Count() }

// id is a rule's place, as the owner reads it.
func id(name string) string { return "run-time rule " + name }

// apply compiles what is kept, and hands it on.
func (b *Book) apply() {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]access.Rule, 0, b.Count())
	for name, text := range b.kept("") {
		r, err := parse(name, text)
		if err != nil {
			b.o.Logger.Error("a run-time rule cannot be read: it denies everything: remove it with fantail ctl acl rm, and add it again",
				slog.String("rule", name), slog.Any("err", err))
		}
		list = append(list, r)
	}
	rules, err := access.Compile(list)
	if err != nil { // each of them compiles
		b.o.Logger.Error("the run-time rules do not compile: those of before stay", slog.Any("err", err))
		return
	}
	if len(list) == 0 {
		rules = nil
	}
	b.o.Apply(rules)
}

func (b *Book) kept(after string) iter.Seq2[string, []byte] {
	return b.o.Settings.SettingsBehind(Space, after)
}

// parse makes a rule of what is kept, and one that denies everything of what
// cannot be read.
func parse(name string, text []byte) (access.Rule, error) {
	var kept rule
	err := json.Unmarshal(text, &kept)
	if err == nil {
		var r access.Rule
		if r, err = compile(name, &kept.Statement); err == nil {
			return r, nil
		}
	}
	return access.Rule{ID: id(name), Effect: access.Deny, Actions: access.Publish | access.Subscribe | access.Receive}, err
}

// compile makes a rule, or says what is wrong with it by its fields.
func compile(name string, s *access.Statement) (access.Rule, error) {
	r, problems := s.Rule(id(name))
	if len(problems) == 0 {
		return r, nil
	}
	texts := make([]string, 0, len(problems))
	for _, p := range problems {
		texts = append(texts, p.Error())
	}
	return r, managed.Wrongf("%s", strings.Join(texts, "\n"))
}

func (b *Book) check(name string, r *rule) error {
	if _, err := compile(name, &r.Statement); err != nil {
		return err
	}
	if _, known := b.o.Settings.Setting(Space, name); !known && b.Count() >= maxRules {
		return managed.Wrongf("there are %d run-time rules already: write more of them into a file", maxRules)
	}
	return nil
}
