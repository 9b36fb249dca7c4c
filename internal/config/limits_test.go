package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestASetTakesThePlaceOfWhatItNames(t *testing.T) {
	c, err := Parse([]byte(`
limits:
  messages_in: 10
  bytes_in: 64KiB
  keep_alive_max: 1m
  sets:
    gateway: {messages_in: 0, bytes_in: 1MiB, in_flight: 500, maximum_qos: 0, no_retain: true}
    slow:
      messages_out: 1
    empty:
`))
	if err != nil {
		t.Fatal(err)
	}
	want := c.Limits
	want.Sets = nil
	if diff := cmp.Diff(want, c.Limits.With(c.Limits.Sets["empty"])); diff != "" {
		t.Errorf("an empty set (-want +got):\n%s", diff)
	}
	want.MessagesIn, want.BytesIn, want.InFlight, want.MaximumQoS, want.NoRetain = 0, 1*MiB, 500, -1, true
	if diff := cmp.Diff(want, c.Limits.With(c.Limits.Sets["gateway"])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := c.Limits.With(c.Limits.Sets["slow"]); got.MessagesOut != 1 || got.MessagesIn != 10 || got.KeepAliveMax != time.Minute {
		t.Errorf("slow: %+v", got)
	}
}

func TestMistakesInLimitsHaveTheirLines(t *testing.T) {
	_, err := Parse([]byte(`limits:
  messages_in: -1
  per_address: {conections: 5}
  message_expiry_max: 1500ms
  sets:
    gateway:
      in_flight: 70000
      connections: 5
      queue_bytes: 0
    twice: {}
    twice: {}
    wrong: 5
listeners:
  - {url: "tcp://:1883", max_connections: x, connect_rate: -2}
  - http://127.0.0.1:1?connect_rate=5
`))
	if err == nil {
		t.Fatal("no mistake")
	}
	for _, want := range []string{
		"2: limits.messages_in: -1 is below 0",
		"3: limits.per_address.conections: unknown key: did you mean limits.per_address.connections?",
		"4: limits.message_expiry_max: 1.5s is not a whole number of seconds",
		"7: limits.sets.gateway.in_flight: 70000 is above 65535",
		"8: limits.sets.gateway.connections: unknown key",
		"9: limits.sets.gateway.queue_bytes: 0 is below 1",
		"11: limits.sets.twice: is written twice, first in line 10",
		"12: limits.sets.wrong: here go keys and values",
		`14: listeners[0].max_connections: "x" is not a whole number`,
		"15: listeners[1].connect_rate: means nothing here",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "limits.sets.gateway.messages_in") {
		t.Errorf("a set is blamed for what it does not say:\n%v", err)
	}
}

func TestTheSandboxIsValid(t *testing.T) {
	if err := Sandbox().Validate(); err != nil {
		t.Error(err)
	}
}
