package access

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/topic"
)

// What is read of an acl_file compiles and decides, and each mistake has its
// line.
func FuzzParseACL(f *testing.F) {
	files, err := filepath.Glob("testdata/*.acl")
	if err != nil || len(files) == 0 {
		f.Fatalf("no acl_files: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "ann", "c1", "home/ann/lamp")
	}
	f.Add([]byte("user /\x84/\ntopic 0"), "/\x84/", "c", "0")
	f.Add([]byte("pattern %u%c\nuser /(/\ntopic deny $share/g/#\ntopic read"), "/(/", "+", "$share/g/x")
	f.Fuzz(func(t *testing.T, text []byte, user, client, asked string) {
		list, err := ParseACL("f", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("the mistake has no line: %v", err)
			}
			return
		}
		for i := range list {
			if !strings.HasPrefix(list[i].ID, "f:") {
				t.Errorf("rule %q has no line", list[i].ID)
			}
		}
		rules, err := Compile(list)
		if err != nil {
			t.Fatalf("%q is read, but does not compile: %v", text, err)
		}
		probe(t, Sources{ACLFile: rules}, user, client, asked)
	})
}

// Rules that compile decide, and say why.
func FuzzCompile(f *testing.F) {
	f.Add([]byte(`[{"allow": ["publish", "subscribe"], "user": "porch", "topic": "home/porch/#"}, {"deny": "all", "topic": "$SYS/#"}]`), "porch", "c", "home/porch/x")
	f.Add([]byte(`[{"deny": "subscribe", "topic": ["eq #", "a/${attr.x}/%u"], "client": "/^(a|b)+$/", "address": "10.0.0.0/8", "qos": [0, 1]}]`), "", "a", "#")
	f.Add([]byte(`[{"allow": "receive", "topic": "${username}/#", "authenticated": true, "attribute": "a=b", "group": "g", "listener": "l"}]`), "#", "$SYS", "$SYS/x")
	f.Add([]byte(`[{"deny": "publish", "retain": true, "topic": "+/${clientid}x"}]`), "x", "/", "//")
	f.Fuzz(func(t *testing.T, text []byte, user, client, asked string) {
		var statements []Statement
		if json.Unmarshal(text, &statements) != nil {
			return
		}
		var list []Rule
		for i := range statements {
			r, problems := statements[i].Rule("r")
			if len(problems) == 0 {
				list = append(list, r)
				if len(r.String()) == 0 {
					t.Error("a rule without words")
				}
			}
		}
		rules, err := Compile(list)
		if err != nil {
			t.Fatalf("%q: what had no problems has one: %v", text, err)
		}
		probe(t, Sources{Config: rules}, user, client, asked)
	})
}

// probe asks what can be asked of a topic, and for contradictions.
func probe(t *testing.T, s Sources, user, client, asked string) {
	t.Helper()
	p := NewPolicy(s)
	who := known(client, user)
	for _, a := range []Action{Publish, Subscribe, Receive} {
		ask := Ask{Action: a, Topic: asked}
		if valid(ask) != nil {
			if a == Subscribe && p.Access(who, ask) == nil && s.Config.Len()+s.ACLFile.Len() > 0 {
				t.Errorf("%q is no filter, and may be subscribed to", asked)
			}
			continue
		}
		allowed := p.Access(who, ask) == nil
		if e := p.Explain(who, ask); e.Allowed != allowed || e.Why == "" || !allowed && e.Do == "" {
			t.Errorf("%v %q: allowed %v, explained by %+v", a, asked, allowed, e)
		}
	}
	f, err := topic.ParseFilter(asked, 0)
	if err != nil {
		return
	}
	allowed, whole, _ := p.Subscribing(who, asked, 0)
	if !f.Wildcard() && allowed && whole && p.Access(who, Ask{Action: Receive, Topic: f.Path}) != nil {
		t.Errorf("%q is granted whole, and may not be received", asked)
	}
}
