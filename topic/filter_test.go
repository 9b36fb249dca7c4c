package topic

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseFilter(t *testing.T) {
	cases := map[string]struct {
		filter string
		levels int
		want   Filter // without Full
		wrong  string
	}{
		"plain":                                 {filter: "a/b", want: Filter{Path: "a/b"}},
		"plus alone":                            {filter: "+", want: Filter{Path: "+"}},
		"hash alone":                            {filter: "#", want: Filter{Path: "#"}},
		"plus in any level":                     {filter: "+/a/+/+", want: Filter{Path: "+/a/+/+"}},
		"plus between empty levels":             {filter: "/+/", want: Filter{Path: "/+/"}},
		"hash after plus":                       {filter: "+/#", want: Filter{Path: "+/#"}},
		"empty":                                 {filter: "", wrong: "empty"},
		"U+0000":                                {filter: "a/\x00", wrong: "U+0000 at byte 2"},
		"hash inside":                           {filter: "a/#/b", wrong: "goes on after #"},
		"hash at the end of a level":            {filter: "a/b#", wrong: "does not fill its level"},
		"two hashes":                            {filter: "##", wrong: "goes on after #"},
		"plus at the end of a level":            {filter: "a+", wrong: "+ does not fill"},
		"plus at the start of a level":          {filter: "a/+b/c", wrong: "+ does not fill"},
		"two pluses":                            {filter: "++", wrong: "+ does not fill"},
		"as many levels as allowed":             {filter: "a/+/#", levels: 3, want: Filter{Path: "a/+/#"}},
		"one level more":                        {filter: "a/+/b/#", levels: 3, wrong: "4 levels, the limit is 3"},
		"the longest":                           {filter: strings.Repeat("a", 65535), want: Filter{Path: strings.Repeat("a", 65535)}},
		"one byte more":                         {filter: strings.Repeat("a", 65536), wrong: "65536 bytes"},
		"shared":                                {filter: "$share/g/a/+", want: Filter{Path: "a/+", Group: "g", Kind: Shared}},
		"shared with everything":                {filter: "$share/g/#", want: Filter{Path: "#", Group: "g", Kind: Shared}},
		"shared, path begins with a slash":      {filter: "$share/g//a", want: Filter{Path: "/a", Group: "g", Kind: Shared}},
		"prefix does not count as a level":      {filter: "$share/g/a/b", levels: 2, want: Filter{Path: "a/b", Group: "g", Kind: Shared}},
		"shared $SYS":                           {filter: "$share/g/$SYS/#", want: Filter{Path: "$SYS/#", Group: "g", Kind: Shared}},
		"share alone":                           {filter: "$share", wrong: "names no group"},
		"share and a slash":                     {filter: "$share/", wrong: "names no group"},
		"share without a group":                 {filter: "$share//a", wrong: "names no group"},
		"share without a filter":                {filter: "$share/g", wrong: "no topic filter follows $share/g/"},
		"share with an empty filter":            {filter: "$share/g/", wrong: "no topic filter"},
		"share with plus for a group":           {filter: "$share/+/a", wrong: "wildcard +"},
		"share with hash in the group":          {filter: "$share/g#/a", wrong: "wildcard #"},
		"share of a bad filter":                 {filter: "$share/g/a#", wrong: "does not fill"},
		"share inside share":                    {filter: "$share/g/$share/h/a", wrong: "$share cannot follow $share/g/"},
		"local inside share":                    {filter: "$share/g/$local/a", wrong: "cannot follow"},
		"something that begins like share":      {filter: "$shared/g", want: Filter{Path: "$shared/g"}},
		"share in other letters":                {filter: "$SHARE/g", want: Filter{Path: "$SHARE/g"}},
		"queue":                                 {filter: "$queue/a/#", want: Filter{Path: "a/#", Kind: Queue}},
		"queue alone":                           {filter: "$queue", wrong: "no topic filter follows $queue/"},
		"queue of local":                        {filter: "$queue/$local/a", wrong: "cannot follow"},
		"local":                                 {filter: "$local/a", want: Filter{Path: "a", Kind: Local}},
		"local with nothing":                    {filter: "$local/", wrong: "no topic filter follows $local/"},
		"share as a level further on is a name": {filter: "a/$share/g", want: Filter{Path: "a/$share/g"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParseFilter(c.filter, c.levels)
			checkError(t, err, c.wrong)
			if err != nil {
				return
			}
			c.want.Full = c.filter
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestErrorsAboutLongFiltersAreShort(t *testing.T) {
	_, err := ParseFilter(strings.Repeat("a", 60000)+"#", 0)
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("the error is too long for a log line or missing: %v", err)
	}
}

func TestFilterKinds(t *testing.T) {
	for filter, want := range map[string]struct {
		kind             string
		wildcard, shared bool
	}{
		"a/b":         {kind: "plain"},
		"a/+/b":       {kind: "plain", wildcard: true},
		"#":           {kind: "plain", wildcard: true},
		"$share/g/a":  {kind: "shared", shared: true},
		"$queue/+":    {kind: "queue", shared: true, wildcard: true},
		"$local/a/#":  {kind: "local", wildcard: true},
		"$SYS/broker": {kind: "plain"},
	} {
		f, err := ParseFilter(filter, 0)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
		}
		if f.Kind.String() != want.kind || f.Wildcard() != want.wildcard || f.IsShared() != want.shared {
			t.Errorf("%s: kind %v, wildcard %v, shared %v, want %+v", filter, f.Kind, f.Wildcard(), f.IsShared(), want)
		}
	}
}

func TestMatch(t *testing.T) {
	cases := []struct {
		path, name string
		want       bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "A/b", false}, // no normalisation [MQTT-4.7.3-4]
		{"a/b", "a", false},
		{"a", "a/b", false},
		{"a/b", "a/bc", false},
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/tennis/player1/#", "sport/tennis/player10", false},
		{"sport/#", "sport", true},
		{"#", "a", true},
		{"#", "/a/b", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"+/#", "a", true},
		{"+/#", "/a", true},
		{"a/+/#", "a", false},
		{"a/+/#", "a/", true},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/#", "$SYS", true},
		{"$SYS/+", "$SYS/x", true},
		{"a/#", "a/$SYS", true},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"a/b", "a//b", false},
		{"/", "/", true},
		{"", "a", false},
		{"#", "", false},
	}
	for _, c := range cases {
		if got := Match(c.path, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.path, c.name, got, c.want)
		}
	}
}

