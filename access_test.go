package fantail_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/xdg-go/scram"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// authenticator is an Authenticator of one function.
type authenticator func(ctx context.Context, r *fantail.ConnectRequest) error

func (f authenticator) Authenticate(ctx context.Context, r *fantail.ConnectRequest) (*fantail.Grant, error) {
	return nil, f(ctx, r)
}

func TestAuthenticatorDecides(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) {
			b.UseAuthenticator(authenticator(func(_ context.Context, r *fantail.ConnectRequest) error {
				switch {
				case r.UserName == "ann" && string(r.Password) == "pencil":
					return nil
				case r.UserName == "banned":
					return packet.Refuse(packet.Banned, "not this one")
				default:
					return errors.New("a word of the program's own")
				}
			}))
		})
		as := func(user, password string) func(*packet.Connect) {
			return func(c *packet.Connect) {
				c.HasUserName, c.UserName, c.HasPassword, c.Password = true, user, true, []byte(password)
			}
		}
		s.connect(t, "a", as("ann", "pencil"))
		banned := s.dial(t)
		if ack := banned.hello("b", as("banned", "x")); ack.Code != packet.Banned || ack.Reason != "not this one" {
			t.Errorf("CONNACK: %v %q", ack.Code, ack.Reason)
		}
		banned.ended()
		if ack := s.dial(t).hello("c", as("ann", "pen")); ack.Code != packet.NotAuthorized {
			t.Errorf("CONNACK: %v", ack.Code)
		}
		s.log.wait(t, "connection refused", "client=c", "a word of the program's own")
		old := s.dial(t)
		ack := old.hello("d", func(c *packet.Connect) {
			as("banned", "")(c)
			c.Version, c.CleanStart = packet.V311, true
		})
		if ack.Code != packet.NotAuthorized { // return code 5
			t.Errorf("CONNACK of 3.1.1: %v", ack.Code)
		}
		old.ended()
	})
}

func TestSlowAuthenticatorHoldsNobodyUp(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		asked, decide := make(chan string, 100), make(chan error)
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{Connections: 3}}, func(b *fantail.Broker) {
			b.UseAuthenticator(authenticator(func(ctx context.Context, r *fantail.ConnectRequest) error {
				if r.UserName == "" {
					return nil
				}
				asked <- r.ClientID
				select {
				case err := <-decide:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			}))
		})
		slow := func(c *packet.Connect) { c.Version, c.HasUserName, c.UserName = packet.V5, true, "slow" }
		var waiting []*wire
		for _, id := range []string{"a", "b", "c"} {
			w := s.dial(t)
			c := packet.Connect{ClientID: id}
			slow(&c)
			// What follows the CONNECT waits with it.
			w.send(packet.AppendPingreq(packet.AppendConnect(nil, &c)))
			receive(t, asked)
			waiting = append(waiting, w)
		}
		sub := s.device(t, "sub", nil).to("x", 1)
		pub := s.device(t, "pub", nil)
		for range 10 {
			pub.say("x", "works")
			sub.hears("works")
		}
		for range waiting {
			decide <- nil
		}
		in := 0
		for _, w := range waiting {
			if w.connack().Code == packet.Success {
				in++
				w.expect(packet.PINGRESP)
			}
		}
		if in != 1 {
			t.Errorf("%d of those who waited are in, there was room for 1", in)
		}
	})
}

func TestConnectTimeoutOfASlowAuthenticator(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		var cancelled atomic.Int32
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) {
			b.UseAuthenticator(authenticator(func(ctx context.Context, _ *fantail.ConnectRequest) error {
				<-ctx.Done() // the end of the broker cancels it
				cancelled.Add(1)
				return ctx.Err()
			}))
		})
		c := packet.Connect{Version: packet.V5, ClientID: "a"}
		s.dial(t).send(packet.AppendConnect(nil, &c))
		gone := s.dial(t)
		gone.send(packet.AppendConnect(nil, &c))
		gone.conn.Close()
		s.stop()
		<-s.done
		if n := cancelled.Load(); n > 2 {
			t.Errorf("%d were asked", n)
		}
	})
}

// authorizer is an Authorizer of one function.
type authorizer func(who *fantail.ClientInfo, a fantail.Action, topic string) error

func (f authorizer) Access(who *fantail.ClientInfo, a fantail.Ask) error {
	return f(who, a.Action, a.Topic)
}

