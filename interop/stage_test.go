package interop

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a scenario may take; good ones need a fraction of it.
const patience = 30 * time.Second

// stage is where a scenario plays: a broker, a flavour of client, and names
// that no other scenario on this broker has.
type stage struct {
	t       *testing.T
	ctx     context.Context
	at      addresses
	flavour flavour
	name    string
}

func newStage(t *testing.T, at addresses, f flavour) *stage {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the scenario takes too long"))
	t.Cleanup(cancel)
	name := strings.NewReplacer("+", "-", "#", "-").Replace(t.Name())
	return &stage{t: t, ctx: ctx, at: at, flavour: f, name: name}
}

func (s *stage) topic(level string) string { return s.name + "/" + level }

// url is where the transport of the flavour finds the broker.
func (s *stage) url() string {
	switch s.flavour.transport {
	case "mqtts":
		return "mqtts://" + s.at.TLS
	case "ws":
		return s.at.WS
	case "wss":
		return s.at.WSS
	}
	return "mqtt://" + s.at.TCP
}

// open returns a client of the flavour, not yet connected.
func (s *stage) open(role string) *peer {
	s.t.Helper()
	return s.peer(s.flavour, role)
}

// witness returns a connected client which is known to be good: what it sees
// and says does not depend on the flavour.
func (s *stage) witness() *peer {
	s.t.Helper()
	p := s.peer(flavour{version: 5, transport: "mqtt", open: func(*testing.T) client { return newGoClient() }}, "witness")
	p.connect(connect{Clean: true})
	return p
}

func (s *stage) peer(f flavour, role string) *peer {
	on := *s
	on.flavour = f
	p := &peer{t: s.t, stage: &on, role: role, client: f.open(s.t)}
	s.t.Cleanup(p.client.Die)
	return p
}

// peer is a client which fails the test where the broker does other than
// expected.
type peer struct {
	t      *testing.T
	stage  *stage
	role   string
	client client
	named  string // the client id of the connection
}

// complete fills in what every CONNECT of a scenario has.
func (p *peer) complete(o connect) connect {
	s := p.stage
	o.URL, o.Version, o.KeepAlive = s.url(), s.flavour.version, 60
	if o.ClientID == "" {
		o.ClientID = p.id()
	}
	if s.flavour.transport == "mqtts" || s.flavour.transport == "wss" {
		o.CA, o.Cert, o.Key = s.at.CA, s.at.Cert, s.at.Key
	}
	return o
}

// id is short enough for 3.1, which allows 23 characters.
func (p *peer) id() string {
	h := uint32(2166136261)
	for _, c := range []byte(p.stage.name + p.role) {
		h = (h ^ uint32(c)) * 16777619
	}
	const digits = "0123456789abcdefghijklmnopqrstuv"
	var id strings.Builder
	for ; h > 0; h >>= 5 {
		id.WriteByte(digits[h&31])
	}
	return p.role + "-" + id.String()
}

func (p *peer) connect(o connect) connack {
	p.t.Helper()
	o = p.complete(o)
	p.named = o.ClientID
	ack, err := p.client.Connect(p.stage.ctx, o)
	if err != nil {
		p.t.Fatalf("%s connects: %v", p.role, err)
	}
	if ack.Code != 0 {
		p.t.Fatalf("%s connects: CONNACK has code %#x", p.role, ack.Code)
	}
	return ack
}

// connectSession connects and checks session present, where it is shown.
func (p *peer) connectSession(o connect, present int) {
	p.t.Helper()
	ack := p.connect(o)
	if ack.Session != unseen && ack.Session != present {
		p.t.Errorf("%s connects: session present is %d, want %d", p.role, ack.Session, present)
	}
}

// subscribe checks that the QoS asked for is granted, where it is shown.
func (p *peer) subscribe(filters ...filter) {
	p.t.Helper()
	codes, err := p.client.Subscribe(p.stage.ctx, filters...)
	if err != nil {
		p.t.Fatalf("%s subscribes to %v: %v", p.role, filters, err)
	}
	var want []int
	for _, f := range filters {
		want = append(want, f.QoS)
	}
	if len(codes) > 0 && !slices.Equal(codes, want) {
		p.t.Errorf("%s subscribes to %v: SUBACK has %v", p.role, filters, codes)
	}
}

func (p *peer) publish(m message) (code int) {
	p.t.Helper()
	code, err := p.client.Publish(p.stage.ctx, m)
	if err != nil {
		p.t.Fatalf("%s publishes %v: %v", p.role, m, err)
	}
	return code
}

func (p *peer) next() message {
	p.t.Helper()
	m, err := p.client.Next(p.stage.ctx)
	if err != nil {
		p.t.Fatalf("%s waits for a message: %v", p.role, err)
	}
	return m
}

// expect checks that the next message is this one.
func (p *peer) expect(want message) {
	p.t.Helper()
	if got := p.next(); !same(got, want) {
		p.t.Fatalf("%s receives\n\t%v, want\n\t%v", p.role, got, want)
	}
}

func same(a, b message) bool {
	return a.Topic == b.Topic && string(a.Payload) == string(b.Payload) && a.QoS == b.QoS && a.Retain == b.Retain && a.Dup == b.Dup &&
		slices.Equal(a.User, b.User) && a.ContentType == b.ContentType && a.Response == b.Response &&
		string(a.Correlation) == string(b.Correlation) && a.Expiry == b.Expiry
}

func (p *peer) disconnect() {
	p.t.Helper()
	if err := p.client.Disconnect(p.stage.ctx); err != nil {
		p.t.Fatalf("%s disconnects: %v", p.role, err)
	}
	if err := p.stage.at.presence.gone(p.stage.ctx, p.named); err != nil {
		p.t.Fatal(err)
	}
}

// binary returns bytes which compress to nothing and hold every value.
func binary(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{'f'}).Read(b) // never fails
	return b
}
