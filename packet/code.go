package packet

// Code is a reason code (5.0, section 2.4): below 0x80 success, else failure.
type Code byte

// The reason codes. Several names share a value: which one is meant depends
// on the packet.
const (
	Success                         Code = 0x00 // also: normal disconnection, granted QoS 0
	GrantedQoS1                     Code = 0x01
	GrantedQoS2                     Code = 0x02
	DisconnectWithWill              Code = 0x04
	NoMatchingSubscribers           Code = 0x10
	NoSubscriptionExisted           Code = 0x11
	ContinueAuthentication          Code = 0x18
	ReAuthenticate                  Code = 0x19
	UnspecifiedError                Code = 0x80
	MalformedPacket                 Code = 0x81
	ProtocolError                   Code = 0x82
	ImplementationSpecificError     Code = 0x83
	UnsupportedProtocolVersion      Code = 0x84
	ClientIdentifierNotValid        Code = 0x85
	BadUserNameOrPassword           Code = 0x86
	NotAuthorized                   Code = 0x87
	ServerUnavailable               Code = 0x88
	ServerBusy                      Code = 0x89
	Banned                          Code = 0x8A
	ServerShuttingDown              Code = 0x8B
	BadAuthenticationMethod         Code = 0x8C
	KeepAliveTimeout                Code = 0x8D
	SessionTakenOver                Code = 0x8E
	TopicFilterInvalid              Code = 0x8F
	TopicNameInvalid                Code = 0x90
	PacketIdentifierInUse           Code = 0x91
	PacketIdentifierNotFound        Code = 0x92
	ReceiveMaximumExceeded          Code = 0x93
	TopicAliasInvalid               Code = 0x94
	PacketTooLarge                  Code = 0x95
	MessageRateTooHigh              Code = 0x96
	QuotaExceeded                   Code = 0x97
	AdministrativeAction            Code = 0x98
	PayloadFormatInvalid            Code = 0x99
	RetainNotSupported              Code = 0x9A
	QoSNotSupported                 Code = 0x9B
	UseAnotherServer                Code = 0x9C
	ServerMoved                     Code = 0x9D
	SharedSubscriptionsNotSupported Code = 0x9E
	ConnectionRateExceeded          Code = 0x9F
	MaximumConnectTime              Code = 0xA0
	SubscriptionIDsNotSupported     Code = 0xA1
	WildcardsNotSupported           Code = 0xA2
)

// String is the code's name in the standard, in lower case.
func (c Code) String() string {
	switch c {
	case Success:
		return "success"
	case GrantedQoS1:
		return "granted QoS 1"
	case GrantedQoS2:
		return "granted QoS 2"
	case DisconnectWithWill:
		return "disconnect with will message"
	case NoMatchingSubscribers:
		return "no matching subscribers"
	case NoSubscriptionExisted:
		return "no subscription existed"
	case ContinueAuthentication:
		return "continue authentication"
	case ReAuthenticate:
		return "re-authenticate"
	default:
		return c.failure()
	}
}

func (c Code) failure() string {
	names := [...]string{
		"unspecified error", "malformed packet", "protocol error", "implementation specific error",
		"unsupported protocol version", "client identifier not valid", "bad user name or password",
		"not authorized", "server unavailable", "server busy", "banned", "server shutting down",
		"bad authentication method", "keep alive timeout", "session taken over", "topic filter invalid",
		"topic name invalid", "packet identifier in use", "packet identifier not found",
		"receive maximum exceeded", "topic alias invalid", "packet too large", "message rate too high",
		"quota exceeded", "administrative action", "payload format invalid", "retain not supported",
		"QoS not supported", "use another server", "server moved", "shared subscriptions not supported",
		"connection rate exceeded", "maximum connect time", "subscription identifiers not supported",
		"wildcard subscriptions not supported",
	}
	if i := int(c) - 0x80; i >= 0 && i < len(names) {
		return names[i]
	}
	return "unknown reason"
}

// Failed says whether the code stands for a failure.
func (c Code) Failed() bool { return c >= 0x80 }

// ReturnCode is the CONNACK return code of MQTT 3.x (3.1.1, table 3.1) that
// says the same, or false where there is none: then the connection is closed
// without a CONNACK [MQTT-3.2.2-6].
func (c Code) ReturnCode() (byte, bool) {
	switch c {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIdentifierNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, UseAnotherServer, ServerMoved, QuotaExceeded, ConnectionRateExceeded:
		return 3, true
	case BadUserNameOrPassword:
		return 4, true
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return 5, true
	default:
		return 0, false
	}
}

// FromReturnCode is the reason code that says what a CONNACK return code of
// MQTT 3.x says.
func FromReturnCode(b byte) Code {
	switch b {
	case 0:
		return Success
	case 1:
		return UnsupportedProtocolVersion
	case 2:
		return ClientIdentifierNotValid
	case 3:
		return ServerUnavailable
	case 4:
		return BadUserNameOrPassword
	case 5:
		return NotAuthorized
	default:
		return UnspecifiedError
	}
}

// A Refusal is an error that the peer must hear of: as the reason code of a
// CONNACK, an acknowledgement or a DISCONNECT, or in 3.x by the end of its
// connection.
type Refusal struct {
	Code Code
	Why  string // one clause in plain words, for the log and the reason string
}

func (r *Refusal) Error() string { return r.Code.String() + ": " + r.Why }

func refuse(c Code, why string) error { return &Refusal{Code: c, Why: why} }

// Refuse makes a [*Refusal].
func Refuse(c Code, why string) *Refusal { return &Refusal{Code: c, Why: why} }

// validCode says whether a packet of type t may carry c, sent by a client or
// a server (5.0, table 2-6).
func validCode(t Type, c Code) bool {
	switch t {
	case CONNACK:
		return c == Success || in(c, 0x80, 0x8A) || c == BadAuthenticationMethod || c == TopicNameInvalid ||
			c == PacketTooLarge || c == QuotaExceeded || in(c, 0x99, 0x9D) || c == ConnectionRateExceeded
	case PUBACK, PUBREC:
		return c == Success || c == NoMatchingSubscribers || c == UnspecifiedError || c == ImplementationSpecificError ||
			c == NotAuthorized || c == TopicNameInvalid || c == PacketIdentifierInUse || c == QuotaExceeded || c == PayloadFormatInvalid
	case PUBREL, PUBCOMP:
		return c == Success || c == PacketIdentifierNotFound
	case SUBACK:
		return c <= GrantedQoS2 || c == UnspecifiedError || c == ImplementationSpecificError || c == NotAuthorized ||
			c == TopicFilterInvalid || c == PacketIdentifierInUse || c == QuotaExceeded ||
			c == SharedSubscriptionsNotSupported || c == SubscriptionIDsNotSupported || c == WildcardsNotSupported
	case UNSUBACK:
		return c == Success || c == NoSubscriptionExisted || c == UnspecifiedError || c == ImplementationSpecificError ||
			c == NotAuthorized || c == TopicFilterInvalid || c == PacketIdentifierInUse
	case DISCONNECT:
		return c == Success || c == DisconnectWithWill || in(c, 0x80, 0x83) || c == NotAuthorized || c == ServerBusy ||
			in(c, 0x8B, 0x8B) || in(c, 0x8D, 0x90) || in(c, 0x93, 0xA2)
	case AUTH:
		return c == Success || c == ContinueAuthentication || c == ReAuthenticate
	default:
		return false
	}
}

func in(c, low, high Code) bool { return c >= low && c <= high }