func TestAuthorizerDecides(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) {
			b.UseAuthorizer(authorizer(func(who *fantail.ClientInfo, a fantail.Action, topic string) error {
				if a == fantail.PublishTo && topic == "read/only" || a == fantail.SubscribeTo && strings.HasPrefix(topic, "secret/") {
					return errors.New(who.ClientID + " may not")
				}
				return nil
			}))
		})
		sub := s.device(t, "sub", nil)
		codes := sub.subscribe(packet.Subscription{Filter: "secret/#", QoS: 1}, packet.Subscription{Filter: "read/only", QoS: 1})
		if codes[0] != packet.NotAuthorized || codes[1] != packet.GrantedQoS1 {
			t.Errorf("SUBACK: %v", codes)
		}
		pub := s.device(t, "pub", nil)
		for qos := range byte(3) {
			want := packet.NotAuthorized
			if qos == 0 {
				want = packet.Success // cannot be told
			}
			if code := pub.publish(packet.Publish{Topic: []byte("read/only"), QoS: qos}); code != want {
				t.Errorf("QoS %d: %v", qos, code)
			}
		}
		old := s.old(t, "old")
		if codes := old.subscribe(packet.Subscription{Filter: "secret/a"}); codes[0] != packet.UnspecifiedError { // 0x80
			t.Errorf("SUBACK of 3.1.1: %v", codes)
		}
		for qos := range byte(3) {
			old.publish(packet.Publish{Topic: []byte("read/only"), QoS: qos}) // [3.1.1 MQTT-3.3.5-2]
		}
		old.quiet()
		sub.quiet()
		s.reaches(t, `messages_dropped_total{reason="not_authorized"}`, 6)
	})
}

func TestAuthorizerDecidesAboutWills(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) {
			b.UseAuthorizer(authorizer(func(who *fantail.ClientInfo, a fantail.Action, topic string) error {
				if a == fantail.PublishTo && topic == "alarm" && who.UserName != "guard" {
					return errors.New("only guards may")
				}
				return nil
			}))
		})
		will := func(c *packet.Connect) { c.Will = &packet.Will{Topic: "alarm"} }
		if ack := s.dial(t).hello("a", will); ack.Code != packet.NotAuthorized {
			t.Errorf("CONNACK: %v", ack.Code)
		}
		s.connect(t, "b", func(c *packet.Connect) {
			will(c)
			c.HasUserName, c.UserName = true, "guard"
		})
	})
}

func users() fantail.Auth {
	return fantail.Auth{Users: []fantail.User{{Name: "ann", Password: "pencil"}, {Name: "bob", Password: "eraser"}}}
}

func TestUsersOfTheConfiguration(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Auth: users()}, nil)
		for _, c := range []struct {
			user, password string
			want           packet.Code
		}{
			{"ann", "pencil", packet.Success},
			{"ann", "eraser", packet.BadUserNameOrPassword},
			{"eve", "pencil", packet.BadUserNameOrPassword},
			{"", "", packet.NotAuthorized}, // anonymous, once there are users
		} {
			ack := s.dial(t).hello("x", func(r *packet.Connect) {
				r.HasUserName, r.UserName = c.user != "", c.user
				r.HasPassword, r.Password = c.user != "", []byte(c.password)
			})
			if ack.Code != c.want {
				t.Errorf("%s: %v, want %v", c.user, ack.Code, c.want)
			}
		}
	})
}

// scramClient authenticates by SCRAM-SHA-256.
func scramClient(t *testing.T, url, user, password string) (opts client.Options, conversation func() *scram.ClientConversation) {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := c.NewConversation()
	first, err := conv.Step("")
	if err != nil {
		t.Fatal(err)
	}
	opts = client.Options{URL: url, ClientID: user, CleanStart: true}
	opts.Properties.AuthMethod, opts.Properties.HasAuthMethod = "SCRAM-SHA-256", true
	opts.Properties.AuthData, opts.Properties.HasAuthData = []byte(first), true
	return opts, func() *scram.ClientConversation { return conv }
}

