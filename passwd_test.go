package fantail_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestAPasswordFileIsReadAgainWhileClientsAreConnected(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		path := filepath.Join(t.TempDir(), "passwd")
		write := func(lines ...string) {
			if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		user := func(name, password string) string {
			text, err := hash.New(hash.SHA512, []byte(password))
			if err != nil {
				t.Fatal(err)
			}
			return name + ":" + text
		}
		as := func(user, password string) func(*packet.Connect) {
			return func(c *packet.Connect) {
				c.HasUserName, c.UserName, c.HasPassword, c.Password = true, user, true, []byte(password)
			}
		}
		write("# devices", user("ann", "pencil"))
		c := fantail.Config{Auth: fantail.Auth{Chain: []config.Step{{PasswordFile: &config.StepPasswordFile{Path: path}}}}}
		s := serve(t, transport, c, nil)

		ann, _ := s.connect(t, "a", as("ann", "pencil"))
		if ack := s.dial(t).hello("b", as("ann", "eraser")); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("a wrong password: %v", ack.Code)
		}
		s.log.wait(t, "connection refused", "client=b", "step=password_file", "line 2 of passwd", "do=")
		if ack := s.dial(t).hello("c", as("bob", "pencil")); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("an unknown name: %v", ack.Code)
		}
		if ack := s.dial(t).hello("d", nil); ack.Code != packet.NotAuthorized {
			t.Errorf("no name: %v", ack.Code)
		}

		write("ann", user("bob", "pencil"))
		if err := s.Reload(c); err == nil || !strings.Contains(err.Error(), path+":1: there is no colon") {
			t.Errorf("a broken file: %v", err)
		}
		if ack := s.dial(t).hello("e", as("bob", "pencil")); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("half of a broken file is in force: %v", ack.Code)
		}
		write(user("bob", "pencil"))
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		bob, _ := s.connect(t, "f", as("bob", "pencil"))
		if ack := s.dial(t).hello("g", as("ann", "pencil")); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("who is gone from the file: %v", ack.Code)
		}
		ann.sentAway(packet.NotAuthorized)
		bob.quiet()
	})
}

func TestABrokerDoesNotStartWithABrokenPasswordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte("ann:pencil\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := fantail.New(fantail.Config{
		Listeners: fantail.NoListeners(),
		Auth:      fantail.Auth{Chain: []config.Step{{PasswordFile: &config.StepPasswordFile{Path: path}}}},
	})
	if err == nil || !strings.Contains(err.Error(), path+":1: ") || strings.Contains(err.Error(), "pencil") {
		t.Errorf("err = %v", err)
	}
}
