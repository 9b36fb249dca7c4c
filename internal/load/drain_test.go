package load

import (
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// twoAway is a generator that has published n messages for each of two sessions,
// all acknowledged, whose clients now wait for their CONNACK.
func twoAway(t *testing.T, n int) (g *generator, messages [][][]byte) {
	t.Helper()
	sc := Durable{Pattern: Backlog, Sessions: 2, Messages: 6, Window: 4, Sizes: []int{64}}.traffic()
	g = greeted(sc)
	g.copies = 0
	for i := range g.pubs {
		messages = append(messages, sent(g, i, n))
		for id := range uint16(n) {
			g.takeAck(&g.pubs[i], ackFrame(packet.PUBACK, byte(id+1)), 1)
		}
		g.subs[i].resuming, g.subs[i].state = true, greeting
	}
	if g.undelivered != 0 || g.unacked != 0 {
		t.Fatalf("%d on their way, %d unacknowledged: nobody is there to receive", g.undelivered, g.unacked)
	}
	g.expect()
	return g, messages
}

// Each case is what a session that came back hears; the other gets its three
// messages as it should.
func TestWhatASessionHearsWhenItComesBack(t *testing.T) {
	connack := func(present, code byte) []byte { return []byte{0x20, 2, present, code} }
	cases := map[string]struct {
		hears   func(m [][]byte) [][]byte
		want    Faults
		waiting int // still on their way
	}{
		"all of it":       {func(m [][]byte) [][]byte { return append([][]byte{connack(1, 0)}, m...) }, Faults{}, 0},
		"one is missing":  {func(m [][]byte) [][]byte { return [][]byte{connack(1, 0), m[0], m[2]} }, Faults{Lost: 1}, 1},
		"forgotten":       {func([][]byte) [][]byte { return [][]byte{connack(0, 0)} }, Faults{Lost: 3, Trouble: "session 0 was forgotten"}, 0},
		"refused":         {func([][]byte) [][]byte { return [][]byte{connack(0, 5)} }, Faults{Lost: 3, Trouble: "session 0 was refused: not authorized"}, 0},
		"welcomed twice":  {func(m [][]byte) [][]byte { return append([][]byte{connack(1, 0), connack(1, 0)}, m...) }, Faults{Protocol: 1}, 0},
		"one comes twice": {func(m [][]byte) [][]byte { return append([][]byte{connack(1, 0), m[0]}, m...) }, Faults{Duplicated: 1}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g, messages := twoAway(t, 3)
			for i, packets := range [][][]byte{c.hears(messages[0]), append([][]byte{connack(1, 0)}, messages[1]...)} {
				for _, b := range packets {
					if _, err := g.take(&g.subs[i].peer, b, 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			g.settleAccounts()
			if g.result.Faults != c.want || g.undelivered != c.waiting {
				t.Errorf("faults: %v, %d on their way; want %v, %d", g.result.Faults, g.undelivered, c.want, c.waiting)
			}
		})
	}
}

func TestNamesOfPatterns(t *testing.T) {
	seen := map[string]bool{}
	for p := Backlog; p <= OneInFlight; p++ {
		for _, name := range p.Names() {
			if seen[name] || strings.HasPrefix(name, "pattern") {
				t.Errorf("%s is taken or no name", name)
			}
			seen[name] = true
		}
	}
}
