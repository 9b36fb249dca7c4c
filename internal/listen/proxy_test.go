package listen

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/config"
)

const (
	v4Addresses = "\x01\x02\x03\x04\x05\x06\x07\x08\x1f\x90\x07\x5b"
	v6Addresses = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x1f\x90\x07\x5b"
)

func TestParseProxy(t *testing.T) {
	unixAddresses := "/run/client" + strings.Repeat("\x00", 97) + "/run/server" + strings.Repeat("\x00", 97)
	cases := map[string]struct {
		in      string
		addr    string // empty: none
		wrong   string // part of the error
		partial bool
	}{
		"TCP over IPv4":                            {in: "PROXY TCP4 1.2.3.4 5.6.7.8 8080 1883\r\n", addr: "1.2.3.4:8080"},
		"TCP over IPv6":                            {in: "PROXY TCP6 2001:db8::1 2001:db8::2 8080 1883\r\n", addr: "[2001:db8::1]:8080"},
		"unknown":                                  {in: "PROXY UNKNOWN\r\n"},
		"unknown with what is to be ignored":       {in: "PROXY UNKNOWN ff::1 what ever 1 2\r\n"},
		"half a line":                              {in: "PROXY TCP4 1.2.3.4 5.6", partial: true},
		"a line without its last byte":             {in: "PROXY TCP4 1.2.3.4 5.6.7.8 8080 1883\r", partial: true},
		"half a word":                              {in: "PRO", partial: true},
		"half a signature":                         {in: proxyV2[:7], partial: true},
		"a line without end":                       {in: "PROXY TCP4 " + strings.Repeat("1", 100), wrong: "no end"},
		"an end beyond the limit":                  {in: "PROXY UNKNOWN " + strings.Repeat("1", 92) + "\r\n", wrong: "no end"},
		"the longest line":                         {in: "PROXY UNKNOWN " + strings.Repeat("1", 91) + "\r\n"},
		"too few fields":                           {in: "PROXY TCP4 1.2.3.4 5.6.7.8 8080\r\n", wrong: "5 fields"},
		"two spaces":                               {in: "PROXY TCP4  1.2.3.4 5.6.7.8 8080 1883\r\n", wrong: "7 fields"},
		"another family":                           {in: "PROXY UDP4 1.2.3.4 5.6.7.8 8080 1883\r\n", wrong: "UDP4"},
		"IPv6 as IPv4":                             {in: "PROXY TCP4 ::1 5.6.7.8 8080 1883\r\n", wrong: "TCP4"},
		"IPv4 as IPv6":                             {in: "PROXY TCP6 ::1 5.6.7.8 8080 1883\r\n", wrong: "TCP6"},
		"a zone":                                   {in: "PROXY TCP6 fe80::1%eth0 ::1 8080 1883\r\n", wrong: "eth0"},
		"a name":                                   {in: "PROXY TCP4 localhost 5.6.7.8 8080 1883\r\n", wrong: "localhost"},
		"a port too large":                         {in: "PROXY TCP4 1.2.3.4 5.6.7.8 65536 1883\r\n", wrong: "65536"},
		"a port with a sign":                       {in: "PROXY TCP4 1.2.3.4 5.6.7.8 +80 1883\r\n", wrong: "+80"},
		"a port with a zero before":                {in: "PROXY TCP4 1.2.3.4 5.6.7.8 80 01883\r\n", wrong: "01883"},
		"no header":                                {in: "\x10\x0c\x00\x04MQTT", wrong: "no PROXY header"},
		"version 2 over IPv4":                      {in: proxyV2 + "\x21\x11\x00\x0c" + v4Addresses, addr: "1.2.3.4:8080"},
		"version 2 over IPv6":                      {in: proxyV2 + "\x21\x21\x00\x24" + v6Addresses, addr: "[2001:db8::1]:8080"},
		"version 2 over unix":                      {in: proxyV2 + "\x21\x31\x00\xd8" + unixAddresses, addr: "/run/client"},
		"version 2 with extensions":                {in: proxyV2 + "\x21\x11\x00\x13" + v4Addresses + "\x04\x00\x04skip", addr: "1.2.3.4:8080"},
		"version 2, LOCAL":                         {in: proxyV2 + "\x20\x00\x00\x00"},
		"version 2, LOCAL with addresses":          {in: proxyV2 + "\x20\x11\x00\x0c" + v4Addresses},
		"version 2, LOCAL shorter than its family": {in: proxyV2 + "\x20\x11\x00\x00"},
		"version 2, unspecified":                   {in: proxyV2 + "\x21\x00\x00\x00"},
		"version 2, unspecified with more":         {in: proxyV2 + "\x21\x00\x00\x03abc"},
		"version 2 for datagrams":                  {in: proxyV2 + "\x21\x12\x00\x0c" + v4Addresses},
		"version 2 without its length":             {in: proxyV2 + "\x21\x11\x00", partial: true},
		"version 2 without its last byte":          {in: proxyV2 + "\x21\x11\x00\x0c" + v4Addresses[:11], partial: true},
		"version 3":                                {in: proxyV2 + "\x31\x11\x00\x0c" + v4Addresses, wrong: "version 3"},
		"another command":                          {in: proxyV2 + "\x22\x11\x00\x0c" + v4Addresses, wrong: "command 2"},
		"version 2 of another family":              {in: proxyV2 + "\x21\x41\x00\x0c" + v4Addresses, wrong: "0x41"},
		"version 2 of another protocol":            {in: proxyV2 + "\x21\x13\x00\x0c" + v4Addresses, wrong: "0x13"},
		"version 2 shorter than its addresses":     {in: proxyV2 + "\x21\x21\x00\x0c" + v4Addresses, wrong: "too short"},
		"version 2 that is too long":               {in: proxyV2 + "\x21\x11\xff\xff", wrong: "65551 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n, addr, err := parseProxy([]byte(c.in))
			if c.partial || c.wrong != "" {
				if errors.Is(err, errIncomplete) != c.partial || err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if addr != nil {
				got = addr.String()
			}
			if n != len(c.in) || got != c.addr {
				t.Errorf("%d bytes of %d, address %q, want %q", n, len(c.in), got, c.addr)
			}
		})
	}
}

