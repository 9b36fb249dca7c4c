package fantail_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// mistake is something that goes wrong with a new device, and what the log
// says: one line that names cause and cure.
type mistake struct {
	name  string
	make  func(t *testing.T, s *server)
	cause string
	cure  string
}

// program runs a foreign program. Some of them notice that they are refused, and
// fail; others are gone before.
func program(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader("")
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
}

// The listeners of the transcript, in their order.
const (
	plain = iota
	secure
	mutual
	web
)

// pub is mosquitto_pub with an account, at one of the listeners.
func (s *server) pub(t *testing.T, at int, args ...string) {
	t.Helper()
	_, port, _ := strings.Cut(s.mqtt[at], ":")
	program(t, "mosquitto_pub", append([]string{"-p", port, "-t", "home/porch", "-m", "21.5"}, args...)...)
}

// openssl is a TLS client that checks the server, as a device does.
func (s *server) openssl(t *testing.T, at int, args ...string) {
	t.Helper()
	program(t, "openssl", append([]string{"s_client", "-connect", s.mqtt[at], "-verify_return_error", "-brief"}, args...)...)
}

func TestTheLogTellsWhatIsWrongWithADevice(t *testing.T) {
	dir := t.TempDir()
	known := identity{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	known.issue(t, 1)
	old := identity{cert: filepath.Join(dir, "old.pem"), key: filepath.Join(dir, "old.key")}
	old.valid = -30 * 24 * time.Hour
	old.issue(t, 2)
	other := identity{cert: filepath.Join(dir, "other.pem"), key: filepath.Join(dir, "other.key")}
	other.issue(t, 3)

	account := []string{"-u", "ann", "-P", "pencil"}
	mistakes := []mistake{
		{
			"wrong password",
			func(t *testing.T, s *server) { s.pub(t, plain, "-i", "porch", "-u", "ann", "-P", "pen") },
			`the password is wrong`, `correct the password in the client`,
		},
		{
			"no account",
			func(t *testing.T, s *server) { s.pub(t, plain, "-i", "porch", "-u", "eve", "-P", "pencil") },
			`nobody knows the user name`, `fantail ctl user add`,
		},
		{
			"neither user name nor password",
			func(t *testing.T, s *server) { s.pub(t, plain, "-i", "porch") },
			`the client shows no user name and password`, `give the client those of an account`,
		},
		{
			"TLS on the plain port",
			func(t *testing.T, s *server) { s.openssl(t, plain, "-CAfile", known.cert) },
			`a TLS hello came to a listener without a certificate`, `switch TLS off in the client`,
		},
		{
			"plain on the TLS port",
			func(t *testing.T, s *server) { s.pub(t, secure, append([]string{"-i", "porch"}, account...)...) },
			`plain MQTT came`, `switch TLS on`,
		},
		{
			"the path of a WebSocket",
			func(t *testing.T, s *server) {
				program(t, "curl", "-sS", "-f", "--http1.1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
					"-H", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "-H", "Sec-WebSocket-Protocol: mqtt", "http://"+s.mqtt[web]+"/ws")
			},
			`/ws`, `/mqtt`,
		},
		{
			"two devices with one client id",
			func(t *testing.T, s *server) {
				for range 5 {
					s.device(t, "porch", as("ann", func(c *packet.Connect) { c.HasPassword, c.Password = true, []byte("pencil") }))
				}
			},
			`two devices share the client id`, `give each its own`,
		},
		{
			"a client id that is too long",
			func(t *testing.T, s *server) {
				s.pub(t, plain, append([]string{"-V", "311", "-i", strings.Repeat("porch-", 200)}, account...)...)
			},
			`the client id has 1200 bytes and may have 1024`, `a shorter one`,
		},
		{
			"a topic that the rules do not allow",
			func(t *testing.T, s *server) { s.pub(t, plain, "-i", "porch", "-u", "bob", "-P", "eraser") },
			`publish refused client=porch user=bob topic=home/porch why=deny publish on home/#, for user bob rule=access.rules[0]`,
			`change access.rules[0], or put a rule before it such as {allow: publish, user: "bob", topic: "home/porch"}`,
		},
		{
			"a topic that no rule allows",
			func(t *testing.T, s *server) {
				s.pub(t, plain, "-i", "porch", "-u", "ann", "-P", "pencil", "-t", "hone/porch")
			},
			`publish refused client=porch user=ann topic=hone/porch why=no rule matches, and what no rule matches is denied`,
			`add a rule such as {allow: publish, user: "ann", topic: "hone/porch"} with fantail ctl acl add, or to access.rules`,
		},
		{
			"a certificate that is valid at another time, or a clock that is wrong",
			func(t *testing.T, s *server) {
				s.openssl(t, mutual, "-CAfile", known.cert, "-cert", old.cert, "-key", old.key)
			},
			`certificate has expired or is not yet valid`, `clock`,
		},
		{
			"a device whose clock is wrong",
			func(t *testing.T, s *server) { s.openssl(t, secure, "-CAfile", known.cert, "-attime", "86400") },
			`bad certificate|expired certificate`, `clock`,
		},
		{
			"a device that knows another CA",
			func(t *testing.T, s *server) { s.openssl(t, secure, "-CAfile", other.cert) },
			`unknown certificate authority`, `the certificate of the CA`,
		},
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			tls := "?cert=" + known.cert + "&key=" + known.key
			s := serve(t, "auto", fantail.Config{
				Auth: users(),
				Access: fantail.Access{Rules: []fantail.AccessRule{
					{Statement: fantail.Statement{Deny: []string{"publish"}, User: "bob", Topic: []string{"home/#"}}},
					{Statement: fantail.Statement{Allow: []string{"all"}, Topic: []string{"home/#"}}},
				}},
				Listeners: []fantail.Listener{
					listener(t, "tcp://127.0.0.1:0"), listener(t, "tls://127.0.0.1:0"+tls),
					listener(t, "tls://127.0.0.1:0"+tls+"&client_cert=require&client_ca="+old.cert), listener(t, "ws://127.0.0.1:0/mqtt"),
				},
			}, nil)
			m.make(t, s)
			s.tells(t, m)
		})
	}
}

// tells wants one line about a mistake, with its cause and its cure.
func (s *server) tells(t *testing.T, m mistake) {
	t.Helper()
	var line string
	for cause := range strings.SplitSeq(m.cause, "|") {
		if found := s.log.having(cause); len(found) > 0 {
			line = found[0]
		}
	}
	if line == "" {
		line = s.log.wait(t, strings.Split(m.cause, "|")[0])
	}
	if !strings.Contains(line, m.cure) {
		t.Errorf("the log does not say %q: %s", m.cure, line)
	}
	if refused := s.log.having("connection refused"); len(refused) > 1 {
		t.Errorf("%d lines instead of one:\n%s", len(refused), strings.Join(refused, "\n"))
	}
	t.Logf("%s\n  %s", m.name, line)
}
