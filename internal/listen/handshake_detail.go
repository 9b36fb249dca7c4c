package listen

import (
	"errors"
	"io"
	"strings"
)

// handshakeDetail says what to do about a handshake that failed.
func handshakeDetail(err error) string {
	if r, is := errors.AsType[*revoked](err); is {
		return "the TLS handshake failed: " + r.Error()
	}
	text := err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the client closed during the TLS handshake: it may not trust the certificate, or gave up"
	}
	for _, hint := range []struct{ part, do string }{
		{"didn't provide a certificate", "give the client a certificate that client_ca has signed, or set client_cert to optional"},
		{"has expired or is not yet valid", "give the client a certificate that is valid today; if it is, set the clock of this machine"},
		{"failed to verify certificate", "give the client a certificate that client_ca has signed and that is valid today"},
		{"unknown certificate authority", "the client knows another CA, or none: give it the certificate of the CA that signed that of the listener"},
		{"remote error: tls: expired certificate", "the client takes the certificate for expired, or not valid yet: set the client's clock (NTP) before it connects, or renew the certificate"},
		{"remote error: tls: bad certificate", "the client does not accept the certificate: give it the right CA, use a host name that the certificate has, and set the client's clock (NTP)"},
		{"remote error", "the client does not accept the certificate: give it the right CA, and use a host name that the certificate has"},
		{"unsupported versions", "let the client speak TLS 1.2 or 1.3, as min_version allows"},
		{"no cipher suite", "let the client offer a suite with ECDHE and GCM or ChaCha20 (update its TLS library), or give the listener a certificate of the kind that the client knows"},
		{"application protocol", "let the client offer the ALPN protocol mqtt, or none"},
		{"not look like a TLS handshake", "switch TLS on in the client, or let it use a tcp listener"},
	} {
		if strings.Contains(text, hint.part) {
			return "the TLS handshake failed (" + text + "): " + hint.do
		}
	}
	return "the TLS handshake failed (" + text + "): look at the client's TLS settings"
}
