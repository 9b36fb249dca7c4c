package load

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// sent is what n messages of a publisher look like to a subscriber, a slice each.
func sent(g *generator, publisher, n int) [][]byte {
	p := &g.pubs[publisher]
	p.state = up
	first := p.seq
	g.publish(p, n, 0)
	var list [][]byte
	for i := range n {
		size := len(p.at(first + uint64(i)).bytes)
		list = append(list, slices.Clone(p.out[:size]))
		p.out = p.out[size:]
	}
	p.out = p.out[:0]
	return list
}

// greeted is a generator whose clients are all there.
func greeted(sc Scenario) *generator {
	g := newGenerator(Target{}, sc, 7)
	g.transport = nowhere{}
	for _, p := range g.peers {
		p.state = up
	}
	return g
}

// nowhere is a transport that keeps what is sent pending.
type nowhere struct{}

func (nowhere) dial(*peer) error         { return nil }
func (nowhere) send(*peer)               {}
func (nowhere) wait(time.Duration) error { return nil }
func (nowhere) drop(*peer)               {}
func (nowhere) close() error             { return nil }

func ackFrame(t packet.Type, id byte) packet.Frame {
	return packet.Frame{Type: t, Body: []byte{0, id}}
}

// The generator must notice whatever a broker can do wrong: each case changes
// what a faultless one would have delivered.
func TestFaultsAreNoticed(t *testing.T) {
	swap := func(m [][]byte) [][]byte { m[1], m[2] = m[2], m[1]; return m }
	flip := func(at int) func([][]byte) [][]byte {
		return func(m [][]byte) [][]byte { m[1][at] ^= 1; return m }
	}
	pair := pairs(1)
	body := greeted(pair).pubs[0].packets[0].stampAt
	cases := map[string]struct {
		change func([][]byte) [][]byte
		to     int // subscriber
		want   Faults
	}{
		"nothing wrong":            {func(m [][]byte) [][]byte { return m }, 0, Faults{}},
		"one lost":                 {func(m [][]byte) [][]byte { return slices.Delete(m, 1, 2) }, 0, Faults{Lost: 1}},
		"the last lost":            {func(m [][]byte) [][]byte { return m[:3] }, 0, Faults{Lost: 1}},
		"one twice":                {func(m [][]byte) [][]byte { return slices.Insert(m, 2, m[1]) }, 0, Faults{Duplicated: 1}},
		"two changed places":       {swap, 0, Faults{Disordered: 1}},
		"a byte of the topic":      {flip(5), 0, Faults{Damaged: 1, Lost: 1}},
		"a byte of the run":        {flip(body), 0, Faults{Damaged: 1, Lost: 1}},
		"a number never sent":      {flip(body + 8 + 7), 0, Faults{Damaged: 1, Lost: 1}},
		"a byte of the filler":     {flip(body + StampSize), 0, Faults{Damaged: 1, Lost: 1}},
		"all to a wrong addressee": {func(m [][]byte) [][]byte { return m }, 1, Faults{Damaged: 4, Lost: 4}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := greeted(pair)
			for _, m := range c.change(sent(g, 0, 4)) {
				used, err := g.take(&g.subs[c.to].peer, m, 1)
				if err != nil || used != len(m) {
					t.Fatalf("take = %d, %v", used, err)
				}
			}
			for id := range uint16(4) {
				g.takeAck(&g.pubs[0], ackFrame(packet.PUBACK, byte(id+1)), 1)
			}
			g.settleAccounts()
			if g.result.Faults != c.want {
				t.Errorf("faults: %v; want %v", g.result.Faults, c.want)
			}
		})
	}
}

func TestFlagsOfADeliveryAreChecked(t *testing.T) {
	cases := map[string]struct {
		head byte
		want uint64
	}{
		"as published":       {0x32, 0},
		"DUP":                {0x3a, 1},
		"RETAIN":             {0x33, 1},
		"not a publish":      {0xd0, 1},
		"an acknowledgement": {0x40, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := greeted(pairs(1))
			m := sent(g, 0, 1)[0]
			m[0] = c.head
			if _, err := g.take(&g.subs[0].peer, m, 1); err != nil {
				t.Fatal(err)
			}
			if got := g.result.Faults.Protocol; got != c.want {
				t.Errorf("%d faults of protocol, want %d", got, c.want)
			}
		})
	}
}

