// Package access is who a client is and what it may do.
//
// A [Request] is what a client says of itself in CONNECT. Whoever lets it in
// answers with a [Grant], which belongs to the connection from then on, and is
// in its [Info]. With that a rule decides what the client asks for: an [Ask].
package access

import (
	"crypto/x509"
	"net"

	"github.com/fantail-mqtt/fantail/packet"
)

// Request is what a client says of itself in CONNECT.
type Request struct {
	ClientID    string
	UserName    string
	HasUserName bool
	Password    []byte
	HasPassword bool
	Version     packet.Version
	Peer        Peer
}

// Peer is the other end of a connection.
type Peer struct {
	Addr        net.Addr
	Transport   string // tcp, tls, ws, wss or unix
	Listener    string
	Origin      string            // of a browser's WebSocket
	Certificate *x509.Certificate // the client's, verified; nil: it showed none
	Voucher     Voucher           // nil: nothing that was verified can be taken back
}

// Voucher is what stands behind a connection whoever let it in, such as a
// certificate that can be revoked.
type Voucher interface {
	// Fault says why it does so no more, for the owner; empty: it does.
	Fault() string
}

// Grant is what was found out about a client when it was let in. It does not
// change. A nil Grant is that of a client that nobody knows.
type Grant struct {
	// By is the step of the authentication that let the client in.
	By string
	// UserName and ClientID take the place of what the client said; empty: that
	// stays.
	UserName, ClientID string
	// Superuser may do everything.
	Superuser bool
	// Groups and Attributes are for rules to ask about.
	Groups     []string
	Attributes map[string]string
	// Rules are the client's own. They are asked before all others.
	Rules *Rules
	// Expires is when the client has to leave, in unix milliseconds. 0: never.
	Expires int64
	// Limits names the set of limits that holds for the client; empty: those
	// of everybody.
	Limits string
	// Still says whether the grant holds still. It is asked once more when the
	// client is connected and can be sent away: what it was let in by may have
	// been changed since. nil: it does.
	Still func() bool
}

// Holds says whether the grant holds still. A nil grant does.
func (g *Grant) Holds() bool { return g == nil || g.Still == nil || g.Still() }

// Info is what is known of a connected client. It does not change.
type Info struct {
	ClientID    string
	UserName    string
	Addr        net.Addr
	Listener    string
	Transport   string
	Version     packet.Version
	CleanStart  bool
	KeepAlive   uint16
	Expiry      uint32
	ConnectedAt int64  // unix milliseconds
	Grant       *Grant // nil: nobody knows the client
	Voucher     Voucher
	// Restored says that the client has not come back since the broker started:
	// of what is here, only ClientID, UserName and Grant.UserName are known.
	Restored bool
}

// Owner is the user name that the client has proved, empty if it has not.
func (i *Info) Owner() string {
	if i == nil || i.Grant == nil {
		return ""
	}
	return i.UserName
}

// Action is what a client wants to do with a topic.
type Action byte

// The actions. A set of them is their sum.
const (
	Publish Action = 1 << iota
	Subscribe
	Receive
)

func (a Action) String() string {
	switch a {
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	case Receive:
		return "receive"
	default:
		return "several actions"
	}
}

// Ask is what a client asks for.
type Ask struct {
	Action Action
	Topic  string // a topic name; to subscribe, a topic filter as the client wrote it
	QoS    byte   // of the message, or what is asked for
	Retain bool   // of a message that is published
}
