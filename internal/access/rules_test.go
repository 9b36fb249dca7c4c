package access

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// compiledRules makes rules of statements such as "allow publish user=ann a/#".
func compile(t testing.TB, rules ...Rule) *Rules {
	t.Helper()
	for i := range rules {
		if rules[i].ID == "" {
			rules[i].ID = fmt.Sprint("r", i)
		}
	}
	r, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func known(id, user string) *Info {
	return &Info{ClientID: id, UserName: user, Grant: &Grant{By: "auth.users"}}
}

func TestConditions(t *testing.T) {
	ann := &Info{
		ClientID: "lamp-7", UserName: "ann", Listener: "tcp://0.0.0.0:1883",
		Addr:  &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1234},
		Grant: &Grant{Groups: []string{"lamps", "kitchen"}, Attributes: map[string]string{"room": "hall", "empty": ""}},
	}
	stranger := &Info{ClientID: "lamp-7", UserName: "ann", Addr: &net.UnixAddr{Name: "/run/x", Net: "unix"}}
	six := &Info{ClientID: "x", Addr: &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 1}}
	mapped := &Info{ClientID: "x", Addr: &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7"), Port: 1}}
	pub := Ask{Action: Publish, Topic: "a"}
	for name, c := range map[string]struct {
		rule Rule
		who  *Info
		ask  Ask
		want bool
	}{
		"no condition":                       {Rule{}, ann, pub, true},
		"nothing is known of the client":     {Rule{}, nil, pub, true},
		"user":                               {Rule{User: "ann"}, ann, pub, true},
		"another user":                       {Rule{User: "bob"}, ann, pub, false},
		"a user name that nobody checked":    {Rule{User: "ann"}, stranger, pub, false},
		"the same by a regexp":               {Rule{User: "/./"}, stranger, pub, false},
		"user by a regexp":                   {Rule{User: "/^a.n$/"}, ann, pub, true},
		"a regexp finds":                     {Rule{User: "/n/"}, ann, pub, true},
		"another regexp":                     {Rule{User: "/^n/"}, ann, pub, false},
		"a slash is a name":                  {Rule{User: "/"}, ann, pub, false},
		"client":                             {Rule{Client: "lamp-7"}, ann, pub, true},
		"another client":                     {Rule{Client: "lamp-8"}, ann, pub, false},
		"client by a regexp":                 {Rule{Client: "/^lamp-[0-9]+$/"}, ann, pub, true},
		"user and client":                    {Rule{User: "ann", Client: "lamp-7"}, ann, pub, true},
		"user and another client":            {Rule{User: "ann", Client: "lamp-8"}, ann, pub, false},
		"group":                              {Rule{Group: "kitchen"}, ann, pub, true},
		"another group":                      {Rule{Group: "hall"}, ann, pub, false},
		"group of a stranger":                {Rule{Group: "kitchen"}, stranger, pub, false},
		"attribute":                          {Rule{Attribute: "room=hall"}, ann, pub, true},
		"attribute of another value":         {Rule{Attribute: "room=attic"}, ann, pub, false},
		"empty attribute":                    {Rule{Attribute: "empty="}, ann, pub, true},
		"attribute that is not there":        {Rule{Attribute: "none="}, ann, pub, false},
		"attribute of a stranger":            {Rule{Attribute: "room=hall"}, stranger, pub, false},
		"listener":                           {Rule{Listener: "tcp://0.0.0.0:1883"}, ann, pub, true},
		"another listener":                   {Rule{Listener: "tcp://0.0.0.0:1884"}, ann, pub, false},
		"address":                            {Rule{Address: "192.0.2.7"}, ann, pub, true},
		"another address":                    {Rule{Address: "192.0.2.8"}, ann, pub, false},
		"network":                            {Rule{Address: "192.0.2.0/24"}, ann, pub, true},
		"network with bits of a host":        {Rule{Address: "192.0.2.9/24"}, ann, pub, true},
		"another network":                    {Rule{Address: "198.51.100.0/24"}, ann, pub, false},
		"an IPv4 address over IPv6":          {Rule{Address: "192.0.2.0/24"}, mapped, pub, true},
		"an IPv4 address written as IPv6":    {Rule{Address: "::ffff:192.0.2.7"}, ann, pub, true},
		"IPv6":                               {Rule{Address: "2001:db8::/32"}, six, pub, true},
		"all of IPv4 is not IPv6":            {Rule{Address: "0.0.0.0/0"}, six, pub, false},
		"a unix socket has no address":       {Rule{Address: "0.0.0.0/0"}, stranger, pub, false},
		"no address at all":                  {Rule{Address: "0.0.0.0/0"}, nil, pub, false},
		"anonymous":                          {Rule{Standing: Anonymous}, stranger, pub, true},
		"anonymous, and she is not":          {Rule{Standing: Anonymous}, ann, pub, false},
		"authenticated":                      {Rule{Standing: Authenticated}, ann, pub, true},
		"authenticated, and they are not":    {Rule{Standing: Authenticated}, stranger, pub, false},
		"nameless":                           {Rule{Standing: Nameless}, stranger, pub, true},
		"nameless, and she is not":           {Rule{Standing: Nameless}, ann, pub, false},
		"nameless, and authenticated":        {Rule{Standing: Nameless}, known("x", ""), pub, true},
		"topic":                              {Rule{Topics: []string{"b", "+"}}, ann, pub, true},
		"another topic":                      {Rule{Topics: []string{"b", "a/+"}}, ann, pub, false},
		"every topic is every topic":         {Rule{}, ann, Ask{Action: Publish, Topic: "$x"}, true},
		"# is none of the broker's":          {Rule{Topics: []string{"#"}}, ann, Ask{Action: Receive, Topic: "$SYS/x"}, false},
		"another action":                     {Rule{Actions: Subscribe | Receive}, ann, pub, false},
		"QoS":                                {Rule{QoS: QoSOf(0, 2)}, ann, Ask{Action: Publish, Topic: "a", QoS: 2}, true},
		"another QoS":                        {Rule{QoS: QoSOf(0, 2)}, ann, Ask{Action: Publish, Topic: "a", QoS: 1}, false},
		"QoS up to":                          {Rule{QoS: QoSUpTo(1)}, ann, Ask{Action: Subscribe, Topic: "a", QoS: 1}, true},
		"QoS above":                          {Rule{QoS: QoSUpTo(1)}, ann, Ask{Action: Subscribe, Topic: "a", QoS: 2}, false},
		"QoS is not of what is received":     {Rule{QoS: QoSOf(2)}, ann, Ask{Action: Receive, Topic: "a", QoS: 1}, true},
		"retained":                           {Rule{Retain: Retained}, ann, Ask{Action: Publish, Topic: "a", Retain: true}, true},
		"retained, and it is not":            {Rule{Retain: Retained}, ann, pub, false},
		"not retained":                       {Rule{Retain: NotRetained}, ann, pub, true},
		"not retained, and it is":            {Rule{Retain: NotRetained}, ann, Ask{Action: Publish, Topic: "a", Retain: true}, false},
		"retained is not of what comes":      {Rule{Retain: NotRetained}, ann, Ask{Action: Receive, Topic: "a", Retain: true}, true},
		"who may subscribe may receive":      {Rule{Actions: Subscribe}, ann, Ask{Action: Receive, Topic: "a"}, true},
		"who may receive may not subscribe":  {Rule{Actions: Receive}, ann, Ask{Action: Subscribe, Topic: "a"}, false},
		"shared subscription":                {Rule{Topics: []string{"a/#"}}, ann, Ask{Action: Subscribe, Topic: "$share/g/a/b"}, true},
		"queue subscription":                 {Rule{Topics: []string{"a/#"}}, ann, Ask{Action: Subscribe, Topic: "$queue/a/b"}, true},
		"local subscription":                 {Rule{Topics: []string{"a/#"}}, ann, Ask{Action: Subscribe, Topic: "$local/a/b"}, true},
		"shared subscription to another":     {Rule{Topics: []string{"a/#"}}, ann, Ask{Action: Subscribe, Topic: "$share/g/b"}, false},
		"a shared $SYS is hidden from #":     {Rule{Topics: []string{"#"}}, ann, Ask{Action: Subscribe, Topic: "$share/g/$SYS/#"}, false},
		"what is no filter":                  {Rule{}, ann, Ask{Action: Subscribe, Topic: "$share/g"}, false},
		"a filter that is covered":           {Rule{Topics: []string{"a/#"}}, ann, Ask{Action: Subscribe, Topic: "a/+/b"}, true},
		"a filter that is not covered":       {Rule{Topics: []string{"a/+/b"}}, ann, Ask{Action: Subscribe, Topic: "a/#"}, false},
		"placeholders":                       {Rule{Topics: []string{"${username}/${clientid}/${attr.room}"}}, ann, Ask{Action: Publish, Topic: "ann/lamp-7/hall"}, true},
		"mosquitto's placeholders":           {Rule{Topics: []string{"x%u/%c/#"}}, ann, Ask{Action: Publish, Topic: "xann/lamp-7"}, true},
		"placeholder without a value":        {Rule{Topics: []string{"a${attr.none}"}}, ann, pub, false},
		"placeholder with an empty value":    {Rule{Topics: []string{"a${attr.empty}"}}, ann, pub, false},
		"placeholder of a stranger":          {Rule{Topics: []string{"${username}"}}, stranger, Ask{Action: Publish, Topic: "ann"}, false},
		"client id of a stranger":            {Rule{Topics: []string{"${clientid}"}}, stranger, Ask{Action: Publish, Topic: "lamp-7"}, true},
		"no placeholders in an exact topic":  {Rule{Topics: []string{"%u"}, Syntax: Exact}, ann, Ask{Action: Publish, Topic: "%u"}, true},
		"only %u and %c in an acl_file":      {Rule{Topics: []string{"${username}/%u"}, Syntax: Percent}, ann, Ask{Action: Publish, Topic: "${username}/ann"}, true},
		"eq is a word in an acl_file":        {Rule{Topics: []string{"eq a"}, Syntax: Exact}, ann, Ask{Action: Publish, Topic: "eq a"}, true},
		"a topic that is wider than filters": {Rule{Topics: []string{"a"}}, ann, Ask{Action: Subscribe, Topic: "#"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.rule.Actions == 0 {
				c.rule.Actions = Publish | Subscribe | Receive
			}
			c.rule.Effect = Allow
			d := compile(t, c.rule).Decide(c.who, c.ask)
			if d.Matched != c.want || d.Allowed != c.want || (d.Rule != nil) != c.want {
				t.Errorf("%+v, want %v", d, c.want)
			}
		})
	}
}

