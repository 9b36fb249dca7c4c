package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// What a listener speaks.
const (
	SchemeTCP  = "tcp"
	SchemeTLS  = "tls"
	SchemeWS   = "ws"
	SchemeWSS  = "wss"
	SchemeUnix = "unix"
	SchemeHTTP = "http"
)

// Whether a TLS client has to show a certificate.
const (
	ClientCertNone     = "none"
	ClientCertOptional = "optional"
	ClientCertRequire  = "require"
)

// Listener is one address to serve. It is written as a URL with its options
// as a query, or in the file as a map of url and options.
type Listener struct {
	Scheme  string `yaml:"-"` // SchemeTCP and so on
	Address string `yaml:"-"` // host:port, or the path of a unix socket
	// Path is what a WebSocket client has to ask for. Empty: /mqtt or /.
	Path string `yaml:"-"`

	// Cert and Key are PEM files. With them, tls and wss are served, and tcp
	// and ws also serve the client that starts with a TLS hello.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA is the PEM file that client certificates are checked against.
	ClientCA string `yaml:"client_ca"`
	// CRL is the PEM file with the revocation lists of those authorities.
	CRL string `yaml:"crl"`
	// ClientCert is ClientCertNone, ClientCertOptional or ClientCertRequire,
	// which is the default once there is a ClientCA.
	ClientCert string `yaml:"client_cert"`
	// MinVersion is the oldest TLS version served: 1.2, the default, or 1.3.
	MinVersion string `yaml:"min_version"`
	// ProxyProtocol says that each connection begins with a PROXY header of
	// version 1 or 2, from which the client's address is taken.
	ProxyProtocol bool `yaml:"proxy_protocol"`
	// MaxConnections bounds the connections of the listener, and ConnectRate how
	// many come in a second. 0: no bound.
	MaxConnections int `yaml:"max_connections"`
	ConnectRate    int `yaml:"connect_rate"`
}

// ParseListener reads a listener from a URL such as
// tls://0.0.0.0:8883?cert=server.pem&key=server.key. Its error is an *Error
// with every mistake.
func ParseListener(text string) (Listener, error) {
	l, problems := parseURL(text)
	if len(problems) == 0 {
		l = l.withDefaults()
		problems = l.problems()
	}
	mistakes := make([]Mistake, 0, len(problems))
	for _, p := range problems {
		mistakes = append(mistakes, Mistake{Key: text, Text: p.sentence()})
	}
	return l, asError("", mistakes)
}

// URL is the listener without its options, as the ready line shows it.
func (l Listener) URL() string {
	if l.Scheme == SchemeUnix {
		return (&url.URL{Scheme: l.Scheme, Path: l.Address}).String()
	}
	return (&url.URL{Scheme: l.Scheme, Host: l.Address, Path: l.Path}).String()
}

// String is the listener as ParseListener reads it.
func (l Listener) String() string {
	query := url.Values{}
	for key, value := range map[string]string{
		"cert": l.Cert, "key": l.Key, "client_ca": l.ClientCA, "crl": l.CRL,
		"client_cert": l.ClientCert, "min_version": l.MinVersion,
	} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if l.ProxyProtocol {
		query.Set("proxy_protocol", "true")
	}
	for key, value := range map[string]int{"max_connections": l.MaxConnections, "connect_rate": l.ConnectRate} {
		if value != 0 {
			query.Set(key, strconv.Itoa(value))
		}
	}
	if len(query) == 0 {
		return l.URL()
	}
	return l.URL() + "?" + query.Encode()
}

// MarshalText writes what ParseListener reads.
func (l Listener) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what ParseListener reads.
func (l *Listener) UnmarshalText(text []byte) error {
	parsed, err := ParseListener(string(text))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}

// problem is a mistake inside a listener, before it is known where that one
// was written.
type problem struct {
	key  string // an option, or empty
	text string
}

func (p problem) sentence() string {
	if p.key == "" {
		return p.text
	}
	return p.key + ": " + p.text
}

func listenersWithDefaults(listeners []Listener) []Listener {
	filled := make([]Listener, 0, len(listeners))
	for _, l := range listeners {
		filled = append(filled, l.withDefaults())
	}
	return filled
}

func (l Listener) withDefaults() Listener {
	if l.Cert == "" {
		return l
	}
	clientCert := ClientCertNone
	if l.ClientCA != "" {
		clientCert = ClientCertRequire
	}
	l.ClientCert = cmp.Or(l.ClientCert, clientCert)
	l.MinVersion = cmp.Or(l.MinVersion, "1.2")
	return l
}

