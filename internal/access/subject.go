package access

import (
	"net/netip"
	"strings"
)

// subject is a client as rules see it: the user name counts only if somebody
// has checked it.
type subject struct {
	*Info
	user     string
	faceless bool // only the names are known, and whether it had a Grant: see [Policy.Denies]
}

// seen is how rules see a client. What has no Info is a client of which nothing
// is known.
func seen(who *Info) subject {
	if who == nil {
		who = &Info{}
	}
	s := subject{Info: who}
	if who.Grant != nil {
		s.user = who.UserName
	}
	return s
}

func (s *subject) value(p *part) string {
	switch p.value {
	case userName:
		return s.user
	case clientID:
		return s.ClientID
	case attribute:
		return s.attribute(p.name)
	default:
		return p.text
	}
}

func (s *subject) attribute(name string) string {
	if s.Grant == nil {
		return ""
	}
	return s.Grant.Attributes[name]
}

// address is that of the client; not valid if it came over a unix socket.
func (s *subject) address() netip.Addr {
	if s.Addr == nil {
		return netip.Addr{}
	}
	if a, ok := s.Addr.(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddrPort(s.Addr.String())
	return a.Addr().Unmap().WithZone("")
}

// local says whether the client is on this machine.
func (s *subject) local() bool {
	return s.Addr != nil && strings.HasPrefix(s.Addr.Network(), "unix") || s.address().IsLoopback()
}
