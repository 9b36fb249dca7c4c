package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Validate reports every mistake of c, by key, as an *Error. Zero fields stand
// for their defaults and are right.
func (c Config) Validate() error {
	return asError("", c.WithDefaults().mistakes())
}

// mistakes checks a configuration whose defaults are filled in.
func (c Config) mistakes() []Mistake {
	var k check
	k.node(c.Node)
	k.listeners(c.Listeners)
	if c.Durability != "" { // which is that of the data folder
		k.oneOf("durability", c.Durability, DurabilityFsync, DurabilityMemory)
	}
	if c.Auth.Anonymous != "" { // which hangs from the rest
		k.oneOf("auth.anonymous", c.Auth.Anonymous, AnonymousLoopback, AnonymousAlways, AnonymousNever)
	}
	k.oneOf("auth.client_ids", c.Auth.ClientIDs, ClientIDsOwn, ClientIDsShared)
	k.users(c.Auth.Users)
	k.chain(c.Auth.Chain)
	k.access(&c.Access)
	k.limits("limits.", &c.Limits)
	k.sets(&c.Limits)
	k.oneOf("shared", c.Shared, SharedRoundRobin, SharedRandom, SharedSticky, SharedHashClientID, SharedHashTopic)
	k.oneOf("log.level", c.Log.Level, LevelDebug, LevelInfo, LevelWarn, LevelError)
	k.oneOf("log.format", c.Log.Format, FormatText, FormatJSON)
	if c.SysInterval >= 0 && c.SysInterval < time.Second {
		k.add("sys_interval", "%v is below 1s", c.SysInterval)
	}
	k.oneOf("loop.transport", c.Loop.Transport, TransportAuto, TransportEpoll, TransportPortable)
	between(&k, "loop.loops", c.Loop.Loops, 0, 256)
	between(&k, "loop.tick", c.Loop.Tick, 0, 10*time.Millisecond)
	k.mqttString("server_reference", c.ServerReference)
	k.mqttString("response_information", c.ResponseInformation)
	return k.mistakes
}

// check collects mistakes.
type check struct{ mistakes []Mistake }

