package conform

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"regexp"
	"strings"
	"testing"
)

// authBroker knows enough of MQTT 5.0 for the checks of authentication, and
// can be given one flaw.
type authBroker struct{ flaw string }

// authConn is one connection to it.
type authConn struct {
	authBroker
	net.Conn
	method    string // of the CONNECT
	accepted  bool
	first     string // client-first-message-bare of the exchange under way, or empty
	challenge string
	topic     string // the one subscription
}

func (b authBroker) serve(c net.Conn) {
	s := &authConn{authBroker: b, Conn: c}
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		first, body, size, err := split(buf)
		if err == nil {
			if !s.handle(kind(first>>4), &reader{rest: body}) {
				return
			}
			buf = buf[size:]
			continue
		}
		n, err := c.Read(chunk)
		if err != nil {
			return
		}
		buf = append(buf, chunk[:n]...)
	}
}

// handle reports whether the connection goes on.
func (s *authConn) handle(k kind, r *reader) bool {
	if !s.accepted && k != kConnect && k != kAuth && s.flaw != "lets others in" {
		return s.refuse(protocolError)
	}
	switch k {
	case kConnect:
		return s.connect(r)
	case kAuth:
		return s.auth(r)
	case kPingreq:
		return s.put([]byte{0xD0, 0})
	case kSubscribe:
		id := r.u16()
		r.props(kSuback)
		s.topic = r.text()
		return s.put(frame(0x90, u16(id), []byte{0, r.byte()}))
	case kPublish:
		topic := r.text()
		s.put(frame(0x40, u16(r.u16())))
		return s.put(publish{topic: topic, payload: "x", qos: 1, id: 1}.bytes(5))
	case kPuback:
		return true
	default:
		return false
	}
}

func (s *authConn) put(b []byte) bool {
	_, err := s.Write(b)
	return err == nil
}

func (s *authConn) refuse(code byte) bool {
	if s.accepted {
		s.put(disconnect(5, code, nil))
	} else {
		s.put(frame(0x20, []byte{0, code, 0}))
	}
	return false
}

func methodAndData(props []property) (method, data string) {
	for _, p := range props {
		switch p.id {
		case pAuthMethod:
			method = p.text
		case pAuthData:
			data = p.text
		}
	}
	return method, data
}

func (s *authConn) connect(r *reader) bool {
	if s.accepted {
		return s.refuse(protocolError)
	}
	r.data()
	r.take(4)
	method, data := methodAndData(r.props(kConnack))
	s.method = method
	switch method {
	case "":
		s.accepted = true
		return s.put([]byte{0x20, 3, 0, 0, 0})
	case scramMethod:
		return s.begin(data)
	default:
		return s.refuse(badMethod)
	}
}

func (s *authConn) begin(data string) bool {
	s.first = strings.TrimPrefix(data, "n,,")
	_, nonce, _ := strings.Cut(s.first, ",r=")
	s.challenge = "r=" + nonce + "more,s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ",i=16"
	code := continueAuth
	if s.flaw == "asks with 0x00" {
		code = 0
	}
	return s.put(auth(code, propText(pAuthMethod, scramMethod), propText(pAuthData, s.challenge)))
}

func (s *authConn) auth(r *reader) bool {
	code := r.byte()
	method, data := methodAndData(r.props(kAuth))
	switch {
	case s.method == "" || method != s.method && s.flaw != "lets the method change":
		return s.refuse(protocolError)
	case code == reauthenticate && s.accepted:
		return s.begin(data)
	case code == continueAuth && s.first != "":
		return s.finish(data)
	default:
		return s.refuse(protocolError)
	}
}

func (s *authConn) finish(data string) bool {
	without, proof, _ := strings.Cut(data, ",p=")
	message := s.first + "," + s.challenge + "," + without
	salted, err := pbkdf2.Key(sha256.New, scramPassword, []byte("salt"), 16, sha256.Size)
	if err != nil {
		return false
	}
	clientKey := sign(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	want := sign(stored[:], message)
	for i := range want {
		want[i] ^= clientKey[i]
	}
	got, _ := base64.StdEncoding.DecodeString(proof)
	if !hmac.Equal(got, want) && s.flaw != "takes any password" {
		return s.refuse(notAuthorized)
	}
	s.first = ""
	signature := sign(sign(salted, "Server Key"), message)
	if s.flaw == "proves nothing" {
		signature[0]++
	}
	props := join(propText(pAuthMethod, scramMethod), propText(pAuthData, "v="+base64.StdEncoding.EncodeToString(signature)))
	if s.flaw == "forgets the method" {
		props = nil
	}
	if s.accepted {
		return s.put(auth(0, props))
	}
	s.accepted = true
	return s.put(frame(0x20, []byte{0, 0}, properties(5, props)))
}

// The checks of authentication pass with a broker that does it right, and
// each flaw is found.
func TestAuthChecks(t *testing.T) {
	for _, flaw := range []string{
		"", "asks with 0x00", "lets the method change", "takes any password", "proves nothing", "forgets the method", "lets others in",
	} {
		t.Run("flaw "+flaw, func(t *testing.T) {
			o := Options{Addr: fakeBroker(t, authBroker{flaw}.serve), Codes: true, Offers: true}
			o.Match = regexp.MustCompile(`5\.0 MQTT-(3\.1\.2-30|3\.15\.2|4\.12)`)
			results, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			failed := Failed(results)
			if flaw != "" && len(failed) == 0 {
				t.Error("no check fails")
			}
			for _, r := range failed {
				if flaw == "" {
					t.Errorf("%s: %v", r.Name(), r.Failures)
				}
			}
		})
	}
}