func TestDenialsOverlap(t *testing.T) {
	for name, c := range map[string]struct {
		rule Rule
		ask  Ask
		want bool // it matches
	}{
		"the filter":                    {Rule{Topics: []string{"a/b"}}, Ask{Action: Subscribe, Topic: "a/b"}, true},
		"a wider filter":                {Rule{Topics: []string{"a/b"}}, Ask{Action: Subscribe, Topic: "#"}, true},
		"a crossing filter":             {Rule{Topics: []string{"a/+"}}, Ask{Action: Subscribe, Topic: "+/b"}, true},
		"a wider filter that is shared": {Rule{Topics: []string{"a/b"}}, Ask{Action: Subscribe, Topic: "$share/g/a/#"}, true},
		"another filter":                {Rule{Topics: []string{"a/b"}}, Ask{Action: Subscribe, Topic: "a/c/#"}, false},
		"# is none of the broker's":     {Rule{Topics: []string{"$SYS/#"}}, Ask{Action: Subscribe, Topic: "#"}, false},
		"every topic":                   {Rule{}, Ask{Action: Subscribe, Topic: "$SYS/a"}, true},
		"eq":                            {Rule{Topics: []string{"eq #"}}, Ask{Action: Subscribe, Topic: "#"}, true},
		"eq, shared":                    {Rule{Topics: []string{"eq #"}}, Ask{Action: Subscribe, Topic: "$share/g/#"}, true},
		"eq means no other filter":      {Rule{Topics: []string{"eq #"}}, Ask{Action: Subscribe, Topic: "a/#"}, false},
		"eq means no name":              {Rule{Topics: []string{"eq #"}}, Ask{Action: Receive, Topic: "a"}, false},
		"eq of a name":                  {Rule{Topics: []string{"eq a"}}, Ask{Action: Receive, Topic: "a"}, true},
		"eq with a placeholder":         {Rule{Topics: []string{"eq %u/#"}}, Ask{Action: Subscribe, Topic: "ann/#"}, true},
		"QoS is not of what comes":      {Rule{QoS: QoSOf(2)}, Ask{Action: Receive, Topic: "a", QoS: 2}, false},
		"nor is retained":               {Rule{Retain: Retained}, Ask{Action: Receive, Topic: "a", Retain: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.rule.Effect, c.rule.Actions = Deny, Publish|Subscribe|Receive
			d := compile(t, c.rule).Decide(known("c", "ann"), c.ask)
			if d.Matched != c.want || d.Allowed {
				t.Errorf("%+v, want %v", d, c.want)
			}
		})
	}
}

