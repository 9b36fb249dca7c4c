package access

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

const everything = Publish | Subscribe | Receive

func allow(a Action, topics ...string) Rule { return Rule{Effect: Allow, Actions: a, Topics: topics} }

func deny(a Action, topics ...string) Rule { return Rule{Effect: Deny, Actions: a, Topics: topics} }

func from(address string) *Info {
	return &Info{ClientID: "c", Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}}
}

func TestSourcesAreAskedInOrder(t *testing.T) {
	named := func(id string, r Rule) *Rules { r.ID = id; return compile(t, r) }
	sources := Sources{
		Runtime: named("run", allow(Publish, "own", "run/#")),
		Config:  named("conf", deny(Publish, "own", "run/a", "conf/#")),
		ACLFile: named("acl", allow(Publish, "#")),
		Default: Deny,
	}
	who := known("c", "ann")
	who.Grant.Rules = named("grant", deny(Publish, "own"))
	p := NewPolicy(sources)
	for topic, want := range map[string]string{
		"own": "grant", "run/a": "run", "conf/x": "conf", "else": "acl", "$x": sourceDefault,
	} {
		if e := p.Reason(who, Ask{Action: Publish, Topic: topic}); e.Rule != want && (e.Rule != "" || e.Source != want) {
			t.Errorf("%s: decided by %q of %s, want %s", topic, e.Rule, e.Source, want)
		}
	}
	if p.Access(known("c", "ann"), Ask{Action: Publish, Topic: "own"}) != nil {
		t.Error("the rules of another client's grant count")
	}
}

