package listen

import "github.com/fantail-mqtt/fantail/packet"

// largePacket is the size from which a packet begins a TLS record of its own.
// There are clients (Eclipse Paho's for C is one) that read the first packet of
// a record and then wait on the socket for the rest of the second one, which
// they have already: short ones they take from what they have.
const largePacket = 4 << 10

// firstPacket is the size of the first MQTT packet of b, which holds whole
// ones.
func firstPacket(b []byte) int {
	_, n, err := packet.Split(b, packet.MaxLength+5)
	if n == 0 || err != nil {
		return len(b) // cannot be: they are our own
	}
	return n
}

// piece is the size of the first piece of b: whole packets, of which a large
// one is always the first of its piece.
func piece(b []byte) int {
	end := firstPacket(b)
	for end < len(b) {
		n := firstPacket(b[end:])
		if n > largePacket {
			break
		}
		end += n
	}
	return end
}
