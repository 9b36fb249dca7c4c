package broker

import (
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// miscounted says where what is counted over all clients is not the sum of what
// each has.
func (b *Broker) miscounted() error {
	var pending, memory int64
	b.each(func(c *Client) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, n := c.session.Waits()
		memory += int64(n)
		if c.link != nil && c.blocked {
			pending += int64(c.busy.unsent + c.busy.backlog.room + cap(c.out))
		}
	})
	if p, m := b.Held(); p != pending || m != memory {
		return fmt.Errorf("counted %d pending bytes and %d of queues in memory, there are %d and %d", p, m, pending, memory)
	}
	return nil
}

// stalled connects clients that subscribe to "a" and read nothing.
func stalled(tb testing.TB, b *Broker, n int, qos byte) (links []*link, clients []*Client) {
	tb.Helper()
	inTick(b, func(t *Tick) {
		for i := range n {
			l := newLink(fmt.Sprint("stalled", i), packet.V5)
			l.full = true
			b.Admit(0)
			c, _ := b.Connect(t, l, &Connect{Info: l.info, Terms: session.Terms{Version: packet.V5}})
			if err := b.Subscribe(t, c, l, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "a", QoS: qos}}}); err != nil {
				tb.Fatal(err)
			}
			links, clients = append(links, l), append(clients, c)
		}
	})
	for _, l := range links {
		l.frames()
	}
	return links, clients
}

// However many clients read nothing, what waits for them stays within the bound of
// all of them; each has some of it, what does not fit is counted, and who reads
// gets everything.
func TestClientsThatReadNothingShareTheirBound(t *testing.T) {
	const clients, most, messages = 300, 1 << 20, 500
	b, stop := newBroker(Memory{}, func(o *Options) { o.Limits.PendingBytes, o.Limits.AllPendingBytes = most/16, most })
	defer stop()
	links, slow := stalled(t, b, clients, 0)
	reader, _ := join(b, "reader", "a")
	pub, c := join(b, "pub")
	payload := make([]byte, 100)
	got := 0
	for range messages {
		inTick(b, func(tick *Tick) { say(t, b, tick, c, pub, 0, payload) })
		got += len(reader.published(t))
	}
	if got != messages {
		t.Errorf("who reads got %d of %d messages", got, messages)
	}
	if err := b.miscounted(); err != nil {
		t.Error(err)
	}
	held, _ := b.Held()
	if held > most || held < most/2 {
		t.Errorf("%d bytes are held, the bound is %d", held, most)
	}
	least, sum := most, 0
	for _, s := range slow {
		least, sum = min(least, len(s.out)), sum+cap(s.out)
	}
	if sum > most || least < most/clients/4 {
		t.Errorf("the pending bytes take %d bytes of memory, the least of a client are %d", sum, least)
	}
	taken := 0
	for i, l := range links {
		l.full = false
		inTick(b, func(tick *Tick) { b.Writable(tick, slow[i], l) })
		taken += len(l.published(t))
	}
	if dropped := int(b.Stats().Dropped[DropSlow].Load()); dropped == 0 || taken+dropped != clients*messages {
		t.Errorf("%d were taken in the end and %d dropped, of %d", taken, dropped, clients*messages)
	}
	if held, _ := b.Held(); held != 0 {
		t.Errorf("%d bytes are still counted", held)
	}
}

// One slow client gets what its own limit says.
func TestAFewSlowClientsGetTheirOwnLimit(t *testing.T) {
	const most = 1 << 20
	b, stop := newBroker(Memory{}, func(o *Options) { o.Limits.PendingBytes, o.Limits.AllPendingBytes = most/32, most })
	defer stop()
	_, slow := stalled(t, b, 3, 0)
	pub, c := join(b, "pub")
	for range 500 {
		inTick(b, func(tick *Tick) { say(t, b, tick, c, pub, 0, make([]byte, 100)) })
	}
	for i, s := range slow {
		if len(s.out) < most/32 {
			t.Errorf("%d bytes wait for client %d, it may have %d", len(s.out), i, most/32)
		}
	}
}

// Who goes takes along what waited, however it goes.
func TestWhatWaitedGoesWithTheClient(t *testing.T) {
	b, stop := newBroker(Memory{}, func(o *Options) {
		o.Limits.PendingBytes, o.Limits.QueueMessages, o.Limits.QueuedBytes = 500, 100, 1<<20
	})
	defer stop()
	links, slow := stalled(t, b, 3, 1)
	pub, c := join(b, "pub")
	for range 20 {
		inTick(b, func(tick *Tick) {
			say(t, b, tick, c, pub, 0, make([]byte, 100))
			say(t, b, tick, c, pub, 1, make([]byte, 100))
		})
	}
	if pending, queued := b.Held(); pending == 0 || queued == 0 {
		t.Fatalf("%d and %d bytes are held, want some of both", pending, queued)
	}
	next := newLink(slow[1].ID, packet.V5)
	inTick(b, func(tick *Tick) {
		b.Disconnect(tick, slow[0], links[0], Ending{})
		b.Admit(0)
		_, _ = b.Connect(tick, next, &Connect{Info: next.info, CleanStart: true, Terms: session.Terms{Version: packet.V5}})
	})
	if err := b.miscounted(); err != nil {
		t.Error(err)
	}
	inTick(b, func(tick *Tick) { b.Disconnect(tick, slow[2], links[2], Ending{}) })
	if pending, queued := b.Held(); pending != 0 || queued != 0 {
		t.Errorf("%d and %d bytes are still counted", pending, queued)
	}
}

// Queues in memory have a bound of their own, with all that they take.
func TestQueuesInMemoryStayWithinTheirBound(t *testing.T) {
	const clients, most, messages = 300, 1 << 20, 100
	b, stop := newBroker(Memory{}, func(o *Options) {
		o.Limits.QueueMessages, o.Limits.QueueBytes, o.Limits.QueuedBytes = 100_000, 64<<20, 1<<40
		o.Limits.QueuedMemory = most
	})
	defer stop()
	stalled(t, b, clients, 1)
	pub, c := join(b, "pub")
	for range messages {
		inTick(b, func(tick *Tick) { say(t, b, tick, c, pub, 1, make([]byte, 100)) })
	}
	if err := b.miscounted(); err != nil {
		t.Error(err)
	}
	if _, queued := b.Held(); queued < most/2 || queued > most {
		t.Errorf("queues take %d bytes, the bound is %d", queued, most)
	}
	st := b.Stats()
	sent, queued, full := st.PublishSent[1].Load(), st.Queued.Load(), st.Dropped[DropQueueFull].Load()
	if full == 0 || sent+queued+full != clients*messages {
		t.Errorf("%d were sent, %d queued and %d dropped, of %d", sent, queued, full, clients*messages)
	}
}
