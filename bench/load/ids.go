package load

// idSet is a set of packet identifiers, used to see that each acknowledgement
// answers something. Brokers may acknowledge in any order: [MQTT-4.6.0-2] binds
// the client.
type idSet [1 << 16 / 64]uint64

func (s *idSet) has(id uint16) bool { return s[id/64]>>(id%64)&1 != 0 }

func (s *idSet) add(id uint16) { s[id/64] |= 1 << (id % 64) }

// remove takes id out; false if it was not in.
func (s *idSet) remove(id uint16) bool {
	if !s.has(id) {
		return false
	}
	s[id/64] &^= 1 << (id % 64)
	return true
}

// following is the packet identifier after id; 0 is none.
func following(id uint16) uint16 {
	if id == 65535 {
		return 1
	}
	return id + 1
}
