package broker

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// The publisher of what is retained is remembered where rules decide, and only
// there.
func TestPublishersAreRememberedWhereRulesDecide(t *testing.T) {
	rules, err := access.Compile([]access.Rule{{Effect: access.Allow, Actions: access.Publish, Topics: []string{"#"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		access Access
		want   message.Source
	}{
		"nothing decides":      {nil, message.Source{}},
		"a program decides":    {&lastingRules{}, message.Source{}},
		"there are no rules":   {access.NewPolicy(access.Sources{}), message.Source{}},
		"everybody is allowed": {access.NewPolicy(access.Sources{Default: access.Allow}), message.Source{}},
		"there are rules":      {access.NewPolicy(access.Sources{Config: rules}), message.Source{Client: "publisher"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, nil)
			defer s.stop()
			if c.access != nil {
				s.b.UseAccess(c.access)
			}
			s.t.Begin()
			defer s.t.End()
			if err := s.b.Publish(s.t, s.pub, s.link, &packet.Publish{Topic: []byte("a"), Payload: []byte("x"), Retain: true}); err != nil {
				t.Fatal(err)
			}
			if got, ok := s.b.Snapshot().Retained["a"]; !ok || got.By != c.want {
				t.Errorf("%+v, want by %+v", got, c.want)
			}
		})
	}
}
