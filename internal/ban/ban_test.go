package ban

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func at() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func TestWhoIsKeptOut(t *testing.T) {
	type who struct{ client, user, addr string }
	cases := map[string]struct {
		ban     Ban
		in, out []who
	}{
		"a client id": {
			Ban{Client: "a"},
			[]who{{"b", "a", "192.0.2.1"}, {"", "", ""}, {"A", "", ""}},
			[]who{{"a", "", ""}, {"a", "u", "2001:db8::1"}},
		},
		"a user":     {Ban{User: "u"}, []who{{"u", "v", "192.0.2.1"}, {"u", "", ""}}, []who{{"a", "u", "192.0.2.1"}}},
		"an address": {Ban{Address: "192.0.2.1"}, []who{{"a", "", "192.0.2.2"}, {"a", "", ""}}, []who{{"a", "", "192.0.2.1"}, {"a", "", "::ffff:192.0.2.1"}}},
		"an address of IPv6 that is one of IPv4": {
			Ban{Address: "::ffff:192.0.2.1"}, []who{{"a", "", "::ffff:192.0.2.2"}}, []who{{"a", "", "192.0.2.1"}},
		},
		"a network":          {Ban{Address: "192.0.2.77/24"}, []who{{"a", "", "192.0.3.1"}, {"a", "", "2001:db8::1"}}, []who{{"a", "", "192.0.2.255"}}},
		"a network of IPv6":  {Ban{Address: "2001:db8::/32"}, []who{{"a", "", "2001:db9::1"}, {"a", "", "32.1.13.184"}}, []who{{"a", "", "2001:db8:ffff::1"}}},
		"all of IPv4":        {Ban{Address: "0.0.0.0/0"}, []who{{"a", "", "2001:db8::1"}}, []who{{"a", "", "10.0.0.1"}}},
		"a mapped network":   {Ban{Address: "::ffff:10.0.0.0/104"}, []who{{"a", "", "11.0.0.1"}}, []who{{"a", "", "10.9.9.9"}}},
		"a pattern of ids":   {Ban{ClientPattern: "bot-[0-9]+"}, []who{{"bot-1x", "", ""}, {"abot-1", "", ""}}, []who{{"bot-12", "", ""}}},
		"a pattern of users": {Ban{UserPattern: "a|b"}, []who{{"a", "ab", ""}}, []who{{"x", "b", ""}}},
		"all of it": {
			Ban{Client: "a", User: "u", Address: "192.0.2.0/24"},
			[]who{{"a", "u", "192.0.3.1"}, {"a", "v", "192.0.2.1"}, {"b", "u", "192.0.2.1"}, {"a", "u", ""}},
			[]who{{"a", "u", "192.0.2.1"}},
		},
		"a pattern at a network": {
			Ban{ClientPattern: "x.*", Address: "192.0.2.0/24"}, []who{{"x1", "", "192.0.3.1"}, {"y", "", "192.0.2.1"}}, []who{{"x1", "", "192.0.2.9"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := NewList()
			kept, err := l.Add(c.ban, at())
			if err != nil {
				t.Fatal(err)
			}
			matches, err := Matcher(c.ban)
			if err != nil {
				t.Fatal(err)
			}
			lifted := false
			ask := func(w who) *Ban {
				a, _ := netip.ParseAddr(w.addr)
				b := l.Client(w.client, w.user, a, at())
				if !lifted && (b != nil) != matches(w.client, w.user, a) {
					t.Errorf("%v: the list and Matcher disagree", w)
				}
				early := l.Address(a, at())
				if alone := c.ban == (Ban{Address: c.ban.Address}); (early != nil) != (alone && b != nil) {
					t.Errorf("%v: known by its address: %v", w, early != nil)
				}
				return b
			}
			for _, w := range c.in {
				if b := ask(w); b != nil {
					t.Errorf("%v is kept out", w)
				}
			}
			for _, w := range c.out {
				if b := ask(w); b == nil || b.ID != kept.ID {
					t.Errorf("%v is let in", w)
				}
			}
			if _, ok := l.Remove(kept.ID); !ok || len(l.All(at())) != 0 || len(l.clients)+len(l.users)+len(l.networks)+len(l.lengths)+len(l.patterns) != 0 {
				t.Error("it is not gone")
			}
			lifted = true
			for _, w := range c.out {
				if b := ask(w); b != nil {
					t.Errorf("%v is kept out by a ban that was lifted", w)
				}
			}
		})
	}
}

func TestABanEnds(t *testing.T) {
	l := NewList()
	until := at().Add(time.Minute)
	b, err := l.Add(Ban{Client: "a", Until: &until, Reason: "noise", By: "ann"}, at())
	if err != nil {
		t.Fatal(err)
	}
	if why := l.Client("a", "", netip.Addr{}, until.Add(-1)); why == nil {
		t.Error("it has ended too early")
	} else if text := why.Why(); text != "the client id a is banned until 2026-11-21T12:01:00Z by ann: noise" {
		t.Error(text)
	}
	if l.Client("a", "", netip.Addr{}, until) != nil {
		t.Error("it has not ended")
	}
	if _, err := l.Add(Ban{Client: "a"}, at()); err != nil {
		t.Fatal(err)
	}
	all := l.All(until)
	if len(all) != 1 || all[0].ID != b.ID || all[0].Until != nil {
		t.Errorf("%+v, want one in the place of the other", all)
	}
}

func TestABanOfNobodyIsAMistake(t *testing.T) {
	for want, b := range map[string]Ban{
		"names nobody":          {Reason: "x"},
		"neither an address":    {Address: "192.0.2"},
		"no regular expression": {ClientPattern: "("},
	} {
		if _, err := NewList().Add(b, at()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestBansAreBounded(t *testing.T) {
	l := NewList()
	until := at().Add(time.Minute)
	for i := range Most {
		if _, err := l.Add(Ban{Client: fmt.Sprint(i), Until: &until}, at()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Add(Ban{Client: "more"}, at()); err == nil {
		t.Error("one too many is taken")
	}
	if _, err := l.Add(Ban{Client: "more"}, until); err != nil {
		t.Errorf("after the others have ended: %v", err)
	}
}

func TestFlapping(t *testing.T) {
	d := NewDetector(Flapping{Connects: 15, Window: time.Minute, Ban: 5 * time.Minute})
	a := netip.MustParseAddr("192.0.2.1")
	now := at()
	for i := range 15 {
		if ban, _, _ := d.Connect("a", a, now); ban > 0 {
			t.Fatalf("banned at connect %d", i+1)
		}
		now = now.Add(3 * time.Second)
	}
	if ban, _, _ := d.Connect("a", netip.MustParseAddr("192.0.2.2"), now); ban > 0 {
		t.Error("another address is banned")
	}
	if ban, n, in := d.Connect("a", a, now); ban != 5*time.Minute || n != 16 || in != 45*time.Second {
		t.Errorf("banned for %v, after %d in %v", ban, n, in)
	}
	for range 100 { // every five seconds, which is not too often
		if ban, _, _ := d.Connect("b", a, now); ban > 0 {
			t.Fatal("banned without need")
		}
		now = now.Add(5 * time.Second)
	}
	for i := range 5 * mostFlappers {
		d.Connect(fmt.Sprint(i), a, now)
	}
	if n := len(d.young) + len(d.older); n > 2*mostFlappers {
		t.Errorf("%d are remembered", n)
	}
}

func TestToAskAboutABanCountsNothing(t *testing.T) {
	l := NewList()
	for _, b := range []Ban{{Client: "a"}, {Address: "192.0.2.1"}} {
		if _, err := l.Add(b, at()); err != nil {
			t.Fatal(err)
		}
	}
	a := netip.MustParseAddr("192.0.2.1")
	for range 3 {
		if l.WouldClient("a", "", netip.Addr{}, at()) == nil || l.WouldAddress(a, at()) == nil || l.WouldAddress(a.Next(), at()) != nil || l.WouldClient("b", "", a.Next(), at()) != nil {
			t.Fatal("who is banned would not be kept out, or somebody else would be")
		}
	}
	l.Client("a", "", netip.Addr{}, at())
	l.Address(a, at())
	for _, b := range l.All(at()) {
		if b.Refused != 1 {
			t.Errorf("%s has kept out %d, want 1", b.Names(), b.Refused)
		}
	}
}
