package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseNamesEveryMistake(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string // without the file's name
	}{
		"unknown key near a known one": {
			"nod: x\n",
			[]string{"line 1: nod: unknown key: did you mean node?"},
		},
		"unknown key in another spelling": {
			"limits:\n  keepAliveMax: 1m\n",
			[]string{"line 2: limits.keepAliveMax: unknown key: did you mean limits.keep_alive_max?"},
		},
		"known key in the wrong section": {
			"packet: 1MiB\n",
			[]string{"line 1: packet: unknown key: did you mean limits.packet?"},
		},
		"top-level key inside a section": {
			"loop:\n  response_information: x\n",
			[]string{"line 2: loop.response_information: unknown key: did you mean response_information at the top level?"},
		},
		"unknown key near none": {
			"log:\n  quetzalcoatl: 1\n",
			[]string{"line 2: log.quetzalcoatl: unknown key: the keys here are level, format"},
		},
		"key twice": {
			"node: a\nshared: random\nnode: b\n",
			[]string{"line 3: node: is written twice, first in line 1"},
		},
		"several mistakes in the order of the file": {
			"shared: often\nlimits:\n  in_flight: 0\n  packet: 1GB\nnodee: x\n",
			[]string{
				"line 1: shared: \"often\" is unknown: it is one of round_robin, random, sticky, hash_clientid, hash_topic",
				"line 3: limits.in_flight: 0 is below 1",
				"line 4: limits.packet: 1GB is above 256MiB",
				"line 5: nodee: unknown key: did you mean node?",
			},
		},
		"not a map": {
			"- a\n",
			[]string{"line 1: here go keys and values, such as node, listeners, data, durability, auth, access, limits, shared, log, sys_interval, loop, server_reference, response_information"},
		},
		"section that is a value": {
			"log: debug\n",
			[]string{"line 1: log: here go keys and values, such as level, format"},
		},
		"value that is a section": {
			"node:\n  name: x\n",
			[]string{"line 2: node: here goes a single value"},
		},
		"anchor and alias": {
			"node: &n x\nserver_reference: *n\n",
			[]string{
				"line 1: node: anchors, aliases and tags are not read here: write the value out",
				"line 2: server_reference: anchors, aliases and tags are not read here: write the value out",
			},
		},
		"merge key": {
			"limits:\n  <<: {packet: 1MiB}\n",
			[]string{"line 2: limits: merge keys are not read here: write the values out"},
		},
		"second document": {
			"node: a\n---\nnode: b\n",
			[]string{"line 3: the file holds a second document: remove the line --- and what follows"},
		},
		"node that is no topic level": {
			"node: a/b\n",
			[]string{`line 1: node: "a/b" cannot be a topic level: leave out /, + and #`},
		},
		"durability misspelt": {
			"durability: memroy\n",
			[]string{`line 1: durability: "memroy" is unknown: did you mean memory?`},
		},
		"anonymous": {
			"auth: {anonymous: yes}\n",
			[]string{`line 1: auth.anonymous: "yes" is unknown: it is one of loopback, always, never`},
		},
		"users without name and password, and one name twice": {
			"auth:\n  users:\n    - name: ann\n    - password: x\n    - {name: ann, password: y}\n",
			[]string{
				"line 3: auth.users[0].password: is missing",
				"line 4: auth.users[1].name: is missing",
				`line 5: auth.users[2].name: "ann" is auth.users[0] already`,
			},
		},
		"password file without a path": {
			"auth:\n  chain:\n    - users: {}\n    - password_file:\n",
			[]string{"line 4: auth.chain[1].password_file.path: is missing: name the file, which fantail passwd writes"},
		},
		"a window for timestamps that is none": {
			"auth:\n  chain:\n    - accounts: {}\n    - devices: {timestamp_window: 25h, window: 1m}\n",
			[]string{
				"line 4: auth.chain[1].devices.window: unknown key: the keys here are timestamp_window",
				"line 4: auth.chain[1].devices.timestamp_window: 25h0m0s is above 24h0m0s",
			},
		},
		"users as a map": {
			"auth:\n  users: {ann: secret}\n",
			[]string{"line 2: auth.users: here goes a list: write each item on a line of its own that begins with -"},
		},
		"size with an unknown unit": {
			"limits:\n  packet: 1M\n",
			[]string{`line 2: limits.packet: "1M" has the unknown unit "M": write KiB, MiB or GiB`},
		},
		"size that is no number": {
			"limits:\n  packet: 1.5MiB\n",
			[]string{`line 2: limits.packet: "1.5MiB" is no size: write a whole number and a unit, such as 64KiB or 1MiB`},
		},
		"size past all machines": {
			"limits:\n  queue_bytes: 9999999999GiB\n",
			[]string{`line 2: limits.queue_bytes: "9999999999GiB" is more than any machine has`},
		},
		"time without a unit": {
			"limits:\n  connect_timeout: 10\n",
			[]string{`line 2: limits.connect_timeout: "10" has no unit: write 10s for seconds`},
		},
		"time that is none": {
			"sys_interval: often\n",
			[]string{`line 1: sys_interval: "often" is no time: write a number and a unit, such as 10s, 5m or 1h30m`},
		},
		"number that is none": {
			"limits:\n  in_flight: many\n",
			[]string{`line 2: limits.in_flight: "many" is not a whole number`},
		},
		"truth that is neither": {
			"listeners:\n  - {url: 'tcp://:1883', proxy_protocol: yes}\n",
			[]string{`line 2: listeners[0].proxy_protocol: "yes" is neither true nor false`},
		},
		"no listeners": {
			"listeners: []\n",
			[]string{"line 1: listeners: the list is empty: leave the key out for the defaults"},
		},
		"listener with an unknown key and without a url": {
			"listeners:\n  - {uri: 'tcp://:1883'}\n",
			[]string{
				"line 2: listeners[0].uri: unknown key: did you mean listeners[0].url?",
				"line 2: listeners[0].url: is missing: write a URL such as tcp://0.0.0.0:1883",
			},
		},
		"listener with mistakes in its URL": {
			"listeners:\n  - tcp://127.0.0.1\n  - url: tls://:8883\n    cert: c\n  - tcp://:1?crt=x\n",
			[]string{
				`line 2: listeners[0]: "127.0.0.1" needs a host and a port, such as tcp://0.0.0.0:1883`,
				"line 3: listeners[1].key: is missing: the certificate needs its key",
				`line 5: listeners[2]: unknown option "crt": did you mean cert?`,
			},
		},
		"listener that is empty": {
			"listeners:\n  - ''\n",
			[]string{"line 2: listeners[0]: is empty: write a URL such as tcp://0.0.0.0:1883"},
		},
		"address twice": {
			"listeners:\n  - tcp://:1883\n  - ws://:1883\n  - tcp://:0\n  - tcp://:0\n",
			[]string{"line 3: listeners[1]: :1883 is taken by listeners[0]"},
		},
		"not YAML": {
			"node: [a\nshared: x\n",
			[]string{"line 2: this is not YAML: ',' or ']' must be specified"},
		},
		"tab as indent": {
			"log:\n\tlevel: info\n",
			[]string{"line 2: this is not YAML: found character '\t' that cannot start any token"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text))
			mistakesOf(t, err)
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateNamesEveryMistakeByKey(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		want   []string
	}{
		"packet below the least":     {func(c *Config) { c.Limits.Packet = 63 }, []string{"limits.packet: 63 is below 64"}},
		"packet above the most":      {func(c *Config) { c.Limits.Packet = 256*MiB + 1 }, []string{"limits.packet: 268435457 is above 256MiB"}},
		"no time to connect":         {func(c *Config) { c.Limits.ConnectTimeout = -1 }, []string{"limits.connect_timeout: -1ns is not above 0: a connection needs time to say CONNECT"}},
		"keep alive below 0":         {func(c *Config) { c.Limits.KeepAliveMax = -time.Second }, []string{"limits.keep_alive_max: -1s is below 0"}},
		"keep alive in parts":        {func(c *Config) { c.Limits.KeepAliveMax = 1500 * time.Millisecond }, []string{"limits.keep_alive_max: 1.5s is not a whole number of seconds"}},
		"keep alive above u16":       {func(c *Config) { c.Limits.KeepAliveMax = 65536 * time.Second }, []string{"limits.keep_alive_max: 18h12m16s is above 65535 seconds"}},
		"receive maximum":            {func(c *Config) { c.Limits.ReceiveMaximum = 65536 }, []string{"limits.receive_maximum: 65536 is above 65535"}},
		"topic alias maximum":        {func(c *Config) { c.Limits.TopicAliasMaximum = -2 }, []string{"limits.topic_alias_maximum: -2 is below -1"}},
		"in flight":                  {func(c *Config) { c.Limits.InFlight = -1 }, []string{"limits.in_flight: -1 is below 1"}},
		"queue messages":             {func(c *Config) { c.Limits.QueueMessages = -1 }, []string{"limits.queue_messages: -1 is below 1"}},
		"queue bytes":                {func(c *Config) { c.Limits.QueueBytes = -1 }, []string{"limits.queue_bytes: -1 is below 1"}},
		"pending bytes":              {func(c *Config) { c.Limits.PendingBytes = -1 }, []string{"limits.pending_bytes: -1 is below 1"}},
		"topic levels":               {func(c *Config) { c.Limits.TopicLevels = 65537 }, []string{"limits.topic_levels: 65537 is above 65536"}},
		"subscriptions":              {func(c *Config) { c.Limits.Subscriptions = -1 }, []string{"limits.subscriptions: -1 is below 1"}},
		"wildcard subscriptions":     {func(c *Config) { c.Limits.WildcardSubscriptions = -1 }, []string{"limits.wildcard_subscriptions: -1 is below 1"}},
		"match nodes":                {func(c *Config) { c.Limits.MatchNodes = -1 }, []string{"limits.match_nodes: -1 is below 1"}},
		"session expiry":             {func(c *Config) { c.Limits.SessionExpiryMax = 0xFFFF_FFFF * time.Second }, []string{"limits.session_expiry_max: 1193046h28m15s is above 4294967294 seconds"}},
		"connections":                {func(c *Config) { c.Limits.Connections = -1 }, []string{"limits.connections: -1 is below 0"}},
		"retained messages":          {func(c *Config) { c.Limits.RetainedMessages = -1 }, []string{"limits.retained_messages: -1 is below 1"}},
		"retained bytes":             {func(c *Config) { c.Limits.RetainedBytes = -1 }, []string{"limits.retained_bytes: -1 is below 1"}},
		"refresh of $SYS":            {func(c *Config) { c.SysInterval = time.Millisecond }, []string{"sys_interval: 1ms is below 1s"}},
		"log level":                  {func(c *Config) { c.Log.Level = "warning" }, []string{`log.level: "warning" is unknown: did you mean warn?`}},
		"log format":                 {func(c *Config) { c.Log.Format = "xml" }, []string{`log.format: "xml" is unknown: it is one of text, json`}},
		"transport":                  {func(c *Config) { c.Loop.Transport = "uring" }, []string{`loop.transport: "uring" is unknown: it is one of auto, epoll, portable`}},
		"loops":                      {func(c *Config) { c.Loop.Loops = 257 }, []string{"loop.loops: 257 is above 256"}},
		"tick":                       {func(c *Config) { c.Loop.Tick = time.Second }, []string{"loop.tick: 1s is above 10ms"}},
		"long node":                  {func(c *Config) { c.Node = strings.Repeat("n", 129) }, []string{"node: the name has 129 bytes, which is above 128"}},
		"long server reference":      {func(c *Config) { c.ServerReference = strings.Repeat("s", 65536) }, []string{"server_reference: the text has 65536 bytes, which is above 65535"}},
		"response information":       {func(c *Config) { c.ResponseInformation = "a\x00" }, []string{`response_information: "a\x00" is not UTF-8 text without a zero`}},
		"user name that is no UTF-8": {func(c *Config) { c.Auth.Users = []User{{"\xff", "x"}} }, []string{`auth.users[0].name: "\xff" is not UTF-8 text without a zero`}},
		"two at once": {func(c *Config) { c.Shared, c.Durability = "x", "disk" }, []string{
			`durability: "disk" is unknown: it is one of fsync, memory`,
			`shared: "x" is unknown: it is one of round_robin, random, sticky, hash_clientid, hash_topic`,
		}},
		"listener made by hand": {func(c *Config) {
			c.Listeners = []Listener{{Scheme: "tpc", Address: "x"}, {Scheme: SchemeTLS, Address: ":1"}}
		}, []string{
			`listeners[0]: unknown scheme "tpc": did you mean tcp?`,
			"listeners[1].cert: is missing: a tls listener needs the PEM files cert and key",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var c Config
			tt.change(&c)
			err := c.Validate()
			mistakesOf(t, err)
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
