package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	proxyV1    = "PROXY "
	proxyV2    = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyV1 = 107 // with its line end
	maxProxyV2 = 16 + 4096
)

// errIncomplete says that more bytes have to come.
var errIncomplete = errors.New("incomplete")

// parseProxy reads the PROXY header at the start of b: how long it is and whose
// connection it is. The address is nil where the header names none: a health
// check of the proxy itself, or a protocol without addresses; then the
// connection's own one holds.
func parseProxy(b []byte) (n int, client net.Addr, err error) {
	switch {
	case hasPrefix(b, proxyV1):
		return parseProxyV1(b)
	case hasPrefix(b, proxyV2):
		return parseProxyV2(b)
	case startOf(b, proxyV1), startOf(b, proxyV2):
		return 0, nil, errIncomplete
	}
	return 0, nil, errors.New("no PROXY header")
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// startOf says whether b may still become s.
func startOf(b []byte, s string) bool {
	return len(b) < len(s) && s[:len(b)] == string(b)
}

// parseProxyV1 reads one line: PROXY TCP4 client server port port.
func parseProxyV1(b []byte) (int, net.Addr, error) {
	end := bytes.Index(b[:min(len(b), maxProxyV1)], []byte("\r\n"))
	if end < 0 && len(b) >= maxProxyV1 {
		return 0, nil, errors.New("the PROXY line has no end within 107 bytes")
	}
	if end < 0 {
		return 0, nil, errIncomplete
	}
	n := end + 2
	line := string(b[:end])
	fields := strings.Split(line, " ")
	if len(fields) >= 2 && fields[1] == "UNKNOWN" { // what follows is to be ignored
		return n, nil, nil
	}
	if len(fields) != 6 {
		return 0, nil, fmt.Errorf("the PROXY line has %d fields instead of 6", len(fields))
	}
	client, err := addrPort(fields[1], fields[2], fields[4])
	if err != nil {
		return 0, nil, err
	}
	if _, err := addrPort(fields[1], fields[3], fields[5]); err != nil {
		return 0, nil, err
	}
	return n, net.TCPAddrFromAddrPort(client), nil
}

func addrPort(family, host, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("the PROXY line has no address in %q", host)
	}
	if family != "TCP4" && family != "TCP6" {
		return netip.AddrPort{}, fmt.Errorf("the PROXY line has the unknown family %q", family)
	}
	if addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, fmt.Errorf("the PROXY line has %s as an address of %s", addr, family)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port != strconv.FormatUint(p, 10) { // neither +1 nor 01
		return netip.AddrPort{}, fmt.Errorf("the PROXY line has no port in %q", port)
	}
	return netip.AddrPortFrom(addr, uint16(p)), nil
}

// parseProxyV2 reads the binary header: signature, version and command, family
// and protocol, length, addresses, and extensions, which are skipped.
func parseProxyV2(b []byte) (int, net.Addr, error) {
	if len(b) < 16 {
		return 0, nil, errIncomplete
	}
	version, command := b[12]>>4, b[12]&0xf
	family, protocol := b[13]>>4, b[13]&0xf
	n := 16 + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case version != 2:
		return 0, nil, fmt.Errorf("the PROXY header has version %d", version)
	case command > 1:
		return 0, nil, fmt.Errorf("the PROXY header has the unknown command %d", command)
	case family > 3 || protocol > 2:
		return 0, nil, fmt.Errorf("the PROXY header has the unknown family 0x%02x", b[13])
	case n > maxProxyV2:
		return 0, nil, fmt.Errorf("the PROXY header is %d bytes long", n)
	}
	addresses := []int{0, 12, 36, 216}[family]
	if command == 1 && n < 16+addresses {
		return 0, nil, errors.New("the PROXY header is too short for its addresses")
	}
	if len(b) < n {
		return 0, nil, errIncomplete
	}
	if command == 0 || protocol != 1 { // LOCAL, from the proxy itself; or no stream
		return n, nil, nil
	}
	return n, proxyV2Client(family, b[16:n]), nil
}

func proxyV2Client(family byte, b []byte) net.Addr {
	switch family {
	case 1:
		return &net.TCPAddr{IP: net.IP(bytes.Clone(b[:4])), Port: int(binary.BigEndian.Uint16(b[8:]))}
	case 2:
		return &net.TCPAddr{IP: net.IP(bytes.Clone(b[:16])), Port: int(binary.BigEndian.Uint16(b[32:]))}
	case 3:
		name, _, _ := bytes.Cut(b[:108], []byte{0})
		return &net.UnixAddr{Name: string(name), Net: "unix"}
	}
	return nil // unspecified
}
