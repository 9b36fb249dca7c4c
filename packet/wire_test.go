package packet_test

import (
	"errors"
	"fmt"

	"github.com/fantail-mqtt/fantail/packet"
)

// raw writes bytes as the standards draw them: a number is one byte, a string
// a length of two bytes and its bytes, a []byte stands for itself.
func raw(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case rune:
			b = append(b, byte(p))
		case string:
			b = append(b, byte(len(p)>>8), byte(len(p)))
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			panic(fmt.Sprintf("raw: no way to write a %T", p))
		}
	}
	return b
}

// props is a property list: its length, then its bytes.
func props(parts ...any) []byte {
	b := raw(parts...)
	if len(b) > 127 {
		panic("props: more than 127 bytes")
	}
	return append([]byte{byte(len(b))}, b...)
}

// pkt is a whole packet: its first byte, its length, its body.
func pkt(first byte, parts ...any) []byte {
	return append([]byte{first}, props(parts...)...)
}

// split cuts b, which is one packet, into its frame.
func split(b []byte) (packet.Frame, error) {
	f, n, err := packet.Split(b, len(b))
	if err != nil {
		return f, err
	}
	if n != len(b) {
		return f, fmt.Errorf("Split took %d bytes of a packet of %d", n, len(b))
	}
	return f, nil
}

// parse hands a frame to the Parse function of its type. What comes back is
// a pointer to the packet's type, nil for PINGREQ and PINGRESP.
func parse(f packet.Frame, v packet.Version, from packet.Dir) (any, error) {
	switch f.Type {
	case packet.CONNECT:
		return packet.ParseConnect(f.Body)
	case packet.CONNACK:
		c, err := packet.ParseConnack(f.Body, v)
		return &c, err
	case packet.PUBLISH:
		p := new(packet.Publish)
		err := packet.ParsePublish(p, f.Flags, f.Body, v, from)
		return p, err
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a, err := packet.ParseAck(f.Type, f.Body, v)
		return &a, err
	case packet.SUBSCRIBE:
		return packet.ParseSubscribe(f.Body, v)
	case packet.SUBACK, packet.UNSUBACK:
		return packet.ParseSuback(f.Type, f.Body, v)
	case packet.UNSUBSCRIBE:
		return packet.ParseUnsubscribe(f.Body, v)
	case packet.PINGREQ, packet.PINGRESP:
		return nil, packet.ParseEmpty(f.Body)
	case packet.DISCONNECT:
		d, err := packet.ParseDisconnect(f.Body, v, from)
		return &d, err
	case packet.AUTH:
		a, err := packet.ParseAuth(f.Body, from)
		return &a, err
	default:
		return nil, fmt.Errorf("no Parse function for %v", f.Type)
	}
}

// encode is the way back from parse.
func encode(dst []byte, x any, t packet.Type, v packet.Version) []byte {
	switch x := x.(type) {
	case nil:
		if t == packet.PINGREQ {
			return packet.AppendPingreq(dst)
		}
		return packet.AppendPingresp(dst)
	case *packet.Connect:
		return packet.AppendConnect(dst, x)
	case *packet.Connack:
		return packet.AppendConnack(dst, x, v, 0)
	case *packet.Publish:
		return packet.AppendPublish(dst, x, v)
	case *packet.Ack:
		return packet.AppendAck(dst, t, x, v, 0)
	case *packet.Subscribe:
		return packet.AppendSubscribe(dst, x, v)
	case *packet.Suback:
		return packet.AppendSuback(dst, t, x, v, 0)
	case *packet.Unsubscribe:
		return packet.AppendUnsubscribe(dst, x, v)
	case *packet.Disconnect:
		return packet.AppendDisconnect(dst, x, v, 0)
	case *packet.Auth:
		return packet.AppendAuth(dst, x, 0)
	default:
		panic(fmt.Sprintf("encode: no way to write a %T", x))
	}
}

// codeOf is the reason code that err carries; false where it carries none.
func codeOf(err error) (packet.Code, bool) {
	var r *packet.Refusal
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.Code, true
}
