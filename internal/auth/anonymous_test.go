package auth

import (
	"net"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/access"
)

type otherAddr string

func (a otherAddr) Network() string { return "proxy" }
func (a otherAddr) String() string  { return string(a) }

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }

func TestAnonymous(t *testing.T) {
	addrs := map[string]struct {
		addr  net.Addr
		local bool
	}{
		"127.0.0.1":                     {tcp("127.0.0.1"), true},
		"all of 127":                    {tcp("127.200.3.4"), true},
		"::1":                           {tcp("::1"), true},
		"127.0.0.1 within IPv6":         {tcp("::ffff:127.0.0.1"), true},
		"a zone":                        {&net.TCPAddr{IP: net.IPv6loopback, Zone: "lo", Port: 1}, true},
		"QUIC":                          {&net.UDPAddr{IP: net.IPv6loopback, Port: 1}, true},
		"a unix socket":                 {&net.UnixAddr{Name: "/run/x", Net: "unix"}, true},
		"a nameless unix socket":        {&net.UnixAddr{Net: "unix"}, true},
		"an own type":                   {otherAddr("127.0.0.1:80"), true},
		"127.0.0.1 in IPv6, written so": {otherAddr("[::ffff:127.0.0.1]:80"), true},
		"a private address":             {tcp("192.168.0.1"), false},
		"a public address":              {tcp("2001:db8::1"), false},
		"a link-local address":          {tcp("fe80::1"), false},
		"the unspecified address":       {tcp("0.0.0.0"), false},
		"no address at all":             {nil, false},
		"a nil TCP address":             {(*net.TCPAddr)(nil), false},
		"an empty TCP address":          {&net.TCPAddr{}, false},
		"a name that sounds local":      {otherAddr("localhost:80"), false},
		"one end of a pipe":             {otherAddr("pipe"), false},
	}
	for name, c := range addrs {
		t.Run(name, func(t *testing.T) {
			want := map[string]bool{
				"loopback": c.local, "": false, "always": true, "never": false, "Always": false, "yes": false,
			}
			for policy, ok := range want {
				if got := Anonymous(policy, &access.Peer{Addr: c.addr}); got != ok {
					t.Errorf("policy %q: %v, want %v", policy, got, ok)
				}
			}
		})
	}
}
