package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

func TestZeroConfigIsTheDefault(t *testing.T) {
	want := Defaults()
	want.Durability = DurabilityMemory // there is no folder
	if diff := cmp.Diff(want, Config{}.WithDefaults()); diff != "" {
		t.Errorf("Config{}.WithDefaults() (-want +got):\n%s", diff)
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("Validate of the zero value: %v", err)
	}
}

func TestWithDefaultsKeepsWhatIsSet(t *testing.T) {
	c := Config{
		Node:        "porch",
		Listeners:   []Listener{},
		SysInterval: -1,
		Limits:      Limits{Packet: 4 * MiB, TopicAliasMaximum: -1},
	}
	once := c.WithDefaults()
	want := Defaults()
	want.Durability = DurabilityMemory
	want.Node, want.Listeners, want.SysInterval = "porch", []Listener{}, -1
	want.Limits.Packet, want.Limits.TopicAliasMaximum = 4*MiB, -1
	if diff := cmp.Diff(want, once); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(once, once.WithDefaults()); diff != "" {
		t.Errorf("a second WithDefaults changed (-once +twice):\n%s", diff)
	}
}

func TestAnEmptyFileIsTheDefault(t *testing.T) {
	for name, text := range map[string]string{
		"no byte":            "",
		"a comment":          "# nothing\n",
		"document marks":     "---\n...\n",
		"keys without value": "node:\nlimits:\n  # packet: 1MiB\nlisteners:\nauth:\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Defaults(), *c); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseReadsEveryKindOfValue(t *testing.T) {
	c, err := Parse([]byte(`
node: porch
listeners:
  - tcp://127.0.0.1:0
  - url: tls://[::]:8883
    cert: server.pem
    key: server.key
    client_ca: ca.pem
    min_version: 1.3
    proxy_protocol: true
  - ws://0.0.0.0:8083/mqtt
  - unix:///run/fantail.sock
data: /var/lib/fantail
auth:
  anonymous: never
  users:
    - {name: ann, password: 007}
    - name: bob
      password: "a # b"
limits:
  packet: 64KiB
  connect_timeout: 1m30s
  topic_alias_maximum: 0
  queue_bytes: 1024
  queue_qos0: true
shared: hash_topic
log: {level: debug, format: json}
sys_interval: 0
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Node = "porch"
	want.Listeners = []Listener{
		{Scheme: SchemeTCP, Address: "127.0.0.1:0"},
		{
			Scheme: SchemeTLS, Address: "[::]:8883", Cert: "server.pem", Key: "server.key",
			ClientCA: "ca.pem", ClientCert: ClientCertRequire, MinVersion: "1.3", ProxyProtocol: true,
		},
		{Scheme: SchemeWS, Address: "0.0.0.0:8083", Path: "/mqtt"},
		{Scheme: SchemeUnix, Address: "/run/fantail.sock"},
	}
	want.Data = "/var/lib/fantail"
	want.Auth = Auth{Anonymous: AnonymousNever, ClientIDs: ClientIDsOwn, Users: []User{{"ann", "007"}, {"bob", "a # b"}}}
	want.Limits.Packet = 64 * KiB
	want.Limits.ConnectTimeout = 90 * time.Second
	want.Limits.TopicAliasMaximum = -1
	want.Limits.QueueBytes = 1024
	want.Limits.QueueQoS0 = true
	want.Shared = SharedHashTopic
	want.Log = Log{Level: LevelDebug, Format: FormatJSON}
	want.SysInterval = -1
	if diff := cmp.Diff(want, *c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMarshalledConfigParsesToItself(t *testing.T) {
	want := Defaults()
	want.Listeners = append(want.Listeners, Listener{
		Scheme: SchemeTLS, Address: "127.0.0.1:8883", Cert: "a b&c.pem", Key: "k", ClientCert: ClientCertNone, MinVersion: "1.2",
	})
	want.Auth.Users = []User{{"ann", "true"}}
	text, err := yaml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "auth.users[0].password: this stands for a secret") {
		t.Errorf("a hidden secret is taken: %v", err)
	}
	text = bytes.ReplaceAll(text, []byte(Hidden), []byte(want.Auth.Users[0].Password))
	got, err := Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, text)
	}
}

// mistakesOf is the list inside the error of a call that has to fail.
func mistakesOf(t *testing.T, err error) []Mistake {
	t.Helper()
	var wrong *Error
	if !errors.As(err, &wrong) {
		t.Fatalf("err = %v, want an *Error", err)
	}
	return wrong.Mistakes
}
