// Package packet is the wire codec of MQTT 3.1, 3.1.1 and 5.0.
//
// A caller cuts its bytes into frames with [Split] and hands a frame's body to
// the Parse function of its type; the Append function beside it is the way
// back. Nothing here reads from a stream, keeps state or knows a session:
// what the standards call malformed or a protocol error comes back as a
// [*Refusal] that carries the reason code (5.0, section 2.4), and the caller
// decides how its peer hears of it.
//
// The slices of a parsed packet alias the bytes it was parsed from: they hold
// until the caller reuses its buffer. Strings are copies.
package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Version is the protocol level of a connection, as CONNECT carries it.
type Version byte

// The protocol levels.
const (
	V31  Version = 3 // MQIsdp, IBM's MQTT V3.1
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	default:
		return "unknown"
	}
}

// Type is a control packet type: the upper four bits of the first byte.
type Type byte

// The control packet types (5.0, table 2-1).
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

func (t Type) String() string {
	names := [...]string{
		"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
		"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}
	if int(t) < len(names) {
		return names[t]
	}
	return "reserved"
}

// MaxLength is the longest remaining length that four bytes can say
// (5.0, section 2.1.4).
const MaxLength = 268_435_455

// Frame is one control packet, cut from the stream but not yet parsed.
type Frame struct {
	Type  Type
	Flags byte   // the lower four bits of the first byte
	Body  []byte // variable header and payload; aliases the input
}

// Split cuts the first control packet off b. It returns how many bytes the
// packet takes, or 0 with a nil error when b does not hold all of it yet. A
// packet of more than limit bytes, header included, is refused as soon as its
// length is known, so that nobody has to keep its bytes.
func Split(b []byte, limit int) (f Frame, n int, err error) {
	if len(b) < 2 {
		return Frame{}, 0, nil
	}
	length, h := int(b[1]), 2
	if length >= 0x80 {
		var more bool
		length, h, more, err = longLength(b)
		if more || err != nil {
			return Frame{}, 0, err
		}
	}
	n = h + length
	if n > limit {
		return Frame{}, 0, refuse(PacketTooLarge, "packet is larger than the limit")
	}
	if len(b) < n {
		return Frame{}, 0, nil
	}
	return Frame{Type: Type(b[0] >> 4), Flags: b[0] & 0x0F, Body: b[h:n:n]}, n, nil
}

// longLength reads a remaining length of two to four bytes at b[1].
func longLength(b []byte) (length, header int, more bool, err error) {
	for i := range 4 {
		if 1+i >= len(b) {
			return 0, 0, true, nil
		}
		d := b[1+i]
		length |= int(d&0x7F) << (7 * i)
		if d < 0x80 {
			if i > 0 && d == 0 { // [MQTT-1.5.5-1]
				return 0, 0, false, refuse(MalformedPacket, "remaining length is not in its shortest form")
			}
			return length, 2 + i, false, nil
		}
	}
	return 0, 0, false, refuse(MalformedPacket, "remaining length takes more than four bytes")
}

// CheckFlags refuses a frame whose reserved flags do not have their fixed
// values [MQTT-2.1.3-1], or whose type is reserved in this version.
func CheckFlags(f Frame, v Version) error {
	want := byte(0)
	switch f.Type {
	case PUBLISH:
		return nil // its flags mean something; ParsePublish looks at them
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 0x02
		if v == V31 && (f.Flags == 0x0A || f.Flags&^0x0E == 0) {
			return nil // 3.1 had DUP and QoS bits there
		}
	case AUTH:
		if v < V5 {
			return refuse(MalformedPacket, "packet type 15 is reserved")
		}
	case 0:
		return refuse(MalformedPacket, "packet type 0 is reserved")
	default:
	}
	if f.Flags != want {
		return refuse(MalformedPacket, "reserved header flags are not as fixed for "+f.Type.String())
	}
	return nil
}

// --- reading ---

// reader walks over a body; the first thing that does not fit sets err and
// makes every later read return zero.
type reader struct {
	b     []byte
	err   error
	short bool // err is that the packet ends before its content does
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = refuse(MalformedPacket, why)
	}
	r.b = nil
}

// cut fails because the packet ends before its content does.
func (r *reader) cut() {
	r.short = r.err == nil
	r.fail("packet ends before its content does")
}

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.cut()
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

func (r *reader) uint16() uint16 {
	if len(r.b) < 2 {
		r.cut()
		return 0
	}
	x := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return x
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.cut()
		return 0
	}
	x := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return x
}

// varint reads a variable byte integer (5.0, section 1.5.5).
func (r *reader) varint() uint32 {
	var x uint32
	for i := range 4 {
		if i >= len(r.b) {
			r.fail("packet ends inside a variable byte integer")
			return 0
		}
		d := r.b[i]
		x |= uint32(d&0x7F) << (7 * i)
		if d < 0x80 {
			if i > 0 && d == 0 { // [MQTT-1.5.5-1]
				r.fail("variable byte integer is not in its shortest form")
				return 0
			}
			r.b = r.b[i+1:]
			return x
		}
	}
	r.fail("variable byte integer takes more than four bytes")
	return 0
}

// binary reads binary data: a length of two bytes, then as many bytes.
func (r *reader) binary() []byte {
	n := int(r.uint16())
	if r.err != nil {
		return nil
	}
	if len(r.b) < n {
		r.cut()
		return nil
	}
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

// text reads a UTF-8 string and checks that it is one [MQTT-1.5.4-1]
// without U+0000 [MQTT-1.5.4-2].
func (r *reader) text() []byte {
	x := r.binary()
	if !validText(x) {
		r.fail("string is not well-formed UTF-8 or holds U+0000")
		return nil
	}
	return x
}

func validText(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

// end makes sure that nothing is left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("packet has bytes after its end")
	}
	return r.err
}

// --- writing ---

func appendVarint(dst []byte, x uint32) []byte {
	for x >= 0x80 {
		dst = append(dst, byte(x)|0x80)
		x >>= 7
	}
	return append(dst, byte(x))
}

func varintLen(x uint32) int {
	switch {
	case x < 1<<7:
		return 1
	case x < 1<<14:
		return 2
	case x < 1<<21:
		return 3
	default:
		return 4
	}
}

func appendBinary[T string | []byte](dst []byte, x T) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(x)))
	return append(dst, x...)
}

// headerRoom is what open leaves for a first byte and a remaining length.
const headerRoom = 5

// open begins a packet whose length is not known yet; shut ends it.
func open(dst []byte, t Type, flags byte) ([]byte, int) {
	start := len(dst)
	return append(dst, byte(t)<<4|flags, 0, 0, 0, 0), start
}

// shut writes the remaining length of the packet begun at start.
func shut(dst []byte, start int) []byte {
	body := dst[start+headerRoom:]
	var h [4]byte
	k := len(appendVarint(h[:0], uint32(len(body))))
	copy(dst[start+1:], h[:k])
	copy(dst[start+1+k:], body)
	return dst[:start+1+k+len(body)]
}

// AppendPingreq appends a PINGREQ.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

// ParseEmpty checks the body of a PINGREQ or PINGRESP: there is none.
func ParseEmpty(body []byte) error {
	if len(body) > 0 {
		return refuse(MalformedPacket, "packet has bytes after its end")
	}
	return nil
}
