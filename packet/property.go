package packet

import "encoding/binary"

// UserProperty is a name-value pair (5.0, section 2.2.2.2). Names may repeat;
// order counts.
type UserProperty struct{ Key, Value string }

// The property identifiers (5.0, table 2-4).
const (
	propPayloadFormat     = 0x01
	propMessageExpiry     = 0x02
	propContentType       = 0x03
	propResponseTopic     = 0x08
	propCorrelationData   = 0x09
	propSubscriptionID    = 0x0B
	propSessionExpiry     = 0x11
	propAssignedClientID  = 0x12
	propServerKeepAlive   = 0x13
	propAuthMethod        = 0x15
	propAuthData          = 0x16
	propRequestProblem    = 0x17
	propWillDelay         = 0x18
	propRequestResponse   = 0x19
	propResponseInfo      = 0x1A
	propServerReference   = 0x1C
	propReasonString      = 0x1F
	propReceiveMaximum    = 0x21
	propTopicAliasMaximum = 0x22
	propTopicAlias        = 0x23
	propMaximumQoS        = 0x24
	propRetainAvailable   = 0x25
	propUser              = 0x26
	propMaximumPacketSize = 0x27
	propWildcardAvailable = 0x28
	propSubIDAvailable    = 0x29
	propSharedAvailable   = 0x2A
)

type kind byte

const (
	kindNone kind = iota
	kindByte
	kindUint16
	kindUint32
	kindVarint
	kindText
	kindBinary
	kindPair
)

// kindOf is the data type of a property.
func kindOf(id byte) kind {
	switch id {
	case propPayloadFormat, propRequestProblem, propRequestResponse, propMaximumQoS, propRetainAvailable,
		propWildcardAvailable, propSubIDAvailable, propSharedAvailable:
		return kindByte
	case propServerKeepAlive, propReceiveMaximum, propTopicAliasMaximum, propTopicAlias:
		return kindUint16
	case propMessageExpiry, propSessionExpiry, propWillDelay, propMaximumPacketSize:
		return kindUint32
	case propSubscriptionID:
		return kindVarint
	case propContentType, propResponseTopic, propAssignedClientID, propAuthMethod, propResponseInfo,
		propServerReference, propReasonString:
		return kindText
	case propCorrelationData, propAuthData:
		return kindBinary
	case propUser:
		return kindPair
	default:
		return kindNone
	}
}

// propSet is a set of property identifiers; all are below 64.
type propSet uint64

func setOf(ids ...byte) propSet {
	var s propSet
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

func (s propSet) has(id byte) bool { return id < 64 && s&(1<<id) != 0 }

// properties walks over a property list. After each true from next, id and
// one of num, data (and value, for a pair) hold the property.
type properties struct {
	r       reader
	allowed propSet
	many    propSet // those that may come more than once
	seen    propSet
	head    []byte // where the property that next has read begins
	id      byte
	num     uint32
	data    []byte // a text, binary data or the name of a pair
	value   []byte // the value of a pair
}

// properties begins the property list at the head of r and takes it off r.
func (r *reader) properties(allowed propSet) properties {
	n := int(r.varint())
	if r.err == nil && len(r.b) < n {
		r.fail("property length reaches past the end of the packet")
	}
	if r.err != nil {
		return properties{r: reader{err: r.err}}
	}
	p := properties{r: reader{b: r.b[:n]}, allowed: allowed, many: 1 << propUser}
	r.b = r.b[n:]
	return p
}

func (p *properties) next() bool {
	if p.r.err != nil || len(p.r.b) == 0 {
		return false
	}
	p.head = p.r.b
	p.id = p.r.byte()
	if !p.allowed.has(p.id) {
		p.r.fail("property is unknown or does not belong in this packet")
		return false
	}
	if p.seen.has(p.id) && !p.many.has(p.id) {
		p.refuse("property comes twice")
		return false
	}
	p.seen |= 1 << p.id
	switch kindOf(p.id) {
	case kindByte:
		p.num = uint32(p.r.byte())
	case kindUint16:
		p.num = uint32(p.r.uint16())
	case kindUint32:
		p.num = p.r.uint32()
	case kindVarint:
		p.num = p.r.varint()
	case kindText:
		p.data = p.r.text()
	case kindBinary:
		p.data = p.r.binary()
	case kindPair:
		p.data = p.r.text()
		p.value = p.r.text()
	case kindNone:
	}
	return p.r.err == nil
}

// last is the property that next has read, still encoded.
func (p *properties) last() []byte { return p.head[:len(p.head)-len(p.r.b)] }

// refuse ends the walk with a protocol error.
func (p *properties) refuse(why string) {
	if p.r.err == nil {
		p.r.err = refuse(ProtocolError, why)
	}
}

// flag reads a byte property that can be 0 or 1 only.
func (p *properties) flag() bool {
	if p.num > 1 {
		p.refuse("property can be 0 or 1 only")
	}
	return p.num == 1
}

// positive refuses a property whose value 0 means nothing.
func (p *properties) positive() uint32 {
	if p.num == 0 {
		p.refuse("property cannot be 0")
	}
	return p.num
}

func (p *properties) user() UserProperty {
	return UserProperty{string(p.data), string(p.value)}
}

// done hands an error of the walk on to the packet's reader.
func (p *properties) done(r *reader) {
	if r.err == nil && p.r.err != nil {
		r.err = p.r.err
		r.b = nil
	}
}

// --- writing ---

// openProps begins a property list; shutProps writes its length.
func openProps(dst []byte) ([]byte, int) {
	start := len(dst)
	return append(dst, 0, 0, 0, 0), start
}

func shutProps(dst []byte, start int) []byte {
	list := dst[start+4:]
	var h [4]byte
	k := len(appendVarint(h[:0], uint32(len(list))))
	copy(dst[start:], h[:k])
	copy(dst[start+k:], list)
	return dst[:start+k+len(list)]
}

func appendFlag(dst []byte, id byte, x bool) []byte {
	if x {
		return append(dst, id, 1)
	}
	return append(dst, id, 0)
}

func appendUint16(dst []byte, id byte, x uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, id), x)
}

func appendUint32(dst []byte, id byte, x uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, id), x)
}

// appendText appends a string property, unless it is empty.
func appendText(dst []byte, id byte, x string) []byte {
	if x == "" {
		return dst
	}
	return appendBinary(append(dst, id), x)
}

func appendUser(dst []byte, users []UserProperty) []byte {
	for _, u := range users {
		dst = appendBinary(append(dst, propUser), u.Key)
		dst = appendBinary(dst, u.Value)
	}
	return dst
}
