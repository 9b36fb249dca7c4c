package crash

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// story makes a history; each step is one event, a moment after the one before.
type story struct {
	judge *judge
	n     int
	at    time.Time
}

func (s *story) tell(e event) {
	s.n++
	s.at = s.at.Add(time.Millisecond)
	e.n, e.at = s.n, s.at
	s.judge.see(e)
}

func (s *story) later(d time.Duration) { s.at = s.at.Add(d) }

func (s *story) subscribed(who string, qos byte) {
	s.tell(event{who: who, kind: connected})
	s.tell(event{who: who, kind: subscribing, topic: "load/#", qos: qos})
	s.tell(event{who: who, kind: subscribed, topic: "load/#", qos: qos})
}

func (s *story) sent(key string, qos byte, dup bool) {
	s.tell(event{who: "p", kind: sending, key: key, topic: "load/a", qos: qos, dup: dup})
}

func (s *story) acked(keys ...string) {
	for _, key := range keys {
		s.tell(event{who: "p", kind: acknowledged, key: key})
	}
}

func (s *story) came(who, key string, qos byte, id uint16, dup bool) {
	s.tell(event{who: who, kind: received, key: key, topic: "load/a", qos: qos, id: id, dup: dup})
}

func (s *story) restarted() {
	s.tell(event{kind: crashed})
	s.tell(event{kind: ready})
	for _, who := range []string{"p", "s"} {
		s.tell(event{who: who, kind: connected, present: true})
	}
}

func (s *story) will(d time.Duration) {
	s.subscribed("s", 2)
	s.tell(event{who: "t", kind: armed, key: "w", topic: "load/a", qos: 2, delay: d})
	s.tell(event{who: "t", kind: connected})
	s.tell(event{who: "t", kind: bequeathed, key: "w"})
}

func (s *story) kept(key string) {
	s.tell(event{who: "auditor", kind: received, key: key, topic: "load/a", qos: 1, retain: true})
}

func (s *story) retained(keys ...string) {
	for _, key := range keys {
		s.tell(event{who: "p", kind: sending, key: key, topic: "load/a", qos: 1, retain: true})
	}
}

// verdict is all the judge has to say, without repetitions.
func (s *story) verdict() string {
	all := append(slices.Clone(s.judge.findings), s.judge.missing()...)
	all = append(all, s.judge.overdue(s.at)...)
	if s.judge.audit != nil {
		all = append(all, s.judge.unheard()...)
	}
	var what []string
	for _, f := range all {
		what = append(what, f.what)
	}
	slices.Sort(what)
	return strings.Join(slices.Compact(what), ", ")
}

