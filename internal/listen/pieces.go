package listen

import "github.com/fantail-mqtt/fantail/packet"

// largePacket is the size from which a packet begins a TLS record of its own.
// There are clients (Eclipse Paho's for C is one) that read the first packet of
// a record and then wait on the socket for the rest of the second one, which
// they have already: short ones they take from what they have.
const largePacket = 4 << 10

// packets yields the MQTT packets of b, which holds whole ones.
func packets(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			_, n, err := packet.Split(b, packet.MaxLength+5)
			if n == 0 || err != nil {
				n = len(b) // cannot be: they are our own
			}
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// pieces yields b in pieces of whole packets, of which a large one is always
// the first of its piece.
func pieces(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		end := 0
		for p := range packets(b) {
			if len(p) > largePacket && end > 0 {
				if !yield(b[:end]) {
					return
				}
				b, end = b[end:], 0
			}
			end += len(p)
		}
		if end > 0 {
			yield(b[:end])
		}
	}
}
