package managed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// shelf keeps settings of one space.
type shelf struct {
	mu     sync.Mutex
	values map[string][]byte
	fails  error
	puts   int
}

func (s *shelf) PutSettings(_ context.Context, _ string, values map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return s.fails
	}
	maps.Copy(s.values, values)
	s.puts++
	return nil
}

func (s *shelf) DropSetting(_ context.Context, _, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails == nil {
		delete(s.values, key)
	}
	return s.fails
}

func (s *shelf) Setting(_, key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[key]
	return v, ok
}

func (s *shelf) SettingsBehind(_, key string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(s.values)) {
			if k > key && !yield(k, s.values[k]) {
				return
			}
		}
	}
}

func (s *shelf) SettingCount(string) int { return len(s.values) }

type thing struct {
	N int `json:"n"`
}

func table() (*Table[thing], *shelf, *[]string) {
	s, changed := &shelf{values: map[string][]byte{}}, &[]string{}
	return New(Options[thing]{
		Settings: s, Space: "things", Noun: "thing",
		Check: func(_ string, v *thing) error {
			if v.N < 0 {
				return Wrongf("n is below 0")
			}
			return nil
		},
		Changed: func(names []string) { *changed = append(*changed, names...) },
	}), s, changed
}

func to(n int) func(*thing) (thing, error) {
	return func(*thing) (thing, error) { return thing{n}, nil }
}

func TestChangesAreKept(t *testing.T) {
	tab, s, changed := table()
	for _, c := range []struct {
		n    int
		want Outcome
	}{{1, Added}, {1, Unchanged}, {2, Changed}} {
		if got, err := tab.Change(t.Context(), "a", to(c.n)); got != c.want || err != nil {
			t.Errorf("%d: %v, %v, want %v", c.n, got, err, c.want)
		}
	}
	if v, ok := tab.Get("a"); v.N != 2 || !ok || s.puts != 2 || tab.Count() != 1 {
		t.Errorf("%v, %v after %d puts", v, ok, s.puts)
	}
	if err := tab.Drop(t.Context(), "a"); err != nil || tab.Count() != 0 {
		t.Error(err)
	}
	if err := tab.Drop(t.Context(), "a"); !IsKind(err, Missing) || err.Error() != `there is no thing "a"` {
		t.Error(err)
	}
	if want := []string{"a", "a"}; !slices.Equal(*changed, want) {
		t.Errorf("told of %q, want %q: of a change and a removal", *changed, want)
	}
}

// What is wrong is left out, and the rest kept together.
func TestSeveralChanges(t *testing.T) {
	tab, s, changed := table()
	r, err := tab.ChangeAll(t.Context(), []Edit[thing]{
		{"a", to(1)}, {"b", to(-1)}, {"", to(1)}, {"a", func(old *thing) (thing, error) { return thing{old.N + 5}, nil }}, {"c", to(3)},
	})
	if err != nil || r.Added != 2 || r.Unchanged != 1 || len(r.Refused) != 2 || s.puts != 1 || len(*changed) > 0 {
		t.Errorf("%+v, %v, %d puts, told of %q", r, err, s.puts, *changed)
	}
	if v, _ := tab.Get("a"); v.N != 6 {
		t.Errorf("a is %d: the second change has not seen the first", v.N)
	}
	if text, err := json.Marshal(r.Refused); err != nil || string(text) != `[{"name":"b","error":"n is below 0"},{"name":"","error":"the name of a thing is not empty"}]` {
		t.Errorf("%s, %v", text, err)
	}
}

// Nobody hears of a change that was not made.
func TestAStoreThatFails(t *testing.T) {
	tab, s, changed := table()
	if _, err := tab.Change(t.Context(), "a", to(1)); err != nil {
		t.Fatal(err)
	}
	s.fails = errors.New("the disk is full")
	if _, err := tab.Change(t.Context(), "a", to(2)); !errors.Is(err, s.fails) {
		t.Error(err)
	}
	if err := tab.Drop(t.Context(), "a"); !errors.Is(err, s.fails) {
		t.Error(err)
	}
	if len(*changed) > 0 {
		t.Errorf("told of %q", *changed)
	}
}

func TestChangesFollowOneAnother(t *testing.T) {
	tab, _, _ := table()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := tab.Change(context.Background(), "a", func(old *thing) (thing, error) {
				if old == nil {
					return thing{1}, nil
				}
				return thing{old.N + 1}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if v, _ := tab.Get("a"); v.N != 50 {
		t.Errorf("%d changes are left of 50", v.N)
	}
}

func TestWhatCannotBeReadIsNoThing(t *testing.T) {
	tab, s, _ := table()
	s.values["a"], s.values["b"] = []byte("{"), []byte(`{"n":1}`)
	if _, ok := tab.Get("a"); ok {
		t.Error("it was read")
	}
	if _, err := tab.Change(t.Context(), "a", to(1)); err == nil || !strings.Contains(err.Error(), `read the thing "a"`) {
		t.Error(err)
	}
	var names []string
	for name := range tab.Behind("") {
		names = append(names, name)
	}
	if fmt.Sprint(names) != "[b]" {
		t.Errorf("%q", names)
	}
}
