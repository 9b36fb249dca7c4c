package loop

import (
	"net"
	"net/netip"
	"testing"
)

// A connection says where it comes from, also after it is closed.
func TestRemoteAddr(t *testing.T) {
	for _, at := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{"[::]:0", "::1"},
		{"[::]:0", "127.0.0.1"}, // the kernel says ::ffff:127.0.0.1
	} {
		t.Run(at.dial+" to "+at.listen, func(t *testing.T) {
			each(t, func(t *testing.T, g Group) {
				ln, err := net.Listen("tcp", at.listen)
				if err != nil {
					t.Skip("no such address here: ", err)
				}
				_, port, _ := net.SplitHostPort(ln.Addr().String())
				probes := make(chan *probe, 1)
				if _, err := g.Serve(ln, func(_ Local, c Conn) Handler {
					p := newProbe(c)
					probes <- p
					return p
				}); err != nil {
					t.Fatal(err)
				}
				nc, err := net.Dial("tcp", net.JoinHostPort(at.dial, port))
				if err != nil {
					t.Fatal(err)
				}
				p := receive(t, probes)
				same(t, p.conn.RemoteAddr(), nc.LocalAddr())
				if err := nc.Close(); err != nil {
					t.Fatal(err)
				}
				receive(t, p.closed)
				same(t, p.conn.RemoteAddr(), nc.LocalAddr())
			})
		})
	}
}

func same(t *testing.T, got, want net.Addr) {
	t.Helper()
	if got.Network() != want.Network() || got.String() != want.String() {
		t.Errorf("from %s %s, want %s %s", got.Network(), got, want.Network(), want)
	}
	with, ok := got.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		t.Fatalf("%T has no AddrPort", got)
	}
	if a := with.AddrPort(); netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String() != want.String() {
		t.Errorf("AddrPort is %s, want %s", a, want)
	}
}

func TestRemoteAddrOfUnixSocket(t *testing.T) {
	each(t, func(t *testing.T, g Group) {
		s := serve(t, g, "unix", nil)
		_, p := s.dial(t)
		if got := p.conn.RemoteAddr().Network(); got != "unix" {
			t.Errorf("the network is %q", got)
		}
	})
}
