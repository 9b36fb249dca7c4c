package conform

// Reason codes of MQTT 5.0 that the checks ask for.
const (
	noSubscription       byte = 0x11
	continueAuth         byte = 0x18
	reauthenticate       byte = 0x19
	withWill             byte = 0x04
	unspecified          byte = 0x80
	malformed            byte = 0x81
	protocolError        byte = 0x82
	implementation       byte = 0x83
	unsupportedVersion   byte = 0x84
	badClientID          byte = 0x85
	badPassword          byte = 0x86
	notAuthorized        byte = 0x87
	badMethod            byte = 0x8C
	takenOver            byte = 0x8E
	badFilter            byte = 0x8F
	badTopic             byte = 0x90
	receiveMaximumPassed byte = 0x93
	badAlias             byte = 0x94
	tooLarge             byte = 0x95
	retainUnsupported    byte = 0x9A
	qosUnsupported       byte = 0x9B
)

// Return codes of CONNACK before 5.0.
const (
	oldBadVersion    byte = 1
	oldBadID         byte = 2
	oldBadPassword   byte = 4
	oldNotAuthorized byte = 5
)