// naiveMatch is the standard's section 4.7 said once more, by recursion.
func naiveMatch(path, name []string) bool {
	if len(path) == 1 && path[0] == "#" {
		return true
	}
	if len(path) == 0 || len(name) == 0 {
		return len(path) == len(name)
	}
	return (path[0] == "+" || path[0] == name[0]) && naiveMatch(path[1:], name[1:])
}

func TestMatchAgreesWithTheModel(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "ab", "", "$S", "$"})
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SliceOfN(level, 1, 5).Draw(t, "name")
		path := rapid.SliceOfN(rapid.OneOf(level, rapid.Just("+")), 1, 5).Draw(t, "path")
		if rapid.Bool().Draw(t, "hash") {
			path = append(path, "#")
		}
		want := naiveMatch(path, name)
		if strings.HasPrefix(name[0], "$") && (path[0] == "+" || path[0] == "#") {
			want = false
		}
		p, n := strings.Join(path, "/"), strings.Join(name, "/")
		if p == "" || n == "" {
			return
		}
		if got := Match(p, n); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", p, n, got, want)
		}
	})
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"", "a/+/#", "$share/g/a", "$queue/#", "$local/+", "$share//", "a#", "\x00", "//"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, levels int) {
		got, err := ParseFilter(s, levels)
		if err != nil {
			return
		}
		if got.Full != s || got.Path == "" || !strings.HasSuffix(s, got.Path) {
			t.Errorf("parsed %q as %+v", s, got)
		}
		if (got.Kind == Shared) != (got.Group != "") {
			t.Errorf("group %q of kind %v", got.Group, got.Kind)
		}
		if levels > 0 && Levels(got.Path) > levels {
			t.Errorf("%q has %d levels, the limit is %d", got.Path, Levels(got.Path), levels)
		}
		if !got.Wildcard() && (ValidName(got.Path, levels) != nil || !Match(got.Path, got.Path)) {
			t.Errorf("%q has no wildcard and is no name that matches itself", got.Path)
		}
		again, err := ParseFilter(got.Path, levels)
		if err != nil || again.Path != got.Path || again.Kind != Plain {
			t.Errorf("path %q parses as %+v, %v", got.Path, again, err)
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("#", "$SYS")
	f.Add("/+", "/")
	f.Fuzz(func(t *testing.T, path, name string) {
		got := Match(path, name)
		filter, err := ParseFilter(path, 0)
		if err != nil || filter.Kind != Plain || ValidName(name, 0) != nil {
			return // only that Match survives
		}
		want := naiveMatch(strings.Split(path, "/"), strings.Split(name, "/"))
		if name[0] == '$' && strings.ContainsRune("+#", rune(path[0])) {
			want = false
		}
		if got != want {
			t.Errorf("Match(%q, %q) = %v, want %v", path, name, got, want)
		}
	})
}

func TestMatchDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Match("acme/+/dev/#", "acme/site/dev/temp") }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