func TestJudge(t *testing.T) {
	const innocent = ""
	for name, c := range map[string]struct {
		story func(*story)
		want  string
	}{
		"all that was acknowledged comes in order": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.sent("2", 1, false)
			s.acked("1", "2")
			s.came("s", "1", 1, 1, false)
			s.came("s", "2", 1, 2, false)
		}, innocent},
		"an acknowledged message does not come": {func(s *story) {
			s.subscribed("s", 1)
			s.subscribed("other", 1)
			s.sent("1", 1, false)
			s.acked("1")
			s.came("other", "1", 1, 1, false)
			s.restarted()
		}, lost},
		"a message of unknown outcome need not come": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.restarted()
			s.tell(event{who: "p", kind: abandoned})
		}, innocent},
		"a publisher waits for ever": {func(s *story) {
			s.sent("1", 2, false)
		}, stuck},
		"one who subscribed after the sending is owed nothing": {func(s *story) {
			s.sent("1", 1, false)
			s.subscribed("s", 1)
			s.acked("1")
		}, innocent},
		"a later message overtakes": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.sent("2", 1, false)
			s.acked("1", "2")
			s.came("s", "2", 1, 1, false)
			s.came("s", "1", 1, 2, false)
		}, reordered},
		"repetitions come after later first copies": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.sent("2", 1, false)
			s.acked("1", "2")
			s.came("s", "1", 1, 1, false)
			s.came("s", "2", 1, 2, false)
			s.restarted()
			s.came("s", "1", 1, 1, true)
			s.came("s", "2", 1, 2, true)
		}, innocent},
		"a QoS 1 message is repeated without DUP": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.acked("1")
			s.came("s", "1", 1, 1, false)
			s.restarted()
			s.came("s", "1", 1, 1, false)
		}, repeated},
		"without DUP after a first copy with it": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.acked("1")
			s.came("s", "1", 1, 1, true)
			s.came("s", "1", 1, 2, false)
		}, repeated},
		"a resend by the publisher makes a second message": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.came("s", "1", 1, 1, false)
			s.restarted()
			s.sent("1", 1, true)
			s.acked("1")
			s.came("s", "1", 1, 1, true)
			s.came("s", "1", 1, 2, false)
		}, innocent},
		"a resend does not make a third": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 1, false)
			s.came("s", "1", 1, 1, false)
			s.restarted()
			s.came("s", "1", 1, 1, false)
			s.sent("1", 1, true)
			s.acked("1")
			s.came("s", "1", 1, 2, false)
		}, repeated},
		"a QoS 2 message resent by its publisher is one at QoS 1": {func(s *story) {
			s.subscribed("s", 1)
			s.sent("1", 2, false)
			s.came("s", "1", 1, 1, false)
			s.restarted()
			s.sent("1", 2, true)
			s.acked("1")
			s.came("s", "1", 1, 2, false)
		}, repeated},
		"a QoS 2 message comes twice": {func(s *story) {
			s.subscribed("s", 2)
			s.sent("1", 2, false)
			s.acked("1")
			s.came("s", "1", 2, 1, false)
			s.tell(event{who: "s", kind: released, id: 1})
			s.restarted()
			s.came("s", "1", 2, 1, true)
		}, duplicated},
		"a QoS 2 message comes under another id": {func(s *story) {
			s.subscribed("s", 2)
			s.sent("1", 2, false)
			s.acked("1")
			s.came("s", "1", 2, 1, false)
			s.restarted()
			s.came("s", "1", 2, 2, true)
		}, duplicated},
		"a QoS 2 handshake is resumed": {func(s *story) {
			s.subscribed("s", 2)
			s.sent("1", 2, false)
			s.restarted()
			s.sent("1", 2, true)
			s.acked("1")
			s.came("s", "1", 2, 1, false)
			s.restarted()
			s.came("s", "1", 2, 1, true)
			s.tell(event{who: "s", kind: released, id: 1})
		}, innocent},
		"a QoS 2 handshake is resumed without DUP": {func(s *story) {
			s.subscribed("s", 2)
			s.sent("1", 2, false)
			s.acked("1")
			s.came("s", "1", 2, 1, false)
			s.restarted()
			s.came("s", "1", 2, 1, false)
		}, repeated},
		"a packet id is used before it is released": {func(s *story) {
			s.subscribed("s", 2)
			s.sent("1", 2, false)
			s.sent("2", 2, false)
			s.acked("1", "2")
			s.came("s", "1", 2, 1, false)
			s.came("s", "2", 2, 1, false)
		}, misbehaved},
		"what nobody sent": {func(s *story) {
			s.subscribed("s", 1)
			s.came("s", "1", 1, 1, false)
		}, phantom},
		"what comes to one who did not subscribe": {func(s *story) {
			s.sent("1", 1, false)
			s.acked("1")
			s.came("s", "1", 1, 1, false)
		}, phantom},
		"what comes at a lower QoS": {func(s *story) {
			s.subscribed("s", 2)
			s.sent("1", 2, false)
			s.acked("1")
			s.came("s", "1", 1, 1, false)
		}, misbehaved},
		"a session is gone": {func(s *story) {
			s.subscribed("s", 1)
			s.tell(event{kind: crashed})
			s.tell(event{kind: ready})
			s.tell(event{who: "s", kind: connected})
		}, forgotten},
		"a session that was not acknowledged may be gone": {func(s *story) {
			s.tell(event{who: "s", kind: connected})
			s.tell(event{who: "s", kind: subscribing, topic: "load/#", qos: 1})
			s.tell(event{kind: crashed})
			s.tell(event{kind: ready})
			s.tell(event{who: "s", kind: connected})
		}, innocent},
		"a retained message is there": {func(s *story) {
			s.retained("1", "2", "3")
			s.acked("1", "2")
			s.judge.inspect("auditor")
			s.kept("3")
			s.acked("3")
		}, innocent},
		"a retained message is gone": {func(s *story) {
			s.retained("1")
			s.acked("1")
			s.judge.inspect("auditor")
		}, forgotten},
		"an older retained message is back": {func(s *story) {
			s.retained("1", "2")
			s.acked("1", "2")
			s.judge.inspect("auditor")
			s.kept("1")
		}, forgotten},
		"a retained message is cleared": {func(s *story) {
			s.retained("1", "load/a cleared")
			s.acked("1", "load/a cleared")
			s.judge.inspect("auditor")
		}, innocent},
		"a cleared retained message is back": {func(s *story) {
			s.retained("1", "load/a cleared")
			s.acked("1", "load/a cleared")
			s.judge.inspect("auditor")
			s.kept("1")
		}, forgotten},
		"a will comes when it is due": {func(s *story) {
			s.will(time.Second)
			s.tell(event{who: "t", kind: vanished})
			s.later(time.Second)
			s.came("s", "w", 2, 1, false)
			s.later(time.Hour)
		}, innocent},
		"a will comes early": {func(s *story) {
			s.will(time.Second)
			s.tell(event{who: "t", kind: vanished})
			s.later(900 * time.Millisecond)
			s.came("s", "w", 2, 1, false)
		}, willEarly},
		"a will comes though its client is there": {func(s *story) {
			s.will(time.Second)
			s.later(time.Hour)
			s.came("s", "w", 2, 1, false)
		}, willEarly},
		"a will is lost": {func(s *story) {
			s.will(time.Second)
			s.tell(event{who: "t", kind: vanished})
			s.restarted()
			s.later(time.Second + margin + time.Second)
		}, willLost},
		"a will whose client went with the server comes later": {func(s *story) {
			s.will(time.Second)
			s.tell(event{kind: crashed})
			s.later(5 * time.Second)
			s.tell(event{kind: ready})
			s.later(time.Second)
		}, innocent},
		"a will that was due while the server was away comes soon": {func(s *story) {
			s.will(time.Second)
			s.tell(event{who: "t", kind: vanished})
			s.later(500 * time.Millisecond)
			s.tell(event{kind: crashed})
			s.later(5 * time.Second)
			s.tell(event{kind: ready})
			s.later(margin + 10*time.Millisecond)
		}, willLost},
		"a will comes twice": {func(s *story) {
			s.will(time.Second)
			s.tell(event{who: "t", kind: vanished})
			s.later(time.Second)
			s.came("s", "w", 2, 1, false)
			s.tell(event{who: "s", kind: released, id: 1})
			s.restarted()
			s.came("s", "w", 2, 2, false)
		}, willTwice},
		"a will whose client came back": {func(s *story) {
			s.will(time.Second)
			s.tell(event{who: "t", kind: vanished})
			s.tell(event{who: "t", kind: returning})
			s.tell(event{who: "t", kind: returned})
			s.later(time.Hour)
		}, innocent},
		"a will comes though its client came back": {func(s *story) {
			s.will(time.Second)
			s.tell(event{who: "t", kind: vanished})
			s.tell(event{who: "t", kind: returning})
			s.tell(event{who: "t", kind: returned})
			s.later(time.Second)
			s.came("s", "w", 2, 1, false)
		}, willTwice},
		"an acknowledgement says that the server refuses": {func(s *story) {
			s.sent("1", 1, false)
			s.tell(event{who: "p", kind: refused, key: "1"})
		}, denied},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{judge: newJudge(), at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
			c.story(s)
			if got := s.verdict(); got != c.want {
				t.Errorf("the verdict is %q, want %q: %v", got, c.want, s.judge.findings)
			}
		})
	}
}