func TestAcknowledgementsAreMatched(t *testing.T) {
	ack := func(head packet.Type, id uint16) []byte { return appendAck(nil, head, id) }
	cases := map[string]struct {
		qos  byte
		acks [][]byte
		want uint64 // two messages are open
	}{
		"QoS 1, both":                 {1, [][]byte{ack(packet.PUBACK, 1), ack(packet.PUBACK, 2)}, 0},
		"QoS 1, the other way round":  {1, [][]byte{ack(packet.PUBACK, 2), ack(packet.PUBACK, 1)}, 0},
		"QoS 1, one missing":          {1, [][]byte{ack(packet.PUBACK, 1)}, 1},
		"QoS 1, one twice":            {1, [][]byte{ack(packet.PUBACK, 1), ack(packet.PUBACK, 1), ack(packet.PUBACK, 2)}, 1},
		"QoS 1, with a PUBREC":        {1, [][]byte{ack(packet.PUBREC, 1), ack(packet.PUBACK, 2)}, 2},
		"QoS 2, in full":              {2, [][]byte{ack(packet.PUBREC, 1), ack(packet.PUBCOMP, 1), ack(packet.PUBREC, 2), ack(packet.PUBCOMP, 2)}, 0},
		"QoS 2, PUBCOMP out of blue":  {2, [][]byte{ack(packet.PUBCOMP, 1)}, 3},
		"QoS 2, the second half lost": {2, [][]byte{ack(packet.PUBREC, 1), ack(packet.PUBREC, 2), ack(packet.PUBCOMP, 2)}, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := greeted(pairs(c.qos))
			for _, m := range sent(g, 0, 2) {
				if _, err := g.take(&g.subs[0].peer, m, 1); err != nil {
					t.Fatal(err)
				}
			}
			for _, a := range c.acks {
				if _, err := g.take(&g.pubs[0].peer, a, 1); err != nil {
					t.Fatal(err)
				}
			}
			g.settleAccounts()
			if g.result.Faults != (Faults{Protocol: c.want}) {
				t.Errorf("faults: %v; want %d against the protocol", g.result.Faults, c.want)
			}
		})
	}
}

func TestTheClosedLoopKeepsItsWindow(t *testing.T) {
	sc := Scenario{Shape: Fanout, Publishers: 1, Subscribers: 2, Window: 4, Sizes: []int{64}}
	g := greeted(sc)
	messages := sent(g, 0, 4)
	steps := []struct{ subscriber, message, published int }{ // of 8 copies open
		{0, 0, 4}, {0, 1, 4}, {0, 2, 4}, // 5 left: more than half a window
		{0, 3, 6}, // 4 left, worth two messages: two more go out
		{1, 0, 6}, // 7 left of 8
	}
	for _, s := range steps {
		if _, err := g.take(&g.subs[s.subscriber].peer, messages[s.message], 1); err != nil {
			t.Fatal(err)
		}
		g.pace(1)
		if g.published != uint64(s.published) {
			t.Fatalf("message %d at subscriber %d: %d published, want %d", s.message, s.subscriber, g.published, s.published)
		}
	}
}

func TestTheOpenLoopKeepsItsSchedule(t *testing.T) {
	sc := Scenario{Shape: Fanout, Publishers: 1, Subscribers: 2, Rate: 20_000, Sizes: []int{64}} // 10,000 messages/s
	cases := map[string]struct {
		tick time.Duration
		want []int64 // µs
	}{
		"evenly":            {0, []int64{0, 100, 200, 300, 400}},
		"in ticks":          {200 * time.Microsecond, []int64{0, 200, 200, 400, 400}},
		"in uneven ticks":   {250 * time.Microsecond, []int64{0, 250, 250, 500, 500}},
		"in fine ticks too": {time.Microsecond, []int64{0, 100, 200, 300, 400}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			sc := sc
			sc.Tick = c.tick
			g := greeted(sc)
			for k, want := range c.want {
				if got := g.dueAt(uint64(k)); got != want*1000 {
					t.Errorf("message %d is due at %d ns, want %d µs", k, got, want)
				}
			}
		})
	}
}

