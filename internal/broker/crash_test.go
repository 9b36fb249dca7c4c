package broker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// life is one process after another on the same archive. It runs in a bubble.
type life struct {
	*testing.T
	log  archive
	b    *Broker
	stop func()
}

// roomy has room for some messages, of which the store hands out one at a time.
func roomy(o *Options) {
	o.Limits.QueueMessages, o.Limits.QueueBytes, o.Limits.QueuedBytes = 100, 1<<20, 1<<20
	o.Limits.HeadBytes = 1
}

func live(t *testing.T) *life {
	l := &life{T: t, log: archive{&ledger{slow: true}}}
	l.b, l.stop = newBroker(l.log, roomy)
	return l
}

// crash ends the process and starts another on what was safe.
func (l *life) crash() {
	l.Helper()
	l.stop()
	l.log = l.log.crashed()
	l.b, l.stop = newBroker(l.log, roomy)
	if err := l.b.Restore(l.log.recover); err != nil {
		l.Fatal(err)
	}
	l.log.settle()
}

// peer is a client of MQTT 5.
type peer struct {
	l    *life
	link *link
	c    *Client
	id   uint16
}

func (l *life) connect(id string, change func(*Connect)) *peer {
	p := l.open(id, change)
	l.log.settle()
	return p
}

// tick runs f in a tick and makes what comes of it safe.
func (p *peer) tick(f func(t *Tick) error) {
	p.l.Helper()
	p.l.b.do(func(t *Tick) {
		if err := f(t); err != nil {
			p.l.Error(err)
		}
	})
	p.l.log.settle()
}

func (p *peer) subscribe(filter string, qos byte) *peer {
	p.id++
	p.tick(func(t *Tick) error {
		return p.l.b.Subscribe(t, p.c, p.link, &packet.Subscribe{ID: p.id, Filters: []packet.Subscription{{Filter: filter, QoS: qos}}})
	})
	return p
}

func (p *peer) publish(qos byte, payloads ...string) { p.say("t", qos, payloads...) }

func (p *peer) say(topic string, qos byte, payloads ...string) {
	for _, text := range payloads {
		p.id++
		p.tick(func(t *Tick) error {
			err := p.l.b.Publish(t, p.c, p.link, &packet.Publish{Topic: []byte(topic), QoS: qos, ID: p.id, Payload: []byte(text)})
			if qos == 2 {
				err = p.l.b.Acknowledge(t, p.c, p.link, packet.PUBREL, &packet.Ack{ID: p.id})
			}
			return err
		})
	}
}

func (p *peer) leave(e Ending) {
	p.quit(e)
	p.l.log.settle()
}

// sent are the messages that have come so far, each with a * if it has DUP.
func (p *peer) sent() []string { return p.take(false) }

// got are those that come in the end; with ack they are acknowledged, and so is
// what comes then.
func (p *peer) got(ack bool) []string {
	p.l.Helper()
	p.l.log.settle()
	return p.take(ack)
}

func (p *peer) take(ack bool) (list []string) {
	p.l.Helper()
	frames := p.link.frames()
	for i := 0; i < len(frames); i++ {
		f := frames[i]
		if f.Type == packet.PUBREL && ack {
			p.tick(func(t *Tick) error {
				return p.l.b.Acknowledge(t, p.c, p.link, packet.PUBCOMP, &packet.Ack{ID: uint16(f.Body[0])<<8 | uint16(f.Body[1])})
			})
			frames = append(frames, p.link.frames()...)
		}
		if f.Type != packet.PUBLISH {
			continue
		}
		var m packet.Publish
		if err := packet.ParsePublish(&m, f.Flags, f.Body, packet.V5, packet.FromServer); err != nil {
			p.l.Fatal(err)
		}
		text := string(m.Payload)
		if m.Dup {
			text += "*"
		}
		list = append(list, text)
		if ack {
			answer := map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC}[m.QoS]
			p.tick(func(t *Tick) error { return p.l.b.Acknowledge(t, p.c, p.link, answer, &packet.Ack{ID: m.ID}) })
			frames = append(frames, p.link.frames()...)
		}
	}
	return list
}