// TestOwed: the count that a drain waits for agrees with the list.
func TestOwed(t *testing.T) {
	s := &story{judge: newJudge()}
	s.subscribed("a", 1)
	s.subscribed("b", 1)
	s.sent("1", 1, false)
	s.sent("2", 1, false)
	s.came("a", "1", 1, 1, false)
	s.acked("1", "2")
	s.came("b", "2", 1, 1, false)
	if got := s.judge.owed; got != 2 || got != len(s.judge.missing()) {
		t.Errorf("%d are owed, %d are missing, want 2", got, len(s.judge.missing()))
	}
	s.tell(event{who: "b", kind: ended})
	if got := s.judge.owed; got != 1 || got != len(s.judge.missing()) {
		t.Errorf("%d are owed, %d are missing, want 1", got, len(s.judge.missing()))
	}
}

func TestMatches(t *testing.T) {
	for filter, topics := range map[string][]string{
		"load/#":      {"load/a", "load/a/b", "!lo", "!ret/a"},
		"load/+/q2/#": {"load/p/q2/a", "!load/p/q1/a", "!load/q2/a"},
		"will/a":      {"will/a", "!will", "!will/a/b", "!will/b"},
	} {
		for _, topic := range topics {
			topic, not := strings.CutPrefix(topic, "!")
			if got := matches(filter, topic); got == not {
				t.Errorf("matches(%q, %q) = %t", filter, topic, got)
			}
		}
	}
}
