package fantail_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// ruled is a broker with accounts and a section access in YAML, whose control
// socket can be asked.
type ruled struct {
	*server
	config fantail.Config
	folder string // of the configuration
}

// rule runs one.
func rule(t *testing.T, transport, access string, files map[string]string) *ruled {
	t.Helper()
	r := &ruled{folder: t.TempDir()}
	for name, text := range files {
		r.write(t, name, text)
	}
	r.config = r.load(t, access)
	r.config.Data = shortFolder(t)
	if transport != onDisk {
		r.config.Durability = "memory"
	}
	r.server = serve(t, transport, r.config, nil)
	return r
}

func shortFolder(t *testing.T) string {
	t.Helper()
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	return data
}

func (r *ruled) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load reads a configuration with accounts and this section access.
func (r *ruled) load(t *testing.T, access string) fantail.Config {
	t.Helper()
	r.write(t, "fantail.yaml", "auth: {users: [{name: ann, password: pencil}, {name: bob, password: eraser}]}\n"+access)
	c, err := fantail.LoadConfig(filepath.Join(r.folder, "fantail.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.Listeners, c.SysInterval, c.Data, c.Durability = nil, 0, r.config.Data, r.config.Durability
	return *c
}

// reload takes a section access over.
func (r *ruled) reload(t *testing.T, access string) error {
	t.Helper()
	return r.Reload(r.load(t, access))
}

// asks the control socket something, and has to hear a status.
func (r *ruled) asks(t *testing.T, method, path, body string, want int) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.config.Data, "fantail.sock"))
		},
	}}
	q, err := http.NewRequestWithContext(t.Context(), method, "http://fantail/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != want {
		t.Fatalf("%s %s: %s, %v: %s", method, path, answer.Status, err, text)
	}
	return string(text)
}

// ann and bob are connected clients.
func (r *ruled) ann(t *testing.T, more ...func(*packet.Connect)) *wire {
	t.Helper()
	w, _ := r.connect(t, "a", account("ann", "pencil", more...))
	return w
}

func (r *ruled) bob(t *testing.T, more ...func(*packet.Connect)) *wire {
	t.Helper()
	w, _ := r.connect(t, "b", account("bob", "eraser", more...))
	return w
}

func account(user, password string, more ...func(*packet.Connect)) func(*packet.Connect) {
	return as(user, append(more, func(c *packet.Connect) { c.HasPassword, c.Password = true, []byte(password) })...)
}

// subscribes wants an answer to a subscription.
func (w *wire) subscribes(filter string, want packet.Code) {
	w.t.Helper()
	if codes := w.subscribe(packet.Subscription{Filter: filter, QoS: 1}); codes[0] != want {
		w.t.Errorf("SUBACK of %s: %v, want %v", filter, codes[0], want)
	}
}

func (w *wire) publishes(topic string, want packet.Code) {
	w.t.Helper()
	if code := w.publish(packet.Publish{Topic: []byte(topic), Payload: []byte(topic), QoS: 1}); code != want {
		w.t.Errorf("PUBACK of %s: %v, want %v", topic, code, want)
	}
}

func TestAnACLFileOfMosquitto(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		r := rule(t, transport, "access: {acl_file: acl}\n", map[string]string{
			"acl": "user ann\ntopic read home/#\ntopic readwrite notes/#\nuser bob\ntopic write home/#\npattern readwrite own/%u/#\n",
		})
		_, port, _ := strings.Cut(r.mqtt[0], ":")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var out bytes.Buffer
		sub := exec.CommandContext(ctx, "mosquitto_sub", "-p", port, "-u", "ann", "-P", "pencil", "-q", "1", "-t", "home/#", "-t", "own/#", "-C", "2", "-F", "%t")
		sub.Stdout = &out
		if err := sub.Start(); err != nil {
			t.Fatal(err)
		}
		r.reaches(t, "subscriptions", 2)
		for _, topic := range []string{"notes/a", "own/ann/x", "own/bob/x", "home/a"} {
			program(t, "mosquitto_pub", "-p", port, "-u", "bob", "-P", "eraser", "-q", "1", "-t", topic, "-m", "x")
		}
		program(t, "mosquitto_pub", "-p", port, "-u", "ann", "-P", "pencil", "-q", "1", "-t", "own/ann/y", "-m", "x")
		if err := sub.Wait(); err != nil {
			t.Fatalf("mosquitto_sub: %v", err)
		}
		if got, want := out.String(), "home/a\nown/ann/y\n"; got != want {
			t.Errorf("came %q, want %q", got, want)
		}
		r.log.wait(t, "publish refused", "user=bob", "topic=notes/a")
	})
}

