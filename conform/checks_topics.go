package conform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

func topicChecks() []Check {
	return []Check{
		v4("MQTT-4.7.1-1", "Wildcards in the topic of PUBLISH or of a will are refused, in a filter they are not.", wildcardsOnlyInFilters),
		v5("MQTT-4.7.0-1", "Wildcards in the topic of PUBLISH or of a will are refused, in a filter they are not.", wildcardsOnlyInFilters),
		v4("MQTT-4.7.1-2", "# matches its parent and all below; filters with # elsewhere are refused.", hashRules),
		v5("MQTT-4.7.1-1", "# matches its parent and all below; filters with # elsewhere are refused.", hashRules),
		v4("MQTT-4.7.1-3", "+ matches one level in any place, empty ones too; filters where it shares a level are refused.", plusRules),
		v5("MQTT-4.7.1-2", "+ matches one level in any place, empty ones too; filters where it shares a level are refused.", plusRules),
		byItself(v4("MQTT-4.7.2-1", "#, +/... and +/# bring nothing from topics that begin with $; filters that name them do.", dollarTopics)),
		byItself(v5("MQTT-4.7.2-1", "#, +/... and +/# bring nothing from topics that begin with $; filters that name them do.", dollarTopics)),
		v4("MQTT-4.7.3-1", "An empty topic or filter is refused; topics of one character work.", emptyTopics),
		v5("MQTT-4.7.3-1", "An empty topic (without alias) or filter is refused; topics of one character work.", emptyTopics),
		v4("MQTT-4.7.3-2", "U+0000 in a topic or filter closes the connection.", nulInTopics),
		v5("MQTT-4.7.3-2", "U+0000 in a topic or filter is refused.", nulInTopics),
		v4("MQTT-4.7.3-3", "A topic of 65,535 bytes is either carried whole or closes the connection; ill-formed ones are refused.", longTopics),
		v5("MQTT-4.7.3-3", "A topic of 65,535 bytes is either carried whole or refused; ill-formed ones are refused.", longTopics),
		v4("MQTT-4.7.3-4", "Topics that differ in case, slashes, spaces or Unicode normalisation are different.", noNormalisation),
		v5("MQTT-4.7.3-4", "Topics that differ in case, slashes, spaces or Unicode normalisation are different.", noNormalisation),
	}
}

// filterRefused sends a filter that may not be: the connection closes, or the
// SUBACK says failure.
func filterRefused(t *T, name string, options byte) {
	c := t.connect("c")
	c.send(subscribe(t.level, 1, nil, filter{name, options}))
	p, err := c.read(t.opts.Wait)
	if err == nil && p.kind == kSuback && len(p.codes) == 1 && p.codes[0] >= 0x80 {
		return
	}
	codes := []byte{malformed, protocolError, badFilter}
	switch {
	case errors.Is(err, errClosed) && t.level < 5:
		return
	case errors.Is(err, errClosed):
		c.bareClose("refusal of the filter")
		return
	case err == nil && p.kind == kDisconnect && slices.Contains(codes, p.code):
		c.closed()
		return
	}
	c.fail(fmt.Sprintf("refusal of the filter %q", shorten(name)), p, err)
}

func wildcardsOnlyInFilters(t *T) {
	wildcardInTopic(t)
	for _, name := range []string{t.topic("w/#"), t.topic("w/+")} {
		t.try("will "+name, func() {
			p := t.hello("w")
			p.will = &will{topic: name, payload: "x"}
			t.offer(p).refused(malformed, protocolError, badTopic)
		})
	}
	c := t.connect("f")
	c.subscribe(t.topic("+/#"), 0)
}

// matches subscribes to one filter and looks which of the topics come through.
func (t *T) matches(name string, yes, no []string) {
	t.try("filter "+name, func() {
		c := t.connect("m")
		c.subscribe(t.topic(name), 1)
		for _, topic := range no {
			c.publish(publish{topic: t.topic(topic), payload: "no", qos: 1})
		}
		for _, topic := range yes {
			c.publish(publish{topic: t.topic(topic), payload: "yes", qos: 1})
		}
		for _, topic := range yes {
			c.receive(t.topic(topic), "yes")
		}
		c.unsubscribe(t.topic(name))
	})
}

func hashRules(t *T) {
	t.matches("a/#", []string{"a", "a/", "a/b", "a/b/c", "a//"}, []string{"b", "ab", "A/b", "/a"})
	t.matches("#", []string{"", "a", "a/b"}, nil)
	for _, name := range []string{"a#", "#/a", "a/#/b", "##", "a/b#", "#+", "a/##"} {
		t.try("filter "+name, func() { filterRefused(t, t.topic(name), 0) })
	}
}

