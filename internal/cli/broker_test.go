package cli_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
)

// testBroker is the broker that the scripts talk to. This file is the only one
// that knows which program it is.
type testBroker struct {
	port, wsPort, closedPort, freePort int
	socket                             string
}

// env is what the scripts know of the broker. Nobody may publish to or read
// from denied/#, and the closed port lets nobody in. Nothing listens at the
// free port.
func (b testBroker) env() map[string]string {
	return map[string]string{
		"PORT": strconv.Itoa(b.port), "WSPORT": strconv.Itoa(b.wsPort), "CLOSEDPORT": strconv.Itoa(b.closedPort),
		"FREEPORT": strconv.Itoa(b.freePort), "SOCKET": b.socket,
	}
}

// denials lets nobody publish to or read from denied/#.
type denials struct{}

func (denials) Access(_ *fantail.ClientInfo, a fantail.Ask) error {
	if strings.HasPrefix(a.Topic, "denied/") {
		return errors.New("denied by the test")
	}
	return nil
}

// startBroker runs a broker until the test ends, and one that lets nobody in.
func startBroker(t *testing.T) testBroker {
	t.Helper()
	b := testBroker{socket: filepath.Join(t.TempDir(), "mqtt.sock"), freePort: freePorts(t, 1)[0]}
	open := run(t, fantail.Config{}, "tcp://127.0.0.1:0", "ws://127.0.0.1:0", "unix://"+b.socket)
	b.port, b.wsPort = open[0], open[1]
	b.closedPort = run(t, fantail.Config{Auth: fantail.Auth{Anonymous: "never"}}, "tcp://127.0.0.1:0")[0]
	return b
}

// run runs a broker until the test ends, and returns the ports of its
// listeners.
func run(t *testing.T, c fantail.Config, urls ...string) (ports []int) {
	t.Helper()
	return runWith(t, denials{}, c, urls...)
}

// runWith runs a broker with an Authorizer; nil: with access rules.
func runWith(t *testing.T, a fantail.Authorizer, c fantail.Config, urls ...string) (ports []int) {
	t.Helper()
	for _, u := range urls {
		l, err := fantail.ParseListener(u)
		if err != nil {
			t.Fatal(err)
		}
		c.Listeners = append(c.Listeners, l)
	}
	b, err := fantail.New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.UseLogger(slog.New(slog.DiscardHandler))
	if a != nil {
		b.UseAuthorizer(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }() // ends with the test, which waits for it
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
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
		port, _ := strconv.Atoi(u.Port()) // a unix socket has none
		ports = append(ports, port)
	}
	return ports
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all are held until all are found
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func exitCode(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	return strconv.Itoa(exit.ExitCode())
}
