package listen

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// Slow clients hold no place that others need.

// A client that sends pings and reads nothing fills no memory here.

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
