package packet

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Publish is a PUBLISH (5.0, section 3.3). It is passed by pointer and reused;
// all its slices alias what it was parsed from.
type Publish struct {
	Dup    bool
	QoS    byte
	Retain bool

	Topic   []byte // empty where a topic alias stands for it
	ID      uint16 // packet identifier; 0 with QoS 0
	Payload []byte

	Alias     uint16 // topic alias; 0: none
	Expiry    uint32 // message expiry interval, seconds; with HasExpiry
	HasExpiry bool

	// SubscriptionIDs come from a server only.
	SubscriptionIDs []uint32

	// Forward holds, still encoded and in their order, the properties that a
	// server passes on unchanged [MQTT-3.3.2-17]: payload format, content
	// type, response topic, correlation data and user properties.
	// See [ParseForward].
	Forward []byte
}

const (
	publishRetain = 1 << 0
	publishQoS    = 3 << 1
	publishDup    = 1 << 3
)

// Dir says who sent a packet: some are right from one side only.
type Dir byte

// The two senders.
const (
	FromClient Dir = iota
	FromServer
)

// ParsePublish parses the flags and body of a PUBLISH into p, whose former
// content is lost. Whether the topic is a valid name is left to package topic.
func ParsePublish(p *Publish, flags byte, body []byte, v Version, from Dir) error {
	*p = Publish{
		Dup:             flags&publishDup != 0,
		QoS:             flags & publishQoS >> 1,
		Retain:          flags&publishRetain != 0,
		SubscriptionIDs: p.SubscriptionIDs[:0],
	}
	if p.QoS == 3 { // [MQTT-3.3.1-4]
		return refuse(MalformedPacket, "QoS is 3")
	}
	if p.QoS == 0 && p.Dup && v != V31 { // [MQTT-3.3.1-2]
		return refuse(MalformedPacket, "DUP is set with QoS 0")
	}
	if len(body) < 2 {
		return refuse(MalformedPacket, "packet ends too early")
	}
	n := int(binary.BigEndian.Uint16(body)) + 2
	if len(body) < n {
		return refuse(MalformedPacket, "packet ends inside a field")
	}
	p.Topic = body[2:n:n]
	if !validText(p.Topic) {
		return refuse(MalformedPacket, "topic is not well-formed UTF-8 or holds U+0000")
	}
	body = body[n:]
	if p.QoS > 0 {
		if len(body) < 2 {
			return refuse(MalformedPacket, "packet ends too early")
		}
		p.ID = binary.BigEndian.Uint16(body)
		if p.ID == 0 { // [MQTT-2.2.1-3]
			return refuse(ProtocolError, "packet identifier is 0")
		}
		body = body[2:]
	}
	if v == V5 {
		if len(body) > 0 && body[0] == 0 {
			body = body[1:]
		} else {
			r := reader{b: body}
			if err := p.parseProperties(&r, from); err != nil {
				return err
			}
			body = r.b
		}
	}
	p.Payload = slices.Clip(body)
	return nil
}

// forwardSet holds the properties that a server passes on unchanged.
func forwardSet() propSet {
	return setOf(propPayloadFormat, propContentType, propResponseTopic, propCorrelationData, propUser)
}

func (p *Publish) parseProperties(r *reader, from Dir) error {
	allowed := forwardSet() | 1<<propMessageExpiry | 1<<propTopicAlias
	if from == FromServer {
		allowed |= 1 << propSubscriptionID
	}
	props := r.properties(allowed)
	props.many |= 1 << propSubscriptionID
	var f forwarder
	for props.next() {
		switch props.id {
		case propMessageExpiry:
			p.Expiry, p.HasExpiry = props.num, true
		case propTopicAlias:
			if props.num == 0 { // [MQTT-3.3.2-8]
				return refuse(TopicAliasInvalid, "topic alias is 0")
			}
			p.Alias = uint16(props.num)
		case propSubscriptionID:
			p.SubscriptionIDs = append(p.SubscriptionIDs, props.positive())
		default:
			f.keep(&props)
		}
	}
	p.Forward = f.kept()
	props.done(r)
	return r.err
}

// forwarder gathers the encoded properties that are passed on. They usually
// stand side by side and then alias the input; else they are copied together.
type forwarder struct {
	run  []byte // kept so far
	rest int    // bytes of the list behind run; -1 once run is a copy
}

