package broker

import (
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// waiting0 makes a broker in which QoS 0 waits.
func waiting0(more func(*Limits)) (b *Broker, stop func()) {
	return newBroker(Memory{}, func(o *Options) {
		o.Limits.QueueQoS0, o.Limits.QueuedMemory = true, 0
		if more != nil {
			more(&o.Limits)
		}
	})
}

// inTick runs f in a tick of its own.
func inTick(b *Broker, f func(t *Tick)) {
	t := b.NewTick()
	t.Begin()
	f(t)
	t.End()
}

// absentees are sessions that subscribe to a topic with QoS 1 and go away.
func absentees(tb testing.TB, b *Broker, n int, topic string) (list []*Client) {
	tb.Helper()
	inTick(b, func(t *Tick) {
		for i := range n {
			l := newLink(fmt.Sprint("away", i), packet.V5)
			b.Admit(0)
			c, _ := b.Connect(t, l, &Connect{Info: l.info, Terms: session.Terms{Version: packet.V5, Expiry: session.Never}})
			if err := b.Subscribe(t, c, l, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: topic, QoS: 1}}}); err != nil {
				tb.Fatal(err)
			}
			b.Disconnect(t, c, l, Ending{})
			list = append(list, c)
		}
	})
	return list
}

// say publishes a message to "a".
func say(tb testing.TB, b *Broker, t *Tick, c *Client, l *link, qos byte, payload []byte) {
	tb.Helper()
	if err := b.Publish(t, c, l, &packet.Publish{Topic: []byte("a"), QoS: qos, ID: uint16(qos), Payload: payload}); err != nil {
		tb.Fatal(err)
	}
}

// published are the payloads that were written to a client.
func (l *link) published(tb testing.TB) (payloads []string) {
	tb.Helper()
	for _, f := range l.frames() {
		if f.Type != packet.PUBLISH {
			continue
		}
		var p packet.Publish
		if err := packet.ParsePublish(&p, f.Flags, f.Body, l.info.Version, packet.FromServer); err != nil {
			tb.Fatal(err)
		}
		payloads = append(payloads, string(p.Payload))
	}
	return payloads
}

// However many clients are away, and however much is published in one tick: what
// waits for all of them stays within its bound, but for one message.
func TestAbsentSessionsStayWithinTheBoundOfAllQueues(t *testing.T) {
	const clients, most = 5000, 1 << 20
	b, stop := waiting0(func(l *Limits) { l.QueuedBytes, l.QueueMessages, l.QueueBytes = most, 100_000, 64<<20 })
	defer stop()
	away := absentees(t, b, clients, "a")
	pub, c := join(b, "pub")
	payload := make([]byte, 100)
	for range 3 {
		inTick(b, func(tick *Tick) {
			for range 10 {
				say(t, b, tick, c, pub, 0, payload)
			}
			say(t, b, tick, c, pub, 1, payload)
		})
		pub.frames()
	}
	messages, bytes := b.Waiting()
	if bytes < most || bytes > most+1000 || messages < most/1000 {
		t.Errorf("%d messages of %d bytes wait, the bound is %d", messages, bytes, most)
	}
	st := b.Stats()
	queued, full, full0 := int(st.Queued.Load()), int(st.Dropped[DropQueueFull].Load()), int(st.Dropped[DropQueueFull0].Load())
	if all := clients * 33; queued+full+full0 != all+queued-messages {
		t.Errorf("%d were queued, %d wait and %d+%d were dropped, of %d", queued, messages, full, full0, all)
	}
	for _, name := range []string{away[0].ID, away[clients-1].ID} {
		l := newLink(name, packet.V5)
		inTick(b, func(tick *Tick) {
			b.Admit(0)
			_, _ = b.Connect(tick, l, &Connect{Info: l.info, CleanStart: true, Terms: session.Terms{Version: packet.V5}})
		})
	}
	if _, bytes := b.Waiting(); b.queuedBytes.Load() != int64(bytes) {
		t.Errorf("%d bytes are counted, %d wait", b.queuedBytes.Load(), bytes)
	}
}

// Ticks of several loops go on at a time: each soon knows what the others have
// queued.
func TestTicksShareTheBoundOfAllQueues(t *testing.T) {
	const most = 1 << 20
	b, stop := waiting0(func(l *Limits) { l.QueuedBytes, l.QueueMessages, l.QueueBytes = most, 100_000, 64<<20 })
	defer stop()
	absentees(t, b, 100, "a")
	pub, c := join(b, "pub")
	ticks := []*Tick{b.NewTick(), b.NewTick(), b.NewTick()}
	for _, tick := range ticks {
		tick.Begin()
	}
	for range 100 {
		for _, tick := range ticks {
			say(t, b, tick, c, pub, 0, make([]byte, 100))
		}
	}
	for _, tick := range ticks {
		tick.End()
	}
	if _, bytes := b.Waiting(); bytes < most || bytes > most+len(ticks)*(maxUncounted+1000) {
		t.Errorf("%d bytes wait, the bound is %d", bytes, most)
	}
}

