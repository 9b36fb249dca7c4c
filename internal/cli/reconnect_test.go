package cli

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// fakeBroker answers the first packets of one connection and hands it on. A
// PUBLISH is answered only if acknowledge is there.
func fakeBroker(t *testing.T, l net.Listener, code packet.Code, acknowledge ...bool) net.Conn {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Error(err)
		return nil
	}
	var in []byte
	next := func() packet.Frame {
		b := make([]byte, 4096)
		for {
			if f, n, err := packet.Split(in, 1<<20); n > 0 || err != nil {
				in = in[n:]
				return f
			}
			n, err := conn.Read(b)
			if err != nil {
				return packet.Frame{}
			}
			in = append(in, b[:n]...)
		}
	}
	next() // CONNECT
	version := packet.V5
	if code == packet.UnsupportedProtocolVersion {
		version = packet.V311
	}
	conn.Write(packet.AppendConnack(nil, &packet.Connack{Code: code}, version, 0))
	if code.Failed() {
		return conn
	}
	switch f := next(); f.Type {
	case packet.PUBLISH:
		var p packet.Publish
		if err := packet.ParsePublish(&p, f.Flags, f.Body, version, packet.FromClient); err != nil {
			t.Error(err)
		}
		if got := string(p.Payload); got != "first" {
			t.Errorf("payload = %q, want the first line", got)
		}
		if len(acknowledge) > 0 {
			conn.Write(packet.AppendAck(nil, packet.PUBACK, &packet.Ack{ID: p.ID}, version, 0))
			io.ReadAll(conn) // until the client has said goodbye and given up waiting
		}
	case packet.SUBSCRIBE:
		s, err := packet.ParseSubscribe(f.Body, version)
		if err != nil {
			t.Error(err)
			return conn
		}
		conn.Write(packet.AppendSuback(nil, packet.SUBACK, &packet.Suback{ID: s.ID, Codes: []packet.Code{0}}, version, 0))
	default:
	}
	return conn
}

// start runs a command against l and gives the lines of its standard error.
func start(t *testing.T, l net.Listener, args ...string) (lines <-chan string, exit <-chan int) {
	t.Helper()
	return startWith(t, "", l, args...)
}

func startWith(t *testing.T, stdin string, l net.Listener, args ...string) (lines <-chan string, exit <-chan int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	r, w := io.Pipe()
	said, ended := make(chan string, 100), make(chan int, 1)
	go func() { // ends with the command, which closes the pipe
		for s := bufio.NewScanner(r); s.Scan(); {
			said <- s.Text()
		}
		close(said)
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	args = append([]string{"fantail", args[0], "-h", "127.0.0.1", "-p", port}, args[1:]...)
	e := &env{ctx: ctx, stdin: strings.NewReader(stdin), stdout: io.Discard, stderr: w}
	go func() { // ends with the command
		ended <- run(e, args)
		w.Close()
	}()
	return said, ended
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestSubSaysThatItConnectsAgain(t *testing.T) {
	l := listen(t)
	lines, exit := start(t, l, "sub", "-t", "a", "-C", "1")
	fakeBroker(t, l, packet.Success).Close()
	if line := <-lines; !strings.Contains(line, "connection lost") || !strings.Contains(line, "connecting again in 1s") {
		t.Errorf("it said %q, want that it connects again", line)
	}
	conn := fakeBroker(t, l, packet.Success)
	defer conn.Close()
	conn.Write(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), Payload: []byte("x")}, packet.V5))
	if line := <-lines; !strings.Contains(line, "connected again") {
		t.Errorf("it said %q, want that it is connected again", line)
	}
	if got := <-exit; got != 0 {
		t.Errorf("exit status %d, want 0", got)
	}
}

func TestPubSendsAgainWhatWasNotAcknowledged(t *testing.T) {
	l := listen(t)
	lines, exit := startWith(t, "first\n", l, "pub", "-t", "a", "-l", "-q", "1")
	fakeBroker(t, l, packet.Success).Close()
	if line := <-lines; !strings.Contains(line, "connecting again in 1s") {
		t.Errorf("it said %q, want that it connects again", line)
	}
	fakeBroker(t, l, packet.Success, true).Close()
	if got := <-exit; got != 0 {
		t.Errorf("exit status %d, want 0", got)
	}
}

func TestPubFailsWhereItsMessageWasNotAcknowledged(t *testing.T) {
	l := listen(t)
	lines, exit := start(t, l, "pub", "-t", "a", "-m", "first", "-q", "1")
	fakeBroker(t, l, packet.Success).Close()
	if line := <-lines; !strings.Contains(line, "wait for the broker's answer: server closed the connection") {
		t.Errorf("it said %q, want that the connection was closed", line)
	}
	if got := <-exit; got != exitFailed {
		t.Errorf("exit status %d, want %d", got, exitFailed)
	}
}

func TestSubDoesNotFightForAClientID(t *testing.T) {
	l := listen(t)
	lines, exit := start(t, l, "sub", "-t", "a", "-i", "me")
	conn := fakeBroker(t, l, packet.Success)
	defer conn.Close()
	conn.Write(packet.AppendDisconnect(nil, &packet.Disconnect{Code: packet.SessionTakenOver}, packet.V5, 0))
	if line := <-lines; !strings.Contains(line, `same id "me"`) {
		t.Errorf("it said %q, want that another has the id", line)
	}
	if got := <-exit; got != int(packet.SessionTakenOver) {
		t.Errorf("exit status %d, want %d", got, packet.SessionTakenOver)
	}
}

func TestABrokerWithoutMQTT5IsAskedAgainFor311(t *testing.T) {
	l := listen(t)
	lines, exit := start(t, l, "pub", "-t", "a", "-m", "x")
	fakeBroker(t, l, packet.UnsupportedProtocolVersion).Close()
	if line := <-lines; !strings.Contains(line, "going on with 3.1.1") {
		t.Errorf("it said %q, want that it goes on with 3.1.1", line)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Write(packet.AppendConnack(nil, &packet.Connack{}, packet.V311, 0))
	if _, err := io.ReadAll(conn); err != nil { // as far as the DISCONNECT, which it does not look for
		t.Log(err)
	}
	conn.Close()
	if got := <-exit; got != 0 {
		t.Errorf("exit status %d, want 0", got)
	}
}

func TestAWillThatIsNotAskedForIsAMistake(t *testing.T) {
	l := listen(t)
	_, exit := start(t, l, "sub", "-t", "a", "--will-payload", "x")
	if got := <-exit; got != exitUsage {
		t.Errorf("exit status %d, want %d", got, exitUsage)
	}
}