func TestEnhancedAuthentication(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Auth: users()}, nil)
		opts, conv := scramClient(t, "tcp://"+s.mqtt[0], "ann", "pencil")
		current := conv()
		again := make(chan error, 1)
		opts.OnAuth = func(a *packet.Auth) (*packet.Auth, error) {
			reply, err := current.Step(string(a.Data))
			if a.Code == packet.Success {
				if err == nil && !current.Valid() {
					err = errors.New("the server's signature is wrong")
				}
				again <- err
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return &packet.Auth{
				Code: packet.ContinueAuthentication, Method: a.Method, HasMethod: true, Data: []byte(reply), HasData: true,
			}, nil
		}
		ended := make(chan error, 1)
		opts.OnDisconnect = func(err error) { ended <- err }
		c, err := client.Dial(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ack := c.Connack()
		if _, err := current.Step(string(ack.AuthData)); err != nil || !current.Valid() || ack.AuthMethod != "SCRAM-SHA-256" {
			t.Errorf("the server's proof: %v, %v, by %q", err, current.Valid(), ack.AuthMethod)
		}

		reauthenticate := func(user, password string) error {
			next, err := scram.SHA256.NewClient(user, password, "")
			if err != nil {
				t.Fatal(err)
			}
			current = next.NewConversation()
			first, err := current.Step("")
			if err != nil {
				t.Fatal(err)
			}
			return c.Reauthenticate(t.Context(), &packet.Auth{
				Method: "SCRAM-SHA-256", HasMethod: true, Data: []byte(first), HasData: true,
			})
		}
		if err := reauthenticate("ann", "pencil"); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, again); err != nil {
			t.Errorf("the second time: %v", err)
		}
		if _, err := c.Publish(t.Context(), &client.Message{Topic: "x", QoS: 1}); err != nil {
			t.Errorf("publish after that: %v", err)
		}
		if err := reauthenticate("bob", "eraser"); err != nil { // somebody else
			t.Fatal(err)
		}
		var r *packet.Refusal
		if err := receive(t, ended); !errors.As(err, &r) || r.Code != packet.NotAuthorized {
			t.Errorf("another user: %v", err)
		}
	})
}

// Who proves a password wrongly has guessed, as who sends a wrong one.
func TestGuessesByEnhancedAuthenticationCount(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Auth: users(), Limits: fantail.Limits{WrongPasswords: 2}}, nil)
		proves := func(user, password string) error {
			opts, conv := scramClient(t, "tcp://"+s.mqtt[0], user, password)
			opts.OnAuth = answers(conv)
			c, err := client.Dial(t.Context(), opts)
			if err == nil {
				c.Close()
			}
			return err
		}
		for range 2 {
			if err := proves("ann", "wrong"); !refusedWith(err, packet.NotAuthorized) {
				t.Fatalf("a wrong password: %v", err)
			}
		}
		if err := proves("ann", "pencil"); !refusedWith(err, packet.ConnectionRateExceeded) {
			t.Errorf("after too many wrong ones: %v", err)
		}
		if a := s.dial(t).hello("a", login("ann", "pencil")); a.Code != packet.ConnectionRateExceeded {
			t.Errorf("the same password as it is: %v", a.Code)
		}
		if err := proves("bob", "eraser"); err != nil {
			t.Errorf("another user: %v", err)
		}
	})
}

func TestEnhancedAuthenticationRefuses(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Auth: fantail.Auth{Users: users().Users, Anonymous: "loopback"}}, nil)
		opts, conv := scramClient(t, "tcp://"+s.mqtt[0], "ann", "wrong")
		opts.OnAuth = func(a *packet.Auth) (*packet.Auth, error) {
			reply, err := conv().Step(string(a.Data))
			return &packet.Auth{
				Code: packet.ContinueAuthentication, Method: a.Method, HasMethod: true, Data: []byte(reply), HasData: true,
			}, err
		}
		_, err := client.Dial(t.Context(), opts)
		var r *packet.Refusal
		if !errors.As(err, &r) || r.Code != packet.NotAuthorized {
			t.Errorf("a wrong password: %v", err)
		}
		other := func(c *packet.Connect) { c.AuthMethod, c.HasAuthMethod = "KERBEROS", true }
		if ack := s.dial(t).hello("x", other); ack.Code != packet.BadAuthenticationMethod {
			t.Errorf("another method: %v", ack.Code)
		}
		scram := func(c *packet.Connect) { c.AuthMethod, c.HasAuthMethod = "SCRAM-SHA-256", true }
		w := s.dial(t)
		c := packet.Connect{Version: packet.V5, ClientID: "x"}
		scram(&c)
		w.send(packet.AppendConnect(nil, &c))
		w.expect(packet.AUTH)
		w.send(packet.AppendPingreq(nil)) // [MQTT-3.1.2-30]
		if ack := w.connack(); ack.Code != packet.ProtocolError {
			t.Errorf("PINGREQ instead of AUTH: %v", ack.Code)
		}
		w.ended()
		plain := s.device(t, "plain", nil)
		plain.send(packet.AppendAuth(nil, &packet.Auth{Code: packet.ReAuthenticate, Method: "SCRAM-SHA-256", HasMethod: true}, 0))
		plain.sentAway(packet.ProtocolError) // [MQTT-4.12.0-7]
		without := serve(t, transport, fantail.Config{}, nil)
		if ack := without.dial(t).hello("x", scram); ack.Code != packet.BadAuthenticationMethod {
			t.Errorf("a server without users: %v", ack.Code)
		}
	})
}

