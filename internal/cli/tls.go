package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// tlsFlags are mosquitto's flags for TLS.
type tlsFlags struct {
	caFile, caPath, cert, key, alpn, version, ciphers string
	insecure, osCerts                                 bool
}

func (t *tlsFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&t.caFile, "cafile", "", "TLS: trust the authorities in `FILE`")
	f.StringVar(&t.caPath, "capath", "", "TLS: trust the authorities in the files of `DIR`")
	f.StringVar(&t.cert, "cert", "", "TLS: the client's certificate is in `FILE`")
	f.StringVar(&t.key, "key", "", "TLS: the key of the certificate is in `FILE`")
	f.StringVar(&t.alpn, "tls-alpn", "", "TLS: ask for this application `PROTOCOL`")
	f.StringVar(&t.version, "tls-version", "", "TLS: use `VERSION` tlsv1.2 or tlsv1.3 only")
	f.StringVar(&t.ciphers, "ciphers", "", "TLS 1.2: use only the cipher suites of `LIST`, with colons between, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
	f.BoolVar(&t.osCerts, "tls-use-os-certs", false, "TLS: trust the authorities of the system")
	f.BoolVar(&t.insecure, "insecure", false, "TLS: do not check that the certificate is for this host; anyone could be at the other end")
}

// wanted says whether the flags ask for TLS.
func (t *tlsFlags) wanted() bool {
	return t.caFile != "" || t.caPath != "" || t.cert != "" || t.osCerts || t.alpn != ""
}

func (t *tlsFlags) config() (*tls.Config, error) {
	config := &tls.Config{}
	if (t.cert == "") != (t.key == "") {
		return nil, misuse("--cert and --key go together")
	}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, &status{exitFailed, fmt.Errorf("read the client certificate: %w", err)}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	roots, err := t.roots()
	if err != nil {
		return nil, &status{exitFailed, fmt.Errorf("read the trusted authorities: %w", err)}
	}
	config.RootCAs = roots
	switch t.version {
	case "":
	case "tlsv1.2":
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	case "tlsv1.3":
		config.MinVersion = tls.VersionTLS13
	default:
		return nil, misuse("--tls-version %s: the version is neither tlsv1.2 nor tlsv1.3", t.version)
	}
	if config.CipherSuites, err = t.suites(); err != nil {
		return nil, err
	}
	if t.alpn != "" {
		config.NextProtos = []string{t.alpn}
	}
	if t.insecure {
		withoutHost(config)
	}
	return config, nil
}

// suites are the cipher suites of TLS 1.2 that --ciphers names; nil: Go's choice. A
// connection of TLS 1.3 has its own, which cannot be chosen.
func (t *tlsFlags) suites() (ids []uint16, err error) {
	if t.ciphers == "" {
		return nil, nil
	}
	if t.version == "tlsv1.3" {
		return nil, misuse("--ciphers: those of TLS 1.3 cannot be chosen; leave out --tls-version tlsv1.3")
	}
	var names []string
	known := map[string]uint16{}
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			known[s.Name] = s.ID
			names = append(names, s.Name)
		}
	}
	for name := range strings.FieldsFuncSeq(t.ciphers, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		id, ok := known[name]
		if !ok {
			return nil, misuse("--ciphers: %q is no suite of TLS 1.2 that is safe; there are %s", name, strings.Join(names, ", "))
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, misuse("--ciphers: there is no suite in it; there are %s", strings.Join(names, ", "))
	}
	return ids, nil
}

// withoutHost makes config accept a trusted certificate of any host: that is
// what --insecure means to mosquitto.
func withoutHost(config *tls.Config) {
	roots := config.RootCAs
	config.InsecureSkipVerify = true // VerifyConnection takes its place
	config.VerifyConnection = func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
}

// roots are the trusted authorities; nil means the system's.
func (t *tlsFlags) roots() (*x509.CertPool, error) {
	if t.caFile == "" && t.caPath == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if t.osCerts {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		pool = system
	}
	if t.caFile != "" {
		pem, err := os.ReadFile(t.caFile)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", t.caFile)
		}
	}
	if t.caPath == "" {
		return pool, nil
	}
	return pool, addFolder(pool, t.caPath)
}

func addFolder(pool *x509.CertPool, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		pem, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil && pool.AppendCertsFromPEM(pem) {
			found = true
		}
	}
	if !found {
		return errors.New(dir + " holds no certificate")
	}
	return nil
}
