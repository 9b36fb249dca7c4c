package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

func clean(r *Connect) { r.CleanStart, r.Terms.Expiry = true, 0 }

func forever(r *Connect) { r.Terms.Expiry = session.Never }

// ending is a way in which the session of a ends, whose client was away.
type ending struct {
	expiry uint32        // of the session until then
	qos1   bool          // some of its messages have been sent: at QoS 2 they would be for nobody else
	do     func(l *life) // causes it; the log has not kept that yet
}

func endings() map[string]ending {
	return map[string]ending{
		"it expires": {expiry: 3, do: func(*life) {
			<-time.After(3100 * time.Millisecond)
			synctest.Wait()
		}},
		"clean start, to end it": {expiry: 1000, do: func(l *life) { l.open("a", clean) }},
		"session expiry 0 of the next connection": {expiry: 1000, do: func(l *life) {
			l.open("a", func(r *Connect) { r.Terms.Expiry, r.Terms.ReceiveMaximum = 0, 1 }).quit(Ending{})
		}},
		"DISCONNECT with session expiry 0": {expiry: 1000, do: func(l *life) { l.open("a", nil).quit(Ending{NewExpiry: new(uint32)}) }},
		"the same, with messages in flight": {expiry: 1000, qos1: true, do: func(l *life) {
			l.connect("a", nil).quit(Ending{NewExpiry: new(uint32)})
		}},
	}
}

// worker has a group's messages in the queue of a, which is away, and nobody
// else in the group; and one of a subscription of its own. Even ones have QoS 2,
// unless all are to have QoS 1.
func (l *life) worker(n int, expiry uint32, qos1 bool) (want []string) {
	l.connect("watch", forever).subscribe("will", 1).leave(Ending{})
	a := l.connect("a", func(r *Connect) {
		r.Terms.Expiry = expiry
		r.Will = &packet.Will{Topic: "will", QoS: 1, Payload: []byte("will"), Delay: 500}
	}).subscribe("$share/g/t", 2).subscribe("own", 1)
	a.leave(Ending{})
	pub := l.connect("pub", nil)
	for i := range n {
		text := fmt.Sprint(i + 1)
		pub.publish(qos(i+1, qos1), text)
		want = append(want, text)
	}
	pub.say("own", 1, "for nobody else")
	return want
}

func qos(i int, one bool) byte {
	if i%2 == 0 && !one {
		return 2
	}
	return 1
}

// What waits in the store for a member of a group whose session ends goes to
// another member, in its order.
func TestStoredMessagesOfAGroupGoToAnotherMember(t *testing.T) {
	for name, end := range endings() {
		for _, there := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, the other is there %v", name, there), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := live(t)
					want := l.worker(9, end.expiry, end.qos1)
					b := l.connect("b", forever).subscribe("$share/g/t", 2)
					if !there {
						b.leave(Ending{})
					}
					end.do(l)
					l.log.settle()
					if !there {
						b = l.connect("b", forever)
					}
					if got := b.got(true); !slices.Equal(got, want) {
						t.Errorf("b got %q, want %q", got, want)
					}
					if n := l.b.Stats().Redispatched.Load(); n != uint64(len(want)) {
						t.Errorf("%d counted", n)
					}
					l.is("a", false)
					l.stop()
				})
			})
		}
	}
}

// Wherever in between the process crashes, nothing is lost and nothing comes
// twice, but with DUP.
func TestACrashWhileMessagesGoToAnotherMember(t *testing.T) {
	for name, end := range endings() {
		for _, there := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, the other is there %v", name, there), func(t *testing.T) {
				for commits, more := 0, true; more; commits++ {
					for frames, some := 0, true; some; frames++ {
						synctest.Test(t, func(t *testing.T) { some, more = end.crash(t, there, commits, frames) })
					}
				}
			})
		}
	}
}

