package limit

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// guest is a connection of a test.
type guest struct{ evicted *Refusal }

func (g *guest) Evict(why Refusal) { g.evicted = &why }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

const start = 1_790_000_000 * time.Second

// A scan by a million addresses leaves no more behind than the tables may hold.
func TestAScanIsForgotten(t *testing.T) {
	e := NewEntrance(Bounds{AddressConnects: 1, AddressConnections: 10, AddressStrangers: 10, Strangers: 1000})
	now := start
	for i := range 1_000_000 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i))
		p, _, no := e.Enter(&guest{}, "l", netip.AddrFrom4(a), now)
		if no != nil {
			t.Fatal(no)
		}
		p.Leave(now)
		now += time.Microsecond
	}
	if n := e.addresses.size(); n > 2*remembered+1 {
		t.Errorf("%d addresses are remembered", n)
	}
	if e.Strangers() != 0 || e.waiting.first != nil {
		t.Error("somebody is left")
	}
}

func TestTheOldestStrangerMakesRoom(t *testing.T) {
	e := NewEntrance(Bounds{Strangers: 3})
	var guests []*guest
	var passes []*Pass
	enter := func(a string) {
		g := &guest{}
		p, _, no := e.Enter(g, "l", addr(a), start)
		if no != nil {
			t.Fatal(no)
		}
		guests, passes = append(guests, g), append(passes, p)
	}
	evicted := func(want ...int) {
		t.Helper()
		for i, g := range guests {
			should := false
			for _, w := range want {
				should = should || w == i
			}
			if should != (g.evicted != nil) {
				t.Errorf("guest %d: evicted: %v, want %v", i, g.evicted != nil, should)
			}
		}
	}
	enter("192.0.2.1")
	enter("192.0.2.2")
	enter("192.0.2.2")
	evicted()
	enter("192.0.2.2") // the oldest of all
	evicted(0)
	passes[1].Known(start) // a client is no stranger
	enter("192.0.2.3")
	evicted(0)
	enter("192.0.2.2") // the oldest of all, again
	evicted(0, 2)
	enter("192.0.2.4")
	evicted(0, 2, 3)
	for _, p := range passes {
		p.Leave(start)
		p.Leave(start)
	}
	if e.Strangers() != 0 || e.addresses.size() != 0 || e.listeners["l"].connections != 0 {
		t.Errorf("%d strangers, %d addresses, %d connections are left", e.Strangers(), e.addresses.size(), e.listeners["l"].connections)
	}
}

// The strangers of one address are bounded for themselves.
func TestTheOldestStrangerOfAnAddressMakesRoom(t *testing.T) {
	e := NewEntrance(Bounds{Strangers: 100, AddressStrangers: 1})
	first, other, second := &guest{}, &guest{}, &guest{}
	e.Enter(other, "l", addr("192.0.2.2"), start)
	p, _, _ := e.Enter(first, "l", netip.Addr{}, start) // behind a proxy
	p.Come(addr("192.0.2.1"), start)
	e.Enter(second, "l", addr("192.0.2.1"), start)
	if first.evicted == nil || other.evicted != nil || second.evicted != nil {
		t.Errorf("evicted: %v, %v, %v", first.evicted, other.evicted, second.evicted)
	}
}

func TestConnectionsOfAnAddress(t *testing.T) {
	e := NewEntrance(Bounds{AddressConnections: 2})
	enter := func(a string) (*Pass, *Refusal) {
		p, _, no := e.Enter(&guest{}, "l", addr(a), start)
		return p, no
	}
	a, _ := enter("2001:db8:1:2::1")
	if !a.Known(start) {
		t.Error("a client of an address with bounds is not counted")
	}
	enter("2001:db8:1:2:ffff::9")
	p, no := enter("2001:db8:1:2:5::5") // the same customer
	if no == nil || no.Reason != ReasonAddressConnections {
		t.Errorf("a third one: %v", no)
	}
	p.Leave(start)
	if _, no := enter("2001:db8:1:3::1"); no != nil {
		t.Errorf("another network: %v", no)
	}
	if _, no := enter("::ffff:192.0.2.1"); no != nil {
		t.Errorf("IPv4: %v", no)
	}
	a.Leave(start)
	if _, no := enter("2001:db8:1:2::1"); no != nil {
		t.Errorf("after one has left: %v", no)
	}
}