func TestRulesOfTheConfiguration(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		r := rule(t, transport, `access:
  deny_action: disconnect
  rules:
    - {deny: receive, topic: home/safe}
    - {allow: subscribe, user: ann, topic: [home/#, "own/${username}/#"]}
    - {allow: publish, user: bob, topic: "home/+", retain: false}
`, nil)
		ann, bob := r.ann(t), r.bob(t)
		ann.subscribes("home/#", packet.GrantedQoS1)
		ann.subscribes("own/bob/#", packet.NotAuthorized)
		bob.subscribes("home/#", packet.NotAuthorized)
		bob.publishes("home/safe", packet.NoMatchingSubscribers)
		bob.publishes("home/a", packet.Success)
		ann.hears("home/a")
		r.log.wait(t, "subscription refused", "user=bob", "filter=home/#")
		bob.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("home/a"), Retain: true}, bob.v))
		bob.sentAway(packet.NotAuthorized)
		r.log.wait(t, "publish refused", "user=bob", "topic=home/a", "no rule matches")
	})
}

func TestARuleOfRunTimeHoldsAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		r := rule(t, transport, "", nil)
		ann := r.ann(t, lasting).to("home/#", 1).to("open", 1)
		away, _ := r.connect(t, "away", account("ann", "pencil", lasting))
		away.to("home/#", 1).to("open", 1).lose()
		r.reaches(t, "clients_connected", 1)
		bob := r.bob(t)
		bob.publishes("home/a", packet.Success)
		ann.hears("home/a")
		r.asks(t, http.MethodPut, "rules/0002", `{"allow": "all", "topic": "#"}`, http.StatusCreated)
		r.asks(t, http.MethodPut, "rules/0001", `{"deny": ["subscribe", "receive"], "user": "ann", "topic": "home/#"}`, http.StatusCreated)
		bob.publishes("home/b", packet.NoMatchingSubscribers)
		bob.publishes("open", packet.Success)
		ann.hears("open")
		r.log.wait(t, "subscription refused", "client=a", "filter=home/#", "rule=run-time rule 0001")
		r.log.wait(t, "run-time rule changed", "rule=0001", "deny subscribe, receive on home/#, for user ann")
		ann.subscribes("home/a", packet.NotAuthorized)
		back, _ := r.connect(t, "away", account("ann", "pencil", lasting))
		back.hears("open") // and not home/a, which was let in by the rules before
		back.quiet()
		r.asks(t, http.MethodDelete, "rules/0001", "", http.StatusNoContent)
		bob.publishes("home/c", packet.NoMatchingSubscribers)
		ann.subscribes("home/#", packet.GrantedQoS1)
		r.asks(t, http.MethodPatch, "rules/0002", `{"user": "ann"}`, http.StatusOK)
		bob.publishes("home/d", packet.NotAuthorized)
		r.asks(t, http.MethodDelete, "rules/0002", "", http.StatusNoContent)
		bob.publishes("home/e", packet.Success)
		ann.hears("home/e")
	})
}