// crash crashes when so much has been promised, and so many frames behind that are
// kept too. It says whether there were so many of each.
func (e ending) crash(t *testing.T, there bool, commits, frames int) (some, more bool) {
	l := live(t)
	defer func() { l.stop() }()
	want := l.worker(7, e.expiry, e.qos1)
	b := l.connect("b", forever).subscribe("$share/g/t", 2)
	if !there {
		b.leave(Ending{})
	}
	e.do(l)
	more = true
	for range commits {
		synctest.Wait()
		more = l.log.commit()
	}
	synctest.Wait()
	got := b.sent()
	some = l.log.keep(frames)
	over := l.over("a", len(want)+1)
	l.crash()
	if !over {
		l.connect("a", clean)
	}
	<-time.After(100 * time.Millisecond) // what is due at once
	l.log.settle()
	got = append(got, l.connect("b", forever).got(true)...)
	firsts := map[string]int{} // how often without DUP
	for _, text := range got {
		firsts[strings.TrimSuffix(text, "*")] += 1 - strings.Count(text, "*")
	}
	where := fmt.Sprintf("a crash after %d commits and %d frames", commits, frames)
	for _, text := range want {
		if n, ok := firsts[text]; !ok || n > 1 {
			t.Errorf("%s: %s came %d times without DUP; %q", where, text, n, got)
		}
	}
	if len(firsts) != len(want) {
		t.Errorf("%s: %q, want %q", where, got, want)
	}
	if got := l.connect("watch", nil).got(true); len(got) > 1 {
		t.Errorf("%s: the will came %d times", where, len(got))
	}
	l.is("a", false)
	return some, more
}

// A message that may have been sent goes to others at QoS 1 only [MQTT-4.8.2-5];
// after a crash only the store can tell.
func TestSentMessagesOfAGroupAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t)
		l.worker(6, 3, false)
		if got := l.connect("a", nil).got(false); len(got) != 3 { // as many as fit into its window
			t.Fatalf("a got %q", got)
		}
		l.connect("b", forever).subscribe("$share/g/t", 2).leave(Ending{})
		l.crash()
		<-time.After(3100 * time.Millisecond)
		l.log.settle()
		l.connect("b", nil).gets("1", "3", "4", "5", "6")
		l.is("a", false)
		l.stop()
	})
}

// Without another member the messages are gone, and counted.
func TestStoredMessagesOfAGroupWithoutAnotherMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t)
		l.worker(5, 3, false)
		<-time.After(3100 * time.Millisecond)
		l.log.settle()
		if n := l.b.Stats().Dropped[DropOffline].Load(); n != 5 {
			t.Errorf("%d counted as dropped, want 5", n)
		}
		l.is("a", false)
		l.stop()
	})
}

// over says whether a crash now would leave a session that has ended, or none.
// If anything has left its queue, of so many, it must be so.
func (l *life) over(id string, queued int) bool {
	l.Helper()
	s, err := l.log.crashed().replay()
	if err != nil {
		l.Fatal(err)
	}
	of := s.Sessions[id]
	if of == nil {
		return true
	}
	at, expires := of.ExpiresAt()
	over := expires && at <= time.Now().UnixMilli()
	if len(of.Queue) < queued && !over {
		l.Errorf("%d of %d messages are left in a session that has not ended", len(of.Queue), queued)
	}
	return over
}

// is looks whether the log has a session, whole.
func (l *life) is(id string, there bool) {
	l.Helper()
	s, err := l.log.replay()
	if err != nil {
		l.Fatal(err)
	}
	if _, ok := s.Sessions[id]; ok != there {
		l.Errorf("the log has %s: %v", id, ok)
	}
	if n := l.b.lateCount(); n > 0 {
		l.Errorf("%d sessions are late", n)
	}
}

func (b *Broker) lateCount() (n int) {
	for i := range b.shards {
		b.shards[i].mu.Lock()
		n += len(b.shards[i].late)
		b.shards[i].mu.Unlock()
	}
	return n
}

// open connects, without making safe what comes of it.
func (l *life) open(id string, change func(*Connect)) *peer {
	p := &peer{l: l, link: newLink(id, packet.V5)}
	r := &Connect{Info: p.link.info, Terms: session.Terms{Version: packet.V5, Expiry: 3}}
	if change != nil {
		change(r)
	}
	l.b.do(func(t *Tick) {
		l.b.Admit(0)
		p.c, _ = l.b.Connect(t, p.link, r)
	})
	return p
}

func (p *peer) quit(e Ending) {
	p.l.b.do(func(t *Tick) { p.l.b.Disconnect(t, p.c, p.link, e) })
}
