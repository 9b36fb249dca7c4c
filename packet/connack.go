package packet

// Connack is a CONNACK (5.0, section 3.2).
type Connack struct {
	SessionPresent bool
	Code           Code

	ConnackProperties
}

// ConnackProperties are the properties of a CONNACK; 3.x has none. What a
// server lacks is said by the fields Without…: absent means available.
type ConnackProperties struct {
	SessionExpiry      uint32
	HasSessionExpiry   bool
	ReceiveMaximum     uint16 // 0: absent, that is 65,535
	MaximumQoS         byte   // with HasMaximumQoS: 0 or 1
	HasMaximumQoS      bool
	WithoutRetain      bool
	MaximumPacketSize  uint32 // 0: absent, that is without limit
	AssignedClientID   string
	TopicAliasMaximum  uint16
	Reason             string
	User               []UserProperty
	WithoutWildcards   bool
	WithoutSubIDs      bool
	WithoutShared      bool
	ServerKeepAlive    uint16
	HasServerKeepAlive bool
	ResponseInfo       string
	ServerReference    string
	AuthMethod         string
	AuthData           []byte
	HasAuthData        bool
}

func connackSet() propSet {
	return setOf(propSessionExpiry, propReceiveMaximum, propMaximumQoS, propRetainAvailable, propMaximumPacketSize,
		propAssignedClientID, propTopicAliasMaximum, propReasonString, propUser, propWildcardAvailable, propSubIDAvailable,
		propSharedAvailable, propServerKeepAlive, propResponseInfo, propServerReference, propAuthMethod, propAuthData)
}

// ParseConnack parses the body of a CONNACK.
func ParseConnack(body []byte, v Version) (Connack, error) {
	r := reader{b: body}
	flags := r.byte()
	if v == V31 {
		flags = 0 // 3.1, section 3.2: the byte is reserved and not used
	}
	if flags > 1 { // [MQTT-3.2.2-1]
		r.fail("reserved connect acknowledge flags are set")
	}
	c := Connack{SessionPresent: flags == 1}
	if v < V5 {
		c.Code = FromReturnCode(r.byte())
		return c, r.end()
	}
	c.Code = Code(r.byte())
	if r.err == nil && !validCode(CONNACK, c.Code) {
		r.fail("reason code does not belong in this packet")
	}
	c.parseProperties(&r)
	return c, r.end()
}

func (c *Connack) parseProperties(r *reader) {
	p := r.properties(connackSet())
	for p.next() {
		switch p.id {
		case propSessionExpiry:
			c.SessionExpiry, c.HasSessionExpiry = p.num, true
		case propReceiveMaximum:
			c.ReceiveMaximum = uint16(p.positive())
		case propMaximumQoS:
			p.flag()
			c.MaximumQoS, c.HasMaximumQoS = byte(p.num), true
		case propRetainAvailable:
			c.WithoutRetain = !p.flag()
		case propMaximumPacketSize:
			c.MaximumPacketSize = p.positive()
		case propAssignedClientID:
			c.AssignedClientID = string(p.data)
		case propTopicAliasMaximum:
			c.TopicAliasMaximum = uint16(p.num)
		case propReasonString:
			c.Reason = string(p.data)
		case propUser:
			c.User = append(c.User, p.user())
		case propWildcardAvailable:
			c.WithoutWildcards = !p.flag()
		case propSubIDAvailable:
			c.WithoutSubIDs = !p.flag()
		case propSharedAvailable:
			c.WithoutShared = !p.flag()
		case propServerKeepAlive:
			c.ServerKeepAlive, c.HasServerKeepAlive = uint16(p.num), true
		case propResponseInfo:
			c.ResponseInfo = string(p.data)
		case propServerReference:
			c.ServerReference = string(p.data)
		case propAuthMethod:
			c.AuthMethod = string(p.data)
		case propAuthData:
			c.AuthData, c.HasAuthData = p.data, true
		}
	}
	p.done(r)
}

// AppendConnack appends a CONNACK of at most limit bytes (0: any number):
// where it would be longer, the reason string and the user properties are
// left out [MQTT-3.2.2-19], [MQTT-3.2.2-20]. In 3.x a code without a return
// code appends nothing.
func AppendConnack(dst []byte, c *Connack, v Version, limit uint32) []byte {
	if v < V5 {
		code, ok := c.Code.ReturnCode()
		if !ok {
			return dst
		}
		return append(dst, byte(CONNACK)<<4, 2, flagByte(c.SessionPresent && v != V31), code)
	}
	return fit(dst, limit, func(dst []byte, optional bool) []byte {
		dst, start := open(dst, CONNACK, 0)
		dst = append(dst, flagByte(c.SessionPresent), byte(c.Code))
		dst = c.appendProperties(dst, optional)
		return shut(dst, start)
	})
}

func (c *Connack) appendProperties(dst []byte, optional bool) []byte {
	dst, list := openProps(dst)
	if c.HasSessionExpiry {
		dst = appendUint32(dst, propSessionExpiry, c.SessionExpiry)
	}
	if c.ReceiveMaximum > 0 {
		dst = appendUint16(dst, propReceiveMaximum, c.ReceiveMaximum)
	}
	if c.HasMaximumQoS {
		dst = append(dst, propMaximumQoS, c.MaximumQoS)
	}
	if c.WithoutRetain {
		dst = appendFlag(dst, propRetainAvailable, false)
	}
	if c.MaximumPacketSize > 0 {
		dst = appendUint32(dst, propMaximumPacketSize, c.MaximumPacketSize)
	}
	dst = appendText(dst, propAssignedClientID, c.AssignedClientID)
	if c.TopicAliasMaximum > 0 {
		dst = appendUint16(dst, propTopicAliasMaximum, c.TopicAliasMaximum)
	}
	if c.WithoutWildcards {
		dst = appendFlag(dst, propWildcardAvailable, false)
	}
	if c.WithoutSubIDs {
		dst = appendFlag(dst, propSubIDAvailable, false)
	}
	if c.WithoutShared {
		dst = appendFlag(dst, propSharedAvailable, false)
	}
	if c.HasServerKeepAlive {
		dst = appendUint16(dst, propServerKeepAlive, c.ServerKeepAlive)
	}
	dst = appendText(dst, propResponseInfo, c.ResponseInfo)
	dst = appendText(dst, propServerReference, c.ServerReference)
	dst = appendText(dst, propAuthMethod, c.AuthMethod)
	if c.HasAuthData {
		dst = appendBinary(append(dst, propAuthData), c.AuthData)
	}
	if optional {
		dst = appendText(dst, propReasonString, c.Reason)
		dst = appendUser(dst, c.User)
	}
	return shutProps(dst, list)
}

// fit appends a packet whole, or without its optional properties where it
// would be longer than limit (0: no limit).
func fit(dst []byte, limit uint32, encode func(dst []byte, optional bool) []byte) []byte {
	start := len(dst)
	dst = encode(dst, true)
	if limit > 0 && len(dst)-start > int(limit) {
		dst = encode(dst[:start], false)
	}
	return dst
}

func flagByte(x bool) byte {
	if x {
		return 1
	}
	return 0
}
