package fantail_test

import (
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// signed is what a client with a user name and a password says in CONNECT.
func signed(user, password string) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.HasUserName, c.UserName, c.HasPassword, c.Password = true, user, true, []byte(password)
	}
}

// keeping is signed, with a session that stays for an hour.
func keeping(user, password string) func(*packet.Connect) {
	return func(c *packet.Connect) {
		signed(user, password)(c)
		c.SessionExpiry, c.HasSessionExpiry = 3600, true
	}
}

// A session is that of the user who began it: another one who knows the client
// id gets neither its messages nor its subscriptions, and cannot end it.
func TestASessionIsItsUsersAlone(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := fantail.Config{Auth: users(), Data: t.TempDir()}
		c.Auth.Anonymous = "always"
		if transport != onDisk {
			c.Data = ""
		}
		s := serve(t, transport, c, nil)
		ann, _ := s.connect(t, "gateway", keeping("ann", "pencil"))
		ann.to("plant/#", 1)
		turnedAway := func(when string) {
			t.Helper()
			for name, change := range map[string]func(*packet.Connect){
				"goes on": keeping("bob", "eraser"),
				"begins anew": func(c *packet.Connect) {
					keeping("bob", "eraser")(c)
					c.CleanStart = true
				},
				"shows no user name": func(c *packet.Connect) { c.CleanStart = true },
				"is of 3.1.1": func(c *packet.Connect) {
					signed("bob", "eraser")(c)
					c.Version = packet.V311
				},
			} {
				w := s.dial(t)
				if ack := w.hello("gateway", change); ack.Code != packet.ClientIdentifierNotValid || strings.Contains(ack.Reason, "ann") {
					t.Fatalf("%s, another who %s: %v %q", when, name, ack.Code, ack.Reason)
				}
				w.ended()
			}
		}
		turnedAway("while ann is there")
		ann.quiet()
		ann.lose()
		s.device(t, "pub", signed("bob", "eraser")).say("plant/a", "secret")
		turnedAway("while ann is away")
		if transport == onDisk {
			s = s.again(t, c)
			turnedAway("after a restart")
		}
		back, ack := s.connect(t, "gateway", keeping("ann", "pencil"))
		if !ack.SessionPresent {
			t.Error("ann's session is gone")
		}
		back.hears("secret")
		if n := s.figure(t, "clients_connected"); transport != onDisk && n != 2 || transport == onDisk && n != 1 {
			t.Errorf("%v clients are connected", n)
		}
	})
}

// What nobody has shown to be theirs is anybody's, as MQTT has it.
func TestASessionOfNobodyIsTakenOver(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		named := func(user string) func(*packet.Connect) {
			return func(c *packet.Connect) {
				lasting(c)
				c.HasUserName, c.UserName = true, user
			}
		}
		first, _ := s.connect(t, "x", named("made up"))
		second, ack := s.connect(t, "x", named("made up, too"))
		if !ack.SessionPresent {
			t.Error("there is no session")
		}
		first.sentAway(packet.SessionTakenOver)
		second.quiet()
	})
}

// Whoever takes a client id over again and again, without waiting for an
// answer, leaves nothing behind.
func TestTakeoversLeaveNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		again := func(n int) {
			all := make([]*wire, 0, n)
			for range n {
				c := packet.Connect{Version: packet.V5, ClientID: "x", Will: &packet.Will{Topic: "gone", Payload: make([]byte, 20_000)}}
				lasting(&c)
				w := s.dial(t)
				w.send(packet.AppendSubscribe(packet.AppendConnect(nil, &c), &packet.Subscribe{
					ID: 1, Filters: []packet.Subscription{{Filter: "to/x", QoS: 1}},
				}, packet.V5))
				all = append(all, w)
			}
			for _, w := range all { // until the broker has ended each of them
				_ = w.conn.(*net.TCPConn).CloseWrite()
				_ = w.conn.SetReadDeadline(time.Now().Add(patience))
				_, _ = io.Copy(io.Discard, w.conn)
				w.conn.Close()
			}
		}
		again(50)
		heap := liveHeap()
		again(500)
		last, _ := s.connect(t, "x", lasting)
		last.quiet()
		eventually(t, func() bool { return s.figure(t, "clients_connected") == 1 }, func() any { return s.figure(t, "clients_connected") })
		bound := int64(6 << 20)
		if transport == onDisk {
			bound = 32 << 20 // the store has the wills, for a while
		}
		if grown := liveHeap() - heap; grown > bound {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		if n := s.figure(t, "sessions"); n != 1 {
			t.Errorf("there are %v sessions", n)
		}
	})
}

