package cli_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/cli"
)

// socks is a SOCKS5 proxy for the scripts (RFC 1928, RFC 1929). It knows localhost,
// and alone the host only..proxy: with an empty label, no name server is asked for it.
type socks struct {
	user, password string // empty: it lets everybody in
	all            sync.WaitGroup
}

// startSocks serves it until the test ends, and returns its address.
func startSocks(t *testing.T, s *socks) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.all.Go(func() { // ends when l is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.all.Go(func() { // ends with the client's connection
				defer conn.Close()
				if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("proxy: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.all.Wait()
	})
	return l.Addr().String()
}

// The certificate has to be the broker's, not the proxy's.
func TestTLSThroughAProxy(t *testing.T) {
	cert, key := selfSigned(t)
	port := strconv.Itoa(run(t, fantail.Config{}, "tls://127.0.0.1:0?cert="+cert+"&key="+key)[0])
	through := "socks5h://" + startSocks(t, &socks{})
	for host, want := range map[string]int{"localhost": 0, "only..proxy": 1} {
		var said strings.Builder
		args := []string{"fantail", "pub", "--proxy", through, "--cafile", cert, "-h", host, "-p", port, "-t", "a", "-m", "x", "-q", "1"}
		if code := cli.Main(args, nil, io.Discard, &said); code != want {
			t.Errorf("%s: exit status %d, want %d; it said: %s", host, code, want, said.String())
		}
		if want != 0 && !strings.Contains(said.String(), "certificate is valid for localhost, not only..proxy") {
			t.Errorf("it said: %s", said.String())
		}
	}
}

func (s *socks) serve(conn net.Conn) error {
	if ok, err := s.admit(conn); err != nil || !ok {
		return err
	}
	head, err := read(conn, 4)
	if err != nil {
		return err
	}
	var host string
	switch head[3] {
	case 1, 4: // an IP address
		ip, err := read(conn, map[byte]int{1: 4, 4: 16}[head[3]])
		if err != nil {
			return err
		}
		host = net.IP(ip).String()
	case 3: // a name
		if host, err = readText(conn); err != nil {
			return err
		}
		if host != "only..proxy" && host != "localhost" {
			_, err = conn.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0}) // host unreachable
			return err
		}
		host = "127.0.0.1"
	default:
		return fmt.Errorf("address type %d", head[3])
	}
	port, err := read(conn, 2)
	if err != nil {
		return err
	}
	broker, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1]))))
	if err != nil {
		_, err = conn.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0}) // connection refused
		return err
	}
	defer broker.Close()
	if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	s.all.Go(func() { // ends with the broker's connection
		_, _ = io.Copy(conn, broker)
		_ = conn.Close()
	})
	_, _ = io.Copy(broker, conn)
	return nil
}

// admit agrees on how the client shows who it is, and looks at that.
func (s *socks) admit(conn net.Conn) (ok bool, err error) {
	b, err := read(conn, 2)
	if err != nil {
		return false, err
	}
	if b[0] != 5 {
		return false, fmt.Errorf("version %d", b[0])
	}
	methods, err := read(conn, int(b[1]))
	if err != nil {
		return false, err
	}
	method := byte(0)
	if s.user != "" {
		method = 2
	}
	if !slices.Contains(methods, method) {
		_, err := conn.Write([]byte{5, 0xFF})
		return false, err
	}
	if _, err := conn.Write([]byte{5, method}); err != nil || method == 0 {
		return true, err
	}
	if _, err := read(conn, 1); err != nil {
		return false, err
	}
	user, err := readText(conn)
	if err != nil {
		return false, err
	}
	password, err := readText(conn)
	if err != nil {
		return false, err
	}
	ok = user == s.user && password == s.password
	answer := []byte{1, 0}
	if !ok {
		answer[1] = 1
	}
	_, err = conn.Write(answer)
	return ok, err
}

func read(from io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(from, b)
	return b, err
}

// readText reads a text behind its length.
func readText(from io.Reader) (string, error) {
	n, err := read(from, 1)
	if err != nil {
		return "", err
	}
	b, err := read(from, int(n[0]))
	return string(b), err
}
