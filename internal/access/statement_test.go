package access

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// written reads a rule as it is written in JSON.
func written(t *testing.T, text string) (Rule, []Problem) {
	t.Helper()
	var s Statement
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s.Rule("r")
}

func TestStatements(t *testing.T) {
	for text, want := range map[string]Rule{
		`{"allow": "all", "topic": "#"}`: {Effect: Allow, Actions: everything, Topics: []string{"#"}},
		`{"allow": ["publish", "subscribe"], "user": "ann", "client": "/^c/", "topic": ["a/#", "b/%u"]}`: {
			Effect: Allow, Actions: Publish | Subscribe, User: "ann", Client: "/^c/", Topics: []string{"a/#", "b/%u"},
		},
		`{"deny": ["receive"], "group": "g", "address": "192.0.2.0/24", "attribute": "a=b", "listener": "l"}`: {
			Effect: Deny, Actions: Receive, Group: "g", Address: "192.0.2.0/24", Attribute: "a=b", Listener: "l",
		},
		`{"deny": "Publish", "authenticated": false, "retain": true, "qos": [1, "2"]}`: {
			Effect: Deny, Actions: Publish, Standing: Anonymous, Retain: Retained, QoS: QoSOf(1, 2),
		},
		`{"deny": "publish", "authenticated": true, "retain": false, "qos": 0, "topic": null}`: {
			Effect: Deny, Actions: Publish, Standing: Authenticated, Retain: NotRetained, QoS: QoSOf(0),
		},
	} {
		got, problems := written(t, text)
		want.ID = "r"
		if problems != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v, (-want +got):\n%s", text, problems, cmp.Diff(want, got))
		}
	}
	var s Statement
	for _, text := range []string{`{"allow": {}}`, `{"allow": [true]}`, `{"topic": [["a"]]}`} {
		if json.Unmarshal([]byte(text), &s) == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// Each mistake names its field.
func TestMistakesOfRules(t *testing.T) {
	for text, want := range map[string][]string{
		`{"allow": "all"}`:                                                         {`topic: is missing: "#" stands for every topic`},
		`{"allow": [], "topic": "a"}`:                                              {"allow: names no action: write publish"},
		`{"deny": "all", "topic": []}`:                                             {"topic: is an empty list: leave it out to deny every topic"},
		`{"deny": "read"}`:                                                         {`deny: "read" is no action: write publish`},
		`{"deny": ["publish", ""]}`:                                                {`deny: "" is no action`},
		`{"allow": "all", "deny": "all"}`:                                          {"deny: a rule either allows or denies"},
		`{"deny": "all", "user": "/(/", "client": "/[/"}`:                          {`user: "/(/" is no regular expression`, `client: "/[/" is no`},
		`{"deny": "all", "user": "/` + strings.Repeat("a", 1000) + `/"}`:           {"user: the regular expression has 1002 bytes"},
		`{"deny": "all", "address": "192.0.2"}`:                                    {`address: "192.0.2" is no address: write 192.0.2.1`},
		`{"deny": "all", "address": "192.0.2.0/33"}`:                               {`address: "192.0.2.0/33" is no CIDR`},
		`{"deny": "all", "address": "::ffff:192.0.2.0/120"}`:                       {"address: \"::ffff:192.0.2.0/120\" is an IPv4 network"},
		`{"deny": "all", "address": "fe80::1%eth0"}`:                               {"address: "},
		`{"deny": "all", "address": "localhost"}`:                                  {"address: "},
		`{"deny": "all", "attribute": "room"}`:                                     {`attribute: "room" is not written name=value`},
		`{"deny": "all", "attribute": "=x"}`:                                       {"attribute: "},
		`{"deny": "all", "qos": [3]}`:                                              {`qos: "3" is not 0, 1 or 2`},
		`{"deny": "all", "qos": "at most 1"}`:                                      {"qos: "},
		`{"deny": "receive", "qos": 1}`:                                            {"qos: is of what is published or subscribed to"},
		`{"deny": ["subscribe", "receive"], "retain": true}`:                       {"retain: is of what is published"},
		`{"deny": "all", "topic": "a/#/b"}`:                                        {`topic: "a/#/b" is no topic filter: the topic filter goes on after #`},
		`{"deny": "all", "topic": ["a", ""]}`:                                      {"topic: the topic filter is empty"},
		`{"deny": "all", "topic": "eq "}`:                                          {"topic: the topic filter is empty"},
		`{"deny": "all", "topic": "a/${user}"}`:                                    {`topic: "a/${user}": ${user} is unknown: there are ${username}`},
		`{"deny": "all", "topic": "${attr.}"}`:                                     {"topic: "},
		`{"deny": "all", "topic": "${clientid"}`:                                   {`topic: "${clientid": ${ has no }`},
		`{"deny": "all", "topic": "+${clientid}"}`:                                 {"+ does not fill its level"},
		`{"deny": "all", "topic": "$share/g/a"}`:                                   {"topic: \"$share/g/a\": write what follows the prefix"},
		`{"deny": "all", "topic": "$share/%u/a"}`:                                  {"write what follows the prefix"},
		`{"allow": "all", "topic": "eq a"}`:                                        {`topic: "eq a": eq is for rules that deny`},
		`{"deny": "x", "user": "/(/", "address": "x", "topic": ["+a", "b+", "c"]}`: {"deny: ", "user: ", "address: ", "topic: \"+a\""},

		`{}`: {"allow: is missing: a rule says allow or deny"},
	} {
		_, problems := written(t, text)
		var got []string
		for _, p := range problems {
			got = append(got, p.Error())
		}
		if len(got) < len(want) {
			t.Errorf("%s: %q, want %q", text, got, want)
			continue
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%s: %q, want %q", text, got[i], want[i])
			}
		}
	}
}

func TestCompileNamesEveryMistakeWithItsRule(t *testing.T) {
	_, err := Compile([]Rule{
		{ID: "x:3", Effect: Allow, Actions: Publish, Topics: []string{"a"}},
		{ID: "x:4", Effect: Allow, Actions: Publish, User: "/(/", Topics: []string{"a#"}},
		{Effect: 7, Actions: 9, Standing: 9, QoS: 9},
	})
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	for _, want := range []string{"x:4: user: ", "x:4: topic: ", "rule 3: allow: ", "rule 3: authenticated: ", "rule 3: qos: "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if strings.Contains(got, "x:3") {
		t.Errorf("%q tells of what is right", got)
	}
}