func TestTheScheduleWaitsForRoomButKeepsItsTime(t *testing.T) {
	sc := Scenario{Shape: Pairs, Publishers: 1, Subscribers: 1, Rate: 1000, Sizes: []int{64}}
	g := greeted(sc)
	g.pubs[0].state = away
	g.keepSchedule(int64(10 * time.Millisecond))
	if g.published != 0 {
		t.Fatalf("%d published without a connection", g.published)
	}
	g.pubs[0].state = up
	g.keepSchedule(int64(10 * time.Millisecond))
	if g.published != 11 {
		t.Fatalf("%d published, want 11", g.published)
	}
	x := g.pubs[0].packets[0]
	if st := getStamp(g.pubs[0].out[len(x.bytes)+x.stampAt:]); st.sent != int64(time.Millisecond) {
		t.Errorf("the second message counts from %d ns, want 1 ms", st.sent)
	}
}

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	for _, qos := range []byte{0, 1, 2} {
		sc := pairs(qos)
		sc.Window = 64
		g := greeted(sc)
		p, s := &g.pubs[0], &g.subs[0]
		var ack []byte
		allocs := testing.AllocsPerRun(100, func() {
			g.publish(p, 1, 0)
			id := binary.BigEndian.Uint16(p.out[p.packets[0].idAt:])
			if _, err := g.take(&s.peer, p.out, 1); err != nil {
				t.Fatal(err)
			}
			for _, head := range [][]packet.Type{{}, {packet.PUBACK}, {packet.PUBREC, packet.PUBCOMP}}[qos] {
				ack = appendAck(ack[:0], head, id)
				if _, err := g.take(&p.peer, ack, 1); err != nil {
					t.Fatal(err)
				}
			}
			p.out, s.out = p.out[:0], s.out[:0]
			g.dirty, g.ripe = g.dirty[:0], g.ripe[:0]
			p.dirty, s.dirty, p.ripe = false, false, false
		})
		if allocs != 0 {
			t.Errorf("QoS %d: %g allocations a message", qos, allocs)
		}
		if g.result.Faults.Any() {
			t.Errorf("QoS %d: %v", qos, g.result.Faults)
		}
	}
}

// Each member of a shared group gets its part, in order; together they get
// each message once.
func TestFaultsOfASharedGroupAreNoticed(t *testing.T) {
	type to struct{ member, message int }
	cases := map[string]struct {
		deliveries []to
		want       Faults
	}{
		"one member gets all":        {[]to{{0, 0}, {0, 1}, {0, 2}, {0, 3}}, Faults{}},
		"in turn":                    {[]to{{0, 0}, {1, 1}, {0, 2}, {1, 3}}, Faults{}},
		"one member is slow":         {[]to{{0, 0}, {0, 2}, {0, 3}, {1, 1}}, Faults{}},
		"one is lost":                {[]to{{0, 0}, {1, 1}, {0, 3}}, Faults{Lost: 1}},
		"both members get it":        {[]to{{0, 0}, {1, 1}, {0, 1}, {0, 2}, {1, 3}}, Faults{Duplicated: 1}},
		"out of order at one member": {[]to{{0, 2}, {0, 0}, {1, 1}, {1, 3}}, Faults{Disordered: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := greeted(Scenario{Shape: Share, Publishers: 1, Subscribers: 2, Window: 8, Sizes: []int{64}})
			m := sent(g, 0, 4)
			for _, d := range c.deliveries {
				if _, err := g.take(&g.subs[d.member].peer, m[d.message], 1); err != nil {
					t.Fatal(err)
				}
			}
			g.settleAccounts()
			if g.result.Faults != c.want {
				t.Errorf("faults: %v; want %v", g.result.Faults, c.want)
			}
		})
	}
}