// A client that reads nothing has its QoS 0 messages wait up to the bounds of its
// queue. Retained messages go on behind them.
func TestASlowClientGetsTheNewestOfQoS0(t *testing.T) {
	b, stop := waiting0(func(l *Limits) {
		l.QueueMessages, l.QueueBytes, l.QueuedBytes, l.RetainedMessages, l.RetainedBytes = 300, 1<<20, 1<<20, 600, 1<<20
	})
	defer stop()
	pub, c := join(b, "pub")
	inTick(b, func(tick *Tick) {
		for i := range 500 {
			p := packet.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: []byte("r"), Retain: true}
			if err := b.Publish(tick, c, pub, &p); err != nil {
				t.Fatal(err)
			}
		}
	})
	slow, sc := join(b, "slow", "a")
	slow.full = true
	text := func(i int) []byte { return fmt.Appendf(nil, "%0100d", i) }
	for i := range 1000 {
		inTick(b, func(tick *Tick) { say(t, b, tick, c, pub, 0, text(i)) })
	}
	if n, _ := b.Waiting(); n != 300 {
		t.Errorf("%d messages wait, want 300", n)
	}
	inTick(b, func(tick *Tick) {
		s := &packet.Subscribe{ID: 9, Filters: []packet.Subscription{{Filter: "r/+", QoS: 0}}}
		if err := b.Subscribe(tick, sc, slow, s); err != nil {
			t.Fatal(err)
		}
	})
	slow.mu.Lock()
	slow.full, slow.owed = false, false
	slow.mu.Unlock()
	inTick(b, func(tick *Tick) { b.Writable(tick, sc, slow) })
	for again := true; again; {
		slow.mu.Lock()
		again, slow.again = slow.again, false
		slow.mu.Unlock()
		if again {
			inTick(b, func(tick *Tick) { b.Resume(tick, sc, slow) })
		}
	}
	var got []string
	retained := 0
	for _, p := range slow.published(t) {
		if p == "r" {
			retained++
			continue
		}
		got = append(got, p)
	}
	dropped := int(b.Stats().Dropped[DropQueueFull0].Load())
	if len(got)+dropped != 1000 || dropped < 600 || dropped > 700 {
		t.Fatalf("%d came and %d were dropped, of 1000", len(got), dropped)
	}
	for i, p := range got[len(got)-300:] {
		if want := string(text(700 + i)); p != want {
			t.Fatalf("message %d from the end is %s, want %s", 300-i, p, want)
		}
	}
	if retained != 500 {
		t.Errorf("%d retained messages came, want 500", retained)
	}
	if n, bytes := b.Waiting(); n != 0 || b.queuedBytes.Load() != 0 {
		t.Errorf("%d messages of %d bytes wait, %d are counted", n, bytes, b.queuedBytes.Load())
	}
	if n := b.Stats().PublishSent[0].Load(); n != uint64(len(got)+retained) {
		t.Errorf("%d counted as sent, want %d", n, len(got)+retained)
	}
}

// A session that has ended holds nothing, though the tick that published to it
// remembers its client until the topic comes again.
func TestAnEndedSessionHoldsNoMessages(t *testing.T) {
	b, stop := waiting0(nil)
	defer stop()
	away := absentees(t, b, 1, "a")[0]
	pub, c := join(b, "pub")
	tick := b.NewTick()
	tick.Begin()
	say(t, b, tick, c, pub, 0, make([]byte, 100))
	say(t, b, tick, c, pub, 1, make([]byte, 100))
	tick.End()
	if n, _ := away.session.Queued(); n != 2 {
		t.Fatalf("%d messages wait, want 2", n)
	}
	l := newLink(away.ID, packet.V5)
	inTick(b, func(t *Tick) {
		b.Admit(0)
		_, _ = b.Connect(t, l, &Connect{Info: l.info, CleanStart: true, Terms: session.Terms{Version: packet.V5}})
	})
	if p := tick.plans["a"]; len(p.targets) != 1 || p.targets[0].client != away {
		t.Fatal("the tick has forgotten the client: the test has tested something else")
	}
	if n, _ := away.session.Queued(); n != 0 || b.queuedBytes.Load() != 0 {
		t.Errorf("%d messages still wait, %d bytes are counted", n, b.queuedBytes.Load())
	}
}

// What made room for a message is counted with it, also if nothing else happens
// to its client.
func TestWhatMadeRoomIsCounted(t *testing.T) {
	b, stop := waiting0(func(l *Limits) { l.QueueMessages = 3 })
	defer stop()
	absentees(t, b, 1, "a")
	pub, c := join(b, "pub")
	count := func(d Drop) uint64 { return b.Stats().Dropped[d].Load() }
	inTick(b, func(tick *Tick) {
		for range 3 {
			say(t, b, tick, c, pub, 0, nil)
		}
		for range 2 {
			say(t, b, tick, c, pub, 1, nil)
		}
	})
	if count(DropQueueFull0) != 2 || count(DropQueueFull) != 0 || count(DropOffline) != 0 {
		t.Errorf("%d at QoS 0 and %d others were dropped, want 2 and 0", count(DropQueueFull0), count(DropQueueFull))
	}
	inTick(b, func(tick *Tick) {
		say(t, b, tick, c, pub, 1, nil)
		say(t, b, tick, c, pub, 1, nil)
		say(t, b, tick, c, pub, 0, nil)
	})
	if count(DropQueueFull0) != 4 || count(DropQueueFull) != 1 {
		t.Errorf("%d at QoS 0 and %d others were dropped, want 4 and 1", count(DropQueueFull0), count(DropQueueFull))
	}
}