func TestDefault(t *testing.T) {
	some := compile(t, allow(Publish, "x"))
	own := known("c", "ann")
	own.Grant.Rules = some
	pub := Ask{Action: Publish, Topic: "a"}
	for name, c := range map[string]struct {
		sources Sources
		who     *Info
		want    bool
	}{
		"nothing is set up":                {Sources{}, from("192.0.2.1"), true},
		"accounts, and no rules":           {Sources{SetUp: true}, known("c", "ann"), true},
		"no rules, written as such":        {Sources{Config: compile(t)}, known("c", "ann"), true},
		"a rule in the configuration":      {Sources{Config: some}, known("c", "ann"), false},
		"a rule at run time":               {Sources{Runtime: some}, known("c", "ann"), false},
		"an acl_file":                      {Sources{ACLFile: some}, known("c", "ann"), false},
		"an empty acl_file":                {Sources{ACLFile: compile(t)}, known("c", "ann"), false},
		"a rule of the client's own":       {Sources{}, own, false},
		"the default is told to be deny":   {Sources{Default: Deny}, known("c", "ann"), false},
		"the default is told to be allow":  {Sources{Config: some, Default: Allow}, known("c", "ann"), true},
		"allow, and rules of a client own": {Sources{Default: Allow}, own, true},
	} {
		err := NewPolicy(c.sources).Access(c.who, pub)
		if got := err == nil; got != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if r, ok := errors.AsType[*packet.Refusal](err); err != nil && (!ok || r.Code != packet.NotAuthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheBrokersOwnTopics(t *testing.T) {
	read := Ask{Action: Subscribe, Topic: "$SYS/#"}
	super := known("c", "root")
	super.Grant.Superuser = true
	unix := &Info{Addr: &net.UnixAddr{Name: "x", Net: "unix"}}
	for name, c := range map[string]struct {
		sources Sources
		who     *Info
		want    bool
	}{
		"loopback, before anything is set up": {Sources{}, from("127.0.0.1"), true},
		"a unix socket, before that":          {Sources{}, unix, true},
		"another machine, before that":        {Sources{}, from("192.0.2.1"), false},
		"no address, before that":             {Sources{}, &Info{}, false},
		"loopback, after that":                {Sources{SetUp: true}, from("127.0.0.1"), false},
		"who has an account":                  {Sources{SetUp: true}, known("c", "ann"), true},
		"who has an account, by rule":         {Sources{Config: compile(t, deny(Subscribe, "$SYS/#"), allow(everything, "#"))}, known("c", "ann"), false},
		"no rule, and deny is the default":    {Sources{Default: Deny}, known("c", "ann"), false},
		"# is another matter":                 {Sources{Config: compile(t, allow(everything, "#"))}, known("c", "ann"), false},
		"a stranger, by rule":                 {Sources{Config: compile(t, allow(Subscribe, "$SYS/#"))}, from("192.0.2.1"), true},
		"a superuser":                         {Sources{Config: compile(t, deny(everything))}, super, true},
	} {
		p := NewPolicy(c.sources)
		if got := p.Access(c.who, read) == nil; got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := p.Access(c.who, Ask{Action: Receive, Topic: "$SYS/broker/uptime"}) == nil; got != c.want {
			t.Errorf("%s: receive: %v", name, got)
		}
		if p.Access(c.who, Ask{Action: Publish, Topic: "$SYS/x"}) == nil {
			t.Errorf("%s: may publish", name)
		}
	}
	if NewPolicy(Sources{}).Access(from("192.0.2.1"), Ask{Action: Subscribe, Topic: "#"}) != nil {
		t.Error("# is refused for what it does not match")
	}
	if NewPolicy(Sources{}).Access(from("192.0.2.1"), Ask{Action: Subscribe, Topic: "$SYSTEM/#"}) != nil {
		t.Error("$SYSTEM is not the broker's")
	}
}

func TestSuperusersMayDoEverything(t *testing.T) {
	super := known("c", "root")
	super.Grant.Superuser = true
	super.Grant.Rules = compile(t, deny(everything))
	p := NewPolicy(Sources{Runtime: compile(t, deny(everything)), Default: Deny})
	for _, a := range []Action{Publish, Subscribe, Receive} {
		if err := p.Access(super, Ask{Action: a, Topic: "a"}); err != nil {
			t.Errorf("%v: %v", a, err)
		}
	}
	if allowed, whole, _ := p.Subscribing(super, "#", 0); !allowed || !whole {
		t.Error("each message is asked about")
	}
}

func TestSubscribing(t *testing.T) {
	const (
		no    = "refused"
		part  = "in part"
		whole = "whole"
	)
	for name, c := range map[string]struct {
		rules  []Rule
		filter string
		want   string
		by     string
	}{
		"a rule covers it":                              {[]Rule{allow(Subscribe, "a/#")}, "a/+", whole, "r0"},
		"a rule covers some of it":                      {[]Rule{allow(Subscribe, "a/+")}, "a/#", no, sourceDefault},
		"two rules cover it together":                   {[]Rule{allow(Subscribe, "a"), allow(Subscribe, "a/+/#")}, "a/#", no, sourceDefault},
		"all of it may be received":                     {[]Rule{allow(Receive, "a/#")}, "a/+", whole, "r0"},
		"some of it may be received":                    {[]Rule{allow(Publish, "#"), allow(Receive, "a/+/x"), allow(Receive, "a/y")}, "#", part, "r1"},
		"none of it may be received":                    {[]Rule{allow(Receive, "a/+/x")}, "b/#", no, sourceDefault},
		"# receives nothing of the broker's":            {[]Rule{allow(Receive, "$SYS/#")}, "#", no, sourceDefault},
		"some of it must not be subscribed to":          {[]Rule{deny(Subscribe, "a/b"), allow(Subscribe, "#")}, "a/+", no, "r0"},
		"that comes too late":                           {[]Rule{allow(Subscribe, "#"), deny(Subscribe, "a/b")}, "a/+", whole, "r0"},
		"some of it must not be received":               {[]Rule{deny(Receive, "a/b"), allow(Subscribe, "#")}, "a/+", part, "r1"},
		"all of it must not be received":                {[]Rule{deny(Receive, "a/#"), allow(Subscribe, "#")}, "a/+", no, "r0"},
		"that comes too late as well":                   {[]Rule{allow(Receive, "a/#"), deny(Receive, "a/b")}, "a/+", whole, "r0"},
		"some may, the rest must not be received":       {[]Rule{allow(Receive, "a/b"), deny(Receive, "#")}, "a/+", part, "r0"},
		"some may be received, but not subscribed to":   {[]Rule{allow(Receive, "a/b"), deny(Subscribe, "a/#")}, "a/+", no, "r1"},
		"some may be received, all be subscribed to":    {[]Rule{allow(Receive, "a/b"), allow(Subscribe, "a/#")}, "a/+", whole, "r1"},
		"shared, some of it not to be received":         {[]Rule{deny(Receive, "a/b"), allow(Subscribe, "a/#")}, "$share/g/a/+", part, "r1"},
		"who must not publish may receive":              {[]Rule{deny(Publish, "#"), allow(Receive, "a")}, "a", whole, "r1"},
		"retained is of who publishes":                  {[]Rule{{Effect: Deny, Actions: Publish | Receive, Retain: Retained}, allow(Receive, "a")}, "a", whole, "r1"},
		"QoS is of who subscribes":                      {[]Rule{{Effect: Deny, Actions: Subscribe | Receive, QoS: QoSOf(2)}, allow(Receive, "a")}, "a", whole, "r1"},
		"the QoS that is asked for":                     {[]Rule{{Effect: Deny, Actions: Subscribe, QoS: QoSOf(1)}, allow(Subscribe, "a")}, "a", no, "r0"},
		"of another user":                               {[]Rule{{Effect: Allow, Actions: Receive, User: "bob"}}, "a", no, sourceDefault},
		"no filter":                                     {[]Rule{allow(everything, "#")}, "a/#/b", no, sourceDefault},
		"eq denies it":                                  {[]Rule{deny(Subscribe, "eq #", "eq +/#"), allow(Subscribe, "#")}, "#", no, "r0"},
		"eq denies another":                             {[]Rule{deny(Subscribe, "eq #", "eq +/#"), allow(Subscribe, "#")}, "+/+/#", whole, "r1"},
		"the broker's own topics, which # is not about": {[]Rule{allow(Subscribe, "#")}, "$SYS/#", no, sourceDefault},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPolicy(Sources{Config: compile(t, c.rules...)})
			allowed, all, by := p.Subscribing(known("c", "ann"), c.filter, 1)
			got := map[[2]bool]string{{false, false}: no, {true, false}: part, {true, true}: whole}[[2]bool{allowed, all}]
			if got != c.want || by != c.by {
				t.Errorf("%s by %s, want %s by %s", got, by, c.want, c.by)
			}
			err := p.Access(known("c", "ann"), Ask{Action: Subscribe, Topic: c.filter, QoS: 1})
			if (err == nil) != allowed {
				t.Errorf("Access says %v", err)
			}
		})
	}
}

// In part by default: what is denied comes before it.
func TestSubscribingByDefault(t *testing.T) {
	p := NewPolicy(Sources{Config: compile(t, deny(Receive, "a/b"), deny(Receive, "c/#")), Default: Allow})
	for filter, want := range map[string][2]bool{
		"a/+": {true, false}, "b": {true, true}, "a/b": {}, "c/+": {}, "#": {true, false}, "$SYS/#": {true, true},
	} {
		if allowed, whole, _ := p.Subscribing(known("c", "ann"), filter, 0); allowed != want[0] || whole != want[1] {
			t.Errorf("%s: allowed %v, whole %v, want %v", filter, allowed, whole, want)
		}
	}
}

func anySources(t *rapid.T) Sources {
	some := func(name string) *Rules {
		if rapid.Bool().Draw(t, "no "+name) {
			return nil
		}
		r, err := Compile(rapid.SliceOfN(anyRule(), 0, 4).Draw(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	return Sources{
		Runtime: some("run-time"), Config: some("config"), ACLFile: some("acl"),
		Default: rapid.SampledFrom([]Effect{0, Allow, Deny}).Draw(t, "default"),
		SetUp:   rapid.Bool().Draw(t, "set up"),
	}
}

// What is granted whole holds nothing that may not be received; a subscription
// whose every message is denied is not granted.
func TestWhatIsGrantedWholeMayBeReceived(t *testing.T) {
	all := slices.DeleteFunc(append(names(), "$SYS/x", "a/c1", "ann/x"), func(n string) bool { return n == "" })
	rapid.Check(t, func(t *rapid.T) {
		p := NewPolicy(anySources(t))
		who := anyClient().Draw(t, "who")
		if who.Grant != nil && rapid.Bool().Draw(t, "own rules") {
			who.Grant.Rules, _ = Compile(rapid.SliceOfN(anyRule(), 0, 3).Draw(t, "own"))
		}
		filter := rapid.SampledFrom([]string{"#", "+", "a/#", "a/+", "+/b", "a/b", "$SYS/#", "+/+/#", "a", "c1"}).Draw(t, "filter")
		allowed, whole, _ := p.Subscribing(who, filter, byte(rapid.IntRange(0, 2).Draw(t, "qos")))
		if whole && !allowed {
			t.Fatal("refused as a whole")
		}
		for _, n := range all {
			if topic.Match(filter, n) && whole && p.Access(who, Ask{Action: Receive, Topic: n}) != nil {
				t.Fatalf("%s is granted whole, but %s may not be received", filter, n)
			}
		}
	})
}

// cache remembers answers as the broker does: see its mayPublish.
type cache struct {
	version uint64
	known   map[cached]error
}

type cached struct {
	who *Info
	ask Ask
}

func (c *cache) access(p *Policy, who *Info, a Ask) error {
	version := p.Version() // before the answer
	if c.version != version || c.known == nil {
		c.known, c.version = map[cached]error{}, version
	}
	if err, ok := c.known[cached{who, a}]; ok {
		return err
	}
	err := p.Access(who, a)
	c.known[cached{who, a}] = err
	return err
}

// A cached decision equals a fresh one after any sequence of changes.
func TestCachedDecisionsAreFresh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewPolicy(Sources{})
		var remembered cache
		clients := rapid.SliceOfN(anyClient(), 1, 4).Draw(t, "clients")
		asks := rapid.SliceOfN(anyAsk(), 1, 6).Draw(t, "asks")
		now := Sources{}
		update := func(name string, set func(*Sources)) {
			before := p.Version()
			set(&now)
			p.Update(set)
			if p.Version() == before {
				t.Errorf("%s: the version stays", name)
			}
		}
		change := func(name string, field func(*Sources) **Rules) func(*rapid.T) {
			return func(t *rapid.T) {
				rules, err := Compile(rapid.SliceOfN(anyRule(), 0, 4).Draw(t, name))
				if err != nil {
					t.Fatal(err)
				}
				update(name, func(s *Sources) { *field(s) = rules })
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"run-time": change("run-time", func(s *Sources) **Rules { return &s.Runtime }),
			"config":   change("config", func(s *Sources) **Rules { return &s.Config }),
			"acl_file": change("acl_file", func(s *Sources) **Rules { return &s.ACLFile }),
			"default": func(t *rapid.T) {
				e := rapid.SampledFrom([]Effect{0, Allow, Deny}).Draw(t, "default")
				update("default", func(s *Sources) { s.Default = e })
			},
			"set up": func(*rapid.T) { update("set up", func(s *Sources) { s.SetUp = !s.SetUp }) },
			"no acl_file": func(*rapid.T) {
				update("no acl_file", func(s *Sources) { s.ACLFile = nil })
			},
			"": func(t *rapid.T) { // after each of them
				fresh := NewPolicy(now)
				for _, who := range clients {
					for _, a := range asks {
						got, want := remembered.access(p, who, a) == nil, fresh.Access(who, a) == nil
						if got != want {
							t.Fatalf("%+v of %+v: %v is remembered, %v is so", a, who, got, want)
						}
					}
				}
			},
		})
	})
}

// Who asks while rules change gets an answer of the old or of the new ones.
func TestAnswersWhileRulesChange(t *testing.T) {
	open, closed := compile(t, allow(everything, "#")), compile(t, deny(everything))
	p := NewPolicy(Sources{Config: open})
	who, done := known("c", "ann"), make(chan bool)
	go func() { // ends by itself
		defer close(done)
		for i := range 200 {
			next := closed
			if i%2 == 1 {
				next = open
			}
			p.Update(func(s *Sources) { s.Config = next })
		}
	}()
	var c cache
	for range 200 {
		c.access(p, who, Ask{Action: Publish, Topic: "a"})
	}
	<-done
	if err := c.access(p, who, Ask{Action: Publish, Topic: "a"}); err != nil {
		t.Errorf("after all: %v", err)
	}
	p.Update(func(s *Sources) { s.Config = closed })
	if c.access(p, who, Ask{Action: Publish, Topic: "a"}) == nil {
		t.Error("an old answer is remembered")
	}
}

func TestChanges(t *testing.T) {
	config := compile(t, allow(everything, "home/#"))
	p := NewPolicy(Sources{Config: config})
	ann, bob := known("c1", "ann"), known("c2", "bob")
	held := []Held{
		{ann, []Ask{{Action: Subscribe, Topic: "home/#"}, {Action: Publish, Topic: "home/lamp"}, {Action: Publish, Topic: "x"}}},
		{bob, []Ask{{Action: Subscribe, Topic: "home/safe/+"}, {Action: Subscribe, Topic: "home/hall"}}},
	}
	next := compile(t, deny(Receive, "home/safe/#"), Rule{Effect: Allow, Actions: Publish, Topics: []string{"x"}}, allow(Subscribe, "home/#"))
	got := p.Changes(func(s *Sources) { s.Config = next }, slices.Values(held))
	var lines []string
	for _, c := range got {
		lines = append(lines, fmt.Sprintf("%s %v %s: %+v, %+v", c.Info.UserName, c.Ask.Action, c.Ask.Topic, c.Before, c.After))
	}
	want := []string{
		"ann subscribe home/#: {Allowed:true Checked:false Rule:r0}, {Allowed:true Checked:true Rule:r2}",
		"ann publish home/lamp: {Allowed:true Checked:false Rule:r0}, {Allowed:false Checked:false Rule:access.default}",
		"ann publish x: {Allowed:false Checked:false Rule:access.default}, {Allowed:true Checked:false Rule:r1}",
		"bob subscribe home/safe/+: {Allowed:true Checked:false Rule:r0}, {Allowed:false Checked:false Rule:r0}",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("changes:\n%q\nwant\n%q", lines, want)
	}
	if p.Sources().Config != config || p.Version() != 1 {
		t.Error("the policy has changed")
	}
}

// Of a client that has not come back yet the groups are not known: what no rule
// denies is kept for it.
func TestARestoredClientMayReceiveWhatNoRuleDenies(t *testing.T) {
	r := allow(Receive|Subscribe, "a/#")
	r.Group = "family"
	no := deny(Receive, "a/secret")
	p := NewPolicy(Sources{Config: compile(t, no, r)})
	who := &Info{ClientID: "c", UserName: "ann", Grant: &Grant{UserName: "ann"}, Restored: true}
	for topic, want := range map[string]bool{"a/b": true, "a/secret": false} {
		if got := p.Access(who, Ask{Action: Receive, Topic: topic}) == nil; got != want {
			t.Errorf("%s: %v, want %v", topic, got, want)
		}
	}
	who.Restored = false
	if p.Access(who, Ask{Action: Receive, Topic: "a/b"}) == nil {
		t.Error("and one that is known to be in no group as well")
	}
}
