package grant

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/access"
)

func TestDecode(t *testing.T) {
	got, err := Decode([]byte(" {\"a\":{\"b\":[1,\"x\",null,true,{}],\"c\":1e400},\"\":\"\\u00e9\"}\n"))
	want := map[string]any{
		"a": map[string]any{"b": []any{json.Number("1"), "x", nil, true, map[string]any{}}, "c": json.Number("1e400")}, "": "é",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for text, why := range map[string]string{
		"":                             "ends too early",
		"{":                            "ends too early",
		`{"a"`:                         "ends too early",
		`{"a":1`:                       "ends too early",
		`{"a":[`:                       "ends too early",
		"nonsense":                     "no JSON",
		`{"a":secret}`:                 "no JSON",
		`{"a" 1}`:                      "no JSON",
		`{"a":1,}`:                     "no JSON",
		`{"a":1 "b":2}`:                "no JSON",
		`{'a':1}`:                      "no JSON",
		`{"a":01}`:                     "no JSON",
		`{"a":NaN}`:                    "no JSON",
		"{\"a\":\"\n\"}":               "no JSON",
		"[]":                           "no object",
		`"a"`:                          "no object",
		"1":                            "no object",
		"null":                         "no object",
		"{}{}":                         "follows",
		"{}x":                          "follows",
		"{},":                          "follows",
		`{"a":1,"a":1}`:                `"a" comes twice`,
		`{"a":1,"\u0061":1}`:           `"a" comes twice`,
		`{"x":{"a":1,"a":1}}`:          `"a" comes twice`,
		`{"x":[{"a":1,"a":1}]}`:        `"a" comes twice`,
		"{\"a\":\"\xff\"}":             "not UTF-8",
		strings.Repeat(`{"a":`, 100):   "levels",
		`{"a":` + nested("[", "]", 99): "levels",
	} {
		_, err := Decode([]byte(text))
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", text, err, why)
		}
	}
}

func nested(open, end string, n int) string {
	return strings.Repeat(open, n) + strings.Repeat(end, n) + "}"
}

