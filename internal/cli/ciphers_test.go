package cli_test

import (
	"crypto/tls"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/cli"
)

// The suites that are named are those that are offered, and no others; TLS 1.3 has
// its own.
func TestCiphersAreOffered(t *testing.T) {
	const chacha, gcm = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
	certFile, keyFile := selfSigned(t)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	offers := make(chan []uint16, 1)
	agreed := make(chan uint16, 1)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			offers <- hello.CipherSuites
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cases := map[string]struct {
		args   string
		want   string
		others bool // that are offered, for TLS 1.3
	}{
		"one":                 {"--tls-version tlsv1.2 --ciphers " + chacha, chacha, false},
		"the other":           {"--tls-version tlsv1.2 --ciphers " + gcm, gcm, false},
		"with TLS 1.3 beside": {"--ciphers " + chacha, chacha, true},
		"several":             {"--ciphers TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:" + chacha, chacha, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			go func() { // ends with the connection, which the client makes
				conn, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				secured := conn.(*tls.Conn)
				if err := secured.HandshakeContext(t.Context()); err != nil {
					t.Error(err)
				}
				agreed <- secured.ConnectionState().CipherSuite
			}()
			_, port, _ := strings.Cut(l.Addr().String(), ":")
			args := append([]string{"fantail", "pub", "-p", port, "-t", "a", "-m", "x", "--cafile", certFile}, strings.Fields(c.args)...)
			var said strings.Builder
			if code := cli.Main(args, nil, io.Discard, &said); code != 1 { // it is no broker
				t.Fatalf("exit status %d; it said: %s", code, said.String())
			}
			offered := <-offers
			if got := tls.CipherSuiteName(<-agreed); got != c.want {
				t.Errorf("they agreed on %s, want %s", got, c.want)
			}
			if others := slices.Contains(offered, tls.TLS_AES_128_GCM_SHA256); others != c.others {
				t.Errorf("offered are %v; those of TLS 1.3 among them: %v", offered, others)
			}
		})
	}
}