// What a client can choose does not widen a filter (CVE-2017-7650), nor lead it
// to the topics of others or of the broker.
func TestValuesDoNotWidenFilters(t *testing.T) {
	rules := compile(t, Rule{Effect: Allow, Actions: Publish | Subscribe | Receive, Topics: []string{
		"users/${username}/#", "${clientid}/#", "${attr.site}", "w/%u%c", "%u/#",
	}})
	for _, value := range []string{"#", "+", "a/#", "+/+", "a+", "#a", "victim/inbox", "/", "a/", "/a", "$SYS", "$share", "$", ""} {
		who := known(value, value)
		who.Grant.Attributes = map[string]string{"site": value}
		for _, ask := range []Ask{
			{Action: Subscribe, Topic: "users/#"},
			{Action: Subscribe, Topic: "users/+/#"},
			{Action: Subscribe, Topic: "#"},
			{Action: Subscribe, Topic: "+"},
			{Action: Subscribe, Topic: "victim/inbox/x"},
			{Action: Subscribe, Topic: "$SYS/#"},
			{Action: Subscribe, Topic: value + "/#"},
			{Action: Publish, Topic: "users/victim/x"},
			{Action: Publish, Topic: "users/a/x"},
			{Action: Publish, Topic: "victim/inbox/x"},
			{Action: Publish, Topic: "users/" + value + "/x"},
			{Action: Publish, Topic: value},
			{Action: Receive, Topic: "$SYS/broker/uptime"},
			{Action: Receive, Topic: "w/" + value + value},
		} {
			own := strings.HasPrefix(value, "$") && strings.HasPrefix(ask.Topic, "users/"+value+"/") ||
				strings.HasPrefix(value, "$") && strings.HasPrefix(ask.Topic, "w/"+value) // a $ inside is any character
			if d := rules.Decide(who, ask); d.Matched != own {
				t.Errorf("%q may %v %q", value, ask.Action, ask.Topic)
			}
		}
	}
}

