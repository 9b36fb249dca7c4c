package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/fantail-mqtt/fantail"
)

// options is what a test wants of its broker.
type options struct {
	Users map[string]string // name → password; empty lets anyone in
}

// addresses is where the broker under test listens. Its TLS listeners demand
// a client certificate of the authority CA.
type addresses struct {
	TCP string // host:port
	TLS string // host:port
	WS  string // ws://host:port/mqtt
	WSS string // wss://host:port/mqtt

	CA        string // file, as the following
	Cert, Key string // of a client

	presence *presence
}

// presence knows who is connected, as the broker sees it.
type presence struct {
	mu      sync.Mutex // guards the rest
	here    map[string]bool
	changed chan struct{} // closed at each change
}

// heard takes in a presence event.
func (p *presence) heard(m fantail.Message) {
	var event struct {
		ClientID string `json:"clientid"`
	}
	_ = json.Unmarshal(m.Payload, &event) // an event without a client id is nobody's
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here[event.ClientID] = strings.HasSuffix(m.Topic, "/connected")
	close(p.changed)
	p.changed = make(chan struct{})
}

// gone waits until the broker has noticed that a client left. Clients that close
// their connection do not: what others do next would race with it.
func (p *presence) gone(ctx context.Context, id string) error {
	for {
		p.mu.Lock()
		here, changed := p.here[id], p.changed
		p.mu.Unlock()
		if !here {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker does not notice that %s left: %w", id, ctx.Err())
		case <-changed:
		}
	}
}

// startBroker starts the broker under test, which ends with the test.
func startBroker(t *testing.T, o options) addresses {
	t.Helper()
	ca := newAuthority(t)
	at := addresses{CA: ca.File}
	at.Cert, at.Key = ca.issue(t, "client")
	cert, key := ca.issue(t, "server")

	var c fantail.Config
	for name, password := range o.Users {
		c.Auth.Anonymous = "never"
		c.Auth.Users = append(c.Auth.Users, fantail.User{Name: name, Password: fantail.Secret(password)})
	}
	secure := "?" + url.Values{"cert": {cert}, "key": {key}, "client_ca": {at.CA}, "client_cert": {"require"}}.Encode()
	for _, text := range []string{"tcp://127.0.0.1:0", "tls://127.0.0.1:0" + secure, "ws://127.0.0.1:0", "wss://127.0.0.1:0" + secure} {
		l, err := fantail.ParseListener(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Listeners = append(c.Listeners, l)
	}
	at.presence = &presence{here: map[string]bool{}, changed: make(chan struct{})}
	hosts := run(t, c, at.presence)
	at.TCP, at.TLS, at.WS, at.WSS = hosts[0], hosts[1], "ws://"+hosts[2]+"/mqtt", "wss://"+hosts[3]+"/mqtt"
	return at
}

// run runs the broker until the test ends, and returns where it listens.
func run(t *testing.T, c fantail.Config, p *presence) (hosts []string) {
	t.Helper()
	b, err := fantail.New(c)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := b.Subscribe("$SYS/brokers/+/clients/+/+", p.heard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	var log strings.Builder
	b.UseLogger(slog.New(slog.NewTextHandler(&log, nil))) // its handler writes one line at a time
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }() // ends with the test, which waits for it
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the broker's log:\n%s", log.String())
		}
	})
	select {
	case <-b.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	for _, address := range b.Addresses() {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, u.Host)
	}
	return hosts
}