func plusRules(t *T) {
	t.matches("+", []string{"a", "", "b c"}, []string{"a/b", "a/", "/a"})
	t.matches("a/+/c", []string{"a/b/c", "a//c"}, []string{"a/c", "a/b/d/c", "a/b/c/d", "b/b/c"})
	t.matches("+/b/+", []string{"a/b/c", "/b/"}, []string{"b", "a/b", "a/b/c/d"})
	t.matches("a/+/#", []string{"a/b", "a/b/c", "a/"}, []string{"a", "b/c"})
	t.matches("+/+", []string{"/a", "a/", "a/b", "/"}, []string{"a"})
	for _, name := range []string{"a+", "+a", "a/b+/c", "++", "a/+b"} {
		t.try("filter "+name, func() { filterRefused(t, t.topic(name), 0) })
	}
}

// dollarTopics runs by itself: it subscribes to everything.
func dollarTopics(t *T) {
	wide := t.connect("wide")
	for _, name := range []string{"#", "+/#", "+/broker/#", "+/conform/+"} {
		wide.subscribe(name, 0)
	}
	named := t.connect("named")
	named.subscribe("$SYS/#", 0)
	own := "$conform/conform/" + t.prefix
	named.subscribe(own, 0)
	t.connect("own").send(publish{topic: own, payload: "own"}.bytes(t.level)) // which the broker may refuse
	pub := t.connect("p")
	pub.send(publish{topic: t.topic("end"), payload: "end"}.bytes(t.level))
	pub.ping()
	for {
		p := wide.message()
		if strings.HasPrefix(p.topic, "$") {
			wide.fail("no topic that begins with $", p, nil)
		}
		if p.topic == t.topic("end") {
			break
		}
	}
	p, err := named.read(t.opts.Quiet)
	if errors.Is(err, errQuiet) {
		t.note("the broker published nothing under $SYS and let nothing be published under $conform")
		return
	}
	if err != nil || !strings.HasPrefix(p.topic, "$") {
		named.fail("PUBLISH to a topic that begins with $", p, err)
	}
}

func emptyTopics(t *T) {
	t.try("PUBLISH", func() {
		c := t.connect("c")
		c.send(publish{payload: "x"}.bytes(t.level))
		c.refused(malformed, protocolError, badTopic)
	})
	t.try("SUBSCRIBE", func() { filterRefused(t, "", 0) })
	t.try("UNSUBSCRIBE", func() {
		c := t.connect("c")
		c.send(unsubscribe(t.level, 1, ""))
		p, err := c.read(t.opts.Wait)
		failed := err == nil && p.kind == kUnsuback && len(p.codes) == 1 && p.codes[0] >= 0x80
		if errors.Is(err, errClosed) || failed || err == nil && p.kind == kDisconnect {
			return
		}
		c.fail("refusal of the empty filter", p, err)
	})
	t.try("one character", func() {
		c := t.connect("c")
		name := string(rune(0x4E00 + int(t.prefix[0])<<4 + int(t.level))) // nobody else's topic
		c.subscribe(name, 0)
		c.publish(publish{topic: name, payload: "x"})
		c.receive(name, "x")
		c.subscribe("/", 0)
	})
}

func nulInTopics(t *T) {
	for _, field := range []string{"PUBLISH topic", "SUBSCRIBE filter", "UNSUBSCRIBE filter"} {
		t.try(field, func() { badInPacket(t, field, "\x00") })
	}
}

func longTopics(t *T) {
	for _, field := range []string{"PUBLISH topic", "SUBSCRIBE filter", "UNSUBSCRIBE filter"} {
		t.try("ill-formed "+field, func() { badInPacket(t, field, "\xc3\x28") })
	}
	name := t.topic("")
	name += strings.Repeat("x", 65535-len(name))
	c := t.connect("c")
	c.send(subscribe(t.level, 1, nil, filter{name, 0}))
	p, err := c.read(t.opts.Wait)
	if errors.Is(err, errClosed) || err == nil && (p.kind == kDisconnect || len(p.codes) == 1 && p.codes[0] >= 0x80) {
		t.note("the broker refuses a filter of 65,535 bytes")
		return
	}
	if err != nil || p.kind != kSuback {
		c.fail("SUBACK, or refusal of the long filter", p, err)
	}
	c.send(publish{topic: name, payload: "x"}.bytes(t.level))
	c.receive(name, "x")
}

func noNormalisation(t *T) {
	c := t.connect("c")
	c.subscribe(t.topic("caf\u00e9/a"), 1)
	for _, other := range []string{"cafe\u0301/a", "CAF\u00c9/a", "caf\u00e9//a", "caf\u00e9/a/", "caf\u00e9/ a", "caf\u00e9/a ", "./caf\u00e9/a", "caf%C3%A9/a"} {
		c.publish(publish{topic: t.topic(other), payload: "other", qos: 1})
	}
	c.publish(publish{topic: t.topic("caf\u00e9/a"), payload: "x", qos: 1})
	c.receive(t.topic("caf\u00e9/a"), "x")
	c.quiet()
}
