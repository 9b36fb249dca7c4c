package listen

import "net"

// Reasons of a Refusal and of a [Fault]: names of counters.
const (
	ReasonTLSOnPlainPort   = "tls_on_plain_port"
	ReasonPlainOnTLSPort   = "plain_on_tls_port"
	ReasonHTTPRequest      = "http_request"
	ReasonConnectTimeout   = "connect_timeout"
	ReasonProxyHeader      = "proxy_header"
	ReasonTLSHandshake     = "tls_handshake"
	ReasonWebSocketUpgrade = "websocket_upgrade"
	ReasonNotMQTT          = "not_mqtt"
	ReasonClosedEarly      = "closed_early"    // the client left without a CONNECT packet
	ReasonWebSocket        = "websocket_error" // after the upgrade
	ReasonTLS              = "tls_error"       // after the handshake
)

// Refusal is a connection that did not come to MQTT.
type Refusal struct {
	Addr     net.Addr // as in Peer
	Listener string
	Reason   string // ReasonNotMQTT and so on
	Detail   string // what arrived and what to do, one sentence
}

// Fault is why this package ended a connection: the error of the handler's
// Closed, for an upper handler where TLS or WebSocket broke below it.
type Fault struct {
	Reason string // ReasonWebSocket and so on
	Detail string
}

func (f *Fault) Error() string { return f.Detail }

// Counter is the reason under which the end of a client's connection counts.
func (f *Fault) Counter() string { return f.Reason }
