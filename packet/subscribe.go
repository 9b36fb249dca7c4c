package packet

import "encoding/binary"

// Subscribe is a SUBSCRIBE (5.0, section 3.8).
type Subscribe struct {
	ID             uint16
	SubscriptionID uint32 // 0: none
	User           []UserProperty
	Filters        []Subscription
}

// Subscription is one topic filter of a SUBSCRIBE with its options.
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0: send retained; 1: if new; 2: do not
}

// ParseSubscribe parses the body of a SUBSCRIBE.
func ParseSubscribe(body []byte, v Version) (*Subscribe, error) {
	r := reader{b: body}
	s := &Subscribe{ID: r.uint16()}
	if r.err == nil && s.ID == 0 {
		return nil, refuse(ProtocolError, "packet identifier is 0")
	}
	if v == V5 {
		p := r.properties(setOf(propSubscriptionID, propUser))
		for p.next() {
			switch p.id {
			case propSubscriptionID:
				s.SubscriptionID = p.positive()
			case propUser:
				s.User = append(s.User, p.user())
			}
		}
		p.done(&r)
	}
	if r.err == nil && len(r.b) == 0 { // [MQTT-3.8.3-2]
		return nil, refuse(ProtocolError, "SUBSCRIBE has no topic filter")
	}
	for r.err == nil && len(r.b) > 0 {
		sub := Subscription{Filter: string(r.text())}
		options := r.byte()
		if r.err != nil {
			break
		}
		if err := sub.setOptions(options, v); err != nil {
			return nil, err
		}
		s.Filters = append(s.Filters, sub)
	}
	return s, r.end()
}

func (s *Subscription) setOptions(b byte, v Version) error {
	s.QoS = b & 3
	reserved := byte(0xC0)
	if v < V5 {
		reserved = 0xFC
	}
	if b&reserved != 0 { // [MQTT-3.8.3-5]
		return refuse(MalformedPacket, "reserved subscription options are set")
	}
	if s.QoS == 3 {
		return refuse(ProtocolError, "subscription asks for QoS 3")
	}
	s.NoLocal = b&0x04 != 0
	s.RetainAsPublished = b&0x08 != 0
	s.RetainHandling = b >> 4 & 3
	if s.RetainHandling == 3 {
		return refuse(ProtocolError, "retain handling is 3")
	}
	return nil
}

func (s *Subscription) options() byte {
	b := s.QoS | s.RetainHandling<<4
	if s.NoLocal {
		b |= 0x04
	}
	if s.RetainAsPublished {
		b |= 0x08
	}
	return b
}

// AppendSubscribe appends a SUBSCRIBE.
func AppendSubscribe(dst []byte, s *Subscribe, v Version) []byte {
	dst, start := open(dst, SUBSCRIBE, 0x02)
	dst = binary.BigEndian.AppendUint16(dst, s.ID)
	if v == V5 {
		var list int
		dst, list = openProps(dst)
		if s.SubscriptionID > 0 {
			dst = appendVarint(append(dst, propSubscriptionID), s.SubscriptionID)
		}
		dst = appendUser(dst, s.User)
		dst = shutProps(dst, list)
	}
	for i := range s.Filters {
		dst = appendBinary(dst, s.Filters[i].Filter)
		if v == V5 {
			dst = append(dst, s.Filters[i].options())
		} else {
			dst = append(dst, s.Filters[i].QoS)
		}
	}
	return shut(dst, start)
}

// Unsubscribe is an UNSUBSCRIBE (5.0, section 3.10).
type Unsubscribe struct {
	ID      uint16
	User    []UserProperty
	Filters []string
}

// ParseUnsubscribe parses the body of an UNSUBSCRIBE.
func ParseUnsubscribe(body []byte, v Version) (*Unsubscribe, error) {
	r := reader{b: body}
	u := &Unsubscribe{ID: r.uint16()}
	if r.err == nil && u.ID == 0 {
		return nil, refuse(ProtocolError, "packet identifier is 0")
	}
	if v == V5 {
		p := r.properties(setOf(propUser))
		for p.next() {
			u.User = append(u.User, p.user())
		}
		p.done(&r)
	}
	if r.err == nil && len(r.b) == 0 { // [MQTT-3.10.3-2]
		return nil, refuse(ProtocolError, "UNSUBSCRIBE has no topic filter")
	}
	for r.err == nil && len(r.b) > 0 {
		u.Filters = append(u.Filters, string(r.text()))
	}
	return u, r.end()
}

// AppendUnsubscribe appends an UNSUBSCRIBE.
func AppendUnsubscribe(dst []byte, u *Unsubscribe, v Version) []byte {
	dst, start := open(dst, UNSUBSCRIBE, 0x02)
	dst = binary.BigEndian.AppendUint16(dst, u.ID)
	if v == V5 {
		var list int
		dst, list = openProps(dst)
		dst = shutProps(appendUser(dst, u.User), list)
	}
	for _, f := range u.Filters {
		dst = appendBinary(dst, f)
	}
	return shut(dst, start)
}
