package config

// StepCertificate lets a client in by its certificate, which the listener has
// verified.
type StepCertificate struct {
	// User is the part of the certificate that is the user name: cn, which is
	// the default, dn, san_dns, san_email or san_uri.
	User string `yaml:"user"`
	// ClientID is the part that is the client id. Empty: the client says so.
	ClientID string `yaml:"client_id"`
}

func (k *check) certificate(key string, s *StepCertificate) {
	if s == nil {
		return
	}
	key += ".certificate"
	for _, part := range []struct{ key, value string }{{".user", s.User}, {".client_id", s.ClientID}} {
		if part.value != "" {
			k.oneOf(key+part.key, part.value, "cn", "dn", "san_dns", "san_email", "san_uri")
		}
	}
}
