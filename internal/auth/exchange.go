package auth

import (
	"github.com/xdg-go/scram"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// SCRAMSHA256 is the one authentication method (RFC 7677).
const SCRAMSHA256 = "SCRAM-SHA-256"

// maxStep is the longest message that a client may send. The answer repeats
// its nonce and has to fit into a property of 65,535 bytes.
const maxStep = 4096

// Exchange is the server's side of one enhanced authentication: the data of
// CONNECT goes through [Exchange.Step], then that of each AUTH. One goroutine
// uses it.
type Exchange struct {
	users *Users
	conv  *scram.ServerConversation
	user  *known // set by a successful end
}

// Begin starts an authentication with the method that the client named. The
// error is a [*packet.Refusal]: there is but [SCRAMSHA256], and it binds to no
// channel.
func (u *Users) Begin(method string) (*Exchange, error) {
	if method != SCRAMSHA256 {
		return nil, packet.Refuse(packet.BadAuthenticationMethod, "authentication method is not "+SCRAMSHA256)
	}
	return &Exchange{users: u, conv: u.server.NewConversation()}, nil
}

// Step takes the client's authentication data and returns what to answer: in
// an AUTH with [packet.ContinueAuthentication], or once done, in the CONNACK
// or AUTH that tells of success. The error is a [*packet.Refusal] and ends the
// exchange. It says the same of a wrong password and of an unknown user.
func (x *Exchange) Step(data []byte) (reply []byte, done bool, err error) {
	if len(data) > maxStep {
		x.conv = nil
	}
	if x.conv == nil {
		return nil, false, denied("message is too long or comes after the end")
	}
	answer, err := x.conv.Step(string(data))
	if err != nil {
		x.conv = nil // its answer would say why
		return nil, false, denied("message or proof does not fit")
	}
	if !x.conv.Done() {
		if id := x.conv.AuthzID(); id != "" && id != x.conv.Username() {
			x.conv = nil
			return nil, false, denied("acting as another user is not supported")
		}
		return []byte(answer), false, nil
	}
	user, valid := x.users.prepared[prepare(x.conv.Username())], x.conv.Valid()
	x.conv = nil
	if user == nil || !valid {
		return nil, false, denied("message or proof does not fit")
	}
	x.user = user
	return []byte(answer), true, nil
}

// UserName is the user's name as it is configured, empty until Step has said
// done.
func (x *Exchange) UserName() string {
	if x.user == nil {
		return ""
	}
	return x.user.name
}

// Grant is what is known of the user.
func (x *Exchange) Grant() *access.Grant { return &access.Grant{By: x.users.Name()} }

func denied(why string) error {
	return packet.Refuse(packet.NotAuthorized, SCRAMSHA256+": "+why)
}
