package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

func TestPublishDoesNotAllocate(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	one, many := topics(1), topics(100)
	more := packet.Publish{Payload: make([]byte, 16)}
	tests := map[string]struct {
		access Access
		names  [][]byte
	}{
		"one topic":                          {nil, one},
		"many topics":                        {nil, many},
		"with an access that can be learned": {&lastingRules{}, many},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s.b.UseAccess(c.access)
			publish := func() {
				s.t.Begin()
				for _, topic := range c.names {
					more.Topic = topic
					if err := s.b.Publish(s.t, s.pub, s.link, &more); err != nil {
						t.Fatal(err)
					}
				}
				s.t.End()
			}
			publish() // a plan is kept from the second time on
			publish()
			if n := testing.AllocsPerRun(10, publish); n != 0 {
				t.Errorf("%v allocations for %d messages", n, len(c.names))
			}
		})
	}
}

// Many publishers get an acknowledgement each, and one subscriber what they all
// send: its large buffer is not to end up with one of them.
func TestFanInDoesNotAllocate(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	type publisher struct {
		c    *Client
		link *nowhere
	}
	names := topics(200)
	pubs := make([]publisher, len(names))
	for i := range pubs {
		pubs[i].c, pubs[i].link = s.connect(fmt.Sprint("p", i))
	}
	p := packet.Publish{QoS: 1, Payload: make([]byte, 128)}
	publish := func() {
		s.t.Begin()
		for i, pub := range pubs {
			p.Topic, p.ID = names[i], 1
			if err := s.b.Publish(s.t, pub.c, pub.link, &p); err != nil {
				t.Fatal(err)
			}
		}
		s.t.End()
	}
	publish()
	publish()
	if n := testing.AllocsPerRun(100, publish); n != 0 {
		t.Errorf("%v allocations for %d messages", n, len(pubs))
	}
}

// hostile are all filters of a and + over so many levels, and z.
func hostile(depth int) (list []string) {
	for i := range 1 << depth {
		f := ""
		for level := range depth {
			f += []string{"a/", "+/"}[i>>level&1]
		}
		list = append(list, f+"z")
	}
	return list
}

func TestCutMatchIsCountedAndLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newScene(t, func(o *Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o.Limits.MatchNodes = 30
		})
		defer s.stop()
		c, link := s.connect("hostile")
		s.subscribe(t, c, link, hostile(6)...)
		for i := range 3 {
			s.refuses(t, s.pub, s.link, fmt.Sprintf("a/a/a/a/a/a/%d", i))
		}
		warnings := func() int { return strings.Count(log.String(), "limits.match_nodes=30") }
		if n := s.b.Stats().MatchesCut.Load(); n != 3 || warnings() != 1 {
			t.Errorf("3 matches were cut short: counted %d, logged %d times, want 3 and 1\n%s", n, warnings(), log.String())
		}
		if !strings.Contains(log.String(), "topic=a/a/a/a/a/a/0") {
			t.Errorf("the log does not name the topic:\n%s", log.String())
		}
		time.Sleep(time.Minute)
		s.refuses(t, s.pub, s.link, "a/a/a/a/a/a/a")
		if warnings() != 2 {
			t.Errorf("logged %d times after a minute, want 2", warnings())
		}
		s.refuses(t, s.pub, s.link, "b/b/b/b/b/b/b")
		if n := s.b.Stats().MatchesCut.Load(); n != 4 {
			t.Errorf("a topic with one way through the filters was cut short: counted %d, want 4", n)
		}
	})
}

// What comes once leaves no plan behind; what comes again before thousands of
// others does.
func TestPlansAreKeptForTopicsThatComeAgain(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	for i := range 2 * maxPlans {
		s.refuses(t, s.pub, s.link, fmt.Sprintf("acme/a/%d/temp", i))
	}
	if n := len(s.t.plans); n > 10 { // marks that are the same by chance
		t.Errorf("%d plans are kept of topics that came once", n)
	}
	for range 2 {
		for i := range 1000 {
			s.refuses(t, s.pub, s.link, fmt.Sprintf("acme/b/%d/temp", i))
		}
	}
	if n := len(s.t.plans); n < 990 {
		t.Errorf("%d plans are kept of 1000 topics that came twice", n)
	}
}

func TestPlansUseMemoryAgain(t *testing.T) {
	s := newScene(t, nil)
	defer s.stop()
	for range 2 { // the second time in memory that was used before
		for i := range maxPlans + 100 {
			for range 2 { // what came once only is not kept
				s.refuses(t, s.pub, s.link, fmt.Sprintf("acme/a/%d/temp", i))
			}
		}
	}
	if n := len(s.t.allPlans); n > maxPlans || len(s.t.plans) > n {
		t.Errorf("%d plans in memory, %d in use, want %d at most", n, len(s.t.plans), maxPlans)
	}
	sum := 0
	for _, p := range s.t.allPlans {
		sum += p.cost()
	}
	if sum != s.t.planned {
		t.Errorf("plans are said to cost %d, they do %d", s.t.planned, sum)
	}
	if got := s.b.Stats().PublishSent[0].Load(); got != 4*(maxPlans+100) {
		t.Errorf("%d messages were sent, want %d", got, 4*(maxPlans+100))
	}
}
