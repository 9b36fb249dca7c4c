package listen

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

const (
	get = "GET /mqtt HTTP/1.1\r\nHost: x\r\n"
	ask = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

func TestRefusalsByTheirFirstBytes(t *testing.T) {
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	cases := map[string]struct {
		scheme string // tcp
		path   string
		sent   string
		reason string
		words  []string
		answer string // its start
	}{
		"a TLS hello without a certificate": {
			sent: hello, reason: ReasonTLSOnPlainPort, words: []string{"set cert and key"}, answer: "\x15\x03\x03\x00\x02\x02\x28",
		},
		"plain MQTT on a tls listener": {
			scheme: "tls", sent: "\x10\x0c\x00\x04MQTT", reason: ReasonPlainOnTLSPort, words: []string{"plain MQTT", "switch TLS on"},
		},
		"plain MQTT on a wss listener": {
			scheme: "wss", sent: "\x10\x0c\x00\x04MQTT", reason: ReasonPlainOnTLSPort, words: []string{"plain MQTT"},
		},
		"plain HTTP on a tls listener": {
			scheme: "tls", sent: get + ask + "\r\n", reason: ReasonPlainOnTLSPort, words: []string{"plain HTTP", "wss://"}, answer: "HTTP/1.1 400 ",
		},
		"a browser": {
			sent: get + "\r\n", reason: ReasonHTTPRequest, words: []string{"no WebSocket upgrade"}, answer: "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n",
		},
		"another path": {
			sent: "GET /other?x=/mqtt HTTP/1.1\r\n" + ask + "\r\n", reason: ReasonHTTPRequest, words: []string{`"/other"`, "/mqtt"}, answer: "HTTP/1.1 404 Not Found\r\n",
		},
		"the usual path where another one is set": {
			scheme: "ws", path: "/broker", sent: get + ask + "\r\n", reason: ReasonHTTPRequest, words: []string{"/broker"}, answer: "HTTP/1.1 404 Not Found\r\n",
		},
		"another method": {
			sent: "POST /mqtt HTTP/1.1\r\n\r\n", reason: ReasonHTTPRequest, words: []string{"POST"}, answer: "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n",
		},
		"HTTP/2": {
			sent: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", reason: ReasonHTTPRequest, words: []string{"PRI"},
		},
		"a request without end": {
			sent: get + strings.Repeat("X-Padding: 0123456789\r\n", 500), reason: ReasonHTTPRequest, words: []string{"8192"}, answer: "HTTP/1.1 431 ",
		},
		"an upgrade without a key": {
			sent: get + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", reason: ReasonWebSocketUpgrade, answer: "HTTP/1.1 400 ",
		},
		"an upgrade of another version": {
			sent:   get + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
			reason: ReasonWebSocketUpgrade, answer: "HTTP/1.1 426 ",
		},
		"an upgrade by HTTP/1.0": {
			sent: "GET /mqtt HTTP/1.0\r\nHost: x\r\n" + ask + "\r\n", reason: ReasonWebSocketUpgrade, answer: "HTTP/1.1 505 ",
		},
		"an upgrade to another protocol": {
			sent: get + ask + "Sec-WebSocket-Protocol: chat, soap\r\n\r\n", reason: ReasonWebSocketUpgrade, words: []string{"MQTT-6.0.0-3"}, answer: "HTTP/1.1 400 ",
		},
		"a broken header line": {
			sent: get + ask + "no colon\r\n\r\n", reason: ReasonWebSocketUpgrade, answer: "HTTP/1.1 400 ",
		},
		"a PROXY line nobody asked for": {
			sent: "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", reason: ReasonProxyHeader, words: []string{"without proxy_protocol"},
		},
		"a binary PROXY header nobody asked for": {
			sent: proxyV2 + "\x21\x11\x00\x0c", reason: ReasonProxyHeader, words: []string{"without proxy_protocol"},
		},
		"another packet than CONNECT": {
			sent: "\x30\x05\x00\x01ahi", reason: ReasonNotMQTT, words: []string{"3005000161"},
		},
		"SSH": {
			sent: "SSH-2.0-OpenSSH_9", reason: ReasonNotMQTT, words: []string{`"SSH-2.0-OpenSSH_"`, "speaks MQTT"},
		},
		"what begins like a method": {
			sent: "GEX", reason: ReasonNotMQTT, words: []string{"GEX"},
		},
		"what begins like TLS": {
			sent: "\x16\x04", reason: ReasonNotMQTT, words: []string{"1604"},
		},
		"junk on a unix socket": {
			scheme: "unix", sent: "\x00", reason: ReasonNotMQTT, words: []string{"00"},
		},
	}
	each(t, func(t *testing.T, w *world) {
		w.pki() // for all cases
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				w.t = t
				if c.scheme == "" {
					c.scheme = config.SchemeTCP
				}
				var l *Listener
				if c.path != "" {
					l = w.open(config.Listener{Scheme: c.scheme, Path: c.path})
				} else {
					l = w.openAs(c.scheme)
				}
				nc := w.connect(l)
				if _, err := io.WriteString(nc, c.sent); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(nc)
				if err != nil {
					t.Error("no clean end:", err)
				}
				if !strings.HasPrefix(string(answer), c.answer) || c.answer == "" && c.reason != ReasonHTTPRequest && len(answer) > 0 {
					t.Errorf("answer %q, want %q", answer, c.answer)
				}
				w.wantRefusal(c.reason, c.words...)
				if len(w.probes) > 0 {
					t.Error("a handler was made, too")
				}
			})
		}
	})
}

