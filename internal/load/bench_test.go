package load

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// BenchmarkMessage is what a message costs without the kernel: stamped, and
// taken in and checked again.
func BenchmarkMessage(b *testing.B) {
	for qos := range byte(2) {
		b.Run(fmt.Sprintf("QoS%d", qos), func(b *testing.B) {
			const batch = 64
			g := greeted(Scenario{Shape: Pairs, Publishers: 50, Subscribers: 50, QoS: qos, Window: batch, Sizes: []int{128}})
			var acks []byte
			b.ReportAllocs()
			for i := 0; i < b.N; i += batch {
				p, s := &g.pubs[i/batch%50], &g.subs[i/batch%50]
				g.publish(p, batch, 0)
				if _, err := g.take(&s.peer, p.out, 1); err != nil {
					b.Fatal(err)
				}
				acks = acks[:0]
				for at := 0; at < len(p.out) && qos > 0; at += len(p.packets[0].bytes) {
					acks = appendAck(acks, packet.PUBACK, binary.BigEndian.Uint16(p.out[at+p.packets[0].idAt:]))
				}
				if _, err := g.take(&p.peer, acks, 1); err != nil {
					b.Fatal(err)
				}
				p.out, s.out = p.out[:0], s.out[:0]
				g.dirty, g.ripe = g.dirty[:0], g.ripe[:0]
				p.dirty, s.dirty, p.ripe = false, false, false
			}
			if g.result.Faults.Any() {
				b.Fatal(g.result.Faults)
			}
		})
	}
}
