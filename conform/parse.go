package conform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// packet is one packet from the broker. Which fields have a meaning depends
// on its kind.
type packet struct {
	kind    kind
	flags   byte
	raw     []byte
	id      uint16
	code    byte   // CONNACK, the acknowledgements, DISCONNECT, AUTH
	codes   []byte // SUBACK, UNSUBACK
	present bool   // session present in CONNACK
	topic   string
	payload string
	props   []property
}

func (p *packet) qos() byte    { return p.flags >> 1 & 3 }
func (p *packet) dup() bool    { return p.flags&0x08 != 0 }
func (p *packet) retain() bool { return p.flags&0x01 != 0 }

func (p *packet) String() string {
	switch p.kind {
	case kPublish:
		return fmt.Sprintf("PUBLISH(topic %q, payload %q, qos %d, dup %t, retain %t, id %d%s)",
			shorten(p.topic), shorten(p.payload), p.qos(), p.dup(), p.retain(), p.id, p.propText())
	case kConnack:
		return fmt.Sprintf("CONNACK(session present %t, code 0x%02X%s)", p.present, p.code, p.propText())
	case kSuback, kUnsuback:
		return fmt.Sprintf("%s(id %d, codes % X%s)", p.kind, p.id, p.codes, p.propText())
	case kPuback, kPubrec, kPubrel, kPubcomp:
		return fmt.Sprintf("%s(id %d, code 0x%02X%s)", p.kind, p.id, p.code, p.propText())
	case kDisconnect, kAuth:
		return fmt.Sprintf("%s(code 0x%02X%s)", p.kind, p.code, p.propText())
	default:
		return p.kind.String()
	}
}

func (p *packet) propText() string {
	var b strings.Builder
	for _, q := range p.props {
		fmt.Fprintf(&b, ", %s", q)
	}
	return b.String()
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}

// property is one property of a 5.0 packet; number or text is set by its type.
type property struct {
	id     byte
	number uint32
	text   string
	value  string // the second half of a user property
}

func (p property) String() string {
	switch propertyType(p.id) {
	case 's', 'd':
		return fmt.Sprintf("property 0x%02X %q", p.id, shorten(p.text))
	case 'p':
		return fmt.Sprintf("user property %q=%q", shorten(p.text), shorten(p.value))
	default:
		return fmt.Sprintf("property 0x%02X %d", p.id, p.number)
	}
}

func (p *packet) prop(id byte) (property, bool) {
	for _, q := range p.props {
		if q.id == id {
			return q, true
		}
	}
	return property{}, false
}

// subscriptions returns the subscription identifiers in ascending order.
func (p *packet) subscriptions() []uint32 {
	var out []uint32
	for _, q := range p.props {
		if q.id == pSubscriptionID {
			out = append(out, q.number)
		}
	}
	slices.Sort(out)
	return out
}

// pairs returns the user properties as key=value, in their order.
func (p *packet) pairs() []string {
	var out []string
	for _, q := range p.props {
		if q.id == pUserProperty {
			out = append(out, q.text+"="+q.value)
		}
	}
	return out
}

// propertyType is b(yte), w(ord), l(ong), v(arint), s(tring), d(ata), p(air).
func propertyType(id byte) byte {
	switch id {
	case pPayloadFormat, pRequestProblem, pRequestResponse, pMaximumQoS, pRetainAvailable,
		pWildcardAvailable, pSubIDAvailable, pSharedSubAvailable:
		return 'b'
	case pServerKeepAlive, pReceiveMaximum, pTopicAliasMaximum, pTopicAlias:
		return 'w'
	case pMessageExpiry, pSessionExpiry, pWillDelay, pMaximumPacketSize:
		return 'l'
	case pSubscriptionID:
		return 'v'
	case pContentType, pResponseTopic, pAssignedClientID, pAuthMethod, pResponseInfo, pServerReference, pReasonString:
		return 's'
	case pCorrelationData, pAuthData:
		return 'd'
	case pUserProperty:
		return 'p'
	default:
		return 0
	}
}

