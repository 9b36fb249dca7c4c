package load

import (
	"encoding/binary"
	"errors"
)

// First bytes of the packets used here, MQTT 3.1.1 table 2.1 with the flags of
// table 2.2.
const (
	connectHead    = 0x10
	connackHead    = 0x20
	publishHead    = 0x30
	pubackHead     = 0x40
	pubrecHead     = 0x50
	pubrelHead     = 0x62
	pubcompHead    = 0x70
	subscribeHead  = 0x82
	subackHead     = 0x90
	disconnectHead = 0xe0
)

var errLength = errors.New("remaining length of more than four bytes")

// Connect flags: what becomes of the session when the connection ends.
const (
	cleanSession = 0x02
	keptSession  = 0x00
)

// appendConnect encodes a CONNECT of MQTT 3.1.1.
func appendConnect(dst []byte, flags byte, id string, keepAlive uint16) []byte {
	dst = append(dst, connectHead)
	dst = appendLength(dst, 10+2+len(id))
	dst = appendString(dst, "MQTT")
	dst = append(dst, 4, flags)
	dst = binary.BigEndian.AppendUint16(dst, keepAlive)
	return appendString(dst, id)
}

// appendSubscribe encodes a SUBSCRIBE to one filter, with packet identifier 1.
func appendSubscribe(dst []byte, filter string, qos byte) []byte {
	dst = append(dst, subscribeHead)
	dst = appendLength(dst, 2+2+len(filter)+1)
	dst = append(dst, 0, 1)
	dst = appendString(dst, filter)
	return append(dst, qos)
}

// publishStart encodes a PUBLISH up to its payload of the given size; the
// packet identifier, present above QoS 0, is the last two bytes.
func publishStart(topic string, qos byte, payload int) []byte {
	dst := []byte{publishHead | qos<<1}
	size := 2 + len(topic) + payload
	if qos > 0 {
		size += 2
	}
	dst = appendLength(dst, size)
	dst = appendString(dst, topic)
	if qos > 0 {
		dst = append(dst, 0, 0)
	}
	return dst
}

// appendAck encodes PUBACK, PUBREC, PUBREL or PUBCOMP.
func appendAck(dst []byte, head byte, id uint16) []byte {
	return append(dst, head, 2, byte(id>>8), byte(id))
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func appendLength(dst []byte, n int) []byte {
	for n > 127 {
		dst = append(dst, byte(n)|128)
		n >>= 7
	}
	return append(dst, byte(n))
}

// frame splits the first packet off b: its first byte, its body and its whole
// size. The size is 0 while the packet has not fully arrived. The body aliases b.
func frame(b []byte) (head byte, body []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	if n := int(b[1]); n < 128 { // acknowledgements and small messages
		if len(b) < 2+n {
			return 0, nil, 0, nil
		}
		return b[0], b[2 : 2+n], 2 + n, nil
	}
	n, used, err := length(b[1:])
	if err != nil || used == 0 || len(b) < 1+used+n {
		return 0, nil, 0, err
	}
	return b[0], b[1+used : 1+used+n], 1 + used + n, nil
}

// length decodes a remaining length and says how many bytes it took, 0 while
// some are missing.
func length(b []byte) (n, used int, err error) {
	for i := range 4 {
		if i == len(b) {
			return 0, 0, nil
		}
		n |= int(b[i]&127) << (7 * i)
		if b[i] < 128 {
			return n, i + 1, nil
		}
	}
	return 0, 0, errLength
}

// publication is what a PUBLISH body holds; its slices alias the body.
type publication struct {
	topic   []byte
	id      uint16
	payload []byte
}

// parsePublish takes a PUBLISH body apart; false if it is too short.
func parsePublish(body []byte, qos byte) (publication, bool) {
	if len(body) < 2 {
		return publication{}, false
	}
	end := 2 + int(binary.BigEndian.Uint16(body))
	if qos == 0 {
		if len(body) < end {
			return publication{}, false
		}
		return publication{topic: body[2:end], payload: body[end:]}, true
	}
	if len(body) < end+2 {
		return publication{}, false
	}
	id := binary.BigEndian.Uint16(body[end:])
	return publication{topic: body[2:end], id: id, payload: body[end+2:]}, true
}

// parseAck reads the packet identifier of an acknowledgement.
func parseAck(body []byte) (uint16, bool) {
	if len(body) != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(body), true
}
