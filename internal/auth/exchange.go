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
	scram *SCRAM
	conv  *scram.ServerConversation
	name  string // that the client has said
	asked *Proof // what the client was asked for; nil: nothing yet, or what nobody can prove
	done  *Proof // set by a successful end
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
	p, valid := x.asked, x.conv.Valid()
	x.conv = nil
	if p == nil || !valid || !p.Grant.Holds() {
		return nil, false, denied("message or proof does not fit")
	}
	x.done = p
	return []byte(answer), true, nil
}

// credentials finds the verifier of a name as it came.
func (x *Exchange) credentials(name string) (scram.StoredCredentials, error) {
	x.name = name
	v := x.scram.secret.Decoy(name)
	if p, known := x.scram.proof(name); known {
		x.asked, v = &p, p.Verifier
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: v.Salt, Iters: v.Iterations}, StoredKey: v.StoredKey, ServerKey: v.ServerKey,
	}, nil
}

// Name is what the client says its name is, empty until Step has heard it.
func (x *Exchange) Name() string { return x.name }

// UserName is the user's name as it is kept, empty until Step has said done.
func (x *Exchange) UserName() string {
	if x.done == nil {
		return ""
	}
	return x.done.User
}

// Grant is what is known of the user once Step has said done.
func (x *Exchange) Grant() *access.Grant {
	if x.done == nil {
		return nil
	}
	return &x.done.Grant
}

func denied(why string) error {
	return packet.Refuse(packet.NotAuthorized, SCRAMSHA256+": "+why)
}
