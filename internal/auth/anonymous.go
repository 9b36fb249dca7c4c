package auth

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// The policies for clients that show no user name and password that counts.
const (
	AnonymousLoopback = "loopback" // only from this machine
	AnonymousAlways   = "always"
	AnonymousNever    = "never"
)

// Anonymous says whether a client is let in without authentication. An unknown
// policy is "never". The address is the client's own: behind a proxy, that
// which the PROXY protocol tells.
func Anonymous(policy string, p *access.Peer) (ok bool) {
	switch policy {
	case AnonymousAlways:
		return true
	case AnonymousLoopback:
		return local(p.Addr) && ownPage(p.Origin)
	default:
		return false
	}
}

// ownPage says whether a WebSocket was opened by no web page, or by one of
// this machine: a browser here would otherwise let in every page of the world.
func ownPage(origin string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
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
