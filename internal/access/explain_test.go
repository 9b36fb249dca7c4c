package access

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	acl, err := ParseACL("acl", []byte("user porch\ntopic read home/#\npattern write home/%u/%c\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := NewPolicy(Sources{
		SetUp:   true,
		ACLFile: compile(t, acl...),
		Config: compile(t,
			Rule{ID: "access.rules[0]", Effect: Deny, Actions: Publish, Address: "198.51.100.0/24"},
			Rule{ID: "access.rules[1]", Effect: Allow, Actions: Publish, User: "garage", Topics: []string{"home/garage/#"}},
			Rule{ID: "access.rules[2]", Effect: Deny, Actions: everything, Group: "guests", Topics: []string{"home/safe"}},
		),
	})
	who := known("c1", "porch")
	who.Addr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}
	who.Grant.Groups = []string{"guests"}

	got := p.Explain(who, Ask{Action: Publish, Topic: "home/garage/door"})
	want := Explanation{
		Source: "access.default", Why: "no rule matches, and what no rule matches is denied",
		Do: `add a rule such as {allow: publish, user: "porch", topic: "home/garage/door"} with fantail ctl acl add, or to access.rules`,
		Tried: []Trial{
			{"access.rules", "access.rules[0]", "deny publish on every topic, for address 198.51.100.0/24", "the client's address is not in 198.51.100.0/24"},
			{"access.rules", "access.rules[2]", "deny all on home/safe, for group guests", "home/safe does not match"},
			{"access.rules", "", "", "rules for other users or clients: 1"},
			{"access.acl_file", "acl:2", "allow receive on home/#, for user porch", "it is about receive"},
			{"access.acl_file", "acl:3", "deny publish, receive on every topic, for user /[+#]/", `it is for user /[+#]/; this one is "porch"`},
			{"access.acl_file", "acl:3", "deny publish, receive on every topic, for client /[+#]/", `it is for client /[+#]/, this one is "c1"`},
			{"access.acl_file", "acl:3", "allow publish on home/%u/%c", "home/%u/%c does not match"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	got = p.Explain(who, Ask{Action: Subscribe, Topic: "home/+"})
	want = Explanation{
		Source: "access.rules", Rule: "access.rules[2]", Why: "deny all on home/safe, for group guests",
		Do: `change access.rules[2], or put a rule before it such as {allow: subscribe, user: "porch", topic: "home/+"}`,
		Tried: []Trial{
			{"access.rules", "access.rules[0]", "deny publish on every topic, for address 198.51.100.0/24", "it is about publish"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	got = p.Explain(who, Ask{Action: Publish, Topic: "home/porch/c1"})
	if !got.Allowed || got.Rule != "acl:3" || got.Why != "allow publish on home/%u/%c" || got.Do != "" || len(got.Tried) != 6 {
		t.Errorf("%+v", got)
	}

	got = p.Explain(who, Ask{Action: Subscribe, Topic: "x/#"})
	if n := len(got.Tried); got.Allowed || n < 4 || got.Tried[n-4].Why != "home/# does not match" {
		t.Errorf("%+v", got)
	}
	who.Grant.Groups = nil
	got = p.Explain(who, Ask{Action: Subscribe, Topic: "#"})
	if !got.Allowed || !got.Checked || got.Rule != "acl:2" || !strings.Contains(got.Why, "each is checked when it is delivered") {
		t.Errorf("%+v", got)
	}
}

func TestExplainSaysWhyRulesDoNotMatch(t *testing.T) {
	stranger := &Info{ClientID: "a/b", UserName: "ann", Listener: "l"}
	pub := Ask{Action: Publish, Topic: "a"}
	for want, c := range map[string]struct {
		rule Rule
		who  *Info
		ask  Ask
	}{
		`it is for user /^a/; nobody has checked the user name "ann" of this one`:                         {Rule{User: "/^a/"}, stranger, pub},
		"it is for user /x/; this one has no user name":                                                   {Rule{User: "/x/"}, &Info{}, pub},
		"it is for clients with an account":                                                               {Rule{Standing: Authenticated}, stranger, pub},
		"it is for clients without an account":                                                            {Rule{Standing: Anonymous}, known("c", "ann"), pub},
		`it is for clients without a user name, this one is "ann"`:                                        {Rule{Standing: Nameless}, known("c", "ann"), pub},
		"the client is not in group g":                                                                    {Rule{Group: "g"}, stranger, pub},
		"the client has no attribute a=b":                                                                 {Rule{Attribute: "a=b"}, stranger, pub},
		`it is for listener x, the client came over "l"`:                                                  {Rule{Listener: "x"}, stranger, pub},
		"it is about QoS 0, 2":                                                                            {Rule{QoS: QoSOf(0, 2)}, stranger, Ask{Action: Publish, Topic: "a", QoS: 1}},
		"it is about retained messages that are published":                                                {Rule{Retain: Retained}, stranger, pub},
		"it is about messages that are not retained":                                                      {Rule{Retain: NotRetained}, stranger, Ask{Action: Publish, Topic: "a", Retain: true}},
		"the client has no value for a placeholder in x/%u":                                               {Rule{Topics: []string{"x/%u"}}, stranger, pub},
		"a value of the client holds /, + or # or begins with $, which placeholders do not take, in %c/#": {Rule{Topics: []string{"%c/#"}}, stranger, pub},
		"a/+ does not cover the filter":                                                                   {Rule{Topics: []string{"a/+"}}, stranger, Ask{Action: Subscribe, Topic: "a/#"}},
		"a/+, b does not match":                                                                           {Rule{Topics: []string{"a/+", "b"}}, stranger, pub},
	} {
		c.rule.Effect = Allow
		c.rule.Actions = Publish | Subscribe
		e := NewPolicy(Sources{Runtime: compile(t, c.rule)}).Explain(c.who, c.ask)
		if len(e.Tried) != 1 || e.Tried[0].Why != want {
			t.Errorf("%+v, want %s", e.Tried, want)
		}
	}
}

func TestExplainWithoutARule(t *testing.T) {
	super := known("c", "root")
	super.Grant.Superuser = true
	for name, c := range map[string]struct {
		sources Sources
		who     *Info
		ask     Ask
		source  string
		allowed bool
		why, do string
	}{
		"superuser":  {Sources{Default: Deny}, super, Ask{Action: Publish, Topic: "a"}, "superuser", true, "may do everything", ""},
		"nothing":    {Sources{}, super.anonymous(), Ask{Action: Publish, Topic: "a"}, "access.default", true, "what no rule matches is allowed", ""},
		"$SYS":       {Sources{SetUp: true, Default: Allow}, super.anonymous(), Ask{Action: Subscribe, Topic: "$SYS/#"}, "$SYS", false, "for clients with an account", `{allow: subscribe, client: "c", topic: "$SYS/#"}`},
		"a stranger": {Sources{SetUp: true}, super.anonymous(), Ask{Action: Publish, Topic: "a"}, "access.default", false, "what no rule matches is denied to clients without an account", `{allow: publish, client: "c", topic: "a"}`},
		"publish":    {Sources{}, super, Ask{Action: Publish, Topic: "$SYS/a"}, "$SYS", false, "nobody publishes there", "another topic"},
		"no name":    {Sources{}, super, Ask{Action: Publish, Topic: "a/#"}, "MQTT", false, "wildcard #", ""},
		"no filter":  {Sources{}, super, Ask{Action: Subscribe, Topic: "$share/g"}, "MQTT", false, "no topic filter follows", ""},
	} {
		e := NewPolicy(c.sources).Explain(c.who, c.ask)
		if e.Allowed != c.allowed || e.Source != c.source || !strings.Contains(e.Why, c.why) || !strings.Contains(e.Do, c.do) || len(e.Tried) > 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	p := NewPolicy(Sources{Config: compile(t, deny(Receive, "a/b")), Default: Allow})
	if e := p.Explain(super.anonymous(), Ask{Action: Subscribe, Topic: "a/+"}); !e.Allowed || !e.Checked || !strings.Contains(e.Why, "some of the messages are denied") {
		t.Errorf("%+v", e)
	}
}

// A rule about receive alone does not decide about a subscription that it is
// about in part.
func TestExplainASubscriptionInPart(t *testing.T) {
	p := NewPolicy(Sources{Config: compile(t, deny(Receive, "a/b"), allow(Publish, "a"), allow(Subscribe, "#"))})
	e := p.Explain(known("c", "ann"), Ask{Action: Subscribe, Topic: "a/+"})
	if !e.Checked || e.Rule != "r2" || len(e.Tried) != 2 || e.Tried[0].Why != "it is about some of the messages that would come" ||
		e.Tried[1].Why != "it is about publish" {
		t.Errorf("%+v", e)
	}
}

// anonymous is the same client, let in without being known.
func (i *Info) anonymous() *Info {
	other := *i
	other.Grant = nil
	return &other
}

func TestRulesInWords(t *testing.T) {
	r := Rule{
		Effect: Deny, Actions: Publish | Subscribe, User: "ann", Client: "c", Group: "g", Address: "::1", Attribute: "a=b",
		Listener: "l", Standing: Authenticated, Topics: []string{"a", "b/#"}, QoS: QoSOf(1, 2), Retain: Retained,
	}
	want := "deny publish, subscribe on a, b/# at QoS 1, 2, retained, for clients with an account, user ann, client c, group g, " +
		"address ::1, attribute a=b, listener l"
	if got := r.String(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// Fantail reads rules of an acl_file in the order of their effect.
func TestOrderOfAnACLFile(t *testing.T) {
	rules, err := ParseACL("acl", []byte("topic a\npattern x/%u\nuser ann\ntopic write b\ntopic deny c\npattern deny y\n# c\nuser /x/\ntopic read d"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range rules {
		got = append(got, fmt.Sprintf("%s %v", rules[i].ID, &rules[i]))
	}
	want := []string{
		"acl:5 deny publish, receive on c, for user ann",
		"acl:1 allow publish, receive on a, for clients without a user name",
		"acl:4 allow publish on b, for user ann",
		"acl:9 allow receive on d, for user /x/",
		"acl:2 deny publish, receive on every topic, for user /[+#]/",
		"acl:2 deny publish, receive on every topic, for client /[+#]/",
		"acl:6 deny publish, receive on y",
		"acl:2 allow publish, receive on x/%u",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestACLFileNamesEveryMistake(t *testing.T) {
	_, err := ParseACL("acl", []byte("topic a\nuser\nnonsense\n\ntopic read x/#/y\ntopic a\x00b\n"))
	if err == nil {
		t.Fatal("no error")
	}
	for i, want := range []string{"acl:2: user", "acl:3: \"nonsense\"", "acl:5: ", "acl:6: the line holds a zero byte"} {
		if lines := strings.Split(err.Error(), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[i], want) {
			t.Errorf("%q, want %q", lines, want)
		}
	}
}
