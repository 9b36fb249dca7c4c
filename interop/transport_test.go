package interop

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestTransports exchanges messages over TLS, WebSocket and both.
func TestTransports(t *testing.T) {
	t.Parallel()
	at := startBroker(t, options{})
	for _, f := range flavours(t, 4, 5) {
		for _, transport := range f.transports {
			f.transport = transport
			t.Run(transport+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				exchange(newStage(t, at, f))
			})
		}
	}
}

// TestVersion31 exchanges messages with those clients that still speak 3.1.
func TestVersion31(t *testing.T) {
	t.Parallel()
	at := startBroker(t, options{})
	for _, f := range flavours(t, 3) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			exchange(newStage(t, at, f))
		})
	}
}

// TestCertificates: the TLS listener admits nobody without a certificate, and
// clients see that the broker's own is of the authority they trust.
func TestCertificates(t *testing.T) {
	t.Parallel()
	at := startBroker(t, options{})
	stranger := newAuthority(t)
	strangerCert, strangerKey := stranger.issue(t, "stranger")
	cases := map[string]func(o *connect){
		"client without certificate":        func(o *connect) { o.Cert, o.Key = "", "" },
		"client with another's certificate": func(o *connect) { o.Cert, o.Key = strangerCert, strangerKey },
		"client trusts another authority":   func(o *connect) { o.CA = stranger.File },
	}
	for _, f := range flavours(t, 4, 5) {
		if !slices.Contains(f.transports, "mqtts") {
			continue
		}
		f.transport = "mqtts"
		for name, spoil := range cases {
			t.Run(strings.ReplaceAll(name, " ", "-")+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, at, f)
				p := s.open("self")
				o := p.complete(connect{Clean: true})
				spoil(&o)
				ack, err := p.client.Connect(s.ctx, o)
				if err == nil && f.lazy {
					_, err = p.client.Publish(s.ctx, message{Topic: s.topic("a"), QoS: 1})
				}
				if err == nil {
					t.Fatalf("connected: %+v", ack)
				}
				if errors.Is(err, s.ctx.Err()) {
					t.Fatalf("nobody refuses: %v", err)
				}
			})
		}
	}
}

// TestPassword: the right one is let in; the wrong one and none are refused
// with the code of the version.
func TestPassword(t *testing.T) {
	t.Parallel()
	at := startBroker(t, options{Users: map[string]string{"ann": "correct horse"}})
	refusals := map[int][]int{4: {4, 5}, 5: {0x86, 0x87}} // bad user name or password; not authorized
	for _, f := range flavours(t, 4, 5) {
		if f.lazy {
			continue // shows no code; TestToolsPassword is for it
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, at, f)
			s.open("right").connect(connect{Clean: true, Username: "ann", Password: "correct horse"})
			for role, o := range map[string]connect{
				"wrong": {Clean: true, Username: "ann", Password: "battery staple"},
				"none":  {Clean: true},
			} {
				p := s.open(role)
				ack, err := p.client.Connect(s.ctx, p.complete(o))
				if err != nil {
					t.Fatalf("%s password: %v", role, err)
				}
				if !slices.Contains(refusals[f.version], ack.Code) {
					t.Errorf("%s password: CONNACK has code %#x, want one of %v", role, ack.Code, refusals[f.version])
				}
			}
		})
	}
}

// TestTogether: each client publishes at QoS 2 to each other.
func TestTogether(t *testing.T) {
	t.Parallel()
	s := newStage(t, startBroker(t, options{}), flavour{})
	var peers []*peer
	for _, f := range flavours(t, 4, 5) {
		p := s.peer(f, f.name)
		p.connect(connect{Clean: true, ClientID: fmt.Sprintf("together-%d", len(peers))})
		p.subscribe(filter{s.topic(f.name), 2})
		peers = append(peers, p)
	}
	for _, from := range peers {
		for _, to := range peers {
			m := message{Topic: s.topic(to.role), Payload: []byte("from " + from.role), QoS: 2}
			from.publish(m)
			to.expect(m)
		}
	}
	for _, p := range peers {
		p.disconnect()
	}
}
