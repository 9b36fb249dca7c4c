//go:build linux

package ldap_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	client "github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/ldap"
	"github.com/fantail-mqtt/fantail/internal/daemon"
)

// secret is the service account's password: no log may have it.
const secret = "s3cret of the service"

// slapd is a real directory, for all tests of this package.
var slapd *directory

type directory struct {
	*daemon.Daemon
	plain, tls string // host:port
	ca         string // file
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" { // each worker comes here
		return m.Run()
	}
	var err error
	if slapd, err = startDirectory(); err == nil {
		err = slapd.fill()
	}
	if slapd != nil {
		defer slapd.Close()
	}
	if err == nil {
		code := m.Run()
		slapd.Stop()
		if err = goleak.Find(); code != 0 || err == nil {
			return code
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

const settings = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
# What many directories still allow: a name with an empty password is nobody.
allow bind_anon_cred bind_anon_dn
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw admin
directory %[1]s/data
dbnosync
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=people,dc=example,dc=org" by dn="cn=service,dc=example,dc=org" read by self read by * none
access to * by dn="cn=service,dc=example,dc=org" read by anonymous auth by users search by * none
# What it has done, for tests to count.
database monitor
access to * by dn="cn=admin,dc=example,dc=org" read by * none
`

func startDirectory() (*directory, error) {
	d, err := daemon.New("openldap")
	if err != nil {
		return nil, err
	}
	s := &directory{Daemon: d, ca: filepath.Join(d.Dir, "cert.pem")}
	cert, key, err := newCertificate()
	if err != nil {
		return s, err
	}
	ports := make([]string, 2)
	for i := range ports {
		if ports[i], err = daemon.Port(); err != nil {
			return s, err
		}
	}
	s.plain, s.tls = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	if err := errors.Join(d.Write("cert.pem", cert), d.Write("key.pem", key), d.Mkdir("data"),
		d.Write("slapd.conf", fmt.Sprintf(settings, d.Dir))); err != nil {
		return s, err
	}
	ready := func() error {
		c, err := client.DialURL("ldap://" + s.plain)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Bind("cn=admin,dc=example,dc=org", "admin")
	}
	return s, d.Start(syscall.SIGKILL, ready, "/usr/sbin/slapd", "-f", d.Dir+"/slapd.conf", "-d", "0",
		"-h", "ldap://"+s.plain+" ldaps://"+s.tls)
}

// newCertificate makes one for 127.0.0.1, which has signed itself.
func newCertificate() (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "directory"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})), err
}

// strange is a user name that is all metacharacters, and allowed.
const strange = `#a,b+c="d"<e>;f\(g)*&|!~=/ ?%`

// fill makes the entries.
func (s *directory) fill() error {
	c, err := client.DialURL("ldap://" + s.plain)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Bind("cn=admin,dc=example,dc=org", "admin"); err != nil {
		return err
	}
	add := func(dn string, attributes map[string][]string) {
		r := client.NewAddRequest(dn, nil)
		for name, values := range attributes {
			r.Attribute(name, values)
		}
		if e := c.Add(r); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", dn, e))
		}
	}
	person := func(uid, unit, password string) string {
		dn := "uid=" + client.EscapeDN(uid) + "," + unit + "ou=people,dc=example,dc=org"
		add(dn, map[string][]string{
			"objectClass": {"inetOrgPerson"}, "uid": {uid}, "cn": {"A Person"}, "sn": {"Person"}, "l": {"north", "south"}, "userPassword": {password},
		})
		return dn
	}
	unit := func(dn, name string) {
		add(dn, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {name}})
	}
	add("dc=example,dc=org", map[string][]string{"objectClass": {"dcObject", "organization"}, "dc": {"example"}, "o": {"Example"}})
	unit("ou=people,dc=example,dc=org", "people")
	unit("ou=more,ou=people,dc=example,dc=org", "more")
	unit("ou=groups,dc=example,dc=org", "groups")
	unit("ou=other,dc=example,dc=org", "other")
	add("cn=service,dc=example,dc=org", map[string][]string{
		"objectClass": {"organizationalRole", "simpleSecurityObject"}, "cn": {"service"}, "userPassword": {secret},
	})
	ann := person("ann", "", "pencil")
	person("Twin", "", "pencil")
	person("twin", "ou=more,", "pencil")
	odd := person(strange, "", "pencil")
	for dn, members := range map[string][]string{
		"cn=admins,ou=groups,dc=example,dc=org":      {ann},
		"cn=a\\, (b),ou=groups,dc=example,dc=org":    {ann, odd},
		"cn=admins,ou=other,dc=example,dc=org":       {odd},
		"cn=strangers,ou=groups,dc=example,dc=org":   {"cn=service,dc=example,dc=org"},
		"cn=not mine,ou=groups,dc=example,dc=org":    {"uid=eve,ou=people,dc=example,dc=org"},
		"cn=not his,ou=groups,dc=example,dc=org":     {"uid=*"},
		"cn=the twins,ou=groups,dc=example,dc=org":   {"uid=Twin,ou=people,dc=example,dc=org"},
		"cn=second twin,ou=groups,dc=example,dc=org": {"uid=twin,ou=more,ou=people,dc=example,dc=org"},
	} {
		add(dn, map[string][]string{"objectClass": {"groupOfNames"}, "member": members})
	}
	return err
}

// byDN and bySearch are the two ways to say who a client is.
func byDN(o *ldap.Options) { o.DN = "uid=${username},ou=people,dc=example,dc=org" }

func bySearch(o *ldap.Options) {
	o.BindDN, o.BindPassword = "cn=service,dc=example,dc=org", secret
	o.Base, o.Filter = "ou=people,dc=example,dc=org", "(&(objectClass=inetOrgPerson)(uid=${username}))"
}

// each runs a test in both ways.
func each(t *testing.T, test func(t *testing.T, way func(*ldap.Options))) {
	t.Run("dn", func(t *testing.T) { test(t, byDN) })
	t.Run("search", func(t *testing.T) { test(t, bySearch) })
}

// step makes a step that asks the directory.
func step(t *testing.T, changes ...func(*ldap.Options)) *ldap.LDAP {
	t.Helper()
	o := ldap.Options{URL: "ldap://" + slapd.plain, Logger: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&o)
	}
	s, err := ldap.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// as is the request of a user.
func as(user, password string) *access.Request {
	return &access.Request{UserName: user, HasUserName: true, Password: []byte(password), HasPassword: true, ClientID: "c-1"}
}

func check(t *testing.T, s *ldap.LDAP, r *access.Request) auth.Answer {
	t.Helper()
	a := s.Check(t.Context(), r)
	if a.Why == "" {
		t.Error("the answer says nothing")
	}
	return a
}
