package packet_test

import (
	"slices"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// codesOf is table 2-6 of the 5.0 standard, by packet and, for DISCONNECT and
// AUTH, by sender (tables 3-10 and 3-11).
func codesOf(t packet.Type, from packet.Dir) []packet.Code {
	switch t {
	case packet.CONNACK:
		return []packet.Code{
			0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
			0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
		}
	case packet.PUBACK, packet.PUBREC:
		return []packet.Code{0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	case packet.PUBREL, packet.PUBCOMP:
		return []packet.Code{0x00, 0x92}
	case packet.SUBACK:
		return []packet.Code{0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}
	case packet.UNSUBACK:
		return []packet.Code{0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}
	case packet.DISCONNECT:
		if from == packet.FromClient {
			return []packet.Code{0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99}
		}
		return []packet.Code{
			0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
			0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
		}
	case packet.AUTH:
		if from == packet.FromClient {
			return []packet.Code{0x18, 0x19}
		}
		return []packet.Code{0x00, 0x18}
	default:
		return nil
	}
}

func TestEachPacketTakesItsReasonCodesAndNoOther(t *testing.T) {
	bodies := map[packet.Type]func(c byte) []byte{
		packet.CONNACK:    func(c byte) []byte { return []byte{0, c, 0} },
		packet.PUBACK:     func(c byte) []byte { return []byte{0, 1, c} },
		packet.PUBREC:     func(c byte) []byte { return []byte{0, 1, c} },
		packet.PUBREL:     func(c byte) []byte { return []byte{0, 1, c} },
		packet.PUBCOMP:    func(c byte) []byte { return []byte{0, 1, c} },
		packet.SUBACK:     func(c byte) []byte { return []byte{0, 1, 0, c} },
		packet.UNSUBACK:   func(c byte) []byte { return []byte{0, 1, 0, c} },
		packet.DISCONNECT: func(c byte) []byte { return []byte{c} },
		packet.AUTH:       func(c byte) []byte { return []byte{c, 0} },
	}
	for typ, body := range bodies {
		for _, from := range []packet.Dir{packet.FromClient, packet.FromServer} {
			want := codesOf(typ, from)
			for c := range 256 {
				_, err := parse(packet.Frame{Type: typ, Body: body(byte(c))}, packet.V5, from)
				if ok := slices.Contains(want, packet.Code(c)); ok != (err == nil) {
					t.Errorf("%v with code %#x from %d: err = %v, want accepted = %v", typ, c, from, err, ok)
				}
			}
		}
	}
}

func TestEveryReasonCodeOfTheStandardHasItsName(t *testing.T) {
	for _, typ := range []packet.Type{packet.CONNACK, packet.PUBACK, packet.PUBREL, packet.SUBACK, packet.UNSUBACK, packet.DISCONNECT, packet.AUTH} {
		for _, from := range []packet.Dir{packet.FromClient, packet.FromServer} {
			for _, c := range codesOf(typ, from) {
				if c.String() == "unknown reason" {
					t.Errorf("code %#x has no name", byte(c))
				}
			}
		}
	}
	names := map[packet.Code]string{
		0x00: "success", 0x82: "protocol error", 0x87: "not authorized", 0x8E: "session taken over",
		0x95: "packet too large", 0xA2: "wildcard subscriptions not supported", 0x7F: "unknown reason", 0xA3: "unknown reason",
	}
	for c, want := range names {
		if got := c.String(); got != want {
			t.Errorf("Code(%#x) = %q, want %q", byte(c), got, want)
		}
	}
}

func TestReturnCodesOf3xMapBothWays(t *testing.T) {
	for b := byte(0); b <= 5; b++ {
		got, ok := packet.FromReturnCode(b).ReturnCode()
		if !ok || got != b {
			t.Errorf("return code %d became %d, %v", b, got, ok)
		}
	}
	if c := packet.FromReturnCode(6); !c.Failed() {
		t.Errorf("the reserved return code 6 became %v, which is no failure", c)
	}
	if _, ok := packet.MalformedPacket.ReturnCode(); ok {
		t.Error("malformed packet has a return code in 3.x, though the standard has none")
	}
}
