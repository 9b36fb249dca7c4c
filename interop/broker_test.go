package interop

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
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
		c.Auth.Users = append(c.Auth.Users, fantail.User{Name: name, Password: password})
	}
	secure := "?" + url.Values{"cert": {cert}, "key": {key}, "client_ca": {at.CA}, "client_cert": {"require"}}.Encode()
	for _, text := range []string{"tcp://127.0.0.1:0", "tls://127.0.0.1:0" + secure, "ws://127.0.0.1:0", "wss://127.0.0.1:0" + secure} {
		l, err := fantail.ParseListener(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Listeners = append(c.Listeners, l)
	}
	hosts := run(t, c)
	at.TCP, at.TLS, at.WS, at.WSS = hosts[0], hosts[1], "ws://"+hosts[2]+"/mqtt", "wss://"+hosts[3]+"/mqtt"
	return at
}

// run runs the broker until the test ends, and returns where it listens.
func run(t *testing.T, c fantail.Config) (hosts []string) {
	t.Helper()
	b, err := fantail.New(c)
	if err != nil {
		t.Fatal(err)
	}
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
