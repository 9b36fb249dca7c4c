package load

import (
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// Whatever a broker sends, the generator counts it or ends the connection.
func FuzzTake(f *testing.F) {
	seed := greeted(pairs(2))
	for _, m := range sent(seed, 0, 2) {
		f.Add(m, byte(0))
	}
	for _, t := range []packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP} {
		f.Add(appendAck(nil, t, 1), byte(t))
	}
	f.Add(packet.AppendConnack(nil, &packet.Connack{}, packet.V5, 0), byte(3))
	f.Add(packet.AppendSuback(nil, packet.SUBACK, &packet.Suback{ID: 1, Codes: []packet.Code{0}}, packet.V5, 0), byte(4))
	f.Add([]byte{0xe0, 1, 0x8b}, byte(1))
	f.Add([]byte{0xd0, 0}, byte(2))
	f.Fuzz(func(t *testing.T, b []byte, how byte) {
		g := newGenerator(Target{Login: Login{Version: []packet.Version{packet.V31, packet.V311, packet.V5}[how%3]}}, pairs(how/3%3), 7)
		g.transport = nowhere{}
		x := g.invite("guest")
		x.takes = g.unasked
		x.gone = func(int64, bool) {}
		for i, p := range g.peers {
			p.state = []state{greeting, subscribing, up, leaving}[(int(how)/9+i)%4]
			if p.state == greeting || p.state == subscribing {
				g.opening++
			}
			if i < len(g.pubs) {
				g.publish(&g.pubs[i], 3, 0)
			}
		}
		for _, p := range g.peers {
			if used, err := g.take(p, b, 1); used > len(b) || err != nil && used == len(b) && used > 0 {
				t.Errorf("used %d of %d bytes, %v", used, len(b), err)
			}
		}
		if g.opening < 0 || g.delivered > g.published {
			t.Errorf("%d connections are being opened, %d of %d delivered", g.opening, g.delivered, g.published)
		}
		g.settleAccounts()
	})
}
