package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// rules let nobody publish to what begins with closed, and count how often they
// are asked.
type rules struct {
	closed string
	asked  int
}

func (r *rules) Access(_ *Info, a access.Ask) error {
	r.asked++
	if r.closed != "" && strings.HasPrefix(a.Topic, r.closed) {
		return errors.New("it is closed")
	}
	return nil
}

// lastingRules say when they change.
type lastingRules struct {
	rules
	version uint64
}

func (r *lastingRules) Version() uint64 { return r.version }

// refuses publishes at QoS 0 and returns whether that was not allowed.
func (s *scene) refuses(t *testing.T, c *Client, link *nowhere, topic string) bool {
	t.Helper()
	s.t.Begin()
	defer s.t.End()
	before := s.t.stats.Dropped[DropNotAuthorized]
	if err := s.b.Publish(s.t, c, link, &packet.Publish{Topic: []byte(topic)}); err != nil {
		t.Fatal(err)
	}
	return s.t.stats.Dropped[DropNotAuthorized] > before
}

func TestLastingAnswersAreRememberedForAConnection(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	r := &lastingRules{}
	s.b.UseAccess(r)
	step := func(what string, c *Client, link *nowhere, topic string, refused bool, asked int) {
		t.Helper()
		r.asked = 0
		if got := s.refuses(t, c, link, topic); got != refused || r.asked != asked {
			t.Errorf("%s: refused %v, asked %d times; want %v, %d", what, got, r.asked, refused, asked)
		}
	}
	step("first", s.pub, s.link, "a/b", false, 1)
	step("again", s.pub, s.link, "a/b", false, 0)
	step("another topic", s.pub, s.link, "a/c", false, 1)
	r.closed = "a/b"
	step("no new version", s.pub, s.link, "a/b", false, 0)
	r.version++
	step("a new version", s.pub, s.link, "a/b", true, 1)
	step("refused before", s.pub, s.link, "a/b", true, 0)
	step("another topic in the new version", s.pub, s.link, "a/c", false, 1)
	c, link := s.connect("another")
	step("another client", c, link, "a/b", true, 1)
	c, link = s.connect("publisher")
	step("another connection of the client", c, link, "a/b", true, 1)
	long := strings.Repeat("x", maxGrantTopic+1)
	step("a long topic", c, link, long, false, 1)
	step("a long topic again", c, link, long, false, 1)
	step("the broker's own topics", c, link, "$SYS/a", true, 0)
}

func TestAccessThatMayChangeIsAskedEachTime(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	r := &rules{}
	s.b.UseAccess(r)
	for range 2 {
		if s.refuses(t, s.pub, s.link, "a/b") {
			t.Error("refused")
		}
	}
	r.closed = "a"
	if !s.refuses(t, s.pub, s.link, "a/b") {
		t.Error("allowed")
	}
	if r.asked != 3 {
		t.Errorf("asked %d times for 3 messages", r.asked)
	}
}

func TestRememberedAnswersAreBounded(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	s.b.UseAccess(&lastingRules{})
	for i := range maxGrants + 100 {
		s.refuses(t, s.pub, s.link, fmt.Sprint("a/", i))
	}
	if n := len(s.t.grants.known); n > maxGrants {
		t.Errorf("%d answers are remembered, want %d at most", n, maxGrants)
	}
}
