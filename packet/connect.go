package packet

import (
	"encoding/binary"
	"strconv"
)

// Connect is a CONNECT (5.0, section 3.1).
type Connect struct {
	Version    Version
	CleanStart bool   // 3.x: Clean Session
	KeepAlive  uint16 // seconds; 0 is off
	ClientID   string
	Will       *Will

	HasUserName bool
	UserName    string
	HasPassword bool
	Password    []byte

	ConnectProperties
}

// ConnectProperties are the properties of a CONNECT; 3.x has none.
type ConnectProperties struct {
	SessionExpiry       uint32 // seconds; 0xFFFFFFFF is never
	HasSessionExpiry    bool
	ReceiveMaximum      uint16 // 0: absent, that is 65,535
	MaximumPacketSize   uint32 // 0: absent, that is without limit
	TopicAliasMaximum   uint16
	RequestResponseInfo bool
	WithoutProblemInfo  bool // Request Problem Information came as 0
	AuthMethod          string
	HasAuthMethod       bool
	AuthData            []byte
	HasAuthData         bool
	User                []UserProperty
}

// Will is the message that a CONNECT leaves to be published should its
// connection end without a DISCONNECT.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	Delay     uint32 // seconds
	Expiry    uint32 // seconds
	HasExpiry bool
	Forward   []byte // the other properties, encoded as in [Publish]
}

const (
	connectReserved = 1 << 0
	connectClean    = 1 << 1
	connectWill     = 1 << 2
	connectWillQoS  = 3 << 3
	connectWillKeep = 1 << 5
	connectPassword = 1 << 6
	connectUserName = 1 << 7
)

// ParseConnect parses the body of a CONNECT. A refusal comes with a Connect
// whose Version is what the peer sent, so that it can be answered; its other
// fields are not known. It comes without one where the packet is not as long as
// it says: then nothing in it is to be trusted.
func ParseConnect(body []byte) (*Connect, error) {
	r := reader{b: body}
	name := string(r.binary())
	level := r.byte()
	if r.err != nil {
		return nil, r.err
	}
	c := &Connect{Version: Version(level)}
	if name != "MQTT" && name != "MQIsdp" { // [MQTT-3.1.2-1]
		return c, refuse(UnsupportedProtocolVersion, "the protocol name is "+quoted(name)+", not MQTT")
	}
	if (name == "MQTT") != (c.Version == V311 || c.Version == V5) || (name == "MQIsdp") != (c.Version == V31) {
		return c, refuse(UnsupportedProtocolVersion, "the protocol is "+name+" level "+strconv.Itoa(int(level))+", not MQTT 4 (3.1.1), MQTT 5 or MQIsdp 3 (3.1)")
	}
	flags := r.byte()
	c.KeepAlive = r.uint16()
	c.CleanStart = flags&connectClean != 0
	if err := checkConnectFlags(flags, c.Version); r.err == nil && err != nil {
		return c, err
	}
	if c.Version == V5 {
		c.parseProperties(&r)
	}
	c.ClientID = string(r.text())
	if flags&connectWill != 0 {
		c.Will = parseWill(&r, flags, c.Version)
	}
	if flags&connectUserName != 0 && !(c.Version == V31 && len(r.b) == 0) {
		c.HasUserName, c.UserName = true, string(r.text())
	}
	if flags&connectPassword != 0 && !(c.Version == V31 && len(r.b) == 0) {
		c.HasPassword, c.Password = true, r.binary()
	}
	if err := r.end(); err != nil && r.short {
		return nil, err
	}
	return c, r.err
}

// quoted is a name of the peer's, short enough for a log line.
func quoted(name string) string { return strconv.Quote(name[:min(len(name), 32)]) }

func checkConnectFlags(flags byte, v Version) error {
	if flags&connectReserved != 0 && v != V31 { // [MQTT-3.1.2-3]
		return refuse(MalformedPacket, "reserved connect flag is set")
	}
	if flags&connectWill == 0 && flags&(connectWillQoS|connectWillKeep) != 0 && v != V31 { // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
		return refuse(MalformedPacket, "will QoS or will retain is set without a will")
	}
	if flags&connectWillQoS == connectWillQoS { // [MQTT-3.1.2-12]
		return refuse(MalformedPacket, "will QoS is 3")
	}
	if v != V5 && flags&connectUserName == 0 && flags&connectPassword != 0 { // 3.1.1 [MQTT-3.1.2-22]
		return refuse(MalformedPacket, "password without a user name")
	}
	return nil
}

func connectSet() propSet {
	return setOf(propSessionExpiry, propReceiveMaximum, propMaximumPacketSize, propTopicAliasMaximum,
		propRequestResponse, propRequestProblem, propUser, propAuthMethod, propAuthData)
}