// MQTT 5 has properties, which a broker may add to.
func TestPropertiesAreNotInTheWay(t *testing.T) {
	g := newGenerator(Target{Login: Login{Version: packet.V5}}, pairs(1), 7)
	for _, p := range g.peers {
		p.state = up
	}
	var m packet.Publish
	for i, b := range sent(g, 0, 2) {
		f, _, err := packet.Split(b, maxPacket)
		if err != nil {
			t.Fatal(err)
		}
		if err := packet.ParsePublish(&m, f.Flags, f.Body, packet.V5, packet.FromClient); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			m.SubscriptionIDs = []uint32{7}
		}
		if _, err := g.take(&g.subs[0].peer, packet.AppendPublish(nil, &m, packet.V5), 1); err != nil {
			t.Fatal(err)
		}
	}
	if g.delivered != 2 || g.result.Faults.Any() {
		t.Errorf("%d delivered, faults: %v", g.delivered, g.result.Faults)
	}
	for _, ack := range [][]byte{{0x40, 3, 0, 1, 0x10}, {0x40, 4, 0, 2, 0x97, 0}} { // nobody subscribed; quota exceeded
		if _, err := g.take(&g.pubs[0].peer, ack, 1); err != nil {
			t.Fatal(err)
		}
	}
	if want := (Faults{Refused: 1}); g.result.Faults != want || g.unacked != 0 {
		t.Errorf("faults: %v, %d unacknowledged; want %v", g.result.Faults, g.unacked, want)
	}
}

func TestAPublisherKeepsWithinWhatTheBrokerAllows(t *testing.T) {
	cases := map[string]struct {
		ack     packet.ConnackProperties
		window  int
		failure string // part of it
	}{
		"nothing said":        {packet.ConnackProperties{}, 8, ""},
		"few at once":         {packet.ConnackProperties{ReceiveMaximum: 3}, 3, ""},
		"many at once":        {packet.ConnackProperties{ReceiveMaximum: 30}, 8, ""},
		"no such QoS":         {packet.ConnackProperties{HasMaximumQoS: true}, 8, "no QoS above 0"},
		"packets too large":   {packet.ConnackProperties{MaximumPacketSize: 100}, 8, "packets of 100 bytes"},
		"nothing is retained": {packet.ConnackProperties{WithoutRetain: true}, 8, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newGenerator(Target{Login: Login{Version: packet.V5}}, pairs(1), 7)
			g.transport = nowhere{}
			p := &g.pubs[0]
			p.state, g.opening = greeting, 1
			b := packet.AppendConnack(nil, &packet.Connack{ConnackProperties: c.ack}, packet.V5, 0)
			if _, err := g.take(&p.peer, b, 1); err != nil {
				t.Fatal(err)
			}
			if p.window != c.window {
				t.Errorf("window %d, want %d", p.window, c.window)
			}
			if (g.failure == nil) != (c.failure == "") || g.failure != nil && !strings.Contains(g.failure.Error(), c.failure) {
				t.Errorf("failure: %v; want %q in it", g.failure, c.failure)
			}
		})
	}
}

func TestTopicsAndTheirFilters(t *testing.T) {
	cases := map[string]struct {
		pattern, topic, filter string
	}{
		"the number at the end":    {"d/%i", "d/3", "d/#"},
		"the number in the middle": {"d/%i/state", "d/3/state", "d/+/state"},
		"within a level":           {"d/x%i-%c/state", "d/x3-me/state", "d/+/state"},
		"the run and the user":     {"%r/%u/100%%", "run/ann/100%", "run/ann/100%"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := Scenario{Shape: Fanin, Topics: c.pattern}.names("run", "ann")
			if got := n.topic("me", 3); got != c.topic {
				t.Errorf("topic %s, want %s", got, c.topic)
			}
			if got := n.filter(); got != c.filter {
				t.Errorf("filter %s, want %s", got, c.filter)
			}
			if !topic.Match(n.filter(), n.topic("me", 3)) {
				t.Error("the filter does not match the topic")
			}
		})
	}
}

// Every topic of wild matches one filter: of the subscriber that waits for it.
func TestWildTopicsMatchOneFilter(t *testing.T) {
	sc := Scenario{Shape: Wild, Publishers: 6, Subscribers: 3, Filters: 20}
	n := sc.names("run", "")
	found := 0
	for p := range sc.Publishers {
		for _, name := range n.topics("", p) {
			for s := range sc.Subscribers {
				for _, f := range n.filters(s, "") {
					if !topic.Match(f, name) {
						continue
					}
					found++
					if s != p%sc.Subscribers {
						t.Errorf("%s of publisher %d matches %s of subscriber %d", name, p, f, s)
					}
				}
			}
		}
	}
	if found != sc.Filters {
		t.Errorf("%d matches, want one for each of %d filters", found, sc.Filters)
	}
}