func (k *check) add(key, format string, args ...any) {
	k.mistakes = append(k.mistakes, Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (k *check) oneOf(key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	if near := nearest(value, allowed); near != "" {
		k.add(key, "%q is unknown: did you mean %s?", value, near)
		return
	}
	k.add(key, "%q is unknown: it is one of %s", value, strings.Join(allowed, ", "))
}

func between[N cmp.Ordered](k *check, key string, value, least, most N) {
	if value < least {
		k.add(key, "%v is below %v", value, least)
	}
	if value > most {
		k.add(key, "%v is above %v", value, most)
	}
}

func atMost[N cmp.Ordered](k *check, key string, value, most N) {
	if value > most {
		k.add(key, "%v is above %v", value, most)
	}
}

func atLeast[N cmp.Ordered](k *check, key string, value, least N) {
	if value < least {
		k.add(key, "%v is below %v", value, least)
	}
}

// node checks the node's name, which is a level of the $SYS topics.
func (k *check) node(name string) {
	if strings.ContainsAny(name, "/+#\x00") || !utf8.ValidString(name) {
		k.add("node", "%q cannot be a topic level: leave out /, + and #", name)
	}
	if len(name) > 128 {
		k.add("node", "the name has %d bytes, which is above 128", len(name))
	}
}

func (k *check) listeners(listeners []Listener) {
	seen := map[string]int{}
	for i, l := range listeners {
		key := fmt.Sprintf("listeners[%d]", i)
		for _, p := range l.problems() {
			if p.key == "" {
				k.add(key, "%s", p.text)
				continue
			}
			k.add(key+"."+p.key, "%s", p.text)
		}
		if first, twice := seen[l.Address]; twice && !strings.HasSuffix(l.Address, ":0") {
			k.add(key, "%s is taken by listeners[%d]", l.Address, first)
			continue
		}
		seen[l.Address] = i
	}
}

func (k *check) users(users []User) {
	seen := map[string]int{}
	for i, u := range users {
		key := fmt.Sprintf("auth.users[%d]", i)
		if u.Name == "" {
			k.add(key+".name", "is missing")
		}
		if u.Password == "" {
			k.add(key+".password", "is missing")
		}
		k.mqttString(key+".name", u.Name)
		if first, twice := seen[u.Name]; twice && u.Name != "" {
			k.add(key+".name", "%q is auth.users[%d] already", u.Name, first)
			continue
		}
		seen[u.Name] = i
	}
}

func (k *check) chain(steps []Step) {
	for i := range steps {
		key := fmt.Sprintf("auth.chain[%d]", i)
		k.jwt(key, steps[i].JWT)
		k.http(key, steps[i].HTTP)
		k.sql(key, steps[i].SQL)
		k.ldap(key, steps[i].LDAP)
		k.certificate(key, steps[i].Certificate)
		if set := written(&steps[i]); len(set) != 1 {
			k.add(key, "names %d steps: write one of %s, each as an item of its own",
				len(set), strings.Join(keysOf(Step{}), ", "))
		}
		if s := steps[i].PasswordFile; s != nil {
			k.passwordFile(key, s)
		}
		if s := steps[i].Devices; s != nil {
			k.devices(key+".devices", s)
		}
	}
}

func (k *check) limits(at string, l *Limits) {
	// A remaining length has four bytes of seven bits [MQTT-1.5.5-1].
	between(k, at+"packet", l.Packet, 64, 256*MiB)
	if l.ConnectTimeout <= 0 {
		k.add(at+"connect_timeout", "%v is not above 0: a connection needs time to say CONNECT", l.ConnectTimeout)
	}
	k.seconds(at+"keep_alive_max", l.KeepAliveMax, 65_535)
	between(k, at+"receive_maximum", l.ReceiveMaximum, 1, 65_535)
	between(k, at+"topic_alias_maximum", l.TopicAliasMaximum, -1, 65_535)
	between(k, at+"in_flight", l.InFlight, 1, 65_535)
	atLeast(k, at+"queue_messages", l.QueueMessages, 1)
	atLeast(k, at+"queue_bytes", l.QueueBytes, 1)
	atLeast(k, at+"queues_bytes", l.QueuesBytes, 1)
	atLeast(k, at+"queues_memory", l.QueuesMemory, 1)
	atLeast(k, at+"pending_bytes", l.PendingBytes, 1)
	atLeast(k, at+"all_pending_bytes", l.AllPendingBytes, 1)
	// A topic has at most 65,535 bytes [MQTT-4.7.3-3], all of which may be /.
	between(k, at+"topic_levels", l.TopicLevels, 1, 65_536)
	atLeast(k, at+"subscriptions", l.Subscriptions, 1)
	atLeast(k, at+"wildcard_subscriptions", l.WildcardSubscriptions, 1)
	atLeast(k, at+"match_nodes", l.MatchNodes, 1)
	// 0xFFFFFFFF seconds mean that a session never expires (3.1.2.11.2).
	between(k, at+"client_id", l.ClientID, 23, 65_535) // [3.1.1 MQTT-3.1.3-5]
	k.seconds(at+"session_expiry_max", l.SessionExpiryMax, 0xFFFF_FFFE)
	atLeast(k, at+"connections", l.Connections, 0)
	atLeast(k, at+"retained_messages", l.RetainedMessages, 1)
	atLeast(k, at+"retained_bytes", l.RetainedBytes, 1)
	k.rates(at, l)
}

// seconds checks a time that the protocol counts in whole seconds.
func (k *check) seconds(key string, d time.Duration, most int64) {
	switch {
	case d < 0:
		k.add(key, "%v is below 0", d)
	case d%time.Second != 0:
		k.add(key, "%v is not a whole number of seconds", d)
	case int64(d/time.Second) > most:
		k.add(key, "%v is above %d seconds", d, most)
	}
}

// mqttString checks what has to fit an MQTT string [MQTT-1.5.4-1].
func (k *check) mqttString(key, text string) {
	if len(text) > 65_535 {
		k.add(key, "the text has %d bytes, which is above 65535", len(text))
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		k.add(key, "%q is not UTF-8 text without a zero", text)
	}
}