func (c *Connect) parseProperties(r *reader) {
	p := r.properties(connectSet())
	for p.next() {
		switch p.id {
		case propSessionExpiry:
			c.SessionExpiry, c.HasSessionExpiry = p.num, true
		case propReceiveMaximum:
			c.ReceiveMaximum = uint16(p.positive())
		case propMaximumPacketSize:
			c.MaximumPacketSize = p.positive()
		case propTopicAliasMaximum:
			c.TopicAliasMaximum = uint16(p.num)
		case propRequestResponse:
			c.RequestResponseInfo = p.flag()
		case propRequestProblem:
			c.WithoutProblemInfo = !p.flag()
		case propUser:
			c.User = append(c.User, p.user())
		case propAuthMethod:
			c.AuthMethod, c.HasAuthMethod = string(p.data), true
		case propAuthData:
			c.AuthData, c.HasAuthData = p.data, true
		}
	}
	if c.HasAuthData && !c.HasAuthMethod {
		p.refuse("authentication data without a method")
	}
	p.done(r)
}

func parseWill(r *reader, flags byte, v Version) *Will {
	w := &Will{QoS: flags & connectWillQoS >> 3, Retain: flags&connectWillKeep != 0}
	if v == V5 {
		p := r.properties(forwardSet() | setOf(propWillDelay, propMessageExpiry))
		var f forwarder
		for p.next() {
			switch p.id {
			case propWillDelay:
				w.Delay = p.num
			case propMessageExpiry:
				w.Expiry, w.HasExpiry = p.num, true
			default:
				f.keep(&p)
			}
		}
		w.Forward = f.kept()
		p.done(r)
	}
	w.Topic = string(r.text())
	w.Payload = r.binary()
	return w
}

// AppendConnect appends a CONNECT.
func AppendConnect(dst []byte, c *Connect) []byte {
	dst, start := open(dst, CONNECT, 0)
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	dst = appendBinary(dst, name)
	dst = append(dst, byte(c.Version), c.flags())
	dst = binary.BigEndian.AppendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.appendProperties(dst)
	}
	dst = appendBinary(dst, c.ClientID)
	if c.Will != nil {
		dst = c.Will.append(dst, c.Version)
	}
	if c.HasUserName {
		dst = appendBinary(dst, c.UserName)
	}
	if c.HasPassword {
		dst = appendBinary(dst, c.Password)
	}
	return shut(dst, start)
}

func (c *Connect) flags() byte {
	var f byte
	if c.CleanStart {
		f |= connectClean
	}
	if w := c.Will; w != nil {
		f |= connectWill | w.QoS<<3
		if w.Retain {
			f |= connectWillKeep
		}
	}
	if c.HasUserName {
		f |= connectUserName
	}
	if c.HasPassword {
		f |= connectPassword
	}
	return f
}

func (c *Connect) appendProperties(dst []byte) []byte {
	dst, list := openProps(dst)
	if c.HasSessionExpiry {
		dst = appendUint32(dst, propSessionExpiry, c.SessionExpiry)
	}
	if c.ReceiveMaximum > 0 {
		dst = appendUint16(dst, propReceiveMaximum, c.ReceiveMaximum)
	}
	if c.MaximumPacketSize > 0 {
		dst = appendUint32(dst, propMaximumPacketSize, c.MaximumPacketSize)
	}
	if c.TopicAliasMaximum > 0 {
		dst = appendUint16(dst, propTopicAliasMaximum, c.TopicAliasMaximum)
	}
	if c.RequestResponseInfo {
		dst = appendFlag(dst, propRequestResponse, true)
	}
	if c.WithoutProblemInfo {
		dst = appendFlag(dst, propRequestProblem, false)
	}
	if c.HasAuthMethod {
		dst = appendBinary(append(dst, propAuthMethod), c.AuthMethod)
	}
	if c.HasAuthData {
		dst = appendBinary(append(dst, propAuthData), c.AuthData)
	}
	dst = appendUser(dst, c.User)
	return shutProps(dst, list)
}

func (w *Will) append(dst []byte, v Version) []byte {
	if v == V5 {
		var list int
		dst, list = openProps(dst)
		if w.Delay > 0 {
			dst = appendUint32(dst, propWillDelay, w.Delay)
		}
		if w.HasExpiry {
			dst = appendUint32(dst, propMessageExpiry, w.Expiry)
		}
		dst = append(dst, w.Forward...)
		dst = shutProps(dst, list)
	}
	dst = appendBinary(dst, w.Topic)
	return appendBinary(dst, w.Payload)
}
