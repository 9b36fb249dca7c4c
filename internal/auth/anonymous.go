package auth

import (
	"net"
	"net/netip"
	"strings"
)

// The policies for clients that show no user name and password that counts.
const (
	AnonymousLoopback = "loopback" // only from this machine
	AnonymousAlways   = "always"
	AnonymousNever    = "never"
)

// Anonymous says whether a client at addr is let in without authentication.
// An empty policy is "loopback", an unknown one is "never". The address is the
// client's own: behind a proxy, that which the PROXY protocol tells.
func Anonymous(policy string, addr net.Addr) (ok bool) {
	switch policy {
	case AnonymousAlways:
		return true
	case AnonymousLoopback, "":
		return local(addr)
	default:
		return false
	}
}

// local says whether addr is on this machine: a loopback address or a unix
// socket.
func local(addr net.Addr) bool {
	if addr == nil {
		return false
	}
	if strings.HasPrefix(addr.Network(), "unix") {
		return true
	}
	if a, ok := addr.(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort().Addr().Unmap().IsLoopback()
	}
	a, err := netip.ParseAddrPort(addr.String())
	return err == nil && a.Addr().IsLoopback()
}