// allowedFromServer lists the properties that a server may put in a packet.
func allowedFromServer(k kind) []byte {
	switch k {
	case kConnack:
		return []byte{
			pSessionExpiry, pReceiveMaximum, pMaximumQoS, pRetainAvailable, pMaximumPacketSize, pAssignedClientID,
			pTopicAliasMaximum, pReasonString, pUserProperty, pWildcardAvailable, pSubIDAvailable, pSharedSubAvailable,
			pServerKeepAlive, pResponseInfo, pServerReference, pAuthMethod, pAuthData,
		}
	case kPublish:
		return []byte{
			pPayloadFormat, pMessageExpiry, pTopicAlias, pResponseTopic, pCorrelationData, pUserProperty,
			pSubscriptionID, pContentType,
		}
	case kDisconnect: // no Session Expiry Interval [MQTT-3.14.2-2]
		return []byte{pReasonString, pUserProperty, pServerReference}
	case kAuth:
		return []byte{pAuthMethod, pAuthData, pReasonString, pUserProperty}
	default:
		return []byte{pReasonString, pUserProperty}
	}
}

// allowedCodes lists the reason codes of 5.0 that a server may use in a packet.
func allowedCodes(k kind) []byte {
	switch k {
	case kConnack:
		return []byte{
			0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
			0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
		}
	case kPuback, kPubrec:
		return []byte{0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	case kPubrel, kPubcomp:
		return []byte{0x00, 0x92}
	case kSuback:
		return []byte{0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}
	case kUnsuback:
		return []byte{0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}
	case kDisconnect:
		return []byte{
			0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
			0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
		}
	case kAuth:
		return []byte{0x00, 0x18}
	default:
		return nil
	}
}

var errShort = errors.New("ends too early")

// split takes the first whole packet off buf, or reports that there is none yet.
func split(buf []byte) (first byte, body []byte, size int, err error) {
	if len(buf) == 0 {
		return 0, nil, 0, errShort
	}
	n, used, err := readVarint(buf[1:])
	if err != nil {
		return 0, nil, 0, err
	}
	size = 1 + used + n
	if len(buf) < size {
		return 0, nil, 0, errShort
	}
	return buf[0], buf[1+used : size], size, nil
}

func readVarint(b []byte) (value, used int, err error) {
	for i := range 4 {
		if i == len(b) {
			return 0, 0, errShort
		}
		value |= int(b[i]&0x7F) << (7 * i)
		if b[i]&0x80 != 0 {
			continue
		}
		if i > 0 && b[i] == 0 {
			return 0, 0, fmt.Errorf("variable byte integer % X is not the shortest form", b[:i+1])
		}
		return value, i + 1, nil
	}
	return 0, 0, fmt.Errorf("variable byte integer % X has more than four bytes", b[:4])
}

// reader walks over a body and remembers the first thing that was wrong.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || len(r.rest) < n {
		r.fail("the body %w", errShort)
		return make([]byte, n)
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) byte() byte   { return r.take(1)[0] }
func (r *reader) u16() uint16  { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32  { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) data() string { return string(r.take(int(r.u16()))) }

func (r *reader) varint() int {
	n, used, err := readVarint(r.rest)
	if err != nil {
		r.fail("%w", err)
		return 0
	}
	r.take(used)
	return n
}

func (r *reader) text() string {
	s := r.data()
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		r.fail("string % X is not well-formed", s)
	}
	return s
}

func (r *reader) props(k kind) []property {
	var out []property
	in := &reader{rest: r.take(r.varint())}
	for len(in.rest) > 0 && in.err == nil && r.err == nil {
		out = append(out, in.property(k, out))
	}
	if in.err != nil {
		r.fail("properties: %w", in.err)
	}
	return out
}

func (r *reader) property(k kind, before []property) property {
	p := property{id: r.byte()}
	if r.err == nil && !slices.Contains(allowedFromServer(k), p.id) {
		r.fail("property 0x%02X has no place in a %s from a server", p.id, k)
		return p
	}
	repeatable := p.id == pUserProperty || p.id == pSubscriptionID && k == kPublish
	if !repeatable && slices.ContainsFunc(before, func(q property) bool { return q.id == p.id }) {
		r.fail("property 0x%02X stands twice", p.id)
	}
	switch propertyType(p.id) {
	case 'b':
		p.number = uint32(r.byte())
		if p.number > 1 {
			r.fail("property 0x%02X has the value %d", p.id, p.number)
		}
	case 'w':
		p.number = uint32(r.u16())
	case 'l':
		p.number = r.u32()
	case 'v':
		p.number = uint32(r.varint())
	case 's':
		p.text = r.text()
	case 'd':
		p.text = r.data()
	case 'p':
		p.text, p.value = r.text(), r.text()
	}
	zeroBad := p.id == pSubscriptionID || p.id == pReceiveMaximum || p.id == pMaximumPacketSize || p.id == pTopicAlias
	if zeroBad && p.number == 0 {
		r.fail("property 0x%02X is 0", p.id)
	}
	return p
}

