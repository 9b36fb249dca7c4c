package session_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// windowed is a connected session with room for n messages in flight.
func windowed(n int) *hot {
	h := newHot(session.Terms{Version: packet.V5}, 1)
	h.work.Limits.InFlight = uint16(n)
	return h
}

// sent delivers a message and returns its packet identifier.
func (h *hot) sent(t interface{ Fatalf(string, ...any) }) uint16 {
	if o := h.deliver(false); o != session.Sent {
		t.Fatalf("a message in a window with room: outcome %d", o)
	}
	at := 2 + 2 + len(h.draft.Name)
	return uint16(h.work.Out[at])<<8 | uint16(h.work.Out[at+1])
}

// A packet identifier that is in use is not given out again [MQTT-2.2.1-3],
// whatever the client acknowledges, and however often the others go round.
func TestPacketIdentifiersAreUniqueWhateverIsAcknowledged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const room = 6
		h := windowed(room)
		h.SetLastID(uint16(rapid.IntRange(65_520, 65_535).Draw(t, "last")))
		var open []uint16
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if len(open) == room {
					t.Skip()
				}
				id := h.sent(t)
				if id == 0 || slices.Contains(open, id) {
					t.Fatalf("identifier %d while %d are open", id, open)
				}
				open = append(open, id)
			},
			"acknowledge": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				if err := h.Puback(&h.work, &packet.Ack{ID: open[i]}); err != nil {
					t.Fatal(err)
				}
				open = slices.Delete(open, i, i+1)
			},
			"go round": func(t *rapid.T) { // as if tens of thousands had come and gone
				if len(open) == 0 {
					t.Skip()
				}
				h.SetLastID(open[0] - 1)
			},
			"": func(t *rapid.T) {
				if n := h.InFlight(); n != len(open) {
					t.Fatalf("%d in flight, want %d", n, len(open))
				}
				i := 0
				for it := range h.Unfinished {
					if it.ID != open[i] {
						t.Fatalf("place %d in flight has identifier %d, want %d", i, it.ID, open[i])
					}
					i++
				}
			},
		})
	})
}

func TestOneStuckMessageIsLappedByTheOthers(t *testing.T) {
	h := windowed(3)
	stuck := h.sent(t)
	for range 70_000 {
		id := h.sent(t)
		if id == stuck {
			t.Fatalf("identifier %d is given out again", id)
		}
		if err := h.Puback(&h.work, &packet.Ack{ID: id}); err != nil || h.InFlight() != 1 {
			t.Fatalf("after PUBACK of %d: %d in flight, %v", id, h.InFlight(), err)
		}
	}
	if err := h.Puback(&h.work, &packet.Ack{ID: stuck}); err != nil || h.InFlight() != 0 {
		t.Fatalf("after PUBACK of the stuck one: %d in flight, %v", h.InFlight(), err)
	}
}

// What a message costs does not depend on how many are in flight.
func BenchmarkWindow(b *testing.B) {
	for _, n := range []int{1, 32, 1000, 65_535} {
		b.Run(fmt.Sprintf("%d in flight", n), func(b *testing.B) {
			h := windowed(n)
			var open []uint16
			for range n {
				open = append(open, h.sent(b))
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Puback(&h.work, &packet.Ack{ID: open[i]})
				open[i] = h.sent(b)
				i = (i + 1) % n
			}
		})
	}
}