// A rule that denies is not got around by a name that placeholders do not take.
func TestDenialsHoldForValuesWithSlashes(t *testing.T) {
	rules := compile(t,
		Rule{Effect: Deny, Actions: Publish | Subscribe, Topics: []string{"d/%u/locked"}},
		Rule{Effect: Allow, Actions: Publish | Subscribe, Topics: []string{"d/#"}})
	for _, c := range []struct {
		user, topic string
		allowed     bool
	}{
		{"a", "d/a/locked", false},
		{"a", "d/b/locked", true},
		{"a/b", "d/a/b/locked", false},
		{"a/b", "d/a/locked", true},
	} {
		if d := rules.Decide(known("x", c.user), Ask{Action: Publish, Topic: c.topic}); d.Allowed != c.allowed {
			t.Errorf("user %q, topic %q: %+v", c.user, c.topic, d)
		}
	}
}

func TestTheFirstThatMatchesDecides(t *testing.T) {
	all := Publish | Subscribe | Receive
	rules := compile(t,
		Rule{Effect: Deny, Actions: all, Topics: []string{"a/1"}}, // r0, in the rest
		Rule{Effect: Allow, Actions: all, User: "ann", Topics: []string{"a/#"}},
		Rule{Effect: Deny, Actions: all, Client: "c", Topics: []string{"a/2"}},
		Rule{Effect: Deny, Actions: all, User: "/./", Topics: []string{"a/3", "b/#"}},
		Rule{Effect: Allow, Actions: all, Client: "c", Topics: []string{"#"}}, // r4
		Rule{Effect: Deny, Actions: all, User: "ann", Topics: []string{"#"}},
	)
	for _, c := range []struct{ client, user, topic, rule string }{
		{"c", "ann", "a/1", "r0"},
		{"c", "ann", "a/2", "r1"},
		{"c", "bob", "a/2", "r2"},
		{"c", "bob", "a/3", "r3"},
		{"c", "ann", "b/1", "r3"},
		{"c", "ann", "x", "r4"},
		{"d", "ann", "x", "r5"},
		{"d", "bob", "x", ""},
	} {
		d := rules.Decide(known(c.client, c.user), Ask{Action: Publish, Topic: c.topic})
		got := ""
		if d.Matched {
			got = d.Rule.ID
		}
		if got != c.rule {
			t.Errorf("%+v: decided by %q", c, got)
		}
	}
}

