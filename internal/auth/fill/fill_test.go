package fill_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
	"github.com/fantail-mqtt/fantail/internal/config"
)

func TestFill(t *testing.T) {
	r := &access.Request{
		UserName: "ann", ClientID: "c-1",
		Peer: access.Peer{
			Addr: &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}, Listener: "tls://[::]:8883", Transport: "tls",
			Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "porch", Organization: []string{"home"}}, SerialNumber: big.NewInt(255)},
		},
	}
	bracket := func(s string) string { return "<" + s + ">" }
	for text, want := range map[string]string{
		"":                                       "",
		"no placeholder $ { } $1":                "no placeholder $ { } $1",
		"${username}":                            "<ann>",
		"a ${username}${clientid} b ${username}": "a <ann><c-1> b <ann>",
		"${ip} ${listener} ${transport}":         "<192.0.2.1> <tls://[::]:8883> <tls>",
		"${cert.cn} ${cert.dn} ${cert.serial}":   "<porch> <CN=porch,O=home> <ff>",
	} {
		parsed, err := fill.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := parsed.Fill(r, bracket); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWhatAClientHasNotIsEmpty(t *testing.T) {
	for _, addr := range []net.Addr{nil, &net.UnixAddr{Name: "/run/x", Net: "unix"}, &net.TCPAddr{}, (*net.TCPAddr)(nil)} {
		r := &access.Request{Peer: access.Peer{Addr: addr}}
		for _, name := range fill.Names() {
			if got := fill.Value(r, name); got != "" {
				t.Errorf("%v has %s %q", addr, name, got)
			}
		}
	}
}

func TestAValueIsNotFilledInAgain(t *testing.T) {
	text, err := fill.Parse("${username}")
	if err != nil {
		t.Fatal(err)
	}
	r := &access.Request{UserName: "${clientid}", ClientID: "secret"}
	if got := text.Fill(r, strings.ToUpper); got != "${CLIENTID}" {
		t.Errorf("got %q", got)
	}
}

func TestUnknownPlaceholders(t *testing.T) {
	for _, text := range []string{"${user}", "${", "${}", "${username", "a ${Username} b", "${password}"} {
		if _, err := fill.Parse(text); err == nil || !strings.Contains(err.Error(), "${username}, ${clientid}") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := fill.Parse("${dn}", "dn"); err != nil {
		t.Errorf("a name that was added: %v", err)
	}
}

// The configuration is checked before there are steps, by a list of its own.
func TestTheConfigurationKnowsTheSameNames(t *testing.T) {
	step := func(query string) error {
		_, err := config.Parse([]byte("auth: {chain: [{sql: {driver: mysql, dsn: x, query: '" + query + "'}}]}"))
		return err
	}
	all := "${" + strings.Join(fill.Names(), "}, ${") + "}"
	if err := step(all); err != nil {
		t.Error(err)
	}
	if err := step("${other}"); err == nil || !strings.HasSuffix(err.Error(), "there are "+all) {
		t.Errorf("%v, want %s", err, all)
	}
}