// parse reads a value as Decode does.
func parse(t testing.TB, text string) any {
	t.Helper()
	object, err := Decode([]byte(`{"v":` + text + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return object["v"]
}

// may is what rules say of a client dev-1 of the user ann: yes, no, or nothing.
func may(r *access.Rules, a access.Ask) string {
	d := r.Decide(&access.Info{ClientID: "dev-1", UserName: "ann", Grant: &access.Grant{Attributes: map[string]string{"site": "north"}}}, a)
	switch {
	case !d.Matched:
		return "nothing"
	case d.Allowed:
		return "yes"
	default:
		return "no"
	}
}

func TestRules(t *testing.T) {
	pub := func(topic string) access.Ask { return access.Ask{Action: access.Publish, Topic: topic} }
	sub := func(topic string) access.Ask { return access.Ask{Action: access.Subscribe, Topic: topic} }
	rec := func(topic string) access.Ask { return access.Ask{Action: access.Receive, Topic: topic} }
	qos := func(a access.Ask, q byte) access.Ask { a.QoS = q; return a }
	kept := func(a access.Ask) access.Ask { a.Retain = true; return a }
	lists := `{"pub":["a/${clientid}","a/%u"],"sub":["b/#"],"all":["c/+"]}`
	own := `[{"permission":"allow","action":"publish","topic":"a/${clientid}","qos":[0,1],"retain":false},
		{"permission":"deny","action":"all","topics":["a/#","d/${attr.site}"]},{"permission":"allow","action":"sub","topic":"b/#"}]`
	for _, c := range []struct {
		rules string
		ask   access.Ask
		want  string
	}{
		{lists, pub("a/dev-1"), "yes"},
		{lists, pub("a/ann"), "yes"},
		{lists, pub("a/dev-2"), "no"},
		{lists, sub("a/dev-1"), "no"},
		{lists, rec("a/dev-1"), "no"},
		{lists, sub("b/x"), "yes"},
		{lists, sub("b/#"), "yes"},
		{lists, rec("b/x"), "yes"},
		{lists, pub("b/x"), "no"},
		{lists, sub("#"), "no"},
		{lists, pub("c/x"), "yes"},
		{lists, sub("c/x"), "yes"},
		{lists, rec("c/x"), "yes"},
		{lists, pub("c/x/y"), "no"},
		{lists, sub("$SYS/#"), "no"},
		{`{}`, pub("x"), "no"}, // a list of nothing allows nothing
		{`{"pub":[]}`, pub("x"), "no"},
		{`{"pub":"x"}`, pub("x"), "yes"},
		{`[]`, pub("x"), "nothing"},
		{own, pub("a/dev-1"), "yes"},
		{own, qos(pub("a/dev-1"), 1), "yes"},
		{own, qos(pub("a/dev-1"), 2), "no"},
		{own, kept(pub("a/dev-1")), "no"},
		{own, pub("a/dev-2"), "no"},
		{own, pub("d/north"), "no"},
		{own, pub("d/south"), "nothing"},
		{own, sub("b/x"), "yes"},
		{own, rec("b/x"), "yes"},
		{own, pub("b/x"), "nothing"},
		{`[{"permission":"deny","action":"subscribe","topic":"eq #"}]`, sub("#"), "no"},
		{`[{"permission":"deny","action":"subscribe","topic":"eq #"}]`, sub("a/#"), "nothing"},
		{`[{"permission":"allow","action":"pub","topic":"x","qos":2,"retain":"all"}]`, kept(qos(pub("x"), 2)), "yes"},
		{`[{"permission":"allow","action":"pub","topic":"x","qos":2}]`, pub("x"), "nothing"},
		{`[{"permission":"allow","action":"all","topic":"x","retain":true}]`, kept(pub("x")), "yes"},
		{`[{"permission":"allow","action":"all","topic":"x","retain":true}]`, pub("x"), "nothing"},
	} {
		r, err := rulesOf(parse(t, c.rules))
		if err != nil {
			t.Errorf("%s: %v", c.rules, err)
			continue
		}
		if got := may(r, c.ask); got != c.want {
			t.Errorf("%s: %v %s (QoS %d, retain %v): %s, want %s", c.rules, c.ask.Action, c.ask.Topic, c.ask.QoS, c.ask.Retain, got, c.want)
		}
	}
}

func TestRulesThatAreNone(t *testing.T) {
	good := `"permission":"allow","action":"publish","topic":"x"`
	for text, why := range map[string]string{
		`"pub"`:                    "neither an object",
		`7`:                        "neither an object",
		`{"publish":["x"]}`:        `"publish": there are pub, sub and all`,
		`{"pub":{"x":1}}`:          "member pub that is no list of texts",
		`{"pub":[7]}`:              "member pub that is no list of texts",
		`{"pub":["a/#/b"]}`:        "a/#/b",
		`{"pub":["a/${user}"]}`:    "${user} is unknown",
		`{"pub":[""]}`:             "empty",
		`["x"]`:                    "a rule 1 that is no object",
		`[{` + good + `},{}]`:      "a rule 2 whose permission is missing",
		`[{"permission":"allow"}]`: "action is missing",
		`[{"permission":"allow","action":"publish"}]`:                                  "topic is missing",
		`[{"permission":"allow","action":"publish","topics":[]}]`:                      "topic is missing",
		`[{"permission":"Allow","action":"publish","topic":"x"}]`:                      "permission is neither",
		`[{"permission":true,"action":"publish","topic":"x"}]`:                         "permission is neither",
		`[{"permission":"allow","action":"read","topic":"x"}]`:                         "action is none of",
		`[{"permission":"allow","action":["publish"],"topic":"x"}]`:                    "action is none of",
		`[{"permission":"allow","action":"publish","topic":{}}]`:                       "topic is no list",
		`[{` + good + `,"qos":3}]`:                                                     "qos is none of",
		`[{` + good + `,"qos":"1"}]`:                                                   "qos is none of",
		`[{` + good + `,"qos":[]}]`:                                                    "qos is an empty list",
		`[{` + good + `,"retain":1}]`:                                                  "retain is none of",
		`[{` + good + `,"ipaddr":"::1"}]`:                                              `"ipaddr" is unknown`,
		`[{` + good + `,"clientid_re":"x"}]`:                                           `"clientid_re" is unknown`,
		`[` + strings.TrimSuffix(strings.Repeat(`{`+good+`},`, maxRules+1), ",") + `]`: "1001 rules",
	} {
		_, err := rulesOf(parse(t, text))
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.80s: %v, want %q", text, err, why)
		}
	}
	// Numbers and lists as values to compare with must not be a crash.
	for _, v := range []string{`[]`, `{}`, `null`, `1`} {
		for _, name := range []string{"permission", "action", "topic", "qos", "retain"} {
			_, _ = rulesOf(parse(t, fmt.Sprintf(`[{%q:%s}]`, name, v)))
		}
	}
}

func TestFind(t *testing.T) {
	o := map[string]any{"a": map[string]any{"b": map[string]any{"c": 1}}, "a.b": 2, "x": "y"}
	for name, want := range map[string]any{"a.b": 2, "a.b.c": 1, "x": "y", "x.y": nil, "a.c": nil, "": nil, ".": nil, "a.": nil} {
		if got, ok := Find(o, name); got != want || ok != (want != nil) {
			t.Errorf("%q: %v, %v, want %v", name, got, ok, want)
		}
	}
}
