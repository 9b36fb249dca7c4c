package conform

import (
	"encoding/binary"
	"fmt"
)

// kind is the packet type, the upper four bits of the first byte.
type kind byte

const (
	kConnect     kind = 1
	kConnack     kind = 2
	kPublish     kind = 3
	kPuback      kind = 4
	kPubrec      kind = 5
	kPubrel      kind = 6
	kPubcomp     kind = 7
	kSubscribe   kind = 8
	kSuback      kind = 9
	kUnsubscribe kind = 10
	kUnsuback    kind = 11
	kPingreq     kind = 12
	kPingresp    kind = 13
	kDisconnect  kind = 14
	kAuth        kind = 15
)

func (k kind) String() string {
	names := [...]string{
		"type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
		"SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("type %d", byte(k))
}

// Property identifiers of MQTT 5.0, table 2-4.
const (
	pPayloadFormat      byte = 0x01
	pMessageExpiry      byte = 0x02
	pContentType        byte = 0x03
	pResponseTopic      byte = 0x08
	pCorrelationData    byte = 0x09
	pSubscriptionID     byte = 0x0B
	pSessionExpiry      byte = 0x11
	pAssignedClientID   byte = 0x12
	pServerKeepAlive    byte = 0x13
	pAuthMethod         byte = 0x15
	pAuthData           byte = 0x16
	pRequestProblem     byte = 0x17
	pWillDelay          byte = 0x18
	pRequestResponse    byte = 0x19
	pResponseInfo       byte = 0x1A
	pServerReference    byte = 0x1C
	pReasonString       byte = 0x1F
	pReceiveMaximum     byte = 0x21
	pTopicAliasMaximum  byte = 0x22
	pTopicAlias         byte = 0x23
	pMaximumQoS         byte = 0x24
	pRetainAvailable    byte = 0x25
	pUserProperty       byte = 0x26
	pMaximumPacketSize  byte = 0x27
	pWildcardAvailable  byte = 0x28
	pSubIDAvailable     byte = 0x29
	pSharedSubAvailable byte = 0x2A
)

// frame is a whole packet: first byte, remaining length, body.
func frame(first byte, body ...[]byte) []byte {
	all := join(body...)
	return join([]byte{first}, varint(len(all)), all)
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func varint(n int) []byte {
	var out []byte
	for {
		b := byte(n & 0x7F)
		n >>= 7
		if n == 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func u16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// text is a length-prefixed string; the same form holds binary data.
func text(s string) []byte { return append(u16(uint16(len(s))), s...) }

// The properties, each with its identifier; join makes a list of several.

func propByte(id, v byte) []byte        { return []byte{id, v} }
func prop16(id byte, v uint16) []byte   { return binary.BigEndian.AppendUint16([]byte{id}, v) }
func prop32(id byte, v uint32) []byte   { return binary.BigEndian.AppendUint32([]byte{id}, v) }
func propSubscription(v int) []byte     { return append([]byte{pSubscriptionID}, varint(v)...) }
func propText(id byte, s string) []byte { return append([]byte{id}, text(s)...) }
func propPair(key, value string) []byte { return join([]byte{pUserProperty}, text(key), text(value)) }

func properties(level byte, p []byte) []byte { // with its length, or nothing before 5.0
	if level < 5 {
		return nil
	}
	return append(varint(len(p)), p...)
}

type will struct {
	topic, payload string
	qos            byte
	retain         bool
	props          []byte
}

type connect struct {
	name      string
	level     byte
	clean     bool
	keepAlive uint16
	props     []byte
	id        string
	will      *will
	user      *string
	password  *string
	flip      byte // connect flags to invert, for packets that are wrong
}

func (c connect) bytes() []byte {
	var flags byte
	payload := text(c.id)
	if c.clean {
		flags |= 0x02
	}
	if w := c.will; w != nil {
		flags |= 0x04 | w.qos<<3
		if w.retain {
			flags |= 0x20
		}
		payload = join(payload, properties(c.level, w.props), text(w.topic), text(w.payload))
	}
	if c.user != nil {
		flags |= 0x80
		payload = join(payload, text(*c.user))
	}
	if c.password != nil {
		flags |= 0x40
		payload = join(payload, text(*c.password))
	}
	head := join(text(c.name), []byte{c.level, flags ^ c.flip}, u16(c.keepAlive), properties(c.level, c.props))
	return frame(0x10, head, payload)
}

type publish struct {
	topic, payload string
	qos            byte
	retain, dup    bool
	id             uint16
	props          []byte
}

func (p publish) bytes(level byte) []byte {
	first := 0x30 | p.qos<<1
	if p.retain {
		first |= 0x01
	}
	if p.dup {
		first |= 0x08
	}
	var id []byte
	if p.qos > 0 {
		id = u16(p.id)
	}
	return frame(first, text(p.topic), id, properties(level, p.props), []byte(p.payload))
}

// filter is one entry of SUBSCRIBE; options is the QoS plus the bits of 5.0.
type filter struct {
	name    string
	options byte
}

// Bits of the subscription options in 5.0.
const (
	noLocal           byte = 0x04
	retainAsPublished byte = 0x08
	retainIfNew       byte = 0x10
	retainNever       byte = 0x20
)

func subscribe(level byte, id uint16, props []byte, filters ...filter) []byte {
	body := join(u16(id), properties(level, props))
	for _, f := range filters {
		body = join(body, text(f.name), []byte{f.options})
	}
	return frame(0x82, body)
}

func unsubscribe(level byte, id uint16, filters ...string) []byte {
	body := join(u16(id), properties(level, nil))
	for _, f := range filters {
		body = join(body, text(f))
	}
	return frame(0xA2, body)
}

// ack is PUBACK, PUBREC, PUBREL or PUBCOMP in its short form.
func ack(k kind, id uint16) []byte {
	first := byte(k) << 4
	if k == kPubrel {
		first |= 0x02
	}
	return frame(first, u16(id))
}

// ackCode is such an acknowledgement with a reason code, for 5.0.
func ackCode(k kind, id uint16, code byte) []byte {
	return frame(ack(k, id)[0], u16(id), []byte{code})
}

func pingreq() []byte { return []byte{0xC0, 0x00} }

func disconnect(level, code byte, props []byte) []byte {
	if level < 5 {
		return []byte{0xE0, 0x00}
	}
	return frame(0xE0, []byte{code}, properties(level, props))
}

func auth(code byte, props ...[]byte) []byte {
	return frame(0xF0, []byte{code}, properties(5, join(props...)))
}
