package load

import "encoding/binary"

// StampSize is the number of bytes at the start of every payload that say
// whose message it is; the rest is filler known to both ends.
const StampSize = 24

// stamp identifies a message. Sent is in nanoseconds since 1970, so that another process can read it.
type stamp struct {
	run       uint32
	publisher uint32
	seq       uint64
	sent      int64
}

func (s stamp) put(b []byte) {
	_ = b[StampSize-1]
	binary.LittleEndian.PutUint32(b, s.run)
	binary.LittleEndian.PutUint32(b[4:], s.publisher)
	binary.LittleEndian.PutUint64(b[8:], s.seq)
	binary.LittleEndian.PutUint64(b[16:], uint64(s.sent))
}

// getStamp reads a stamp; b holds at least StampSize bytes.
func getStamp(b []byte) stamp {
	_ = b[StampSize-1]
	return stamp{
		run:       binary.LittleEndian.Uint32(b),
		publisher: binary.LittleEndian.Uint32(b[4:]),
		seq:       binary.LittleEndian.Uint64(b[8:]),
		sent:      int64(binary.LittleEndian.Uint64(b[16:])),
	}
}

// fill writes the part of a payload behind its stamp: not all alike, so that a
// shifted payload shows.
func fill(b []byte) {
	for i := range b {
		b[i] = byte('a' + i%26)
	}
}

// filled says whether b is as fill leaves it.
func filled(b []byte) bool {
	for i, c := range b {
		if c != byte('a'+i%26) {
			return false
		}
	}
	return true
}