// Client ids that look alike, or like paths, or like another's with something
// behind it, are clients of their own in memory and in the store, and name no
// file.
func TestClientIDsDoNotShareWhatIsStored(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		ids := []string{
			"a", "a_meta", "a\x01", "a\x01\x04plant", "a/", "a/../b", "../../../tmp/a", "a.", "A", "ä", "a\u0308", "a ", "a\n", "a'--", "%61", "r", "v", "n",
			"__proto__", "constructor", "hasOwnProperty", "toString",
		}
		c := fantail.Config{Data: t.TempDir()}
		if transport != onDisk {
			c.Data = ""
		}
		s := serve(t, transport, c, nil)
		for _, id := range ids {
			w, _ := s.connect(t, id, lasting)
			w.to("to/"+strconv.Quote(id), 1)
			w.lose()
		}
		pub := s.device(t, "pub", nil)
		for _, id := range ids {
			pub.say("to/"+strconv.Quote(id), id)
		}
		if transport == onDisk {
			s = s.again(t, c)
		}
		for _, id := range ids {
			w, ack := s.connect(t, id, lasting)
			if !ack.SessionPresent {
				t.Errorf("%q has no session", id)
				continue
			}
			w.hears(id)
		}
	})
}

// The largest intervals that MQTT has words for are long, and do not turn into
// short ones or into the past.
func TestTheLargestIntervalsAreLong(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		watch := s.device(t, "watch", nil).to("will", 1)
		for i, expiry := range []uint32{0xFFFFFFFE, 0x80000000, 0xFFFFFFFF} {
			id := "x" + strconv.Itoa(i)
			long := func(c *packet.Connect) {
				c.SessionExpiry, c.HasSessionExpiry, c.KeepAlive = expiry, true, 0xFFFF
				c.Will = &packet.Will{Topic: "will", Delay: 0xFFFFFFFF, Expiry: 0xFFFFFFFF, HasExpiry: true}
			}
			w, _ := s.connect(t, id, long)
			w.to("to/"+id, 1)
			w.lose()
			s.device(t, "pub", nil).publish(packet.Publish{
				Topic: []byte("to/" + id), Payload: []byte("x"), QoS: 1, Expiry: 0xFFFFFFFF, HasExpiry: true, Retain: true,
			})
			w, ack := s.connect(t, id, long)
			if !ack.SessionPresent {
				t.Fatalf("a session of %d s is gone", expiry)
			}
			p := w.take()
			if string(p.Payload) != "x" || p.Expiry < 0xFFFFFFFF-60 {
				t.Errorf("%q came, to live %d s", p.Payload, p.Expiry)
			}
			w.quiet()
		}
		watch.quiet()
	})
}

// A client of 3.x cannot be told a shorter keep-alive: who asks for one beyond
// the limit, or for none, is refused, and the log says why.
func TestKeepAliveMaxHoldsForOldClients(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{KeepAliveMax: time.Minute}}, nil)
		for keepAlive, in := range map[uint16]bool{0: false, 1: true, 60: true, 61: false, 0xFFFF: false} {
			for _, v := range []packet.Version{packet.V31, packet.V311} {
				ack := s.dial(t).hello("x", func(c *packet.Connect) { c.Version, c.CleanStart, c.KeepAlive = v, true, keepAlive })
				if ack.Code.Failed() == in {
					t.Errorf("%v, keep-alive %d: %v", v, keepAlive, ack.Code)
				}
			}
		}
		s.log.wait(t, "connection refused", "limits.keep_alive_max")
	})
}