func TestAWrongRuleChangesNothing(t *testing.T) {
	r := rule(t, "auto", "", nil)
	ann := r.ann(t)
	for body, want := range map[string]string{
		`{"deny": "al", "user": "/(/"}`:      "is no action",
		`{"deny": "all", "usr": "ann"}`:      "usr",
		`{"allow": "all"}`:                   "topic: is missing",
		`{"deny": "all", "topic": ["a/#b"]}`: "topic: ",
		`[]`:                                 "the JSON cannot be read",
	} {
		if answer := r.asks(t, http.MethodPut, "rules/x", body, http.StatusUnprocessableEntity); !strings.Contains(answer, want) {
			t.Errorf("%s: %s does not say %q", body, answer, want)
		}
	}
	if answer := r.asks(t, http.MethodGet, "rules", "", http.StatusOK); !strings.Contains(answer, `"list": []`) {
		t.Errorf("there are rules: %s", answer)
	}
	ann.subscribes("#", packet.GrantedQoS1)
}

func TestRulesOfRunTimeSurviveARestart(t *testing.T) {
	r := rule(t, onDisk, "", nil)
	r.ann(t, lasting).to("home/#", 1).to("open", 1).lose()
	r.asks(t, http.MethodPut, "rules/0002", `{"allow": "all", "topic": "#"}`, http.StatusCreated)
	r.asks(t, http.MethodPut, "rules/0001", `{"deny": "publish", "user": "bob", "topic": "shut"}`, http.StatusCreated)
	r.stop()
	<-r.done
	// Meanwhile, the configuration has another rule, which comes after them.
	r.config = r.load(t, "access: {default: allow, rules: [{deny: publish, topic: other}]}\n")
	r.server = serve(t, onDisk, r.config, nil)
	bob := r.bob(t)
	bob.publishes("shut", packet.NotAuthorized)
	bob.publishes("other", packet.NoMatchingSubscribers)
	r.asks(t, http.MethodDelete, "rules/0002", "", http.StatusNoContent)
	bob.publishes("other", packet.NotAuthorized)
	r.asks(t, http.MethodPut, "rules/0003", `{"deny": ["subscribe", "receive"], "user": "ann", "topic": "home/#"}`, http.StatusCreated)
	// Who comes back with a subscription that is not allowed any more loses it.
	ann := r.ann(t, lasting)
	r.log.wait(t, "subscription refused", "client=a", "filter=home/#", "rule=run-time rule 0003")
	r.asks(t, http.MethodDelete, "rules/0003", "", http.StatusNoContent)
	bob.publishes("home/a", packet.NoMatchingSubscribers)
	bob.publishes("open", packet.Success)
	ann.hears("open")
}

func TestReloadTakesRulesOver(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		section := "access: {acl_file: acl, rules: [{allow: subscribe, user: ann, topic: a}]}\n"
		r := rule(t, transport, section, map[string]string{"acl": "user bob\ntopic write a\n"})
		ann, bob := r.ann(t).to("a", 1), r.bob(t)
		bob.publishes("a", packet.Success)
		ann.hears("a")

		// A mistake in one of the two keeps both as they were.
		r.write(t, "acl", "user bob\ntopic write b\ntopic Write c d\n")
		err := r.reload(t, "access: {acl_file: acl, rules: [{allow: subscribe, user: ann, topic: b}]}\n")
		if err == nil || !strings.Contains(err.Error(), filepath.Join(r.folder, "acl")+":3: ") {
			t.Errorf("err = %v", err)
		}
		bob.publishes("a", packet.Success)
		ann.hears("a")

		r.write(t, "acl", "user bob\ntopic write b\n")
		if err := r.reload(t, "access: {acl_file: acl, rules: [{allow: subscribe, user: ann, topic: b}]}\n"); err != nil {
			t.Fatal(err)
		}
		r.log.wait(t, "access rules changed", "rules=1, of which 1 are new, and 1 are gone", "acl_file=1, of which 1 are new")
		r.log.wait(t, "subscription refused", "client=a", "filter=a")
		bob.publishes("a", packet.NotAuthorized)
		ann.subscribes("b", packet.GrantedQoS1)
		bob.publishes("b", packet.Success)
		ann.hears("b")

		if err := r.reload(t, ""); err != nil {
			t.Fatal(err)
		}
		bob.publishes("c", packet.NoMatchingSubscribers)
	})
}

