package client_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// broker is a server to test against, with a URL for each way in.
type broker struct {
	tcp, ws, unix, tls string
	closed             string // lets nobody in
	roots              *x509.CertPool
}

// startBroker runs a mosquitto until the test ends. Nobody may publish to or
// read from denied/#.
func startBroker(t *testing.T) broker {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program = "/usr/sbin/mosquitto"; !exists(program) {
			t.Skip("no mosquitto to test against")
		}
	}
	dir := t.TempDir()
	certificate, key, roots := writeCertificate(t, dir)
	ports := freePorts(t, 4)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	acl := file("acl", "topic readwrite #\ntopic deny denied/#\n")
	socket := filepath.Join(dir, "mqtt.sock")
	open := "allow_anonymous true\nacl_file " + acl + "\n"
	config := "per_listener_settings true\nlog_type all\nuser root\n" +
		fmt.Sprintf("listener %d 127.0.0.1\n%s", ports[0], open) +
		fmt.Sprintf("listener %d 127.0.0.1\nprotocol websockets\n%s", ports[1], open) +
		fmt.Sprintf("listener %d 127.0.0.1\ncertfile %s\nkeyfile %s\n%s", ports[2], certificate, key, open) +
		fmt.Sprintf("listener 0 %s\n%s", socket, open) +
		fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous false\n", ports[3])
	cmd := exec.Command(program, "-c", file("mosquitto.conf", config))
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
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if strings.HasSuffix(lines.Text(), " running") {
				running <- true
			}
		}
		close(running)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
	})
	select {
	case ok := <-running:
		if !ok {
			t.Fatal("mosquitto ended before it ran")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("mosquitto does not say that it runs")
	}
	return broker{
		tcp:    fmt.Sprintf("mqtt://127.0.0.1:%d", ports[0]),
		ws:     fmt.Sprintf("ws://127.0.0.1:%d/mqtt", ports[1]),
		tls:    fmt.Sprintf("mqtts://127.0.0.1:%d", ports[2]),
		unix:   "unix://" + socket,
		closed: fmt.Sprintf("mqtt://127.0.0.1:%d", ports[3]),
		roots:  roots,
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
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

// writeCertificate makes a certificate for 127.0.0.1 that signs itself.
func writeCertificate(t *testing.T, dir string) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return write("server.pem", "CERTIFICATE", der), write("server.key", "PRIVATE KEY", encoded), roots
}

func (b broker) trust() *tls.Config { return &tls.Config{RootCAs: b.roots} }
