package fantail_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/packet"
)

const closedNotAuthorized = `connections_closed_total{reason="not_authorized"}`

// Whoever is gone from a password file, or has another password there, is sent
// away by the reload that takes it up, and nobody else.
func TestAChangedPasswordFileSendsItsUsersAway(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		path := filepath.Join(t.TempDir(), "passwd")
		line := func(name, password string) string {
			text, err := hash.New(hash.SHA512, []byte(password))
			if err != nil {
				t.Fatal(err)
			}
			return name + ":" + text + "\n"
		}
		cat := line("cat", "pencil")
		writeFile(t, path, line("ann", "pencil")+line("bob", "pencil")+cat)
		c := chain(fantail.Step{PasswordFile: &fantail.StepPasswordFile{Path: path}}, fantail.Step{Users: &fantail.StepUsers{}})
		c.Auth.Anonymous, c.Auth.Users = "always", []fantail.User{{Name: "dan", Password: "pencil"}}
		s := serve(t, transport, c, nil)
		gone := []*wire{s.device(t, "a", login("ann", "pencil")), s.device(t, "b", login("bob", "pencil")), s.device(t, "b2", login("bob", "pencil"))}
		old := s.device(t, "old", func(c *packet.Connect) { login("ann", "pencil")(c); c.Version = packet.V311 })
		stay := []*wire{
			s.device(t, "c", login("cat", "pencil")), s.device(t, "configured", login("dan", "pencil")),
			s.device(t, "ann", nil), // a stranger with that client id
		}
		writeFile(t, path, cat+"ann")
		if err := s.Reload(c); err == nil {
			t.Error("a broken file is taken")
		}
		for _, w := range append(gone, append(stay, old)...) {
			w.quiet()
		}
		writeFile(t, path, "# bob has another password\n"+line("bob", "eraser")+cat)
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		for _, w := range gone {
			w.sentAway(packet.NotAuthorized)
		}
		old.ended()
		for _, w := range stay {
			w.quiet()
		}
		s.reaches(t, closedNotAuthorized, 4)
		for _, id := range []string{"a", "b", "b2", "old"} {
			s.log.wait(t, "client gone", "client="+id+" ", "reason=not_authorized", "the account has changed")
		}
		s.log.wait(t, "clients sent away since their account is gone, or has another password", "clients=4")
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		for _, w := range append(stay, s.device(t, "b", login("bob", "eraser"))) {
			w.quiet()
		}
		if n := s.figure(t, closedNotAuthorized); n != 4 {
			t.Errorf("%v were sent away, want 4", n)
		}
	})
}

// The users of the configuration are those of the last reload.
func TestUsersOfTheConfigurationAreTakenOver(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		with := func(users ...fantail.User) (c fantail.Config) {
			c.Auth.Users = users
			return c
		}
		ann, bob := fantail.User{Name: "ann", Password: "pencil"}, fantail.User{Name: "bob", Password: "pencil"}
		s := serve(t, transport, with(ann, bob), nil)
		a, b := s.device(t, "a", login("ann", "pencil")), s.device(t, "b", login("bob", "pencil"))
		opts, conv := scramClient(t, "tcp://"+s.mqtt[0], "bob", "pencil")
		opts.OnAuth = answers(conv)
		proved, err := client.Dial(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer proved.Close()
		if err := s.Reload(with(ann, fantail.User{Name: "bob", Password: "eraser"}, fantail.User{Name: "cat", Password: "pencil"})); err != nil {
			t.Fatal(err)
		}
		b.sentAway(packet.NotAuthorized)
		<-proved.Done()
		if err := proved.Err(); !refusedWith(err, packet.NotAuthorized) {
			t.Errorf("who has proved the old password: %v", err)
		}
		a.quiet()
		if ack := s.dial(t).hello("b", login("bob", "pencil")); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("the old password: %v", ack.Code)
		}
		s.device(t, "b", login("bob", "eraser"))
		s.device(t, "c", login("cat", "pencil"))
		if err := s.Reload(with(ann, ann)); err == nil || !strings.Contains(err.Error(), "ann") {
			t.Errorf("a mistake: %v", err)
		}
		a.quiet()
		// Without any, all is as it was before the first; with one, strangers are out.
		if err := s.Reload(with()); err != nil {
			t.Fatal(err)
		}
		a.sentAway(packet.NotAuthorized)
		anybody := s.device(t, "anybody", nil)
		if code := anybody.say("t", "x"); code.Failed() {
			t.Errorf("without accounts: %v", code)
		}
		if err := s.Reload(with(ann)); err != nil {
			t.Fatal(err)
		}
		if code := anybody.say("t", "x"); code != packet.NotAuthorized {
			t.Errorf("a stranger, once there is an account: %v", code)
		}
		if ack := s.dial(t).hello("stranger", nil); ack.Code != packet.NotAuthorized {
			t.Errorf("a stranger: %v", ack.Code)
		}
	})
}

// A certificate that a new list revokes ends its connections, whatever step let
// them in, and no others.
func TestANewlyRevokedCertificateEndsItsConnections(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		p := newPKI(t)
		c := fantail.Config{Listeners: []fantail.Listener{p.listener()}, Auth: fantail.Auth{
			Anonymous: "always", Users: users().Users,
			Chain: []fantail.Step{{Users: &fantail.StepUsers{}}},
		}}
		s := serve(t, transport, c, nil)
		dial := func(config *tls.Config, id, user, password string) *wire {
			t.Helper()
			conn, err := tls.Dial("tcp", s.mqtt[0], config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			w := &wire{t: t, server: s, conn: conn}
			if ack := w.hello(id, func(c *packet.Connect) {
				c.HasUserName, c.UserName, c.HasPassword, c.Password = user != "", user, user != "", []byte(password)
			}); ack.Code != packet.Success {
				t.Fatal(ack.Code)
			}
			return w
		}
		named := func(name string) *tls.Config {
			return p.client(&x509.Certificate{Subject: pkix.Name{CommonName: name}})
		}
		porch := named("porch")
		serial := p.last
		garage := named("garage")
		other := p.last
		ann := users().Users[0]
		gone := []*wire{dial(porch, "p1", "", ""), dial(porch, "p2", ann.Name, string(ann.Password))}
		stay := []*wire{dial(garage, "g", ann.Name, string(ann.Password)), dial(p.client(nil), "none", "", "")}
		p.revoke(serial)
		for _, w := range gone {
			w.quiet() // nobody has read it
		}
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		for _, w := range gone {
			w.sentAway(packet.NotAuthorized)
		}
		s.reaches(t, closedNotAuthorized, 2)
		for _, id := range []string{"p1", "p2"} {
			s.log.wait(t, "client gone", "client="+id+" ", "reason=not_authorized", "the certificate is revoked")
			s.log.wait(t, "client sent away", "client="+id+" ", "CN=ca was revoked on")
		}
		for _, w := range stay {
			w.quiet()
		}
		// A list of nobody: who is revoked no more may come again.
		p.revoke(other + 1000)
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		stay = append(stay, dial(porch, "p1", "", ""))
		for _, w := range stay {
			w.quiet()
		}
	})
}
