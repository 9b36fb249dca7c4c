package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// dialTime bounds the time until the broker has accepted.
const dialTime = 30 * time.Second

// connect dials as p says. A broker that knows no MQTT 5 is asked again for
// 3.1.1 where the user left the version open; p remembers that.
func connect(ctx context.Context, e *env, p *plan) (*client.Client, error) {
	c, err := dial(ctx, p)
	if code, refused := refusal(err); refused && code == packet.UnsupportedProtocolVersion && p.fallback {
		e.say("%s speaks no MQTT 5: going on with 3.1.1", p.address)
		p.options.Version, p.fallback = packet.V311, false
		c, err = dial(ctx, p)
	}
	if err != nil {
		return nil, explain(err, p)
	}
	return c, nil
}

func dial(ctx context.Context, p *plan) (*client.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTime, errNoAnswer)
	defer cancel()
	c, err := client.Dial(ctx, p.options)
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		return nil, errNoAnswer
	}
	return c, err
}

var errNoAnswer = errors.New("no answer")

// refusal is the code that the broker refused with.
func refusal(err error) (packet.Code, bool) {
	var r *packet.Refusal
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.Code, true
}

// brief is err without the remark that a server gave no reason.
func brief(err error) string {
	return strings.TrimSuffix(err.Error(), ": "+client.NoReason)
}

// refusedStatus is the exit status for a code: in 3.x that of a CONNACK is
// its own.
func refusedStatus(code packet.Code, v packet.Version, connack bool) int {
	if v == packet.V5 || !connack {
		return int(code)
	}
	if b, ok := code.ReturnCode(); ok {
		return int(b)
	}
	return exitFailed
}

// explain says what was tried, what went wrong, and what can be done.
func explain(err error, p *plan) error {
	var advice string
	code, refused := refusal(err)
	s := &status{code: exitFailed}
	var (
		unknown   x509.UnknownAuthorityError
		wrongHost x509.HostnameError
		invalid   x509.CertificateInvalidError
		notTLS    tls.RecordHeaderError
		dns       *net.DNSError
		proxy     *proxyError
	)
	switch {
	case refused:
		s.code = refusedStatus(code, p.options.Version, true)
		s.err = fmt.Errorf("%s refused the connection: %s%s", p.address, brief(errors.Unwrap(err)), adviceFor(code, p))
		return s
	case errors.Is(err, errNoAnswer):
		advice = fmt.Sprintf("no answer within %v: is there a firewall, or does another protocol listen there?", dialTime)
	case errors.As(err, &proxy) && !errors.Is(err, context.Canceled):
		advice = proxy.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		advice = "nothing listens there: is the broker running? `fantail server` starts one"
	case errors.Is(err, os.ErrNotExist):
		advice = "there is no such socket: is the broker running, and does it serve it?"
	case errors.Is(err, os.ErrPermission):
		advice = "permission denied"
	case errors.As(err, &dns) && dns.IsNotFound:
		advice = "there is no host of this name"
	case errors.As(err, &unknown):
		advice = "its certificate is signed by an unknown authority: give the authority's certificate with --cafile"
	case errors.As(err, &wrongHost):
		advice = strings.TrimPrefix(wrongHost.Error(), "x509: ") + ": give the host by the name in its certificate, or --insecure"
	case errors.As(err, &invalid):
		advice = invalid.Error()
	case errors.As(err, &notTLS):
		advice = "it does not speak TLS on this port: leave out the TLS flags, or give the port that does (often 8883)"
	case p.options.TLS != nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		advice = "it closed the connection at once: does it speak TLS on this port?"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		advice = "it closed the connection at once: is this its port for TLS (--cafile) or WebSocket (-L ws://...)? Its log may tell"
	case errors.Is(err, context.Canceled):
		return &status{code: exitInterrupted}
	default:
		s.err = err
		return s
	}
	s.err = fmt.Errorf("connect to %s: %s", p.address, advice)
	return s
}

func adviceFor(code packet.Code, p *plan) string {
	switch code {
	case packet.BadUserNameOrPassword:
		return " (check -u and -P)"
	case packet.NotAuthorized, packet.Banned:
		if p.options.UserName == "" {
			return " (it may want a user name and a password: -u, -P)"
		}
		return " (check -u and -P, and the broker's rules)"
	case packet.ClientIdentifierNotValid:
		return " (give another client id with -i)"
	case packet.UnsupportedProtocolVersion:
		return " (try another version with -V)"
	default:
		return ""
	}
}

// disconnect ends c in good order.
func disconnect(c *client.Client, d *packet.Disconnect) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Disconnect(ctx, d); err != nil {
		return &status{exitFailed, err}
	}
	return nil
}

// tracer writes what is sent and received, in mosquitto's words.
func tracer(e *env, id string) func(sent bool, f packet.Frame) {
	if id == "" {
		id = "(no id yet)"
	}
	return func(sent bool, f packet.Frame) {
		way := "received"
		if sent {
			way = "sending"
		}
		e.say("Client %s %s %s", id, way, describe(f))
	}
}

// describe is one packet in a few words. It is not parsed for that: what is
// not well-formed is of interest too.
func describe(f packet.Frame) string {
	b := f.Body
	id := func(at int) string {
		if len(b) < at+2 {
			return ""
		}
		return fmt.Sprintf("Mid: %d", int(b[at])<<8|int(b[at+1]))
	}
	switch f.Type {
	case packet.CONNACK:
		if len(b) >= 2 {
			return fmt.Sprintf("CONNACK (%d)", b[1])
		}
	case packet.PUBLISH:
		return describePublish(f)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		code := byte(0)
		if len(b) > 2 {
			code = b[2]
		}
		return fmt.Sprintf("%v (%s, RC:%d)", f.Type, id(0), code)
	case packet.SUBSCRIBE, packet.SUBACK, packet.UNSUBSCRIBE, packet.UNSUBACK:
		return fmt.Sprintf("%v (%s)", f.Type, id(0))
	case packet.DISCONNECT:
		if len(b) > 0 {
			return fmt.Sprintf("DISCONNECT (RC:%d)", b[0])
		}
	default:
	}
	return f.Type.String()
}

func describePublish(f packet.Frame) string {
	b := f.Body
	if len(b) < 2 || len(b) < 2+int(b[0])<<8+int(b[1]) {
		return "PUBLISH"
	}
	n := 2 + int(b[0])<<8 + int(b[1])
	name, mid, qos := b[2:n], 0, f.Flags>>1&3
	if qos > 0 && len(b) >= n+2 {
		mid = int(b[n])<<8 | int(b[n+1])
	}
	return fmt.Sprintf("PUBLISH (d%d, q%d, r%d, m%d, '%s', packet of %d bytes)", f.Flags>>3&1, qos, f.Flags&1, mid, name, len(b))
}
