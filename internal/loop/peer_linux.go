package loop

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is where a connection comes from, in as few bytes as it takes.
type peer struct {
	port uint16
	kind peerKind
	ip   [16]byte
}

type peerKind byte

const (
	unixPeer peerKind = iota
	ip4Peer
	ip6Peer
)

func peerOf(sa *unix.RawSockaddrAny) peer {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return peerAt(netip.AddrFrom4(in.Addr), in.Port)
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return peerAt(netip.AddrFrom16(in.Addr).Unmap(), in.Port)
	default:
		return peer{kind: unixPeer}
	}
}

// peerAt has the port as the kernel writes it: the high byte first.
func peerAt(ip netip.Addr, port uint16) peer {
	var order [2]byte
	binary.NativeEndian.PutUint16(order[:], port)
	p := peer{port: binary.BigEndian.Uint16(order[:]), kind: ip6Peer, ip: ip.As16()}
	if ip.Is4() {
		p.kind = ip4Peer
	}
	return p
}

func (p *peer) addrPort() netip.AddrPort {
	if p.kind == unixPeer {
		return netip.AddrPort{}
	}
	ip := netip.AddrFrom16(p.ip)
	if p.kind == ip4Peer {
		ip = ip.Unmap()
	}
	return netip.AddrPortFrom(ip, p.port)
}

// remote is a connection as the net.Addr of its peer.
type remote econn

// Network is that of the address, as the net package names it.
func (r *remote) Network() string {
	if r.peer.kind == unixPeer {
		return "unix"
	}
	return "tcp"
}

// String is the address in text; the peer of a unix socket has none.
func (r *remote) String() string {
	if r.peer.kind == unixPeer {
		return ""
	}
	return r.peer.addrPort().String()
}

// AddrPort is the address, as net.TCPAddr has it.
func (r *remote) AddrPort() netip.AddrPort { return r.peer.addrPort() }
