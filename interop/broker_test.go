package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

	// Mute is a fault of the broker: it takes a session over without the
	// DISCONNECT that [MQTT-3.1.4-3] demands.
	Mute bool
}

// startBroker starts the broker under test, which ends with the test.
func startBroker(t *testing.T, o options) addresses {
	t.Helper()
	ca := newAuthority(t)
	at := addresses{CA: ca.File, Mute: true} // mosquitto 2.0.11
	at.Cert, at.Key = ca.issue(t, "client")
	serverCert, serverKey := ca.issue(t, "server")

	program := find(t, "mosquitto", "/usr/sbin/mosquitto", "mosquitto")
	for range 3 { // somebody may take a free port before the broker does
		ports := freePorts(t, 4)
		at.TCP = "127.0.0.1:" + ports[0]
		at.TLS = "127.0.0.1:" + ports[1]
		at.WS = "ws://127.0.0.1:" + ports[2] + "/mqtt"
		at.WSS = "wss://127.0.0.1:" + ports[3] + "/mqtt"
		secure := fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\n", at.CA, serverCert, serverKey)
		config := "user root\nlog_dest stderr\nmax_queued_messages 10000\n" + mosquittoUsers(t, o.Users) +
			"listener " + ports[0] + " 127.0.0.1\n" +
			"listener " + ports[1] + " 127.0.0.1\n" + secure +
			"listener " + ports[2] + " 127.0.0.1\nprotocol websockets\n" +
			"listener " + ports[3] + " 127.0.0.1\nprotocol websockets\n" + secure
		if runMosquitto(t, program, config) {
			keepAwake(t, at.TCP, o)
			return at
		}
	}
	t.Fatal("the broker does not start")
	return at
}

// runMosquitto returns once the broker accepts, or false when it cannot.
func runMosquitto(t *testing.T, program, config string) bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := exec.Command(program, "-c", file)
	logs, err := broker.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	var lines []string
	ready := make(chan bool, 1)
	ended := make(chan struct{})
	go func() { // ends with the broker's log, and Cleanup waits for it
		defer close(ended)
		for scan := bufio.NewScanner(logs); scan.Scan(); {
			lines = append(lines, scan.Text())
			if strings.HasSuffix(scan.Text(), " running") {
				ready <- true // once
			}
		}
		close(ready)
	}()
	t.Cleanup(func() {
		_ = broker.Process.Kill()
		<-ended
		_ = broker.Wait() // killed
		if t.Failed() {
			t.Logf("the broker's log:\n%s", strings.Join(lines, "\n"))
		}
	})
	return <-ready
}

// keepAwake wakes mosquitto often. It reads at most 4 KiB of a WebSocket or
// TLS connection each time it wakes, and alone it wakes only every 100 ms.
func keepAwake(t *testing.T, address string, o options) {
	t.Helper()
	if len(o.Users) > 0 {
		return // nothing large is sent there
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	connect := []byte("\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05awake")
	if _, err := conn.Write(connect); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go io.Copy(io.Discard, conn) // this and the next end with conn
	go func() {
		for ticker := time.NewTicker(5 * time.Millisecond); ; <-ticker.C {
			if _, err := conn.Write([]byte{0xC0, 0}); err != nil {
				ticker.Stop()
				return
			}
		}
	}()
}

// mosquittoUsers returns the configuration that lets only users in.
func mosquittoUsers(t *testing.T, users map[string]string) string {
	t.Helper()
	if len(users) == 0 {
		return "allow_anonymous true\n"
	}
	file := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, password := range users {
		if out, err := exec.Command("mosquitto_passwd", "-b", file, name, password).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
	}
	return "allow_anonymous false\npassword_file " + file + "\n"
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // held until all are found, so that they differ
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}
