package packet

import "encoding/binary"

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP (5.0, sections 3.4 to 3.7): the
// four have one form.
type Ack struct {
	ID     uint16
	Code   Code
	Reason string
	User   []UserProperty
}

// ParseAck parses the body of an acknowledgement of type t.
func ParseAck(t Type, body []byte, v Version) (Ack, error) {
	if len(body) < 2 {
		return Ack{}, refuse(MalformedPacket, "packet ends too early")
	}
	a := Ack{ID: binary.BigEndian.Uint16(body)}
	if a.ID == 0 {
		return a, refuse(ProtocolError, "packet identifier is 0")
	}
	if len(body) == 2 {
		return a, nil
	}
	if v < V5 {
		return a, refuse(MalformedPacket, "packet has bytes after its end")
	}
	a.Code = Code(body[2])
	if !validCode(t, a.Code) {
		return a, refuse(ProtocolError, "reason code does not belong in this packet")
	}
	if len(body) == 3 {
		return a, nil
	}
	r := reader{b: body[3:]}
	a.Reason, a.User = parseReason(&r)
	return a, r.end()
}

// parseReason reads a property list of a reason string and user properties.
func parseReason(r *reader) (reason string, users []UserProperty) {
	p := r.properties(setOf(propReasonString, propUser))
	for p.next() {
		switch p.id {
		case propReasonString:
			reason = string(p.data)
		case propUser:
			users = append(users, p.user())
		}
	}
	p.done(r)
	return reason, users
}

// AppendAck appends an acknowledgement of type t. One of more than limit bytes
// (0: any number) leaves out its reason string and user properties
// [MQTT-3.4.2-2], [MQTT-3.4.2-3].
func AppendAck(dst []byte, t Type, a *Ack, v Version, limit uint32) []byte {
	var flags byte
	if t == PUBREL {
		flags = 0x02
	}
	plain := a.Reason == "" && len(a.User) == 0
	if v < V5 || plain && a.Code == Success {
		return append(dst, byte(t)<<4|flags, 2, byte(a.ID>>8), byte(a.ID))
	}
	short := func(dst []byte) []byte {
		return append(dst, byte(t)<<4|flags, 3, byte(a.ID>>8), byte(a.ID), byte(a.Code))
	}
	if plain {
		return short(dst)
	}
	return fit(dst, limit, func(dst []byte, optional bool) []byte {
		if !optional {
			return short(dst)
		}
		dst, start := open(dst, t, flags)
		dst = append(dst, byte(a.ID>>8), byte(a.ID), byte(a.Code))
		dst = appendReason(dst, a.Reason, a.User, true)
		return shut(dst, start)
	})
}

func appendReason(dst []byte, reason string, users []UserProperty, optional bool) []byte {
	dst, list := openProps(dst)
	if optional {
		dst = appendText(dst, propReasonString, reason)
		dst = appendUser(dst, users)
	}
	return shutProps(dst, list)
}
