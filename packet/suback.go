package packet

import "encoding/binary"

// Suback is a SUBACK or an UNSUBACK (5.0, sections 3.9 and 3.11): the two have
// one form, but for the UNSUBACK of 3.x, which has no codes.
type Suback struct {
	ID     uint16
	Reason string
	User   []UserProperty
	Codes  []Code // one for each topic filter, in their order
}

// ParseSuback parses the body of a SUBACK or UNSUBACK.
func ParseSuback(t Type, body []byte, v Version) (*Suback, error) {
	r := reader{b: body}
	s := &Suback{ID: r.uint16()}
	if v == V5 {
		s.Reason, s.User = parseReason(&r)
	}
	if r.err == nil && s.ID == 0 {
		return nil, refuse(ProtocolError, "packet identifier is 0")
	}
	if t == UNSUBACK && v < V5 {
		return s, r.end()
	}
	for _, b := range r.b {
		c := Code(b)
		if v < V5 && c > GrantedQoS2 && c != UnspecifiedError || !validCode(t, c) {
			return nil, refuse(ProtocolError, "reason code does not belong in this packet")
		}
		s.Codes = append(s.Codes, c)
	}
	if r.err == nil && len(s.Codes) == 0 {
		return nil, refuse(ProtocolError, "packet has no reason code")
	}
	return s, r.err
}

// AppendSuback appends a SUBACK or UNSUBACK of at most limit bytes (0: any
// number): where it would be longer, its reason string and user properties are
// left out [MQTT-3.9.2-1]. In 3.x a failure is 0x80 whatever its code.
func AppendSuback(dst []byte, t Type, s *Suback, v Version, limit uint32) []byte {
	return fit(dst, limit, func(dst []byte, optional bool) []byte {
		dst, start := open(dst, t, 0)
		dst = binary.BigEndian.AppendUint16(dst, s.ID)
		if v == V5 {
			dst = appendReason(dst, s.Reason, s.User, optional)
		}
		if t == UNSUBACK && v < V5 {
			return shut(dst, start)
		}
		for _, c := range s.Codes {
			if v < V5 && c.Failed() { // [MQTT-3.9.3-2]
				c = UnspecifiedError
			}
			dst = append(dst, byte(c))
		}
		return shut(dst, start)
	})
}