// keep takes in the property that p has just read.
func (f *forwarder) keep(p *properties) {
	switch p.id {
	case propPayloadFormat:
		if p.num > 1 {
			p.refuse("payload format is neither 0 nor 1")
		}
	case propResponseTopic:
		if len(p.data) == 0 || bytes.ContainsAny(p.data, "+#") { // [MQTT-3.3.2-14]
			p.refuse("response topic is not a topic name")
		}
	}
	raw := p.last()
	switch {
	case len(f.run) == 0:
		f.run, f.rest = raw, len(p.r.b)
	case f.rest == len(raw)+len(p.r.b): // right behind the run
		f.run, f.rest = f.run[:len(f.run)+len(raw)], len(p.r.b)
	case f.rest >= 0:
		f.run, f.rest = append(slices.Clip(f.run), raw...), -1
	default:
		f.run = append(f.run, raw...)
	}
}

func (f *forwarder) kept() []byte { return slices.Clip(f.run) }

// ForwardProperties are the properties of a PUBLISH or a will that reach the
// subscribers unchanged.
type ForwardProperties struct {
	PayloadFormat    byte // 1: the payload is UTF-8 text
	HasPayloadFormat bool
	ContentType      string
	ResponseTopic    string
	CorrelationData  []byte
	HasCorrelation   bool
	User             []UserProperty
}

// ParseForward takes [Publish.Forward] apart.
func ParseForward(b []byte) (ForwardProperties, error) {
	var f ForwardProperties
	p := properties{r: reader{b: b}, allowed: forwardSet(), many: 1 << propUser}
	for p.next() {
		switch p.id {
		case propPayloadFormat:
			f.PayloadFormat, f.HasPayloadFormat = byte(p.num), true
		case propContentType:
			f.ContentType = string(p.data)
		case propResponseTopic:
			f.ResponseTopic = string(p.data)
		case propCorrelationData:
			f.CorrelationData, f.HasCorrelation = p.data, true
		case propUser:
			f.User = append(f.User, p.user())
		}
	}
	return f, p.r.err
}

// AppendForward encodes the properties as [Publish.Forward] holds them.
func AppendForward(dst []byte, f *ForwardProperties) []byte {
	if f.HasPayloadFormat {
		dst = append(dst, propPayloadFormat, f.PayloadFormat)
	}
	dst = appendText(dst, propContentType, f.ContentType)
	dst = appendText(dst, propResponseTopic, f.ResponseTopic)
	if f.HasCorrelation {
		dst = appendBinary(append(dst, propCorrelationData), f.CorrelationData)
	}
	return appendUser(dst, f.User)
}

// Size is how many bytes the packet takes on the wire.
func (p *Publish) Size(v Version) int {
	body, _ := p.lengths(v)
	return 1 + varintLen(uint32(body)) + body
}

// lengths returns the remaining length and the property length.
func (p *Publish) lengths(v Version) (body, props int) {
	body = 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		body += 2
	}
	if v == V5 {
		props = len(p.Forward)
		if p.Alias > 0 {
			props += 3
		}
		if p.HasExpiry {
			props += 5
		}
		for _, id := range p.SubscriptionIDs {
			props += 1 + varintLen(id)
		}
		body += varintLen(uint32(props)) + props
	}
	return body, props
}

// AppendPublish appends a PUBLISH. The caller has made sure that it is no
// longer than [MaxLength].
func AppendPublish(dst []byte, p *Publish, v Version) []byte {
	body, props := p.lengths(v)
	flags := byte(PUBLISH)<<4 | p.QoS<<1 | flagByte(p.Retain)
	if p.Dup {
		flags |= publishDup
	}
	dst = append(dst, flags)
	dst = appendVarint(dst, uint32(body))
	dst = appendBinary(dst, p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.ID)
	}
	if v == V5 {
		dst = appendVarint(dst, uint32(props))
		if p.Alias > 0 {
			dst = appendUint16(dst, propTopicAlias, p.Alias)
		}
		if p.HasExpiry {
			dst = appendUint32(dst, propMessageExpiry, p.Expiry)
		}
		for _, id := range p.SubscriptionIDs {
			dst = appendVarint(append(dst, propSubscriptionID), id)
		}
		dst = append(dst, p.Forward...)
	}
	return append(dst, p.Payload...)
}

// IDOffset is where in the encoded packet the packet identifier stands; it
// means nothing with QoS 0.
func (p *Publish) IDOffset(v Version) int {
	body, _ := p.lengths(v)
	return 1 + varintLen(uint32(body)) + 2 + len(p.Topic)
}