func TestABrokenACLFileKeepsTheBrokerFromStarting(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "acl")
	c := fantail.Config{Listeners: fantail.NoListeners(), Access: fantail.Access{ACLFile: path}}
	if _, err := fantail.New(c); err == nil || !strings.Contains(err.Error(), "access.acl_file: ") || !strings.Contains(err.Error(), path) {
		t.Errorf("without the file: %v", err)
	}
	if err := os.WriteFile(path, []byte("topic a\ntpoic b\n\nuser\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := fantail.New(c)
	for _, want := range []string{path + ":2: ", path + ":4: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestTheBrokersTopicsAreShutWithTheFirstAccount(t *testing.T) {
	r := &ruled{config: fantail.Config{Data: shortFolder(t), Durability: "memory"}}
	r.server = serve(t, "auto", r.config, nil)
	w := r.device(t, "here", nil).to("$SYS/none/#", 0)
	r.asks(t, http.MethodPut, "users/ann", `{"password": "pencil"}`, http.StatusCreated)
	r.log.wait(t, "subscription refused", "client=here", "filter=$SYS/none/#")
	w.subscribes("$SYS/none/#", packet.NotAuthorized)
}

func TestWhatOtherRulesWouldMean(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		r := rule(t, transport, "access: {acl_file: acl, rules: [{allow: subscribe, user: ann, topic: home/#}]}\n", map[string]string{"acl": "user bob\ntopic write home/#\n"})
		ann := r.ann(t).to("home/#", 1)
		bob := r.bob(t)
		answer := make(chan string, 1)
		go func() { // ends with its answer
			answer <- r.asks(t, http.MethodPost, "rules/test", `{
				"watch": 1, "acl_file": {"name": "acl.new", "text": "user bob\ntopic write garden/#\ntopic write home/kept\n"},
				"config": {"rules": [{"place": "new[0]", "deny": "receive", "topic": "home/safe"}, {"place": "new[1]", "allow": "subscribe", "topic": "home/#"}]}}`, http.StatusOK)
		}()
		var text string
		for text == "" {
			bob.publishes("home/a", packet.Success)
			bob.publishes("home/kept", packet.Success)
			ann.take()
			ann.take()
			select {
			case text = <-answer:
			default:
			}
		}
		type right struct {
			Allowed, Checked bool
			Rule             string
		}
		var got struct {
			Clients, Rights, Changed int
			Changes                  []struct {
				Client, User, Action, Topic string
				Before, After               right
			}
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if got.Clients != 2 || got.Rights != 3 || got.Changed != 2 || len(got.Changes) != 2 {
			t.Fatalf("%s", text)
		}
		if c := got.Changes[0]; c.Client != "a" || c.User != "ann" || c.Action != "subscribe" || c.Topic != "home/#" ||
			c.Before != (right{true, false, "access.rules[0] (fantail.yaml:2)"}) || c.After != (right{true, true, "new[1]"}) {
			t.Errorf("%+v", c)
		}
		if c := got.Changes[1]; c.Client != "b" || c.Action != "publish" || c.Topic != "home/a" ||
			c.Before != (right{true, false, "acl:2"}) || c.After != (right{false, false, "access.default"}) {
			t.Errorf("%+v", c)
		}
		bob.publishes("home/a", packet.Success) // nothing is applied
		ann.hears("home/a")
		for body, want := range map[string]string{
			`{}`: "nothing to test",
			`{"acl_file": {"name": "f", "text": "x y\nuser a\ntopic"}}`:             "f:1: \\\"x\\\" is unknown",
			`{"config": {"default": "no", "rules": [{"place": "p", "deny": "x"}]}}`: "p: deny: ",
			`{"watch": -1, "acl_file": {"name": "f", "text": ""}}`:                  "watch: ",
		} {
			if answer := r.asks(t, http.MethodPost, "rules/test", body, http.StatusUnprocessableEntity); !strings.Contains(answer, want) {
				t.Errorf("%s: %s does not say %q", body, answer, want)
			}
		}
	})
}
