package rulebook

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/managed"
)

// settings keep rules in memory; slow ones keep what nobody has waited for.
type settings struct {
	values map[string][]byte
	slow   bool
}

func (s *settings) PutSettings(_ context.Context, _ string, values map[string][]byte) error {
	maps.Copy(s.values, values)
	if s.slow {
		return context.DeadlineExceeded
	}
	return nil
}

func (s *settings) DropSetting(_ context.Context, _, key string) error {
	delete(s.values, key)
	return nil
}

func (s *settings) Setting(_, key string) ([]byte, bool) {
	v, ok := s.values[key]
	return v, ok
}

func (s *settings) SettingsBehind(_, key string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(s.values)) {
			if k > key && !yield(k, s.values[k]) {
				return
			}
		}
	}
}

func (s *settings) SettingCount(string) int { return len(s.values) }

// shelf is a book, and what it has applied.
type shelf struct {
	*Book
	settings *settings
	policy   *access.Policy
	applied  int
	log      strings.Builder
}

func open(t *testing.T, s *settings) *shelf {
	t.Helper()
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	f := &shelf{settings: s, policy: access.NewPolicy(access.Sources{Default: access.Allow})}
	f.Book = New(Options{Settings: s, Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Apply: func(r *access.Rules) {
		f.applied++
		f.policy.Update(func(s *access.Sources) { s.Runtime = r })
	}})
	return f
}

func (f *shelf) put(t *testing.T, name, body string) {
	t.Helper()
	if _, err := f.Put(t.Context(), name, []byte(body), false); err != nil {
		t.Fatal(err)
	}
}

// may says who decides about a publish, with a minus if it is denied.
func (f *shelf) may(topic string) string {
	e := f.policy.Explain(&access.Info{ClientID: "c"}, access.Ask{Action: access.Publish, Topic: topic})
	place := e.Source
	if e.Rule != "" {
		place = e.Rule
	}
	if !e.Allowed {
		place = "-" + place
	}
	return place
}

func (f *shelf) wants(t *testing.T, topic, want string) {
	t.Helper()
	if got := f.may(topic); got != want {
		t.Errorf("publish to %s: %s, want %s", topic, got, want)
	}
}

func TestRulesAreAskedInTheOrderOfTheirNames(t *testing.T) {
	f := open(t, &settings{})
	f.wants(t, "a", "access.default")
	f.put(t, "0002", `{"deny": "publish", "topic": "a"}`)
	f.wants(t, "a", "-run-time rule 0002")
	f.put(t, "0010", `{"allow": "publish", "topic": "a"}`)
	f.wants(t, "a", "-run-time rule 0002")
	f.put(t, "0001", `{"allow": "publish", "topic": "a"}`)
	f.wants(t, "a", "run-time rule 0001")
	f.put(t, "0001", `{"allow": "publish", "topic": "b"}`)
	f.wants(t, "a", "-run-time rule 0002")
	if err := f.Patch(t.Context(), "0002", []byte(`{"topic": null, "client": "d"}`)); err != nil {
		t.Fatal(err)
	}
	f.wants(t, "a", "run-time rule 0010")
	for _, name := range []string{"0001", "0002", "0010"} {
		if err := f.Drop(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if f.policy.Sources().Runtime != nil || f.Count() != 0 {
		t.Error("there are rules")
	}
	again := f.applied
	if err := f.Drop(t.Context(), "0001"); !managed.IsKind(err, managed.Missing) || f.applied != again {
		t.Errorf("err = %v, applied %d times", err, f.applied-again)
	}
}

func TestWhatIsWrongChangesNothing(t *testing.T) {
	f := open(t, &settings{})
	f.put(t, "a", `{"deny": "publish", "topic": "a"}`)
	before := f.applied
	for body, want := range map[string]string{
		`{"deny": "publish", "topic": "a", "usr": "x"}`: `unknown field "usr"`,
		`{"deny": "publish", "user": "/(/"}`:            "user: ",
		`{"allow": "read", "address": "x"}`:             "address: ",
		`{}`:                                            "allow: is missing",
		`{"deny": "all"} x`:                             "",
	} {
		_, err := f.Put(t.Context(), "a", []byte(body), false)
		if !managed.IsKind(err, managed.Wrong) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := f.Put(t.Context(), "a", []byte(`{"deny": "all"}`), true); !managed.IsKind(err, managed.Exists) {
		t.Errorf("a second one: %v", err)
	}
	if err := f.Patch(t.Context(), "a", []byte(`{"allow": "all"}`)); !managed.IsKind(err, managed.Wrong) {
		t.Errorf("allow and deny: %v", err)
	}
	if err := f.Patch(t.Context(), "b", []byte(`{}`)); !managed.IsKind(err, managed.Missing) {
		t.Errorf("of none: %v", err)
	}
	f.put(t, "a", `{"topic": ["a"], "deny": ["publish"]}`) // the same, written otherwise
	if f.applied != before {
		t.Errorf("applied %d times", f.applied-before)
	}
	f.wants(t, "a", "-run-time rule a")
}

func TestARuleThatIsKeptHolds(t *testing.T) {
	s := &settings{}
	f := open(t, s)
	s.slow = true
	if _, err := f.Put(t.Context(), "a", []byte(`{"deny": "all"}`), false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	f.wants(t, "a", "-run-time rule a")
	open(t, s).wants(t, "a", "-run-time rule a")
}

func TestARuleThatCannotBeReadDeniesEverything(t *testing.T) {
	for _, text := range []string{`{"allow": ["publish"], "topic": ["#"], "moon": "full"}`, `{`, `{"allow": ["publish"]}`} {
		f := open(t, &settings{values: map[string][]byte{"a": []byte(text), "b": []byte(`{"allow":["publish"],"topic":["#"]}`)}})
		f.wants(t, "x", "-run-time rule a")
		if !strings.Contains(f.log.String(), "level=ERROR") || !strings.Contains(f.log.String(), "rule=a") {
			t.Errorf("%s: the log says %q", text, f.log.String())
		}
		list, more := f.List("", 10)
		if v, _ := list[0].(View); more || len(list) != 2 || v.Problem == "" || v.Allow != nil {
			t.Errorf("%s: %+v", text, list)
		}
		if err := f.Drop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		f.wants(t, "x", "run-time rule b")
	}
}

func TestImportedRulesHoldTogether(t *testing.T) {
	f := open(t, &settings{})
	f.put(t, "c", `{"deny": "all"}`)
	before := f.applied
	list := []json.RawMessage{
		json.RawMessage(`{"name": "a", "allow": "publish", "topic": "a"}`), json.RawMessage(`{"name": "b", "deny": "publish", "topic": "b"}`),
		json.RawMessage(`{"name": "c", "allow": "all", "topic": "#"}`), json.RawMessage(`{"name": "d", "deny": "al"}`), json.RawMessage(`{"name": ""}`),
	}
	r, err := f.Import(t.Context(), list, false)
	if err != nil || r.Added != 2 || r.Changed != 0 || len(r.Refused) != 3 || f.applied != before+1 {
		t.Errorf("%+v, %v, applied %d times", r, err, f.applied-before)
	}
	f.wants(t, "a", "run-time rule a")
	f.wants(t, "x", "-run-time rule c")
	if r, err = f.Import(t.Context(), list, true); err != nil || r.Changed != 1 || r.Unchanged != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	f.wants(t, "x", "run-time rule c")
	if page, more := f.List("a", 1); !more || len(page) != 1 || page[0].(View).Text != "deny publish on b" {
		t.Errorf("%+v", page)
	}
}