// What comes a little too fast waits, what comes much too fast is refused and
// takes nothing from others.
func TestConnectRates(t *testing.T) {
	cases := map[string]Bounds{
		"of all":        {Connects: 10},
		"of an address": {AddressConnects: 10},
		"of a listener": {Listeners: map[string]ListenerBounds{"l": {Connects: 10}}},
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			e := NewEntrance(b)
			at, waited, refused := 0, 0, 0
			for range 100 {
				switch _, wait, no := e.Enter(&guest{}, "l", addr("192.0.2.1"), start); {
				case no != nil:
					refused++
				case wait > 0:
					waited++
				default:
					at++
				}
			}
			if at != 10 || waited != 10 || refused != 80 {
				t.Errorf("%d at once, %d waited, %d were refused", at, waited, refused)
			}
			if _, wait, no := e.Enter(&guest{}, "l", addr("192.0.2.1"), start+2*time.Second); no != nil || wait > 0 {
				t.Errorf("two seconds later: %v, %v", wait, no)
			}
		})
	}
}

func TestConnectionsOfAUser(t *testing.T) {
	u := NewUsers(UserBounds{Connections: 1, Messages: 10})
	a, ok := u.Enter("ann", false)
	if !ok {
		t.Fatal("the first one is refused")
	}
	if _, ok := u.Enter("ann", false); ok {
		t.Error("a second one is let in")
	}
	b, ok := u.Enter("ann", true)
	if !ok {
		t.Error("one that replaces another is refused")
	}
	a.Take(15, 0, start)
	if wait, _ := b.Take(5, 0, start); wait != time.Second {
		t.Errorf("the other connection waits %v, want 1s: they share a rate", wait)
	}
	a.Leave(start)
	b.Leave(start)
	if c, _ := u.Enter("ann", false); c == nil {
		t.Error("no connection, and it is refused")
	} else if wait, _ := c.Take(0, 0, start); wait != time.Second {
		t.Errorf("a new connection waits %v: a reconnect makes the rate forgotten", wait)
	}
	if n, ok := NewUsers(UserBounds{}).Enter("ann", false); n != nil || !ok {
		t.Error("without bounds something is counted")
	}
}

// Connections that are refused, and not gone yet, keep nobody out.
func TestRefusedConnectionsDoNotCount(t *testing.T) {
	e := NewEntrance(Bounds{AddressConnections: 1, Listeners: map[string]ListenerBounds{"l": {Connections: 2}}})
	enter := func(a string) (*Pass, *Refusal) {
		p, _, no := e.Enter(&guest{}, "l", addr(a), start)
		return p, no
	}
	first, _ := enter("192.0.2.1")
	enter("192.0.2.1")
	enter("192.0.2.1")
	if _, no := enter("192.0.2.2"); no != nil {
		t.Errorf("the listener has one connection: %v", no)
	}
	if _, no := enter("192.0.2.3"); no == nil || no.Reason != ReasonListenerConnections {
		t.Errorf("the listener has two connections: %v", no)
	}
	first.Leave(start)
	if _, no := enter("192.0.2.1"); no != nil {
		t.Errorf("the address has no connection: %v", no)
	}
}

// Would says what Enter does, however often it is asked before.
func TestWouldIsEnterWithoutCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.IntRange(0, 3)
		e := NewEntrance(Bounds{
			Connects: Rate(small.Draw(t, "rate")), AddressConnects: Rate(small.Draw(t, "address's rate")), AddressConnections: small.Draw(t, "address's"),
			Listeners: map[string]ListenerBounds{"l": {Rate(small.Draw(t, "listener's rate")), small.Draw(t, "listener's")}},
		})
		now := start
		var in []*Pass
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 1500).Draw(t, "passed")) * time.Millisecond
			if len(in) > 0 && rapid.Bool().Draw(t, "leaves") {
				in[0].Leave(now)
				in = in[1:]
				continue
			}
			l, a := rapid.SampledFrom([]string{"l", "m"}).Draw(t, "listener"), addr(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "address"))
			var would *Refusal
			for range 3 {
				would = e.Would(l, a, now)
			}
			p, _, no := e.Enter(nil, l, a, now)
			if (would == nil) != (no == nil) || no != nil && *would != *no {
				t.Fatalf("it would be %v, and is %v", would, no)
			}
			if no != nil {
				p.Leave(now)
				continue
			}
			in = append(in, p)
		}
	})
}

func TestToAskAboutAUserCountsNothing(t *testing.T) {
	u := NewUsers(UserBounds{Connections: 2, Messages: 1})
	for range 5 {
		if !u.Would("ann", false) {
			t.Fatal("nobody is there yet")
		}
	}
	one, _ := u.Enter("ann", false)
	if _, ok := u.Enter("ann", false); !ok || u.Would("ann", false) || !u.Would("ann", true) || !u.Would("bob", false) {
		t.Error("two are there")
	}
	one.Take(5, 0, start)
	for range 3 {
		if _, wait, _ := u.Rates("ann", start); wait != 4*time.Second {
			t.Errorf("she waits %v", wait)
		}
	}
}
