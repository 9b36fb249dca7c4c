package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/config"
)

func TestHandshakesThatFail(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		required := w.open(config.Listener{Scheme: "tls", Cert: k.cert, Key: k.key, ClientCA: k.caFile, ClientCert: config.ClientCertRequire, MinVersion: "1.3"})
		stranger := newKeys(t)
		for name, c := range map[string]struct {
			config *tls.Config
			words  []string
		}{
			"a client without a certificate":       {k.client(), []string{"client_ca has signed"}},
			"a client with another's":              {func() *tls.Config { c := k.client(); c.Certificates = stranger.clientWith("x").Certificates; return c }(), []string{"client_ca has signed"}},
			"a client that trusts another CA":      {stranger.client(), []string{"right CA"}},
			"a client of TLS 1.2 where 1.3 is due": {func() *tls.Config { c := k.clientWith("x"); c.MaxVersion = tls.VersionTLS12; return c }(), []string{"min_version"}},
			"a client of another protocol":         {func() *tls.Config { c := k.clientWith("x"); c.NextProtos = []string{"h2"}; return c }(), []string{"ALPN"}},
		} {
			t.Run(name, func(t *testing.T) {
				w.t = t
				nc := tls.Client(w.connect(required), c.config)
				_, _ = nc.Write([]byte{connectByte}) // may fail only at the next step, in TLS 1.3
				if _, err := nc.Read(make([]byte, 1)); err == nil || isTimeout(err) {
					t.Errorf("the client hears %v", err)
				}
				w.wantRefusal(ReasonTLSHandshake, c.words...)
			})
		}
		t.Run("a broken hello", func(t *testing.T) {
			w.t = t
			nc := w.connect(required)
			_, _ = io.WriteString(nc, "\x16\x03\x01\x00\x05hello")
			if _, err := io.ReadAll(nc); err != nil {
				t.Error(err)
			}
			w.wantRefusal(ReasonTLSHandshake)
		})
		t.Run("half a hello", func(t *testing.T) {
			w.t = t
			nc := w.connect(required)
			_, _ = io.WriteString(nc, "\x16\x03\x01\x02\x00")
			_ = nc.Close()
			w.wantRefusal(ReasonTLSHandshake, "closed")
		})
	})
}

func TestHandshakesThatWaitKeepNobodyOut(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := w.openAs(config.SchemeTLS)
		for range 3 * cap(l.handshakes) {
			if _, err := io.WriteString(w.connect(l), "\x16\x03\x01\x02"); err != nil {
				t.Fatal(err)
			}
		}
		w.begin(l)
	})
}

func TestClientCertificates(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		for mode, c := range map[string]struct {
			config *tls.Config
			name   string
		}{
			config.ClientCertRequire:  {k.clientWith("sensor"), "sensor"},
			config.ClientCertOptional: {k.client(), ""},
			config.ClientCertNone:     {k.clientWith("sensor"), ""},
		} {
			l := w.open(config.Listener{Scheme: "tls", Cert: k.cert, Key: k.key, ClientCA: k.caFile, ClientCert: mode})
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				cc := c.config.Clone()
				cc.MaxVersion = version
				nc := tls.Client(w.connect(l), cc)
				if _, err := nc.Write([]byte{connectByte}); err != nil {
					t.Fatal(mode, err)
				}
				p := receive(t, w.probes)
				got := ""
				if certs := p.peer.TLS.PeerCertificates; len(certs) > 0 {
					got = certs[0].Subject.CommonName
				}
				if got != c.name || p.peer.TLS.NegotiatedProtocol != "mqtt" || p.peer.TLS.Version != version {
					t.Errorf("%s: certificate %q, protocol %q", mode, got, p.peer.TLS.NegotiatedProtocol)
				}
				_ = nc.Close()
			}
		}
	})
}

func TestReloadWhileConnected(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.setup = echo
		k := w.pki()
		l := w.open(config.Listener{Scheme: "tls", Cert: k.cert, Key: k.key, ClientCA: k.caFile, ClientCert: config.ClientCertRequire})
		shows := func(cc *tls.Config) (string, *tls.Conn) {
			nc := tls.Client(w.connect(l), cc)
			if _, err := nc.Write([]byte{connectByte}); err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			return nc.ConnectionState().PeerCertificates[0].Subject.CommonName, nc
		}
		old := k.clientWith("old")
		old.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		name, first := shows(old)
		if name != "first" {
			t.Errorf("shows %q", name)
		}
		k.write(k.key, "EC PRIVATE KEY", []byte("no key"))
		if err := reload(l); err == nil || !strings.Contains(err.Error(), k.key) {
			t.Errorf("a broken key is reloaded: %v", err)
		}
		if name, _ := shows(old); name != "first" {
			t.Errorf("a failed reload shows %q", name)
		}
		k.newCA()
		k.renew("second")
		if err := reload(l); err != nil {
			t.Fatal(err)
		}
		if name, _ := shows(k.clientWith("new")); name != "second" {
			t.Errorf("shows %q", name)
		}
		nc := tls.Client(w.connect(l), old)
		_, _ = nc.Write([]byte{connectByte})
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("a client of the old CA is let in")
		}
		if _, err := first.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := first.Read(make([]byte, 1)); err != nil {
			t.Error("the reload ended a connection:", err)
		}
	})
}

func TestABrokenRecordEndsTheConnection(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		nc, p := w.begin(w.openAs(config.SchemeTLS))
		raw := nc.(*tls.Conn).NetConn()
		_, _ = raw.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)))
		var alert tls.AlertError
		if _, err := nc.Read(make([]byte, 1)); err == nil || isTimeout(err) || errors.As(err, &alert) {
			t.Errorf("the client hears %v", err)
		}
		_ = raw.Close()
		var fault *Fault
		if err := receive(t, p.closed); !errors.As(err, &fault) || fault.Reason != ReasonTLS {
			t.Errorf("closed with %v", err)
		}
	})
}