func TestHalfARequestIsWaitedFor(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.setup = echo
		nc := w.connect(w.openAs(config.SchemeTCP))
		request := get + ask + "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\nOrigin: http://page.example\r\n\r\n"
		for i := range request {
			if _, err := io.WriteString(nc, request[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := nc.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame([]byte{connectByte})))); err != nil {
			t.Fatal(err)
		}
		p := receive(t, w.probes)
		if p.peer.Transport != TransportWS || p.peer.Origin != "http://page.example" {
			t.Errorf("peer %+v", p.peer)
		}
		answer := make([]byte, 1000)
		n, err := nc.Read(answer)
		if err != nil || !bytes.Contains(answer[:n], []byte("Sec-WebSocket-Protocol: mqtt\r\n")) {
			t.Errorf("answer %q, %v", answer[:n], err)
		}
	})
}

func TestSubprotocols(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := w.openAs(config.SchemeWS)
		for _, offers := range [][]string{nil, {"mqtt"}, {"mqttv3.1"}, {"mqtt", "chat"}} {
			nc := w.upgrade(w.connect(l), offers...)
			_, _ = nc.Write([]byte{connectByte})
			receive(t, w.probes)
		}
	})
}

func TestEveryListenerRecognisesEverything(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.setup = echo
		for _, listener := range []string{"tcp", "ws"} {
			l := w.open(config.Listener{Scheme: listener, Cert: w.pki().cert, Key: w.pki().key})
			for _, scheme := range []string{"tcp", "tls", "ws", "wss"} {
				nc := w.dialAs(l, scheme)
				if _, err := nc.Write(stream(10)); err != nil {
					t.Fatal(listener, scheme, err)
				}
				if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
					t.Fatal(listener, scheme, err)
				}
				if p := receive(t, w.probes); p.peer.Transport != scheme {
					t.Errorf("%s on a %s listener is %s", scheme, listener, p.peer.Transport)
				}
			}
		}
	})
}

func TestPlainMQTTInsideTLSOnAWSSListener(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		nc := w.dialAs(w.openAs(config.SchemeWSS), config.SchemeTLS)
		_, _ = nc.Write(stream(10))
		if p := receive(t, w.probes); p.peer.Transport != TransportTLS {
			t.Errorf("transport %s", p.peer.Transport)
		}
	})
}

func TestRefusalsInsideTLSAndWebSocket(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.pki() // for all cases
		for name, c := range map[string]struct{ scheme, sent, reason, word string }{
			"HTTP inside TLS":          {"tls", get + "\r\n", ReasonHTTPRequest, "over TLS"},
			"junk inside TLS":          {"tls", "\x00\x01", ReasonNotMQTT, "0001"},
			"TLS inside TLS":           {"tls", "\x16\x03\x01", ReasonNotMQTT, "inside TLS"},
			"TLS inside WebSocket":     {"ws", "\x16\x03\x01", ReasonNotMQTT, "inside WebSocket"},
			"HTTP inside WebSocket":    {"ws", "GET / HTTP/1.1", ReasonNotMQTT, "inside WebSocket"},
			"junk inside WebSocket":    {"wss", "junk", ReasonNotMQTT, "junk"},
			"PROXY header inside TLS":  {"tls", "PROXY TCP4 ", ReasonProxyHeader, "proxy_protocol"},
			"nothing inside WebSocket": {"wss", "", ReasonClosedEarly, "closed"},
		} {
			t.Run(name, func(t *testing.T) {
				w.t = t
				nc := w.dial(w.openAs(c.scheme))
				if c.sent == "" {
					_ = nc.Close()
				} else if _, err := io.WriteString(nc, c.sent); err != nil {
					t.Fatal(err)
				}
				w.wantRefusal(c.reason, c.word)
				if _, err := io.ReadAll(nc); c.sent != "" && err != nil {
					t.Error("no clean end:", err)
				}
			})
		}
	})
}

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

