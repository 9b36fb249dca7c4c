package access

import (
	"testing"

	"pgregory.net/rapid"
)

// Who is denied by its names alone is denied whatever else there is to it; and
// where no rule asks for more, the answers are the same.
func TestDeniesOnlyWhatIsCertain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sources := anySources(t)
		p := NewPolicy(sources)
		who, a := anyClient().Draw(t, "who"), anyAsk().Draw(t, "ask")
		a.Action = Publish
		if who.Grant != nil {
			who.Grant.Rules, who.Grant.Superuser = nil, false
		}
		names := &Info{ClientID: who.ClientID, UserName: who.UserName}
		if who.Grant != nil {
			names.Grant = &Grant{}
		}
		allowed, denies := p.Access(who, a) == nil, p.Denies(names, a)
		if allowed && denies {
			t.Fatalf("%+v is denied by its names, and allowed as a whole", a)
		}
		more := false
		for _, rules := range []*Rules{sources.Runtime, sources.Config, sources.ACLFile} {
			for i := 0; i < rules.Len(); i++ {
				more = more || rules.list[i].asksMore()
			}
		}
		if !more && allowed == denies {
			t.Fatalf("%+v: allowed %v by a policy that asks for names alone, denied by them %v", a, allowed, denies)
		}
	})
}

// asksMore says whether the rule asks for more than names.
func (c *compiled) asksMore() bool {
	for _, p := range c.topics {
		for _, part := range p.parts {
			if part.value == attribute {
				return true
			}
		}
	}
	r := &c.rule
	return r.Group != "" || r.Attribute != "" || r.Address != "" || r.Listener != ""
}

func TestDenies(t *testing.T) {
	rule := func(e Effect, change func(*Rule)) Rule {
		r := Rule{Effect: e, Actions: Publish, Topics: []string{"#"}}
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		rules []Rule
		known bool
		want  bool
	}{
		"no rule allows it":                           {[]Rule{allow(Publish, "b")}, true, true},
		"a rule allows it":                            {[]Rule{allow(Publish, "a/#")}, true, false},
		"a group may, and it may be in that":          {[]Rule{rule(Allow, func(r *Rule) { r.Group = "g" })}, true, false},
		"a group may, and strangers are in none":      {[]Rule{rule(Allow, func(r *Rule) { r.Group = "g" })}, false, true},
		"a group may not":                             {[]Rule{rule(Deny, func(r *Rule) { r.Group = "g" }), allow(Publish, "#")}, true, false},
		"an address may, and it may have had that":    {[]Rule{rule(Allow, func(r *Rule) { r.Address = "192.0.2.1" })}, false, false},
		"an address may not":                          {[]Rule{rule(Deny, func(r *Rule) { r.Address = "192.0.2.1" }), allow(Publish, "#")}, false, false},
		"what may be allowed comes too late":          {[]Rule{deny(Publish, "a/#"), rule(Allow, func(r *Rule) { r.Listener = "tcp://h:1" })}, true, true},
		"another user's group":                        {[]Rule{rule(Allow, func(r *Rule) { r.Group, r.User = "g", "bob" })}, true, true},
		"an attribute in the topic":                   {[]Rule{allow(Publish, "a/x-${attr.n}/#")}, true, false},
		"an attribute in another topic":               {[]Rule{allow(Publish, "b/${attr.n}")}, true, true},
		"an attribute in a longer topic":              {[]Rule{allow(Publish, "a/b/${attr.n}")}, true, true},
		"an attribute in the topic, of nobody's":      {[]Rule{allow(Publish, "a/${attr.n}")}, false, true},
		"an attribute in the topic of one it may not": {[]Rule{deny(Publish, "a/${attr.n}"), allow(Publish, "#")}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPolicy(Sources{Config: compile(t, c.rules...)})
			who := &Info{ClientID: "c", UserName: "ann"}
			if c.known {
				who.Grant = &Grant{}
			}
			if got := p.Denies(who, Ask{Action: Publish, Topic: "a/b", Retain: true}); got != c.want {
				t.Errorf("denied: %v, want %v", got, c.want)
			}
		})
	}
}
