package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/access"
)

const accessText = `node: a
access:
  default: deny
  acl_file: acl
  deny_action: disconnect
  rules:
    - {allow: [publish, subscribe], user: porch, topic: home/porch/#}
    - deny: all
      topic: "$SYS/#"
    - allow: publish
      topic: [a, 'b/${attr.room}/+']
      client: /^c/
      group: 7
      address: 192.0.2.0/24
      attribute: a=b
      listener: l
      authenticated: true
      qos: [0, 1]
      retain: false
    - {deny: [receive, subscribe], authenticated: false, qos: 2, retain: }
`

func TestAccessRules(t *testing.T) {
	path := write(t, accessText)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	a := &c.Access
	if a.ACLFile != filepath.Join(filepath.Dir(path), "acl") || a.DenyAction != DenyDisconnect || a.Effect() != access.Deny {
		t.Errorf("%+v", a)
	}
	want := []access.Rule{
		{ID: "access.rules[0] (fantail.yaml:7)", Effect: access.Allow, Actions: access.Publish | access.Subscribe, User: "porch", Topics: []string{"home/porch/#"}},
		{ID: "access.rules[1] (fantail.yaml:8)", Effect: access.Deny, Actions: access.Publish | access.Subscribe | access.Receive, Topics: []string{"$SYS/#"}},
		{
			ID: "access.rules[2] (fantail.yaml:10)", Effect: access.Allow, Actions: access.Publish, Topics: []string{"a", "b/${attr.room}/+"},
			Client: "/^c/", Group: "7", Address: "192.0.2.0/24", Attribute: "a=b", Listener: "l", Standing: access.Authenticated,
			QoS: access.QoSOf(0, 1), Retain: access.NotRetained,
		},
		{
			ID: "access.rules[3] (fantail.yaml:20)", Effect: access.Deny, Actions: access.Receive | access.Subscribe,
			Standing: access.Anonymous, QoS: access.QoSOf(2),
		},
	}
	if diff := cmp.Diff(want, a.List()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := access.Compile(a.List()); err != nil {
		t.Error(err)
	}
	parsed, err := Parse([]byte(accessText))
	if err != nil {
		t.Fatal(err)
	}
	if id := parsed.Access.List()[0].ID; id != "access.rules[0] (line 7)" {
		t.Errorf("without a file: %s", id)
	}
	parsed.Access.Rules[0].Line = 0
	if id := parsed.Access.List()[0].ID; id != "access.rules[0]" {
		t.Errorf("without a line: %s", id)
	}
}

func TestAccessMistakes(t *testing.T) {
	_, err := Parse([]byte(`access:
  default: maybe
  deny_action: kick
  rules:
    - {allow: publish}
    - deny: read
      topic: x
    - allow: publish
      usr: ann
      topic: [a, 'b#']
    - topic: a
    - {deny: all, retain: perhaps, address: here}
    - {deny: all, topic: {a: b}}
    - {allow: all, topic: [[a]]}
    - x
  rule: []
acl_file: x
`))
	want := []string{
		`line 2: access.default: "maybe" is unknown: it is one of allow, deny`,
		`line 3: access.deny_action: "kick" is unknown: it is one of ignore, disconnect`,
		`line 5: access.rules[0].topic: is missing: "#" stands for every topic but those that begin with $`,
		`line 6: access.rules[1].deny: "read" is no action: write publish, subscribe, receive or all`,
		`line 9: access.rules[2].usr: unknown key: did you mean access.rules[2].user?`,
		`line 10: access.rules[2].topic: "b#" is no topic filter: # does not fill its level at byte 1 of "b#"`,
		`line 11: access.rules[3].allow: is missing: a rule says allow or deny, with what of publish, subscribe, receive`,
		`line 12: access.rules[4].retain: "perhaps" is neither true nor false`,
		`line 12: access.rules[4].address: "here" is no address: write 192.0.2.1, 2001:db8::1 or 192.0.2.0/24`,
		`line 13: access.rules[5].topic: here goes a single value`,
		`line 14: access.rules[6].topic[0]: here goes a single value`,
		`line 14: access.rules[6].topic: the topic filter is empty`,
		`line 15: access.rules[7]: here go keys and values, such as allow, deny, user, client, group, address, attribute, listener, authenticated, topic, qos, retain`,
		`line 16: access.rule: unknown key: did you mean access.rules?`,
		`line 17: acl_file: unknown key: did you mean access.acl_file?`,
	}
	if err == nil {
		t.Fatal("no mistakes")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The rules in the manual are right.
func TestTheRulesInTheManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```yaml\n")[1:]
	for _, p := range parts {
		example, _, _ := strings.Cut(p, "```")
		if _, err := Parse([]byte(example)); err != nil {
			t.Errorf("%s\n%v", example, err)
		}
	}
	if len(parts) < 3 {
		t.Errorf("%d examples", len(parts))
	}
	files := strings.Split(string(text), "```acl\n")[1:]
	for _, p := range files {
		example, _, _ := strings.Cut(p, "```")
		rules, err := access.ParseACL("acl", []byte(example))
		if err != nil || len(rules) == 0 {
			t.Errorf("%s\n%v", example, err)
		}
	}
	if len(files) == 0 {
		t.Error("no acl_file")
	}
}
