// Package managed is a table of things that are managed at run time, as
// accounts and devices: each has a name, and a value that is kept as JSON in a
// space of the broker's settings.
//
// A [Table] knows how to change such things, one change after another, and
// tells its owner which have changed. It keeps nothing itself: what is asked for
// is read where the broker has it, so that a million devices are in memory once.
//
// [Error] is what can be wrong with a change, for an API to answer with.
package managed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Settings is where things are kept.
type Settings interface {
	PutSettings(ctx context.Context, space string, values map[string][]byte) error
	DropSetting(ctx context.Context, space, key string) error
	Setting(space, key string) (value []byte, ok bool)
	SettingsBehind(space, key string) iter.Seq2[string, []byte]
	SettingCount(space string) int
}

// Kind is what is wrong.
type Kind byte

// The kinds.
const (
	Wrong   Kind = iota // what was sent makes no sense
	Missing             // there is no such thing
	Exists              // there is one already
)

// Error is why a change was not made, in a sentence.
type Error struct {
	Kind Kind
	Text string
}

func (e *Error) Error() string { return e.Text }

// Wrongf is an error of kind Wrong.
func Wrongf(format string, args ...any) error {
	return &Error{Kind: Wrong, Text: fmt.Sprintf(format, args...)}
}

// Table is the things of one space. Its methods may be called from any
// goroutine.
type Table[T any] struct {
	o        Options[T]
	changing sync.Mutex // one change at a time, from reading to keeping
}

// Options of a table.
type Options[T any] struct {
	Settings Settings
	Space    string // of the settings
	Noun     string // what one of the things is called, such as "user"
	// Check says what is wrong with a thing, and may fill in what follows from
	// the rest.
	Check func(name string, value *T) error
	// Changed is told which things that were there before are another now, or
	// gone, after it is so and before the change is done. May be nil.
	Changed func(names []string)
}

// New makes a table.
func New[T any](o Options[T]) *Table[T] { return &Table[T]{o: o} }

// Count is how many things there are.
func (t *Table[T]) Count() int { return t.o.Settings.SettingCount(t.o.Space) }

// Get returns a thing, if it is there and can be read.
func (t *Table[T]) Get(name string) (value T, ok bool) {
	text, ok := t.o.Settings.Setting(t.o.Space, name)
	if !ok || json.Unmarshal(text, &value) != nil {
		return value, false
	}
	return value, true
}

// Is says whether a thing is there that is this very one.
func (t *Table[T]) Is(name, text string) bool {
	now, ok := t.o.Settings.Setting(t.o.Space, name)
	return ok && string(now) == text
}

// Text is a thing as it is kept, for [Table.Is].
func (t *Table[T]) Text(name string) (text string, ok bool) {
	value, ok := t.o.Settings.Setting(t.o.Space, name)
	return string(value), ok
}

// Behind are the things with names behind another, in their order.
func (t *Table[T]) Behind(name string) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for name, text := range t.o.Settings.SettingsBehind(t.o.Space, name) {
			var value T
			if json.Unmarshal(text, &value) == nil && !yield(name, value) {
				return
			}
		}
	}
}

// Change keeps what change makes of a thing, of which old is nil if it is not
// there.
func (t *Table[T]) Change(ctx context.Context, name string, change func(old *T) (T, error)) (outcome Outcome, err error) {
	report, err := t.ChangeAll(ctx, []Edit[T]{{Name: name, Change: change}})
	switch {
	case err != nil:
		return 0, err
	case len(report.Refused) > 0:
		return 0, report.Refused[0].err
	case report.Added > 0:
		return Added, nil
	case report.Changed > 0:
		return Changed, nil
	default:
		return Unchanged, nil
	}
}

// Outcome is what has become of a change.
type Outcome byte

// The outcomes.
const (
	Unchanged Outcome = iota // it was so before
	Added
	Changed
)

// Edit is a change of one thing.
type Edit[T any] struct {
	Name   string
	Change func(old *T) (T, error)
}

// Report is what has become of several changes.
type Report struct {
	Added     int       `json:"added"`
	Changed   int       `json:"changed"`
	Unchanged int       `json:"unchanged"`
	Refused   []Refusal `json:"refused"`
}

// Refusal is a change that was not made.
type Refusal struct {
	Name  string `json:"name"`
	Error string `json:"error"`
	err   error
}