// The index finds the rule that looking at all of them in turn finds.
func TestTheIndexFindsTheFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(anyRule(), 0, 12).Draw(t, "rules")
		for i := range list {
			list[i].ID = fmt.Sprint(i)
		}
		rules, err := Compile(list)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			who, ask := anyClient().Draw(t, "who"), anyAsk().Draw(t, "ask")
			want := Decision{}
			for i := range list {
				one, err := Compile(list[i : i+1])
				if err != nil {
					t.Fatal(err)
				}
				if want = one.Decide(who, ask); want.Matched {
					break
				}
			}
			got := rules.Decide(who, ask)
			if got.Matched != want.Matched || got.Allowed != want.Allowed || got.Matched && got.Rule.ID != want.Rule.ID {
				t.Fatalf("%+v, one by one %+v", got, want)
			}
		}
	})
}

func anyRule() *rapid.Generator[Rule] {
	pick := func(t *rapid.T, name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	return rapid.Custom(func(t *rapid.T) Rule {
		r := Rule{
			Effect:   rapid.SampledFrom([]Effect{Allow, Deny}).Draw(t, "effect"),
			Actions:  Action(rapid.IntRange(1, 7).Draw(t, "actions")),
			User:     pick(t, "user", "", "", "ann", "bob", "/n/"),
			Client:   pick(t, "client", "", "", "", "c1", "/^c/"),
			Group:    pick(t, "group", "", "", "", "g"),
			Standing: rapid.SampledFrom([]Standing{Anyone, Anyone, Anonymous, Authenticated, Nameless}).Draw(t, "standing"),
		}
		if r.Actions != Receive {
			r.QoS = QoS(rapid.SampledFrom([]byte{0, 0, 0, 1, 3, 7}).Draw(t, "qos"))
		}
		if r.Actions&Publish != 0 {
			r.Retain = Retain(rapid.SampledFrom([]byte{0, 0, 0, 1, 2}).Draw(t, "retain"))
		}
		for range rapid.IntRange(0, 2).Draw(t, "n") {
			r.Topics = append(r.Topics, pick(t, "topic", "#", "a", "a/#", "a/+", "+/b", "a/b", "$SYS/#", "%u/#", "a/${clientid}", "+/#"))
		}
		if r.Effect == Deny && rapid.IntRange(0, 5).Draw(t, "eq") == 0 {
			r.Topics = append(r.Topics, "eq a/#")
		}
		return r
	})
}

func anyClient() *rapid.Generator[*Info] {
	return rapid.Custom(func(t *rapid.T) *Info {
		who := &Info{
			ClientID: rapid.SampledFrom([]string{"c1", "c2", "b", "a/b"}).Draw(t, "client"),
			UserName: rapid.SampledFrom([]string{"", "ann", "bob", "a", "+"}).Draw(t, "user"),
		}
		if rapid.Bool().Draw(t, "known") {
			who.Grant = &Grant{}
			if rapid.Bool().Draw(t, "grouped") {
				who.Grant.Groups = []string{"g"}
			}
		}
		return who
	})
}

func anyAsk() *rapid.Generator[Ask] {
	return rapid.Custom(func(t *rapid.T) Ask {
		a := Ask{Action: 1 << rapid.IntRange(0, 2).Draw(t, "action"), QoS: byte(rapid.IntRange(0, 2).Draw(t, "qos"))}
		topics := []string{"a", "a/b", "a/c1", "b", "$SYS/x", "ann/x", "x/b"}
		if a.Action == Subscribe {
			topics = append(topics, "#", "+", "a/#", "+/b", "$share/g/a/+", "$SYS/#", "+/#")
		}
		a.Topic = rapid.SampledFrom(topics).Draw(t, "topic")
		a.Retain = a.Action == Publish && rapid.Bool().Draw(t, "retain")
		return a
	})
}

// manyRules are those of a broker with a rule or two for each of its devices.
func manyRules(t testing.TB, n int) *Rules {
	list := []Rule{
		{Effect: Deny, Actions: Subscribe, Topics: []string{"eq #"}},
		{Effect: Allow, Actions: Publish, Group: "staff", Topics: []string{"#"}},
	}
	for i := range n {
		list = append(list, Rule{
			Effect: Allow, Actions: Publish | Subscribe, User: fmt.Sprint("user", i), Topics: []string{fmt.Sprintf("site/%d/#", i)},
		})
	}
	list = append(list, Rule{Effect: Allow, Actions: Publish | Subscribe, Topics: []string{"devices/${clientid}/#", "logs/%u/${attr.room}/+"}})
	return compile(t, list...)
}

func device(i int) *Info {
	who := known(fmt.Sprint("dev", i), fmt.Sprint("user", i))
	who.Addr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}
	who.Grant.Attributes = map[string]string{"room": "hall"}
	return who
}

