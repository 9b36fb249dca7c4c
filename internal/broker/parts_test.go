package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

// audience are clients that subscribe to "a", at QoS 0 and 1 in turn, and keep what
// they are given but do not take.
func audience(tb testing.TB, b *Broker, n int) (links []*link, clients []*Client) {
	tb.Helper()
	inTick(b, func(t *Tick) {
		for i := range n {
			v := packet.V5
			if i%4 > 1 {
				v = packet.V311
			}
			l := newLink(fmt.Sprint("sub", i), v)
			l.keeps = true
			b.Admit(0)
			c, _ := b.Connect(t, l, &Connect{Info: l.info, Terms: session.Terms{Version: v, ReceiveMaximum: 1000}})
			if err := b.Subscribe(t, c, l, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "a", QoS: byte(i % 2)}}}); err != nil {
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

// unlimited lifts the limits that would drop something.
func unlimited(o *Options) {
	o.Limits.PendingBytes, o.Limits.AllPendingBytes, o.Limits.InFlight = 64<<20, 8<<30, 1000
}

// speech is small and large payloads, each unlike the others.
func speech(from int) (list []string) {
	for i := range 12 {
		n := 10
		if i%3 > 0 {
			n = shareFrom + 1000*i
		}
		list = append(list, fmt.Sprint(from+i)+strings.Repeat(string(rune('a'+i)), n))
	}
	return list
}

// publishAll publishes payloads out of memory that is used again at once.
func publishAll(tb testing.TB, b *Broker, t *Tick, c *Client, l *link, payloads []string) {
	tb.Helper()
	memory := make([]byte, 100_000)
	for i, p := range payloads {
		n := copy(memory, p)
		say(tb, b, t, c, l, byte(i%2), memory[:n])
		clear(memory)
	}
}

// Large messages for many are in memory once. They come whole, and in order with
// the small ones, to those that take all, and later to those that do not.
func TestManyShareALargeMessage(t *testing.T) {
	b, stop := newBroker(Memory{}, unlimited)
	defer stop()
	links, clients := audience(t, b, 4*shareAmong)
	pub, c := join(b, "pub")
	slow := links[len(links)/2:]
	for _, l := range slow {
		l.full = true
	}
	one, two := speech(0), speech(100)
	inTick(b, func(tick *Tick) { publishAll(t, b, tick, c, pub, one) })
	inTick(b, func(tick *Tick) { publishAll(t, b, tick, c, pub, two) })
	if err := b.miscounted(); err != nil {
		t.Error(err)
	}
	shared := map[*byte]int{}
	for _, c := range clients[len(links)/2:] {
		for _, p := range c.busy.backlog.parts {
			if p.Shared {
				shared[&p.Bytes[0]]++
			}
		}
	}
	if most := 4 * len(two); len(shared) == 0 || len(shared) > most { // two versions, two QoS
		t.Errorf("%d pieces of memory are shared, want some, and %d at most", len(shared), most)
	}
	for i, l := range links[:len(links)/2] {
		if got := l.published(t); !slices.Equal(got, slices.Concat(one, two)) {
			t.Fatalf("client %d got %d messages, or others", i, len(got))
		}
	}
	for i, l := range slow {
		l.full = false
		for len(l.kept) > 0 {
			l.release()
			inTick(b, func(tick *Tick) { b.Writable(tick, clients[len(links)/2+i], l) })
		}
		if got := l.published(t); !slices.Equal(got, slices.Concat(one, two)) {
			t.Fatalf("slow client %d got %d messages, or others", i, len(got))
		}
	}
	if err := b.miscounted(); err != nil {
		t.Error(err)
	}
	if n, _ := b.Held(); n != 0 {
		t.Errorf("%d bytes are pending at the end", n)
	}
}

// Who is kicked is sent what is pending, all of it.
func TestAllPartsAreLeftToWhoIsKicked(t *testing.T) {
	b, stop := newBroker(Memory{}, unlimited)
	defer stop()
	links, _ := audience(t, b, shareAmong)
	pub, c := join(b, "pub")
	for _, l := range links {
		l.full = true
	}
	all := speech(0)
	inTick(b, func(tick *Tick) { publishAll(t, b, tick, c, pub, all[:1]) })
	inTick(b, func(tick *Tick) { publishAll(t, b, tick, c, pub, all[1:]) })
	b.KickAll(packet.Refuse(packet.ServerShuttingDown, "over"))
	for i, l := range links {
		l.release()
		l.in = append(l.in, l.left...)
		if got := l.published(t); !slices.Equal(got, all) {
			t.Errorf("client %d got %d messages, or others", i, len(got))
		}
	}
}

// What a connection does not take, or takes only in one piece, is not mixed up with
// what is encoded later, whoever has the buffers back.
func TestBuffersThatWereKeptAreNotUsedBeforeTheyLeft(t *testing.T) {
	b, stop := newBroker(Memory{}, unlimited)
	defer stop()
	links, clients := audience(t, b, 2) // too few to share
	pub, c := join(b, "pub")
	tick := b.NewTick()
	var want []string
	for round := range 20 {
		tick.Begin()
		all := speech(round * 100)
		publishAll(t, b, tick, c, pub, all)
		want = append(want, all...)
		tick.End()
		links[0].full = round%3 != 2
		if !links[0].full {
			links[0].release()
			tick.Begin()
			b.Writable(tick, clients[0], links[0])
			tick.End()
		}
	}
	links[0].full = false
	links[0].release()
	inTick(b, func(tick *Tick) { b.Writable(tick, clients[0], links[0]) })
	for i, l := range links {
		if got := l.published(t); !slices.Equal(got, want) {
			t.Errorf("client %d got %d messages of %d, or others", i, len(got), len(want))
		}
	}
}

// What is shared counts for the rate of each who gets it.
func TestWhatIsSharedCountsForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 4 * shareFrom
		b, stop := newBroker(Memory{}, func(o *Options) {
			unlimited(o)
			o.Limits.QueueMessages, o.Limits.QueueBytes, o.Limits.QueuedBytes, o.Limits.QueuedMemory = 100, 8<<20, 64<<20, 64<<20
		})
		defer stop()
		audience(t, b, 2*shareAmong)
		limits := *b.limits.Load()
		limits.BytesOut = rate
		var subs [2]*link // by QoS
		inTick(b, func(tick *Tick) {
			for qos := range subs {
				l := newLink(fmt.Sprint("paced", qos), packet.V5)
				subs[qos] = l
				b.Admit(0)
				c, _ := b.Connect(tick, l, &Connect{Info: l.info, Terms: session.Terms{Version: packet.V5, ReceiveMaximum: 1000}, Limits: &limits})
				if err := b.Subscribe(tick, c, l, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "a", QoS: byte(qos)}}}); err != nil {
					t.Fatal(err)
				}
			}
		})
		<-time.After(time.Second) // what came meanwhile is forgotten
		pub, c := join(b, "pub")
		const n = 20
		for range n { // in a tick each
			inTick(b, func(tick *Tick) { say(t, b, tick, c, pub, 1, make([]byte, shareFrom)) })
		}
		const burst = rate / shareFrom // the last of them goes over it
		for qos, l := range subs {
			if got := len(l.published(t)); got != burst {
				t.Errorf("QoS %d: %d messages came at once, want %d", qos, got, burst)
			}
		}
		if dropped := b.Stats().Dropped[DropRateOut].Load(); dropped != n-burst {
			t.Errorf("%d were dropped at QoS 0, want %d", dropped, n-burst)
		}
		for came, start := burst, time.Now(); came < n; {
			<-time.After(wheel.Resolution * time.Millisecond)
			inTick(b, func(tick *Tick) { b.Resume(tick, b.client("paced1"), subs[1]) })
			came += len(subs[1].published(t))
			passed := time.Since(start)
			if most := burst + 1 + int(passed*rate/shareFrom/time.Second); came > most || came < most-2 {
				t.Fatalf("after %v %d came, want about %d", passed, came, most)
			}
		}
	})
}
