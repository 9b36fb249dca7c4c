package listen

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// A few compressed bytes may be gigabytes: no extension of a WebSocket is
// agreed on, so a frame with a reserved bit is a mistake (see
// TestWebSocketMistakes).
func TestWebSocketCompressionIsNotAgreedOn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		nc := w.connect(w.openAs(config.SchemeWS))
		_, err := io.WriteString(nc, get+ask+"Sec-WebSocket-Protocol: mqtt\r\n"+
			"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("status %d", r.StatusCode)
		}
		if e, ok := r.Header["Sec-Websocket-Extensions"]; ok {
			t.Errorf("extensions %q", e)
		}
	})
}

// Versions and ciphers with known attacks get no handshake (BEAST, Lucky 13,
// Sweet32, RC4's biases, ROBOT); others do.
func TestOldTLSIsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := w.openAs(config.SchemeTLS)
		for name, change := range map[string]func(*tls.Config){
			"TLS 1.0": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 },
			"TLS 1.1": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 },
			"RC4": func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_RC4_128_SHA}
			},
			"3DES": func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
			},
			"keys sent under RSA": func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_CBC_SHA}
			},
			"CBC with SHA-256": func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}
			},
		} {
			c := w.pki().client()
			change(c)
			nc := tls.Client(w.connect(l), c)
			if err := nc.Handshake(); err == nil {
				t.Errorf("%s: the handshake succeeded with %s", name, tls.CipherSuiteName(nc.ConnectionState().CipherSuite))
			}
			w.wantRefusal(ReasonTLSHandshake)
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := w.pki().client()
			c.MaxVersion = version
			nc := tls.Client(w.connect(l), c)
			if err := nc.Handshake(); err != nil {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
		}
	})
}

// A WebSocket over TLS asks for the client's certificate as any other listener
// does, and looks at it.
func TestAWebSocketChecksCertificates(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		l := w.open(config.Listener{Scheme: config.SchemeWSS, Cert: k.cert, Key: k.key, ClientCA: k.caFile, ClientCert: config.ClientCertRequire})
		stranger := k.client()
		stranger.Certificates = newKeys(t).clientWith("x").Certificates
		for name, c := range map[string]*tls.Config{"without a certificate": k.client(), "with another's": stranger} {
			nc := tls.Client(w.connect(l), c)
			_, _ = io.WriteString(nc, get+ask+"\r\n")
			if _, err := nc.Read(make([]byte, 1)); err == nil || isTimeout(err) {
				t.Errorf("a client %s hears %v", name, err)
			}
			w.wantRefusal(ReasonTLSHandshake, "client_ca has signed")
		}
		nc := w.upgrade(tls.Client(w.connect(l), k.clientWith("x")), "mqtt")
		_, _ = nc.Write([]byte{connectByte})
		receive(t, w.probes)
	})
}