// parse reads a packet that a server sent, and refuses any that it may not send.
func parse(level, first byte, body, raw []byte) (*packet, error) {
	p := &packet{kind: kind(first >> 4), flags: first & 0x0F, raw: slices.Clone(raw)}
	if err := p.checkFlags(); err != nil {
		return p, err
	}
	r := &reader{rest: body}
	switch p.kind {
	case kConnack:
		p.readConnack(r, level)
	case kPublish:
		p.readPublish(r, level)
	case kPuback, kPubrec, kPubrel, kPubcomp:
		p.id = r.u16()
		p.readCode(r, level)
	case kSuback, kUnsuback:
		p.readCodes(r, level)
	case kPingresp:
	case kDisconnect, kAuth:
		if level < 5 {
			return p, fmt.Errorf("a server has no %s to send before 5.0", p.kind)
		}
		p.readCode(r, level)
	default:
		return p, fmt.Errorf("a server has no %s to send", p.kind)
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes too many: % X", len(r.rest), r.rest)
	}
	return p, r.err
}

func (p *packet) checkFlags() error {
	var want byte
	switch p.kind {
	case kPublish:
		if p.qos() == 3 {
			return errors.New("PUBLISH has QoS 3")
		}
		if p.qos() == 0 && p.dup() {
			return errors.New("PUBLISH has QoS 0 and DUP 1")
		}
		return nil
	case kPubrel:
		want = 0x02
	default:
	}
	if p.flags != want {
		return fmt.Errorf("%s has the flags %04b, want %04b", p.kind, p.flags, want)
	}
	return nil
}

func (p *packet) readConnack(r *reader, level byte) {
	flags := r.byte()
	p.present = flags&1 != 0
	p.code = r.byte()
	if flags > 1 {
		r.fail("connect acknowledge flags are %08b", flags)
	}
	if p.code != 0 && p.present {
		r.fail("CONNACK has code 0x%02X and session present 1", p.code)
	}
	if level < 5 {
		if p.code > 5 {
			r.fail("CONNACK has the return code 0x%02X", p.code)
		}
		return
	}
	if !slices.Contains(allowedCodes(kConnack), p.code) {
		r.fail("CONNACK has the reason code 0x%02X", p.code)
	}
	p.props = r.props(kConnack)
}

func (p *packet) readPublish(r *reader, level byte) {
	p.topic = r.text()
	if strings.ContainsAny(p.topic, "+#") {
		r.fail("topic name %q has a wildcard", p.topic)
	}
	if p.qos() > 0 {
		p.id = r.u16()
		if p.id == 0 {
			r.fail("packet identifier is 0")
		}
	}
	if level >= 5 {
		p.props = r.props(kPublish)
	}
	if _, aliased := p.prop(pTopicAlias); p.topic == "" && !aliased {
		r.fail("topic name is empty")
	}
	p.payload = string(r.rest)
	r.rest = nil
}

// readCode reads the reason code and properties that may be left off.
func (p *packet) readCode(r *reader, level byte) {
	if level < 5 || len(r.rest) == 0 {
		return
	}
	p.code = r.byte()
	if !slices.Contains(allowedCodes(p.kind), p.code) {
		r.fail("%s has the reason code 0x%02X", p.kind, p.code)
	}
	if len(r.rest) > 0 {
		p.props = r.props(p.kind)
	}
}

func (p *packet) readCodes(r *reader, level byte) {
	p.id = r.u16()
	allowed := []byte{0x00, 0x01, 0x02, 0x80}
	if level >= 5 {
		p.props = r.props(p.kind)
		allowed = allowedCodes(p.kind)
	}
	if level < 5 && p.kind == kUnsuback {
		return // it has no payload before 5.0
	}
	p.codes = slices.Clone(r.rest)
	r.rest = nil
	if len(p.codes) == 0 {
		r.fail("%s without a reason code", p.kind)
	}
	for _, c := range p.codes {
		if !slices.Contains(allowed, c) {
			r.fail("%s has the reason code 0x%02X", p.kind, c)
		}
	}
}
