package listen

import "fmt"

// arrival is what the first bytes of a stream are.
type arrival int

const (
	unknown arrival = iota
	undecided
	mqttConnect
	tlsHello
	httpRequest
	proxyHeader
)

const (
	connectByte  = 0x10 // CONNECT's type, and its flags, which are reserved
	tlsHandshake = 0x16
	tlsMajor     = 0x03
	signature    = 16 // bytes to show of what nobody knows
)

// recognise goes by as few bytes as it can.
func recognise(b []byte) arrival {
	if len(b) == 0 {
		return undecided
	}
	switch b[0] {
	case connectByte:
		return mqttConnect
	case tlsHandshake:
		return recogniseTLS(b)
	}
	for _, known := range [...]struct {
		prefix string
		is     arrival
	}{
		{proxyV1, proxyHeader},
		{proxyV2, proxyHeader},
		{"GET ", httpRequest},
		{"HEAD ", httpRequest},
		{"POST ", httpRequest},
		{"PUT ", httpRequest},
		{"DELETE ", httpRequest},
		{"CONNECT ", httpRequest},
		{"OPTIONS ", httpRequest},
		{"TRACE ", httpRequest},
		{"PATCH ", httpRequest},
		{"PRI * HTTP/2", httpRequest},
	} {
		if hasPrefix(b, known.prefix) {
			return known.is
		}
		if startOf(b, known.prefix) {
			return undecided // no prefix is the start of another one
		}
	}
	return unknown
}

func recogniseTLS(b []byte) arrival {
	switch {
	case len(b) == 1:
		return undecided
	case b[1] == tlsMajor:
		return tlsHello
	}
	return unknown
}

// shown names bytes that nobody knows, for a log.
func shown(b []byte) string {
	b = b[:min(len(b), signature)]
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\r' && c != '\n' {
			return fmt.Sprintf("the bytes %x", b)
		}
	}
	return fmt.Sprintf("%q (the bytes %x)", b, b)
}
