package cli_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
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

// startBroker runs a broker until the test ends.
func startBroker(t *testing.T) testBroker {
	t.Helper()
	program := "/usr/sbin/mosquitto"
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("mosquitto"); err != nil {
			t.Skip("no mosquitto to test against")
		}
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p := freePorts(t, 4)
	b := testBroker{port: p[0], wsPort: p[1], closedPort: p[2], freePort: p[3], socket: filepath.Join(dir, "mqtt.sock")}
	open := "allow_anonymous true\nacl_file " + file("acl", "topic readwrite #\ntopic deny denied/#\n") + "\n"
	config := "per_listener_settings true\nlog_type all\nuser root\n" +
		fmt.Sprintf("listener %d 127.0.0.1\n%s", b.port, open) +
		fmt.Sprintf("listener %d 127.0.0.1\nprotocol websockets\n%s", b.wsPort, open) +
		fmt.Sprintf("listener 0 %s\n%s", b.socket, open) +
		fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous false\n", b.closedPort)
	runUntilReady(t, exec.Command(program, "-c", file("mosquitto.conf", config)), " running")
	return b
}

// runUntilReady starts cmd, returns once a line of its log ends as said, and
// ends it with the test.
func runUntilReady(t *testing.T, cmd *exec.Cmd, ready string) {
	t.Helper()
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running, ended := make(chan bool, 1), make(chan struct{})
	go func() { // ends with the process, whose log it reads
		defer close(ended)
		defer close(running)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if strings.HasSuffix(lines.Text(), ready) {
				running <- true
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
	})
	select {
	case ok := <-running:
		if !ok {
			t.Fatal("the broker ended before it ran")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the broker does not say that it runs")
	}
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