func TestAnonymousClientsComeFromLoopbackOnly(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Listeners: []fantail.Listener{listener(t, "tcp://127.0.0.1:0?proxy_protocol=true")}}, nil)
		from := func(address string, change func(*packet.Connect)) packet.Connack {
			w := s.dial(t)
			w.send([]byte("PROXY TCP4 " + address + " 127.0.0.1 1234 1883\r\n"))
			ack := w.hello("x", change)
			if ack.Code.Failed() {
				w.ended()
			}
			return ack
		}
		if ack := from("192.0.2.1", nil); ack.Code != packet.NotAuthorized { // 0x87
			t.Errorf("CONNACK: %v", ack.Code)
		}
		line := s.log.wait(t, "connection refused", "addr=192.0.2.1:1234", "reason=not_authorized")
		if !strings.Contains(line, "fantail ctl user add") || !strings.Contains(line, "auth.anonymous: always") {
			t.Errorf("the log does not say what to do: %s", line)
		}
		if ack := from("192.0.2.1", func(c *packet.Connect) { c.Version, c.CleanStart = packet.V311, true }); ack.Code != packet.NotAuthorized { // 5
			t.Errorf("CONNACK of 3.1.1: %v", ack.Code)
		}
		made := func(c *packet.Connect) { c.HasUserName, c.UserName = true, "made up" }
		if ack := from("192.0.2.1", made); ack.Code != packet.NotAuthorized {
			t.Errorf("CONNACK with a user name: %v", ack.Code)
		}
		if ack := from("127.0.0.1", made); ack.Code != packet.Success {
			t.Errorf("CONNACK from loopback: %v", ack.Code)
		}
	})
}

func TestAnonymousAlwaysAndNever(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		always := serve(t, transport, fantail.Config{
			Auth: fantail.Auth{Anonymous: "always"}, Listeners: []fantail.Listener{listener(t, "tcp://127.0.0.1:0?proxy_protocol=true")},
		}, nil)
		w := always.dial(t)
		w.send([]byte("PROXY TCP4 192.0.2.1 127.0.0.1 1234 1883\r\n"))
		if ack := w.hello("x", nil); ack.Code != packet.Success {
			t.Errorf("always: %v", ack.Code)
		}
		never := users()
		never.Anonymous = "never"
		s := serve(t, transport, fantail.Config{Auth: never}, nil)
		if ack := s.dial(t).hello("x", nil); ack.Code != packet.NotAuthorized {
			t.Errorf("never: %v", ack.Code)
		}
	})
}

// socket is a WebSocket as a stream.
type socket struct {
	net.Conn
	in []byte
}

func (s *socket) Write(b []byte) (int, error) {
	if err := wsutil.WriteClientBinary(s.Conn, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *socket) Read(b []byte) (int, error) {
	for len(s.in) == 0 {
		data, err := wsutil.ReadServerBinary(s.Conn)
		if _, ok := errors.AsType[wsutil.ClosedError](err); ok {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		s.in = data
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

func TestBrowsersComeFromOwnPagesOnly(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		for origin, want := range map[string]packet.Code{
			"":                            packet.Success,
			"http://localhost:8080":       packet.Success,
			"http://127.0.0.1":            packet.Success,
			"http://[::1]:3000":           packet.Success,
			"https://evil.example":        packet.NotAuthorized,
			"http://localhost.evil.com":   packet.NotAuthorized,
			"http://evil.com/?localhost":  packet.NotAuthorized,
			"http://localhost@evil.com":   packet.NotAuthorized,
			"null":                        packet.NotAuthorized, // a sandboxed page, or a file
			"http://192.0.2.1:1883/local": packet.NotAuthorized,
		} {
			d := ws.Dialer{Protocols: []string{"mqtt"}}
			if origin != "" {
				d.Header = ws.HandshakeHeaderHTTP(http.Header{"Origin": {origin}})
			}
			conn, _, _, err := d.Dial(t.Context(), "ws://"+s.mqtt[0]+"/mqtt")
			if err != nil {
				t.Fatal(err)
			}
			w := &wire{t: t, conn: &socket{Conn: conn}}
			if ack := w.hello("x", nil); ack.Code != want {
				t.Errorf("origin %q: %v, want %v", origin, ack.Code, want)
			}
			conn.Close()
		}
	})
}
