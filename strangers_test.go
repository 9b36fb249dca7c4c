package fantail_test

import (
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

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
