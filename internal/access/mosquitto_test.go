package access_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

const (
	mosquitto       = "/usr/sbin/mosquitto"
	mosquittoPasswd = "/usr/bin/mosquitto_passwd"
)

// startMosquitto runs a mosquitto with this acl_file, which lets root do
// everything, and with these users, whose password is their name.
func startMosquitto(t *testing.T, acl []byte, users []string) (url string) {
	t.Helper()
	for _, program := range []string{mosquitto, mosquittoPasswd} {
		if _, err := os.Stat(program); err != nil {
			t.Fatalf("no %s: install mosquitto (apt-get install mosquitto); make test does", program)
		}
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	passwords := file("passwords", "")
	for _, u := range append(users, "root") {
		if out, err := exec.Command(mosquittoPasswd, "-b", passwords, u, u).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	l.Close()
	root := "\nuser root\ntopic readwrite #\ntopic readwrite $foo/#\n"
	config := fmt.Sprintf("log_type all\nuser root\nlistener %d 127.0.0.1\nallow_anonymous true\nsys_interval 1\nacl_file %s\npassword_file %s\n",
		address.Port, file("acl", string(acl)+root), passwords)
	cmd := exec.Command(mosquitto, "-c", file("mosquitto.conf", config))
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running, ended := make(chan bool, 1), make(chan struct{})
	go func() { // ends with the process, whose log it reads
		defer close(ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if strings.HasSuffix(lines.Text(), " running") {
				running <- true
			}
		}
		close(running)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
	})
	if !<-running {
		t.Fatal("mosquitto ended before it ran")
	}
	return "mqtt://" + address.String()
}

// guest is a client of the table.
type guest struct{ id, user string }

func (g guest) String() string { return fmt.Sprintf("%q as user %q", g.id, g.user) }

// info is what Fantail knows of it, if an account made it known.
func (g guest) info() *access.Info {
	i := &access.Info{ClientID: g.id, UserName: g.user}
	if g.user != "" {
		i.Grant = &access.Grant{By: "auth.users"}
	}
	return i
}

func (g guest) dial(t *testing.T, url string, got chan<- *client.Message) *client.Client {
	t.Helper()
	o := client.Options{URL: url, ClientID: g.id, CleanStart: true, OnMessage: func(m *client.Message) {
		if got != nil {
			got <- m
		}
	}}
	if g.user != "" {
		o.UserName, o.Password = g.user, []byte(g.user)
	}
	c, err := client.Dial(t.Context(), o)
	if err != nil {
		t.Fatalf("%v: %v", g, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// publishes says whether the server takes a message.
func publishes(t *testing.T, c *client.Client, name, payload string) bool {
	t.Helper()
	_, err := c.Publish(t.Context(), &client.Message{Topic: name, QoS: 1, Payload: []byte(payload)})
	if r, ok := errors.AsType[*packet.Refusal](err); ok && r.Code == packet.NotAuthorized {
		return false
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return true
}

// receives lists which of the names reach a client that subscribes to them.
func receives(t *testing.T, url string, g guest, root *client.Client, names []string) map[string]bool {
	t.Helper()
	messages := make(chan *client.Message, 10*len(names))
	c := g.dial(t, url, messages)
	s := &packet.Subscribe{}
	for _, n := range names {
		s.Filters = append(s.Filters, packet.Subscription{Filter: n})
	}
	if _, err := c.Subscribe(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "$SYS") && !publishes(t, root, n, "root") {
			t.Fatalf("root may not publish to %s", n)
		}
	}
	// What was sent to the client before comes before the answer to this.
	if _, err := c.Unsubscribe(t.Context(), &packet.Unsubscribe{Filters: []string{"none"}}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-c.Done()
	close(messages)
	came := map[string]bool{}
	for m := range messages {
		came[m.Topic] = true
	}
	return came
}

// table is what one acl_file says of some guests and names.
type table struct {
	url           string
	policy        *access.Policy
	root, watcher *client.Client
	seen          chan *client.Message // by the watcher, who reads everything
	rows, allowed int
}

func newTable(t *testing.T, file string, users []string) *table {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file+".acl"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := access.ParseACL(file, text)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := access.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	b := &table{policy: access.NewPolicy(access.Sources{ACLFile: compiled}), seen: make(chan *client.Message, 10_000)}
	b.url = startMosquitto(t, text, users)
	b.root = guest{"root", "root"}.dial(t, b.url, nil)
	b.watcher = guest{"watcher", "root"}.dial(t, b.url, b.seen)
	filters := []packet.Subscription{{Filter: "#"}, {Filter: "$foo/#"}}
	if _, err := b.watcher.Subscribe(t.Context(), &packet.Subscribe{Filters: filters}); err != nil {
		t.Fatal(err)
	}
	return b
}

// row compares one decision with what mosquitto did.
func (b *table) row(t *testing.T, g guest, action access.Action, name string, want bool) {
	t.Helper()
	b.rows++
	if want {
		b.allowed++
	}
	ask := access.Ask{Action: action, Topic: name}
	if got := b.policy.Access(g.info(), ask) == nil; got != want {
		e := b.policy.Explain(g.info(), ask)
		t.Errorf("%v: %v %s: %v, mosquitto says %v (%s: %s)", g, action, name, got, want, e.Rule, e.Why)
	}
}

// play has a guest receive from and publish to all the names.
func (b *table) play(t *testing.T, g guest, names []string) {
	t.Helper()
	came := receives(t, b.url, g, b.root, names)
	c := g.dial(t, b.url, nil)
	defer c.Close()
	for _, n := range names {
		took := !strings.HasPrefix(n, "$SYS") && publishes(t, c, n, g.id)
		if read := b.published(t, n, g.id); read != took {
			t.Errorf("%v: publish to %s: PUBACK says %v, who reads everything was sent it: %v", g, n, took, read)
		}
		b.row(t, g, access.Publish, n, took)
		b.row(t, g, access.Receive, n, came[n])
	}
}

// Fantail decides as mosquitto does with the same acl_file. What may be
// published shows in the PUBACK and in what a client sees that may read
// everything; what may be received, in what comes.
func TestDecisionsAreThoseOfMosquitto(t *testing.T) {
	guests := []guest{
		{"c1", ""},
		{"c2", "ann"},
		{"c3", "bob"},
		{"c4", "cleo the third"},
		{"c5", "/x/"},
		{"c6", "plus+"},
		{"c7", "dan"},
		{"c#8", "ann"},
		{"c+9", ""},
		{"c#10", "dan"},
		{"c11", "unlisted"},
		{"%u", "ann"},
	}
	users := []string{"ann", "bob", "cleo the third", "/x/", "plus+", "dan", "unlisted"}
	names := map[string][]string{
		"patterns": {
			"public", "public/in", "public/secret", "public/a/b", "$foo/open", "$foo/bar", "$foo/ann", "$foo/dan", "$foo",
			"home/ann/lamp", "home/ann/lamp/off", "home/ann/lamp/on", "home/bob/door", "home/ann/door", "home/bob/safe",
			"sp ace/a b", "padded/topic", "read", "both/ways", "both/x", "both/never", "private", "private/x", "anything",
			"%u/literal", "ann/literal", "cleo/a/x", "cleo/a/x/y", "cleo//x", "cleo/a", "slashes", "own/plus", "own/other",
			"shared/board", "users/ann/a/b", "users/ann", "users/ann/locked", "users/dan/a", "users/dan/locked", "users/%u/a",
			"clients/c2/up", "clients/c1/up", "clients/c7/up", "mix/c2-ann/x", "mix/c7-dan/x", "mix/c1-/x", "mix/c1-%u/x",
			"deep/c2/ann/x", "deep/c7/dan/", "deep/c7/dan", "$SYS/broker/version", "$SYS/broker/uptime", "deep/%u/ann/q",
		},
		"topics": {
			"open/a", "open", "open/", "open/a/b", "own/ann", "a", "a/b", "a/b/c", "a/x/c", "a/b/c/d", "a/b/x", "/", "/a", "//",
			"x/x/x", "q/x/", "/x/", "x/x", "$foo/x",
		},
		"onlypatterns": {
			"c1/own", "c2/own", "q/ann/x", "q/ann/x/y/z", "q/ann", "/ann/", "x/y", "x/z", "x", "annc2", "danc7", "%uc1", "c1",
			"100%/%", "ann%u", "$foo/dan/q",
		},
	}
	rows, allowed := 0, 0
	for file, names := range names {
		t.Run(file, func(t *testing.T) {
			b := newTable(t, file, users)
			for _, g := range guests {
				b.play(t, g, names)
			}
			rows += b.rows
			allowed += b.allowed
		})
	}
	t.Logf("%d decisions, %d of them to allow", rows, allowed)
	if rows < 300 || allowed < 100 || rows-allowed < 100 {
		t.Error("the table is too small, or leans to one side")
	}
}

// Where Fantail differs, it lets clients do less: docs/access.md tells of it.
func TestWhereFantailDiffersFromMosquitto(t *testing.T) {
	b := newTable(t, "differences", []string{"$foo", "a/b", "ann"})
	for _, c := range []struct {
		who     guest
		publish string
	}{
		{guest{"porch/lamp", "ann"}, "porch/lamp/x"},    // %c/#
		{guest{"c1", "$foo"}, "$foo/x"},                 // %u/#
		{guest{"c2", "a/b"}, "users/a/b/x"},             // users/%u/#
		{guest{"$foo", "ann"}, "$foo/by/its/client/id"}, // %c/#
	} {
		mosquitto := publishes(t, c.who.dial(t, b.url, nil), c.publish, "x")
		if fantail := b.policy.Access(c.who.info(), access.Ask{Action: access.Publish, Topic: c.publish}) == nil; !mosquitto || fantail {
			t.Errorf("%v publishes to %s: mosquitto %v, Fantail %v", c.who, c.publish, mosquitto, fantail)
		}
	}
	ann := guest{"c3", "ann"}
	for filter, want := range map[string][2]bool{"nothing/#": {}, "#": {true, false}, "c3/+": {true, true}} {
		if _, err := ann.dial(t, b.url, nil).Subscribe(t.Context(), &packet.Subscribe{Filters: []packet.Subscription{{Filter: filter}}}); err != nil {
			t.Errorf("mosquitto: %s: %v", filter, err)
		}
		if allowed, whole, _ := b.policy.Subscribing(ann.info(), filter, 0); allowed != want[0] || whole != want[1] {
			t.Errorf("%s: allowed %v, whole %v, want %v", filter, allowed, whole, want)
		}
	}
}

// published says whether the watcher was sent a guest's message.
func (b *table) published(t *testing.T, name, payload string) (took bool) {
	t.Helper()
	if _, err := b.watcher.Unsubscribe(t.Context(), &packet.Unsubscribe{Filters: []string{"none"}}); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case m := <-b.seen:
			took = took || m.Topic == name && string(m.Payload) == payload && !m.Retain
		default:
			return took
		}
	}
}

// refusesACL says whether mosquitto ends when it reads the acl_file.
func refusesACL(t *testing.T, acl string) bool {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "acl")
	config := filepath.Join(dir, "conf")
	for name, text := range map[string]string{
		path: acl, config: "log_type all\nuser root\nlistener 0 " + filepath.Join(dir, "s") + "\nacl_file " + path + "\nallow_anonymous true\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, mosquitto, "-c", config)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	refused := true
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), " running") {
			refused = false
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	return refused
}

// The same files are refused.
func TestACLFilesAreRefusedByBoth(t *testing.T) {
	if _, err := os.Stat(mosquitto); err != nil {
		t.Fatalf("no %s: install mosquitto (apt-get install mosquitto); make test does", mosquitto)
	}
	for acl, wrong := range map[string]string{
		"topic read a\n":           "",
		"":                         "",
		"topic a":                  "",
		"topic read":               "", // the topic "read"
		"  topic read a":           "",
		"user  ann  \ntopic a\r\n": "",
		"topic deny  a  b":         "",
		"pattern a":                "",
		"\t\n \n":                  "",
		"topic read\ta":            "", // one word, and so the topic
		"topic":                    "f:1: the topic is missing",
		"topic \n":                 "f:1: the topic is missing",
		"user\n":                   "f:1: user: the name is missing",
		"a\nuser   \n":             "f:2: user: the name is missing",
		"\n\ntopic a b":            `f:3: "a" is no access`,
		"topic Read a":             `"Read" is no access`,
		"topic read a/#/b":         "goes on after #",
		"topic read a+":            "does not fill its level",
		"pattern read %c+/a":       "does not fill its level",
		"topic read foo # why":     "goes on after #",
		" # a comment":             `"#" is unknown`,
		"\ttopic a":                "is unknown",
		"topics a":                 `"topics" is unknown`,
		"Topic a":                  `"Topic" is unknown`,
		"\ufefftopic a":            "is unknown",
	} {
		_, err := access.ParseACL("f", []byte(acl))
		switch {
		case wrong == "" && err != nil:
			t.Errorf("%q: %v", acl, err)
		case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%q: %v, want %q", acl, err, wrong)
		}
		if refused := refusesACL(t, acl); refused != (err != nil) {
			t.Errorf("%q: mosquitto refuses: %v, Fantail: %v", acl, refused, err)
		}
	}
}