func TestDecideDoesNotAllocate(t *testing.T) {
	rules := manyRules(t, 100)
	rules = compile(t, append([]Rule{
		{Effect: Deny, Actions: Publish, Address: "198.51.100.0/24"}, {Effect: Deny, Actions: Publish, Client: "/^x/"},
	}, []Rule{rules.list[0].rule, rules.list[1].rule, rules.list[50].rule, rules.list[102].rule}...)...)
	who := device(48)
	policy := NewPolicy(Sources{Config: rules})
	for _, ask := range []Ask{
		{Action: Publish, Topic: "site/48/x"},
		{Action: Publish, Topic: "devices/dev48/state"},
		{Action: Receive, Topic: "logs/user48/hall/x"},
		{Action: Subscribe, Topic: "$local/devices/dev48/#"},
		{Action: Subscribe, Topic: "site/48/#"},
		{Action: Publish, Topic: "somewhere/else"},
	} {
		allowed := !strings.HasPrefix(ask.Topic, "somewhere")
		if n := testing.AllocsPerRun(100, func() {
			if rules.Decide(who, ask).Matched != allowed || (policy.Access(who, ask) == nil) != allowed {
				t.Errorf("%v %s is not decided as it should be", ask.Action, ask.Topic)
			}
		}); n != 0 {
			t.Errorf("%v %s: %v allocations, want 0", ask.Action, ask.Topic, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		rules := manyRules(b, n)
		for name, topic := range map[string]string{"own": "site/%d/state", "placeholder": "devices/dev%d/state", "none": "other/%d"} {
			b.Run(fmt.Sprint(name, "/", n), func(b *testing.B) {
				who := device(n / 2)
				ask := Ask{Action: Publish, Topic: fmt.Sprintf(topic, n/2)}
				b.ReportAllocs()
				for b.Loop() {
					rules.Decide(who, ask)
				}
			})
		}
	}
}
