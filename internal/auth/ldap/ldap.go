// Package ldap asks a directory whether a client's password is right, by
// binding as the client.
//
// Who the client is in the directory comes either out of a template for its
// distinguished name, or out of a search, by a service account, that has to
// find exactly one entry. Then a connection is bound with that name and the
// client's password. What the directory knows besides, groups and attributes,
// is read afterwards: nothing is looked up for a client whose password is
// wrong.
//
// Each check has a connection of its own. A bind changes what a connection may
// do, so a shared one would have to be trusted to be nobody again; and one that
// lives for a check needs but one deadline, which bounds all that happens on
// it. A breaker in front bounds how many there are.
//
// A client that the search does not find costs what a wrong password does: a
// bind, with a name that nobody has.
//
// Directories let in whoever gives a name and an empty password: they take it
// for somebody who does not want to log in (RFC 4513, section 5.1.2). Such a
// password never reaches the directory.
package ldap

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/breaker"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
	"github.com/fantail-mqtt/fantail/internal/auth/trust"
	"github.com/fantail-mqtt/fantail/packet"
)

// Options of the step. What is 0 or empty has its default, or is left out.
type Options struct {
	URL      string // ldap:// or ldaps://, a host and mostly a port
	StartTLS bool   // of an ldap URL
	CA       string // PEM file; empty: the system's

	// DN is a template. Without one, Base and Filter, a template too, find the
	// client; BindDN and BindPassword may search, or anybody if they are empty.
	DN                   string
	BindDN, BindPassword string
	Base, Filter         string

	// UserAttribute has the user name as it is in the directory.
	UserAttribute string
	// GroupAttribute has the names of the client's groups, such as memberOf.
	GroupAttribute string
	// GroupBase and GroupFilter find the groups' entries, of which GroupName is
	// the attribute with the name. The filter may have ${dn}.
	GroupBase, GroupFilter, GroupName string
	// SuperuserGroup is the distinguished name of one of them.
	SuperuserGroup string
	// Attributes maps names of ours to attributes of the entry.
	Attributes map[string]string

	Timeout     time.Duration // of a check; default: 5s
	Connections int           // at a time; default: 16
	Failures    int           // in a row leave the directory alone for Rest; default: 5
	Rest        time.Duration // default: 5s
	Logger      *slog.Logger
}

// LDAP is the step.
type LDAP struct {
	o           Options
	address     string
	host        string
	secure      bool                       // the URL is an ldaps one
	tls         atomic.Pointer[tls.Config] // nil: ldap without StartTLS
	dn          *fill.Text                 // nil: search
	filter      *fill.Text
	groupFilter *fill.Text // nil: no search for groups
	superuser   *ldap.DN   // nil: nobody
	breaker     *breaker.Breaker
}

// New makes the step. It does not connect: the directory may come later.
func New(o Options) (*LDAP, error) {
	o.GroupName = cmp.Or(o.GroupName, "cn")
	l := &LDAP{o: o}
	if err := errors.Join(l.setURL(), l.setTemplates()); err != nil {
		return nil, err
	}
	trusted, err := l.trusted()
	if err != nil {
		return nil, err
	}
	l.tls.Store(trusted)
	l.breaker = breaker.New(breaker.Options{
		Name: l.Name(), Timeout: o.Timeout, Concurrent: o.Connections, Failures: o.Failures, Rest: o.Rest, Logger: o.Logger,
	})
	return l, nil
}

