package route

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/topic"
)

// model is the naive index: every subscription in a map.
type model map[modelKey]Options

type modelKey struct {
	full string
	to   Handle
}

func (m model) match(name string) []string {
	var out []string
	for k, o := range m {
		f, _ := topic.ParseFilter(k.full, 0)
		if !topic.Match(f.Path, name) {
			continue
		}
		o.Local = f.Kind == topic.Local
		group := ""
		if f.IsShared() {
			group = f.Group + " of " + f.Path
		}
		out = append(out, fmt.Sprint(k.to, o, group))
	}
	slices.Sort(out)
	return out
}

func describe(x *Index, rows []Row) []string {
	var out []string
	for _, r := range rows {
		group := ""
		if r.Group != 0 {
			name, path := x.GroupName(r.Group)
			group = name + " of " + path
		}
		out = append(out, fmt.Sprint(r.To, r.Options, group))
	}
	slices.Sort(out)
	return out
}

func drawFilter(t *rapid.T) string {
	level := rapid.SampledFrom([]string{"a", "b", "", "$S", "+"})
	levels := rapid.SliceOfN(level, 1, 4).Draw(t, "levels")
	if rapid.IntRange(0, 3).Draw(t, "hash") == 0 {
		levels = append(levels, "#")
	}
	path := strings.Join(levels, "/")
	if path == "" {
		path = "a"
	}
	return rapid.SampledFrom([]string{"", "", "", "$share/g/", "$share/h/", "$queue/", "$local/"}).Draw(t, "kind") + path
}

func drawName(t *rapid.T) string {
	name := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "$S"}), 1, 4).Draw(t, "name"), "/")
	return cmp.Or(name, "a")
}

func TestIndexAgreesWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, m := NewIndex(), model{}
		marks := map[string]*Mark{} // of when a name was matched
		cached := map[string][]string{}
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(t *rapid.T) {
				k := modelKey{drawFilter(t), Handle(rapid.IntRange(0, 5).Draw(t, "to"))}
				o := Options{QoS: byte(rapid.IntRange(0, 2).Draw(t, "qos")), NoLocal: rapid.Bool().Draw(t, "no local"), ID: rapid.Uint32Range(0, 3).Draw(t, "id")}
				f, err := topic.ParseFilter(k.full, 0)
				if err != nil {
					t.Fatal(err)
				}
				_, had := m[k]
				if existed := x.Subscribe(f, k.to, o); existed != had {
					t.Fatalf("subscribe %+v: existed %v, want %v", k, existed, had)
				}
				m[k] = o
			},
			"unsubscribe": func(t *rapid.T) {
				k := modelKey{drawFilter(t), Handle(rapid.IntRange(0, 5).Draw(t, "to"))}
				if keys := slices.SortedFunc(maps.Keys(m), func(a, b modelKey) int {
					return cmp.Or(cmp.Compare(a.full, b.full), cmp.Compare(a.to, b.to))
				}); len(keys) > 0 && rapid.Bool().Draw(t, "one that is there") {
					k = rapid.SampledFrom(keys).Draw(t, "which")
				}
				f, _ := topic.ParseFilter(k.full, 0)
				_, had := m[k]
				if existed := x.Unsubscribe(f, k.to); existed != had {
					t.Fatalf("unsubscribe %+v: existed %v, want %v", k, existed, had)
				}
				delete(m, k)
			},
			"": func(t *rapid.T) {
				name := drawName(t)
				mark := x.Mark([]byte(name))
				rows, complete := x.Match(name, plenty, nil)
				got, want := describe(x, rows), m.match(name)
				if !complete || !slices.Equal(got, want) {
					t.Fatalf("match %q: %v, want %v", name, got, want)
				}
				if m, ok := marks[name]; ok && x.Holds(m, []byte(name)) {
					if !slices.Equal(cached[name], want) {
						t.Fatalf("the match of %q changed from %v to %v and is said to hold", name, cached[name], want)
					}
				} else {
					marks[name], cached[name] = &mark, want
				}
				if x.Len() != len(m) {
					t.Fatalf("%d subscriptions, want %d", x.Len(), len(m))
				}
			},
		})
		for k := range m {
			f, _ := topic.ParseFilter(k.full, 0)
			x.Unsubscribe(f, k.to)
		}
		checkEmpty(t, x)
	})
}

func FuzzIndex(f *testing.F) {
	f.Add("a/+/#", "$share/g/a/b", "a/b")
	f.Add("#", "+", "$SYS/x")
	f.Add("a", "$local//", "/")
	f.Fuzz(func(t *testing.T, first, second, name string) {
		if topic.ValidName(name, 0) != nil {
			return
		}
		x, m := NewIndex(), model{}
		for i, s := range []string{first, second} {
			if f, err := topic.ParseFilter(s, 0); err == nil {
				x.Subscribe(f, Handle(i), Options{})
				m[modelKey{s, Handle(i)}] = Options{}
			}
		}
		rows, _ := x.Match(name, plenty, nil)
		if got, want := describe(x, rows), m.match(name); !slices.Equal(got, want) {
			t.Errorf("%q with %q and %q: %v, want %v", name, first, second, got, want)
		}
		for k := range m {
			f, _ := topic.ParseFilter(k.full, 0)
			x.Unsubscribe(f, k.to)
		}
		checkEmpty(t, x)
	})
}