func parseURL(text string) (Listener, []problem) {
	scheme, _, found := strings.Cut(text, "://")
	if !found {
		return Listener{}, []problem{{"", fmt.Sprintf("%q is no listener: write a URL such as tcp://0.0.0.0:1883", text)}}
	}
	if !slices.Contains(schemes(), scheme) {
		return Listener{}, []problem{{"", unknownScheme(scheme)}}
	}
	u, err := url.Parse(text)
	if err != nil {
		if why, ok := errors.AsType[*url.Error](err); ok {
			err = why.Err
		}
		return Listener{}, []problem{{"", fmt.Sprintf("%q is no URL: %v", text, err)}}
	}
	if u.User != nil || u.Fragment != "" {
		return Listener{}, []problem{{"", fmt.Sprintf("%q has a user or a # in it, which mean nothing to a listener", text)}}
	}
	l := Listener{Scheme: scheme, Address: u.Host, Path: u.Path}
	if scheme == SchemeUnix {
		if u.Host != "" {
			return l, []problem{{"", fmt.Sprintf("%q does not begin at the root: write three slashes, unix:///%s%s", text, u.Host, u.Path)}}
		}
		l.Address, l.Path = u.Path, ""
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return l, []problem{{"", fmt.Sprintf("the options of %q cannot be read: %v", text, err)}}
	}
	return l, l.setAll(query)
}

func schemes() []string {
	return []string{SchemeTCP, SchemeTLS, SchemeWS, SchemeWSS, SchemeUnix, SchemeHTTP}
}

func unknownScheme(scheme string) string {
	meant := ""
	switch strings.ToLower(scheme) {
	case "mqtt":
		meant = SchemeTCP
	case "mqtts", "ssl":
		meant = SchemeTLS
	case "https":
		return "https is not served: use http on loopback behind a proxy that has the certificate"
	default:
		meant = nearest(scheme, schemes())
	}
	if meant == "" {
		return fmt.Sprintf("unknown scheme %q: use one of %s", scheme, strings.Join(schemes(), ", "))
	}
	return fmt.Sprintf("unknown scheme %q: did you mean %s?", scheme, meant)
}

// setAll takes the options of a query, in the order of their names so that
// the mistakes come in the same order each time.
func (l *Listener) setAll(query url.Values) []problem {
	var problems []problem
	options := keysOf(*l)
	for _, key := range sortedKeys(query) {
		switch {
		case !slices.Contains(options, key):
			problems = append(problems, problem{"", unknownOption(key, options)})
		case len(query[key]) > 1:
			problems = append(problems, problem{key, "is given twice"})
		default:
			if err := l.set(key, query.Get(key)); err != nil {
				problems = append(problems, problem{key, err.Error()})
			}
		}
	}
	return problems
}

func unknownOption(key string, options []string) string {
	if near := nearest(key, options); near != "" {
		return fmt.Sprintf("unknown option %q: did you mean %s?", key, near)
	}
	return fmt.Sprintf("unknown option %q: the options are %s", key, strings.Join(options, ", "))
}

func (l *Listener) set(key, value string) error {
	switch key {
	case "cert":
		l.Cert = value
	case "key":
		l.Key = value
	case "client_ca":
		l.ClientCA = value
	case "crl":
		l.CRL = value
	case "client_cert":
		l.ClientCert = value
	case "min_version":
		l.MinVersion = value
	case "proxy_protocol":
		return setScalar(&l.ProxyProtocol, value)
	case "max_connections":
		return setScalar(&l.MaxConnections, value)
	case "connect_rate":
		return setScalar(&l.ConnectRate, value)
	}
	return nil
}

// problems checks a listener whose defaults are filled in.
func (l Listener) problems() []problem {
	if !slices.Contains(schemes(), l.Scheme) {
		return []problem{{"", unknownScheme(l.Scheme)}}
	}
	problems := append(l.addressProblems(), l.boundProblems()...)
	if l.Path != "" && l.Path != "/" && l.Scheme != SchemeWS && l.Scheme != SchemeWSS {
		problems = append(problems, problem{"", fmt.Sprintf("a %s listener has no path %q: only ws and wss have one", l.Scheme, l.Path)})
	}
	if l.Scheme == SchemeUnix || l.Scheme == SchemeHTTP {
		return append(problems, l.foreignOptions()...)
	}
	return append(problems, l.tlsProblems()...)
}