// setURL takes in where the directory is.
func (l *LDAP) setURL() error {
	u, err := url.Parse(l.o.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "ldap" && u.Scheme != "ldaps" {
		return fmt.Errorf("url %q is not such as ldaps://directory.example.org", l.o.URL)
	}
	port := map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	l.address = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	l.host, l.secure = u.Hostname(), u.Scheme == "ldaps"
	return nil
}

// trusted is how the directory is known; nil: not at all.
func (l *LDAP) trusted() (*tls.Config, error) {
	if !l.secure && !l.o.StartTLS {
		return nil, nil
	}
	c := &tls.Config{ServerName: l.host, MinVersion: tls.VersionTLS12}
	if l.o.CA == "" {
		return c, nil
	}
	pool, err := trust.Authorities(l.o.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	c.RootCAs = pool
	return c, nil
}

// Prepare reads the file of authorities anew. The caller commits what was read,
// or drops it.
func (l *LDAP) Prepare() (commit func(), err error) {
	trusted, err := l.trusted()
	if err != nil {
		return nil, fmt.Errorf("ldap: %w", err)
	}
	return func() { l.tls.Store(trusted) }, nil
}

// setTemplates takes in what the client's values go into.
func (l *LDAP) setTemplates() error {
	var errs []error
	parse := func(key, text string, into **fill.Text, more ...string) {
		if text == "" {
			return
		}
		parsed, err := fill.Parse(text, more...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
			return
		}
		*into = parsed
		if example := parsed.Join(func(string) string { return "x" }); key == "dn" {
			_, err = ldap.ParseDN(example)
		} else {
			_, err = ldap.CompileFilter(example)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q cannot be read: %w", key, text, err))
		}
	}
	parse("dn", l.o.DN, &l.dn)
	parse("filter", l.o.Filter, &l.filter)
	parse("group_filter", l.o.GroupFilter, &l.groupFilter, "dn")
	who := cmp.Or(l.dn, l.filter)
	if who == nil && len(errs) == 0 {
		errs = append(errs, errors.New("dn or filter is missing: one of them says who a client is in the directory"))
	}
	if who != nil && who.Join(func(string) string { return "x" }) == who.Join(func(string) string { return "y" }) {
		errs = append(errs, errors.New("neither dn nor filter has a placeholder such as ${username}: they say the same of every client"))
	}
	if l.o.BindDN != "" && l.o.BindPassword == "" {
		errs = append(errs, errors.New("bind_password is missing: without one, bind_dn is nobody"))
	}
	if l.o.SuperuserGroup != "" {
		dn, err := ldap.ParseDN(l.o.SuperuserGroup)
		if err != nil {
			errs = append(errs, fmt.Errorf("superuser_group: %q is no distinguished name", l.o.SuperuserGroup))
		}
		l.superuser = dn
	}
	return errors.Join(errs...)
}

// Name implements auth.Step.
func (l *LDAP) Name() string { return "auth.ldap" }

// Breaker is what stands in front of the directory.
func (l *LDAP) Breaker() *breaker.Breaker { return l.breaker }

// Concerns implements auth.Step.
func (l *LDAP) Concerns(r *access.Request) bool { return r.HasUserName && r.UserName != "" }

// Check implements auth.Step.
func (l *LDAP) Check(ctx context.Context, r *access.Request) auth.Answer {
	switch {
	case !l.Concerns(r):
		return auth.Passed("the client shows no user name")
	case !plainName(r.UserName):
		return auth.Passed("the user name has spaces or characters that a directory does not tell apart")
	}
	var answer auth.Answer
	err := l.breaker.Do(ctx, func(ctx context.Context) (err error) {
		c, err := l.dial(ctx)
		if err == nil {
			defer c.Close()
			answer, err = l.check(c, r)
		}
		if m, mistaken := errors.AsType[*mistake](err); mistaken {
			answer, err = auth.Failure(m.Error(), m.do), nil
		}
		return err
	})
	if err != nil {
		return auth.Failure("the directory does not answer: "+err.Error(), "look whether it runs, and whether url and ca are right")
	}
	return answer
}

// dial connects. All that happens on the connection ends when ctx does.
func (l *LDAP) dial(ctx context.Context) (*conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	stream := raw
	trusted := l.tls.Load()
	if l.secure {
		secure := tls.Client(raw, trusted)
		if err := secure.HandshakeContext(ctx); err != nil {
			stop()
			_ = raw.Close()
			return nil, err
		}
		stream = secure
	}
	c := &conn{Conn: ldap.NewConn(stream, l.secure), stop: stop}
	c.Start()
	if !l.secure && l.o.StartTLS {
		if err := c.StartTLS(trusted); err != nil {
			c.Close()
			return nil, answered(err, "the directory does not begin TLS", "use an ldaps URL, or leave start_tls out")
		}
	}
	return c, nil
}

// conn is a connection for one check.
type conn struct {
	*ldap.Conn
	stop func() bool
}

func (c *conn) Close() {
	c.stop()
	_ = c.Conn.Close()
}

// check asks the directory about a client.
func (l *LDAP) check(c *conn, r *access.Request) (auth.Answer, error) {
	var entry *ldap.Entry
	var dn string
	if l.dn != nil {
		dn = l.dn.Fill(r, escape)
	} else {
		found, err := l.find(c, r)
		if err != nil {
			return auth.Answer{}, err
		}
		if found == nil {
			return auth.Passed("the directory has no entry for the client"), l.pretend(c, r.Password)
		}
		entry, dn = found, found.DN
	}
	if answer, err := bind(c, dn, r.Password); err != nil || answer.Verdict != auth.Allow {
		return answer, err
	}
	g, err := l.grant(c, r, dn, entry)
	return auth.Allowed(g, "the directory takes the password"), err
}

// checkable says whether a directory can check a password. Programs in C may see
// one end at a zero: what begins with it is empty to them.
func checkable(password []byte) bool {
	return len(password) > 0 && !strings.ContainsRune(string(password), 0)
}

// pretend does for a client without an entry what bind does for one with a wrong
// password: who could tell the two apart by the time would learn which names
// there are. The name that it binds with is nobody's, another one each time, so
// no account is locked by it; and so is the password: that of the client may be
// another step's, and none of the directory's business. What the directory says
// counts for nothing.
func (l *LDAP) pretend(c *conn, password []byte) error {
	if !checkable(password) {
		return nil
	}
	err := answered(c.Bind("cn="+rand.Text()+","+l.o.Base, rand.Text()), "", "")
	if _, said := errors.AsType[*mistake](err); said {
		return nil
	}
	return err
}

// bind says whether the directory takes the password.
func bind(c *conn, dn string, password []byte) (auth.Answer, error) {
	if dn == "" || !checkable(password) {
		return auth.Denied(packet.BadUserNameOrPassword, "the client shows no password that a directory could check", "give the client its password"), nil
	}
	err := c.Bind(dn, string(password))
	switch {
	case err == nil:
		return auth.Answer{Verdict: auth.Allow}, nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials):
		return auth.Denied(packet.BadUserNameOrPassword, "the directory does not take the password of "+dn,
			"correct user name and password in the client"), nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax):
		return auth.Passed("the directory has no entry " + dn), nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInsufficientAccessRights,
		ldap.LDAPResultConstraintViolation, ldap.LDAPResultInappropriateAuthentication):
		return auth.Denied(packet.NotAuthorized, "the directory lets "+dn+" not in: "+err.Error(), "look at the account in the directory"), nil
	default:
		return auth.Answer{}, answered(err, "the directory cannot check passwords", "look at what the directory asks for, such as start_tls")
	}
}