// Slow clients hold no place that others need.
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
		if err := l.Reload(); err == nil || !strings.Contains(err.Error(), k.key) {
			t.Errorf("a broken key is reloaded: %v", err)
		}
		if name, _ := shows(old); name != "first" {
			t.Errorf("a failed reload shows %q", name)
		}
		k.newCA()
		k.renew("second")
		if err := l.Reload(); err != nil {
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

func TestWebSocketMistakes(t *testing.T) {
	raw := func(text string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			panic(err)
		}
		return b
	}
	cases := map[string]struct {
		sent []byte
		code ws.StatusCode
	}{
		"a text frame [MQTT-6.0.0-1]":     {ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("x")))), ws.StatusUnsupportedData},
		"an unmasked frame":               {raw("82 01 10"), ws.StatusProtocolError},
		"a reserved bit":                  {raw("c2 81 00000000 10"), ws.StatusProtocolError},
		"a reserved opcode":               {raw("83 81 00000000 10"), ws.StatusProtocolError},
		"a continuation of nothing":       {raw("80 81 00000000 10"), ws.StatusProtocolError},
		"a new message inside one":        {raw("02 80 00000000 82 80 00000000"), ws.StatusProtocolError},
		"a fragmented ping":               {raw("09 80 00000000"), ws.StatusProtocolError},
		"a long ping":                     {raw("89 fe 007e 00000000"), ws.StatusProtocolError},
		"a frame longer than any packet":  {raw("82 ff 0000000010000005 00000000"), ws.StatusMessageTooBig},
		"a length with its first bit set": {raw("82 ff 8000000000000001 00000000"), ws.StatusMessageTooBig},
		"a close with half a code":        {raw("88 81 00000000 03"), ws.StatusProtocolError},
		"a close with a code for nobody":  {raw("88 82 00000000 03ed"), ws.StatusProtocolError},
		"a close with its reason":         {ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "bye")))), ws.StatusGoingAway},
		"a close without a code":          {raw("88 80 00000000"), ws.StatusNormalClosure},
	}
	each(t, func(t *testing.T, w *world) {
		l := w.openAs(config.SchemeWS)
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				w.t = t
				nc, p := w.begin(l)
				f, _ := nc.(*frameConn)
				for i := range c.sent { // a byte at a time
					if _, err := f.Conn.Write(c.sent[i : i+1]); err != nil {
						break
					}
				}
				if _, err := io.ReadAll(f); err != nil {
					t.Error(err)
				}
				if f.code != c.code {
					t.Errorf("closed with %d, want %d", f.code, c.code)
				}
				_ = nc.Close()
				var fault *Fault
				err := receive(t, p.closed)
				wantFault := !strings.HasPrefix(name, "a close with its") && !strings.HasPrefix(name, "a close without")
				if errors.As(err, &fault) != wantFault || !wantFault && !errors.Is(err, io.EOF) {
					t.Errorf("closed with %v", err)
				}
			})
		}
	})
}

func TestPingsAreAnsweredBetweenFragments(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.setup = echo
		nc, _ := w.begin(w.openAs(config.SchemeWS))
		f, _ := nc.(*frameConn)
		var sent bytes.Buffer
		for _, frame := range []ws.Frame{
			ws.NewFrame(ws.OpBinary, false, []byte("a")),
			ws.NewPingFrame([]byte("are you there")),
			ws.NewFrame(ws.OpContinuation, false, nil),
			ws.NewPongFrame([]byte("unasked")),
			ws.NewFrame(ws.OpContinuation, true, []byte("b")),
		} {
			sent.Write(ws.MustCompileFrame(ws.MaskFrame(frame)))
		}
		if _, err := f.Conn.Write(sent.Bytes()); err != nil {
			t.Fatal(err)
		}
		data, pongs := "", ""
		for len(data) < 3 || pongs == "" {
			frame, err := ws.ReadFrame(f.br)
			if err != nil {
				t.Fatal(err)
			}
			switch frame.Header.OpCode {
			case ws.OpPong:
				pongs += string(frame.Payload)
			case ws.OpBinary:
				data += string(frame.Payload)
			}
		}
		if data != "\x10ab" || pongs != "are you there" {
			t.Errorf("data %q, pongs %q", data, pongs)
		}
	})
}

// A client that sends pings and reads nothing fills no memory here.
func TestAFloodOfPingsIsNotKept(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		nc, p := w.begin(w.openAs(config.SchemeWS))
		settled(t, p.conn)
		p.conn.Write(make([]byte, 16<<20)) // the socket is full
		f, _ := nc.(*frameConn)
		ping := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(make([]byte, 125))))
		const pings = 10_000
		for range pings {
			if _, err := f.Conn.Write(ping); err != nil {
				t.Fatal(err)
			}
		}
		last := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame([]byte("last"))))
		if _, err := f.Conn.Write(last); err != nil {
			t.Fatal(err)
		}
		pongs := 0
		for {
			h, err := ws.ReadHeader(f.br)
			if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, h.Length)
			if _, err := io.ReadFull(f.br, body); err != nil {
				t.Fatal(err)
			}
			if h.OpCode != ws.OpPong {
				continue
			}
			pongs++
			if string(body) == "last" {
				break
			}
		}
		if pongs > pings/10 {
			t.Errorf("%d pongs were kept", pongs)
		}
	})
}