func (l Listener) addressProblems() []problem {
	if l.Scheme == SchemeUnix {
		// The kernel's sockaddr_un has room for 107 bytes and a zero.
		if l.Address == "" || len(l.Address) > 107 {
			return []problem{{"", "a unix listener needs a path of 1 to 107 bytes, such as unix:///run/fantail.sock"}}
		}
		return nil
	}
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil || port == "" {
		return []problem{{"", fmt.Sprintf("%q needs a host and a port, such as %s://0.0.0.0:%d", l.Address, l.Scheme, l.usualPort())}}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return []problem{{"", fmt.Sprintf("port %q is not between 0 and 65535", port)}}
	}
	if strings.ContainsAny(host, "/ *") {
		return []problem{{"", fmt.Sprintf("%q is no host: write an address, or 0.0.0.0 for all", host)}}
	}
	return nil
}

func (l Listener) usualPort() int {
	switch l.Scheme {
	case SchemeTLS:
		return 8883
	case SchemeWS:
		return 8083
	case SchemeWSS:
		return 8084
	case SchemeHTTP:
		return 18083
	}
	return 1883
}

// boundProblems checks the bounds of a listener, which HTTP has none of.
func (l Listener) boundProblems() (problems []problem) {
	for _, option := range []struct {
		key   string
		value int
	}{{"max_connections", l.MaxConnections}, {"connect_rate", l.ConnectRate}} {
		switch {
		case option.value < 0:
			problems = append(problems, problem{option.key, fmt.Sprintf("%d is below 0", option.value)})
		case option.value > 0 && l.Scheme == SchemeHTTP:
			problems = append(problems, problem{option.key, "means nothing here: it is for listeners of MQTT"})
		}
	}
	return problems
}

// foreignOptions refuses what a listener without TLS cannot have. With a
// certificate the other options may be defaults, and the one mistake is enough.
func (l Listener) foreignOptions() []problem {
	var problems []problem
	for _, option := range []struct{ key, value string }{
		{"cert", l.Cert},
		{"key", l.Key},
		{"client_ca", l.ClientCA},
		{"crl", l.CRL},
		{"client_cert", l.ClientCert},
		{"min_version", l.MinVersion},
	} {
		if option.value != "" && (l.Cert == "" || option.key == "cert") {
			problems = append(problems, problem{option.key, "means nothing here: TLS is for tcp, tls, ws and wss"})
		}
	}
	if l.ProxyProtocol && l.Scheme == SchemeHTTP {
		problems = append(problems, problem{"proxy_protocol", "means nothing here: an http listener reads no PROXY header"})
	}
	return problems
}

func (l Listener) tlsProblems() []problem {
	var problems []problem
	add := func(key, format string, args ...any) {
		problems = append(problems, problem{key, fmt.Sprintf(format, args...)})
	}
	mustTLS := l.Scheme == SchemeTLS || l.Scheme == SchemeWSS
	switch {
	case l.Cert == "" && l.Key != "":
		add("cert", "is missing: a key is of use only with its certificate")
	case l.Cert == "" && mustTLS:
		add("cert", "is missing: a %s listener needs the PEM files cert and key", l.Scheme)
	case l.Cert == "" && (l.ClientCA != "" || l.CRL != "" || l.ClientCert != "" || l.MinVersion != ""):
		add("cert", "is missing: client_ca, crl, client_cert and min_version are of use only with cert and key")
	case l.Cert != "" && l.Key == "":
		add("key", "is missing: the certificate needs its key")
	}
	if !slices.Contains([]string{"", ClientCertNone, ClientCertOptional, ClientCertRequire}, l.ClientCert) {
		add("client_cert", "%q is not none, optional or require", l.ClientCert)
	} else if l.ClientCA == "" && (l.ClientCert == ClientCertOptional || l.ClientCert == ClientCertRequire) {
		add("client_ca", "is missing: it says which client certificates are good")
	}
	if l.Cert != "" && l.CRL != "" && (l.ClientCA == "" || l.ClientCert == ClientCertNone) {
		add("crl", "means nothing here: it is for client certificates, which client_ca asks for")
	}
	if !slices.Contains([]string{"", "1.2", "1.3"}, l.MinVersion) {
		add("min_version", "%q is not 1.2 or 1.3", l.MinVersion)
	}
	return problems
}
