package devca

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatIsSignedIsGoodForItsUseAlone(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	_, kept, err := New("test", now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Read(kept, now.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(kept.Cert) {
		t.Fatal("the authority is no PEM")
	}
	verify := func(p Pair, name string, use x509.ExtKeyUsage, at time.Time) error {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	server, err := a.Server([]string{"localhost", "::1", "192.0.2.1", "*.example.org"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "[::1]", "192.0.2.1", "a.example.org"} {
		if err := verify(server, name, x509.ExtKeyUsageServerAuth, now); err != nil {
			t.Error(err)
		}
	}
	client, err := a.Client("porch", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(client, "", x509.ExtKeyUsageClientAuth, now); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another name":       verify(server, "example.org", x509.ExtKeyUsageServerAuth, now),
		"a server as client": verify(server, "", x509.ExtKeyUsageClientAuth, now),
		"a client as server": verify(client, "", x509.ExtKeyUsageServerAuth, now),
		"past its time":      verify(server, "localhost", x509.ExtKeyUsageServerAuth, now.Add(825*24*time.Hour)),
		"the authority gone": verify(server, "localhost", x509.ExtKeyUsageServerAuth, now.AddDate(10, 0, 1)),
	} {
		if err == nil {
			t.Errorf("%s is good", name)
		}
	}
	if _, err := Read(kept, now.AddDate(10, 0, 1)); err == nil || !strings.Contains(err.Error(), "good until 2036-11-18") {
		t.Errorf("an authority past its time: %v", err)
	}
	late, err := a.Client("late", now.AddDate(9, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(late, "", x509.ExtKeyUsageClientAuth, a.Until().Add(time.Second)); err == nil {
		t.Error("a certificate outlives its authority")
	}
	for name, p := range map[string]Pair{
		"no authority":    client,
		"nothing":         {},
		"no key":          {Cert: kept.Cert, Key: kept.Cert},
		"another's key":   {Cert: kept.Cert, Key: client.Key},
		"not certificate": {Cert: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), Key: kept.Key},
	} {
		if _, err := Read(p, now); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestHostsAreThoseThatOthersReach(t *testing.T) {
	network := func(text string) net.Addr {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		return n
	}
	addrs := []net.Addr{
		network("127.0.0.1/8"), network("192.0.2.5/24"), network("fe80::1/64"), network("2001:db8::5/64"), network("192.0.2.5/24"),
		&net.UnixAddr{Name: "x"},
	}
	got := Hosts("porch", addrs, []string{"mqtt.example.org", "2001:DB8::5", "localhost"})
	want := []string{"localhost", "127.0.0.1", "::1", "porch", "porch.local", "192.0.2.5", "2001:db8::5", "mqtt.example.org"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := Hosts("", nil, nil); len(got) != 3 {
		t.Errorf("%q", got)
	}
	if got := Hosts("porch.example.org", nil, nil); len(got) != 4 {
		t.Errorf("%q", got)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"porch": true, "porch-1.a_b@c": true, "": false, "..": false, "a/b": false, "-a": false, "a b": false, "ü": false,
		strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "a\nb": false,
	} {
		if (CheckClient(name) == nil) != ok {
			t.Errorf("client %q: %v", name, CheckClient(name))
		}
	}
	for host, ok := range map[string]bool{
		"a.example.org": true, "*.example.org": true, "::1": true, "192.0.2.1": true, "": false, "a b": false, "a/b": false, "a:1": false,
	} {
		if (CheckHost(host) == nil) != ok {
			t.Errorf("host %q: %v", host, CheckHost(host))
		}
	}
}
