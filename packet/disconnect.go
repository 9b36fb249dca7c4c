package packet

// Disconnect is a DISCONNECT (5.0, section 3.14). In 3.x it is empty and only
// a client sends it.
type Disconnect struct {
	Code             Code
	SessionExpiry    uint32
	HasSessionExpiry bool
	Reason           string
	ServerReference  string
	User             []UserProperty
}

// ParseDisconnect parses the body of a DISCONNECT.
func ParseDisconnect(body []byte, v Version, from Dir) (Disconnect, error) {
	var d Disconnect
	if len(body) == 0 {
		return d, nil
	}
	if v < V5 {
		return d, refuse(MalformedPacket, "packet has bytes after its end")
	}
	d.Code = Code(body[0])
	if !validCode(DISCONNECT, d.Code) || from == FromClient && !fromClient(d.Code) || from == FromServer && d.Code == DisconnectWithWill {
		return d, refuse(ProtocolError, "reason code does not belong in this packet")
	}
	if len(body) == 1 {
		return d, nil
	}
	allowed := setOf(propReasonString, propUser)
	if from == FromClient {
		allowed |= 1 << propSessionExpiry
	} else { // [MQTT-3.14.2-2]
		allowed |= 1 << propServerReference
	}
	r := reader{b: body[1:]}
	p := r.properties(allowed)
	for p.next() {
		switch p.id {
		case propSessionExpiry:
			d.SessionExpiry, d.HasSessionExpiry = p.num, true
		case propReasonString:
			d.Reason = string(p.data)
		case propServerReference:
			d.ServerReference = string(p.data)
		case propUser:
			d.User = append(d.User, p.user())
		}
	}
	p.done(&r)
	return d, r.end()
}

// fromClient says whether a client may send the code (5.0, table 3-10).
func fromClient(c Code) bool {
	switch c {
	case Success, DisconnectWithWill, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid, PacketTooLarge, MessageRateTooHigh,
		QuotaExceeded, AdministrativeAction, PayloadFormatInvalid:
		return true
	default:
		return false
	}
}

// AppendDisconnect appends a DISCONNECT of at most limit bytes (0: any
// number): where it would be longer, its reason string and user properties are
// left out [MQTT-3.14.2-3], [MQTT-3.14.2-4].
func AppendDisconnect(dst []byte, d *Disconnect, v Version, limit uint32) []byte {
	if v < V5 || d.Code == Success && !d.HasSessionExpiry && d.Reason == "" && d.ServerReference == "" && len(d.User) == 0 {
		return append(dst, byte(DISCONNECT)<<4, 0)
	}
	return fit(dst, limit, func(dst []byte, optional bool) []byte {
		dst, start := open(dst, DISCONNECT, 0)
		dst = append(dst, byte(d.Code))
		var list int
		dst, list = openProps(dst)
		if d.HasSessionExpiry {
			dst = appendUint32(dst, propSessionExpiry, d.SessionExpiry)
		}
		dst = appendText(dst, propServerReference, d.ServerReference)
		if optional {
			dst = appendText(dst, propReasonString, d.Reason)
			dst = appendUser(dst, d.User)
		}
		if dst = shutProps(dst, list); dst[len(dst)-1] == 0 && len(dst) == list+1 {
			dst = dst[:list] // no properties: their length can be left out too
		}
		return shut(dst, start)
	})
}

// Auth is an AUTH (5.0, section 3.15).
type Auth struct {
	Code      Code
	Method    string
	HasMethod bool
	Data      []byte
	HasData   bool
	Reason    string
	User      []UserProperty
}

// ParseAuth parses the body of an AUTH.
func ParseAuth(body []byte, from Dir) (Auth, error) {
	var a Auth
	if len(body) > 0 {
		a.Code = Code(body[0])
	}
	if !validCode(AUTH, a.Code) || from == FromClient && a.Code == Success || from == FromServer && a.Code == ReAuthenticate {
		return a, refuse(ProtocolError, "reason code does not belong in this packet")
	}
	if len(body) < 2 {
		return a, nil
	}
	r := reader{b: body[1:]}
	p := r.properties(setOf(propAuthMethod, propAuthData, propReasonString, propUser))
	for p.next() {
		switch p.id {
		case propAuthMethod:
			a.Method, a.HasMethod = string(p.data), true
		case propAuthData:
			a.Data, a.HasData = p.data, true
		case propReasonString:
			a.Reason = string(p.data)
		case propUser:
			a.User = append(a.User, p.user())
		}
	}
	p.done(&r)
	return a, r.end()
}

// AppendAuth appends an AUTH of at most limit bytes (0: any number): where it
// would be longer, its reason string and user properties are left out
// [MQTT-3.15.2-2], [MQTT-3.15.2-3].
func AppendAuth(dst []byte, a *Auth, limit uint32) []byte {
	return fit(dst, limit, func(dst []byte, optional bool) []byte {
		dst, start := open(dst, AUTH, 0)
		dst = append(dst, byte(a.Code))
		var list int
		dst, list = openProps(dst)
		if a.HasMethod {
			dst = appendBinary(append(dst, propAuthMethod), a.Method)
		}
		if a.HasData {
			dst = appendBinary(append(dst, propAuthData), a.Data)
		}
		if optional {
			dst = appendText(dst, propReasonString, a.Reason)
			dst = appendUser(dst, a.User)
		}
		return shut(shutProps(dst, list), start)
	})
}