func TestTheClientsAddressComesFromTheProxy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.pki()
		l := w.open(config.Listener{Scheme: "tcp", ProxyProtocol: true, Cert: k.cert, Key: k.key})
		for _, header := range []string{"PROXY TCP4 1.2.3.4 5.6.7.8 8080 1883\r\n", proxyV2 + "\x21\x11\x00\x0c" + v4Addresses} {
			for _, scheme := range []string{"tcp", "tls", "ws", "wss"} {
				nc := w.dialBehind(l, header, scheme)
				if _, err := nc.Write([]byte{connectByte}); err != nil {
					t.Fatal(err)
				}
				if p := receive(t, w.probes); p.peer.Addr.String() != "1.2.3.4:8080" || p.peer.Transport != scheme {
					t.Errorf("peer %v over %s", p.peer.Addr, p.peer.Transport)
				}
			}
		}
		nc := w.connect(l)
		_, _ = io.WriteString(nc, proxyV2+"\x20\x00\x00\x00\x10") // the proxy's own
		if p := receive(t, w.probes); p.peer.Addr.String() != nc.LocalAddr().String() {
			t.Errorf("peer %v", p.peer.Addr)
		}
	})
}

// dialBehind dials as a proxy does.
func (w *world) dialBehind(l *Listener, header, scheme string) net.Conn {
	w.t.Helper()
	return w.over(w.announced(l, header), scheme)
}

func (w *world) announced(l *Listener, header string) net.Conn {
	w.t.Helper()
	nc := w.connect(l)
	for i := range header {
		if _, err := io.WriteString(nc, header[i:i+1]); err != nil {
			w.t.Fatal(err)
		}
	}
	return nc
}

func TestAMissingProxyHeaderIsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := w.open(config.Listener{Scheme: "tcp", ProxyProtocol: true})
		for _, sent := range []string{"\x10\x0c\x00\x04MQTT", get + "\r\n", "\x16\x03\x01", "PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n"} {
			nc := w.connect(l)
			_, _ = io.WriteString(nc, sent)
			if _, err := io.ReadAll(nc); err != nil {
				t.Error(err)
			}
			w.wantRefusal(ReasonProxyHeader, "proxy_protocol asks for")
		}
	})
}

func FuzzProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 8080 1883\r\n"))
	f.Add([]byte("PROXY TCP6 ::1 ::2 8080 1883\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(proxyV2 + "\x21\x11\x00\x0c" + v4Addresses))
	f.Add([]byte(proxyV2 + "\x21\x21\x00\x24" + v6Addresses + "rest"))
	f.Add([]byte(proxyV2 + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, addr, err := parseProxy(b)
		if err != nil {
			return
		}
		if n <= 0 || n > len(b) {
			t.Fatalf("%d bytes of %d", n, len(b))
		}
		if addr != nil {
			_ = addr.String()
		}
		for cut := range n { // no part of a header is one, nor an error
			if _, _, err := parseProxy(b[:cut]); cut > 0 && !errors.Is(err, errIncomplete) {
				t.Fatalf("%d of %d bytes: %v", cut, n, err)
			}
		}
	})
}