func TestTheDeadlineComes(t *testing.T) {
	pieces := map[string]struct {
		proxy, tls bool
		sent       string
		word       string
	}{
		"nothing":             {word: "no CONNECT packet"},
		"half a request":      {sent: get, word: "no CONNECT packet"},
		"half a PROXY header": {proxy: true, sent: "PROXY TCP4", word: "PROXY header"},
		"half a hello":        {tls: true, sent: "\x16\x03\x01\x02\x00", word: "TLS handshake"},
		"an idle WebSocket":   {sent: get + ask + "\r\n", word: "over WebSocket"},
	}
	for name, c := range pieces {
		t.Run(name, func(t *testing.T) {
			k := newKeys(t)
			synctest.Test(t, func(t *testing.T) {
				wh := wheel.New()
				g := loop.NewPortable(loop.Options{Local: newLocal})
				refused := make(chan Refusal, 1)
				l := &Listener{buffers: newBuffers(), handshakes: make(chan struct{}, 1)}
				l.options = Options{Group: g, Wheel: wh, Refused: func(r Refusal) { refused <- r }, FirstPacket: 5 * time.Second}.withDefaults()
				l.config = config.Listener{Scheme: "tcp", ProxyProtocol: c.proxy, Cert: k.cert, Key: k.key}
				if c.tls {
					var err error
					if l.certs, err = loadCertificates(l.config); err != nil {
						t.Fatal(err)
					}
				}
				server, peer := net.Pipe()
				g.Adopt(server, l.accept)
				go func() { _, _ = io.Copy(io.Discard, peer) }() // ends with the pipe
				start := time.Now()
				_, _ = io.WriteString(peer, c.sent)
				r := <-refused
				if d := time.Since(start); d < 5*time.Second || d > 5*time.Second+wheel.Resolution*time.Millisecond {
					t.Errorf("refused after %v", d)
				}
				if r.Reason != ReasonConnectTimeout || !strings.Contains(r.Detail, c.word) {
					t.Errorf("refused for %s: %s", r.Reason, r.Detail)
				}
				synctest.Wait()
				if _, err := peer.Write([]byte("x")); err == nil {
					t.Error("the connection is still there")
				}
				g.Close()
				wh.Close()
			})
		})
	}
}

// Whatever a connection sends, it ends in one call of Upper or of Refused.
func TestJunkIsCountedAndLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.options.FirstPacket = 2 * time.Second
		var listeners []*Listener
		for _, scheme := range []string{"tcp", "tls", "ws", "wss", "unix"} {
			listeners = append(listeners, w.openAs(scheme))
		}
		both := config.Listener{Scheme: "tcp", Cert: w.pki().cert, Key: w.pki().key, ProxyProtocol: true}
		listeners = append(listeners, w.open(both))
		starts := []string{"", "", get, get + ask, get + ask + "\r\n", "\x16\x03\x01", "\x16\x03\x01\x00\x10", "PROXY TCP4 ", proxyV2, "PUT ", "\x20"}
		const connections = 1000
		r := rand.New(rand.NewPCG(1, 2))
		for i := range connections {
			nc := w.connect(listeners[i%len(listeners)])
			junk := make([]byte, r.IntN(200)*r.IntN(2))
			for i := range junk {
				junk[i] = byte(r.Uint32())
			}
			_, _ = nc.Write(append([]byte(starts[r.IntN(len(starts))]), junk...))
			if i%3 == 0 {
				_ = nc.Close()
			}
		}
		reasons, uppers := map[string]int{}, 0
		for range connections {
			select {
			case r := <-w.refused:
				reasons[r.Reason]++
			case p := <-w.probes:
				uppers++
				p.conn.Close(nil)
			case <-time.After(patience):
				t.Fatalf("%v and %d handlers for %d connections", reasons, uppers, connections)
			}
		}
		if len(w.refused) > 0 {
			t.Error("a connection was counted twice")
		}
		t.Log(reasons, uppers)
		for _, reason := range []string{ReasonConnectTimeout, ReasonNotMQTT, ReasonTLSHandshake, ReasonTLSOnPlainPort, ReasonClosedEarly} {
			if reasons[reason] == 0 {
				t.Errorf("nobody was refused for %s", reason)
			}
		}
	})
}
