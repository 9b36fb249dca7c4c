package fantail_test

import (
	"net/http"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// A stranger that left before there were accounts may not have what waited for it.
func TestAStrangerIsNotGivenWhatWaitedOnceThereAreAccounts(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, data := manage(t, transport, fantail.Config{Auth: fantail.Auth{Anonymous: "always"}})
		w := s.device(t, "stranger", lasting).to("a", 1)
		s.says(t, "a", "flying")
		w.nextPublish()
		w.lose()
		s.reaches(t, "clients_connected", 0)
		s.says(t, "a", "queued")
		tells(t, data, http.MethodPut, "/api/v1/users/ann", fields{"password": "pencil"}, http.StatusCreated)
		s.says(t, "a", "queued since")
		back, ack := s.connect(t, "stranger", lasting)
		if !ack.SessionPresent {
			t.Error("the session is not present")
		}
		back.quiet()
		s.reaches(t, `messages_dropped_total{reason="may_not_receive"}`, 3)
		s.reaches(t, "queue_messages", 0)
		s.reaches(t, "subscriptions", 0)
	})
}

// Nor may it after a restart with users in the configuration.
func TestAStrangerIsNotGivenWhatWaitedSinceBeforeTheRestart(t *testing.T) {
	c := fantail.Config{Data: t.TempDir()}
	s := serve(t, onDisk, c, nil)
	s.device(t, "stranger", lasting).to("a", 1).lose()
	s.says(t, "a", "queued")
	s.stop()
	<-s.done
	c.Auth = users()
	c.Auth.Anonymous = "always"
	s = serve(t, onDisk, c, nil)
	back, ack := s.connect(t, "stranger", lasting)
	if !ack.SessionPresent {
		t.Error("the session is not present")
	}
	back.quiet()
	s.reaches(t, `messages_dropped_total{reason="may_not_receive"}`, 1)
}

// Once clients can show who they are, who does not may do nothing, but for what
// rules or the default allow.
func TestStrangersMayNothingOnceThereAreUsers(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := fantail.Config{Auth: users()}
		c.Auth.Anonymous = "always"
		s := serve(t, transport, c, nil)
		stranger := s.device(t, "stranger", nil)
		if code := stranger.say("a", "x"); code != packet.NotAuthorized {
			t.Errorf("PUBACK: %v", code)
		}
		if code := stranger.subscribe(packet.Subscription{Filter: "a"})[0]; code != packet.NotAuthorized {
			t.Errorf("SUBACK: %v", code)
		}
		s.log.wait(t, "publish refused", "client=stranger", "access.rules")
		ann := s.device(t, "known", func(c *packet.Connect) {
			as("ann")(c)
			c.HasPassword, c.Password = true, []byte("pencil")
		}).to("a", 1)
		pub := s.device(t, "known too", func(c *packet.Connect) {
			as("ann")(c)
			c.HasPassword, c.Password = true, []byte("pencil")
		})
		if code := pub.say("a", "y"); code != packet.Success {
			t.Errorf("ann: %v", code)
		}
		ann.hears("y")
		c.Access.Default = "allow"
		open := serve(t, transport, c, nil)
		if code := open.device(t, "stranger", nil).to("b", 1).say("a", "x"); code != packet.NoMatchingSubscribers {
			t.Errorf("with access.default: allow: %v", code)
		}
	})
}