func (p *peer) gets(want ...string) {
	p.l.Helper()
	if got := p.got(true); !slices.Equal(got, want) {
		p.l.Errorf("%s got %q, want %q", p.link.info.ClientID, got, want)
	}
}

func one(r *Connect) { r.Terms.ReceiveMaximum = 1 }

// What may have reached a client before a crash has DUP when it is sent, though
// the client was there meanwhile, and the server crashed again or was ended.
func TestDoubtLastsUntilTheMessageIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t)
		l.connect("sub", one).subscribe("t", 2)
		l.connect("pub", nil).publish(1, "1", "2", "3")
		l.connect("pub", nil).publish(2, "4")
		l.connect("pub", nil).publish(1, "5")
		l.crash()
		sub := l.connect("sub", one)
		if got := sub.got(false); !slices.Equal(got, []string{"1*"}) {
			t.Errorf("after the first crash: %q", got)
		}
		sub.leave(Ending{})
		l.connect("pub", nil).publish(1, "6")
		l.crash()
		l.crash()
		l.connect("sub", one).gets("1*", "2*", "3*", "4", "5*", "6")
		l.stop()
	})
}

// Doubt ends with the messages that it was about: the numbers of those may be
// given to others.
func TestDoubtEndsWithItsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t)
		l.connect("sub", one).subscribe("t", 1)
		l.connect("pub", nil).publish(1, "1", "2")
		l.crash()
		l.connect("sub", one).leave(Ending{})
		s, err := l.log.replay()
		if err != nil || s.Sessions["sub"].Doubt != 2 {
			t.Fatalf("%+v, %v", s.Sessions["sub"], err)
		}
		// They leave the queue while the client is away.
		c := l.b.client("sub")
		l.b.do(func(t *Tick) {
			c.mu.Lock()
			t.log(recordsAcked("sub", s.Sessions["sub"].Queue...))
			c.mu.Unlock()
			l.b.o.Log.After(func(error) {})
		})
		l.log.settle()
		l.crash()
		l.connect("pub", nil).publish(1, "new 1", "new 2")
		l.crash()
		l.connect("sub", one).gets("new 1", "new 2")
		l.stop()
	})
}

// A second start continues the countdown that the first one began for a client
// that was connected when the server crashed.
func TestASecondCrashDoesNotBeginTheCountdownAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t)
		l.connect("watch", func(r *Connect) { r.Terms.Expiry = session.Never }).subscribe("will/#", 1)
		l.connect("short", func(r *Connect) {
			r.Will = &packet.Will{Topic: "will/short", Payload: []byte("at the end"), QoS: 1, Delay: 100}
		})
		l.connect("long", func(r *Connect) {
			r.Terms.Expiry = 100
			r.Will = &packet.Will{Topic: "will/long", Payload: []byte("after a delay"), QoS: 1, Delay: 2}
		})
		for range 3 {
			l.crash()
			<-time.After(900 * time.Millisecond)
		}
		l.log.settle()
		watch := l.connect("watch", nil)
		watch.gets("after a delay")
		<-time.After(400 * time.Millisecond)
		l.log.settle()
		if n := l.b.Stats().Sessions.Load(); n != 2 {
			t.Errorf("%d sessions, want that of watch and of long", n)
		}
		watch.gets("at the end")
		l.stop()
	})
}

func recordsAcked(client string, items ...*record.Item) (b []byte) {
	for _, it := range items {
		b = record.AppendAcked(b, client, it.Seq, unsent(it.ID > 0, it.Message))
	}
	return b
}

// A will that was sent before its record was safe would come a second time after
// a crash, and not as a repetition.
func TestAWillIsNotSentBeforeThatIsSafe(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := live(t)
			watch := l.connect("watch", nil).subscribe("will", 1)
			l.connect("dev", func(r *Connect) {
				r.Will = &packet.Will{Topic: "will", Payload: []byte("gone"), QoS: 1}
			}).quit(Ending{Reason: "lost"})
			if got := watch.sent(); len(got) > 0 {
				t.Errorf("%q came before it was safe", got)
			}
			if after {
				watch.gets("gone")
			}
			l.crash()
			watch = l.connect("watch", nil)
			if after {
				watch.gets()
			} else {
				watch.gets("gone")
			}
			l.stop()
		})
	}
}