// ChangeAll makes several changes that are kept together. Those that are wrong
// are left out and reported.
func (t *Table[T]) ChangeAll(ctx context.Context, edits []Edit[T]) (Report, error) {
	t.changing.Lock()
	defer t.changing.Unlock()
	r := Report{Refused: []Refusal{}}
	values := make(map[string][]byte, len(edits))
	var changed []string
	for i := range edits {
		name := edits[i].Name
		text, err := t.edit(&edits[i], values)
		if err != nil {
			r.Refused = append(r.Refused, Refusal{Name: name, Error: err.Error(), err: err})
			continue
		}
		before, known := t.o.Settings.Setting(t.o.Space, name)
		_, again := values[name]
		switch {
		case again, known && string(before) == string(text):
			r.Unchanged++
		case known:
			r.Changed++
			changed = append(changed, name)
		default:
			r.Added++
		}
		values[name] = text
	}
	maps.DeleteFunc(values, func(name string, text []byte) bool { return t.Is(name, string(text)) })
	if len(values) == 0 {
		return r, nil
	}
	err := t.o.Settings.PutSettings(ctx, t.o.Space, values)
	// What was changed is in force even if nobody could wait until it was safe.
	t.tell(slices.DeleteFunc(changed, func(name string) bool { return !t.Is(name, string(values[name])) }))
	return r, err
}

// edit is what an edit makes of a thing, as it is kept.
func (t *Table[T]) edit(e *Edit[T], pending map[string][]byte) ([]byte, error) {
	if err := t.name(e.Name); err != nil {
		return nil, err
	}
	var old *T
	before, known := pending[e.Name]
	if !known {
		before, known = t.o.Settings.Setting(t.o.Space, e.Name)
	}
	if known {
		old = new(T)
		if err := json.Unmarshal(before, old); err != nil {
			return nil, fmt.Errorf("read the %s %q: %w", t.o.Noun, e.Name, err)
		}
	}
	value, err := e.Change(old)
	if err != nil {
		return nil, err
	}
	if err := t.o.Check(e.Name, &value); err != nil {
		return nil, err
	}
	text, err := json.Marshal(value)
	if err == nil && len(text) > maxValue {
		err = Wrongf("the %s %q takes %d bytes and may take %d", t.o.Noun, e.Name, len(text), maxValue)
	}
	return text, err
}

const (
	maxName  = 1 << 10
	maxValue = 64 << 10
)

// name says what is wrong with a name.
func (t *Table[T]) name(name string) error {
	switch {
	case name == "":
		return Wrongf("the name of a %s is not empty", t.o.Noun)
	case len(name) > maxName:
		return Wrongf("the name of a %s has at most %d bytes, not %d", t.o.Noun, maxName, len(name))
	case !utf8.ValidString(name):
		return Wrongf("the name of a %s is UTF-8 text", t.o.Noun)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return Wrongf("the name of a %s holds no control characters", t.o.Noun)
		}
	}
	return nil
}

// Drop removes a thing.
func (t *Table[T]) Drop(ctx context.Context, name string) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	if _, ok := t.o.Settings.Setting(t.o.Space, name); !ok {
		return t.Missing(name)
	}
	err := t.o.Settings.DropSetting(ctx, t.o.Space, name)
	if _, ok := t.o.Settings.Setting(t.o.Space, name); !ok {
		t.tell([]string{name})
	}
	return err
}

func (t *Table[T]) tell(names []string) {
	if t.o.Changed != nil && len(names) > 0 {
		t.o.Changed(names)
	}
}

// Missing is the error that there is no such thing.
func (t *Table[T]) Missing(name string) error {
	return &Error{Kind: Missing, Text: fmt.Sprintf("there is no %s %q", t.o.Noun, name)}
}

// Exists is the error that there is such a thing.
func (t *Table[T]) Exists(name string) error {
	return &Error{Kind: Exists, Text: fmt.Sprintf("there is a %s %q already", t.o.Noun, name)}
}

// IsKind says whether an error is of a kind.
func IsKind(err error, k Kind) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == k
}

// Decode reads JSON that somebody sent: of one value, with known fields alone.
func Decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something stands behind the value")
		}
	}
	if err != nil {
		return Wrongf("the JSON cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
