package fantail_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// No password is in the log, the metrics, $SYS or what other clients hear, be
// it right, wrong or in the wrong place.
func TestNoPasswordLeavesTheBroker(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		const secret = "correct-horse-battery"
		s := serve(t, transport, fantail.Config{
			Auth: fantail.Auth{Users: []fantail.User{{Name: "ann", Password: secret}}, Anonymous: "loopback"},
		}, nil)
		watch := s.device(t, "watch", signed("ann", secret))
		watch.to("$SYS/#", 0)
		heard := ""
		for i, c := range []struct{ user, password string }{{"ann", secret}, {"ann", secret + "r"}, {"eve", secret}, {"", secret}} {
			w := s.dial(t)
			ack := w.hello(fmt.Sprint("x", i), func(r *packet.Connect) {
				r.HasUserName, r.UserName = c.user != "", c.user
				r.HasPassword, r.Password = true, []byte(c.password)
				r.Will = &packet.Will{Topic: "w"}
			})
			heard += ack.Reason
			if ack.Code == packet.Success {
				w.quiet()
			}
			w.conn.Close()
		}
		s.log.wait(t, "connection refused", "user=eve")
		_, metrics := s.get(t, "/metrics")
		_, health := s.get(t, "/healthz")
		watch.send(packet.AppendPingreq(nil))
		for f := watch.next(); f.Type != packet.PINGRESP; f = watch.next() {
			heard += string(f.Body)
		}
		for where, text := range map[string]string{
			"the log": strings.Join(s.log.having(), "\n"), "the metrics": metrics, "the health": health, "what clients hear": heard,
		} {
			if strings.Contains(text, "horse") {
				t.Errorf("the password is in %s", where)
			}
		}
	})
}

// A user name without a password, or with an empty one, is nobody.
func TestAPasswordThatIsLeftOutIsWrong(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Auth: users()}, nil)
		for name, change := range map[string]func(*packet.Connect){
			"none":            func(c *packet.Connect) { c.HasUserName, c.UserName = true, "ann" },
			"empty":           signed("ann", ""),
			"a zero":          signed("ann", "\x00"),
			"cut":             signed("ann", "penci"),
			"longer":          signed("ann", "pencil\x00"),
			"another's":       signed("ann", "eraser"),
			"of another case": signed("Ann", "pencil"),
			"of no name":      signed("", "pencil"),
			"no name, none":   func(c *packet.Connect) { c.HasUserName = true },
		} {
			for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
				w := s.dial(t)
				ack := w.hello("x", func(c *packet.Connect) {
					change(c)
					c.Version, c.CleanStart = v, true
				})
				if ack.Code != packet.BadUserNameOrPassword && ack.Code != packet.NotAuthorized {
					t.Errorf("%s, %v: %v", name, v, ack.Code)
				}
				w.ended()
			}
		}
	})
}

// Whatever the listener, the first and the default one included, passwords are
// asked for.
func TestEveryListenerAsksForThePassword(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		path := filepath.Join(t.TempDir(), "s")
		s := serve(t, transport, fantail.Config{Auth: users(), Listeners: []fantail.Listener{
			listener(t, "tcp://127.0.0.1:0"), listener(t, "ws://127.0.0.1:0"), listener(t, "tcp://127.0.0.1:0?proxy_protocol=true"), listener(t, "unix://"+path),
		}}, nil)
		dial := map[string]func() (net.Conn, error){
			"tcp": func() (net.Conn, error) { return net.Dial("tcp", s.mqtt[0]) },
			"ws on tcp": func() (net.Conn, error) {
				c, _, _, err := ws.Dialer{Protocols: []string{"mqtt"}}.Dial(t.Context(), "ws://"+s.mqtt[0]+"/mqtt")
				return &socket{Conn: c}, err
			},
			"ws": func() (net.Conn, error) {
				c, _, _, err := ws.Dialer{Protocols: []string{"mqtt"}}.Dial(t.Context(), "ws://"+s.mqtt[1]+"/mqtt")
				return &socket{Conn: c}, err
			},
			"proxy": func() (net.Conn, error) {
				c, err := net.Dial("tcp", s.mqtt[2])
				if err == nil {
					_, err = c.Write([]byte("PROXY TCP4 127.0.0.1 127.0.0.1 1234 1883\r\n"))
				}
				return c, err
			},
			"unix": func() (net.Conn, error) { return net.Dial("unix", path) },
		}
		for name, d := range dial {
			for password, want := range map[string]packet.Code{"pencil": packet.Success, "pen": packet.BadUserNameOrPassword} {
				conn, err := d()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				w := &wire{t: t, conn: conn}
				if ack := w.hello("x", signed("ann", password)); ack.Code != want {
					t.Errorf("%s, %q: %v, want %v", name, password, ack.Code, want)
				}
				conn.Close()
			}
		}
	})
}

// A web page learns nothing from the HTTP listener: it is allowed none of what
// is there, and changes nothing.
func TestTheHTTPListenerAllowsNoOtherOrigin(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodDelete} {
			for _, path := range []string{"/metrics", "/healthz", "/readyz", "/", "/debug/pprof/", "/api/", "/../etc/passwd"} {
				r, err := http.NewRequestWithContext(t.Context(), method, s.http+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Origin", "https://evil.example")
				r.Header.Set("Access-Control-Request-Method", "POST")
				answer, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				for name := range answer.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s: %s", method, path, name)
					}
				}
				if answer.StatusCode == http.StatusOK && (method != http.MethodGet || strings.HasPrefix(path, "/debug")) {
					t.Errorf("%s %s: %s", method, path, answer.Status)
				}
			}
		}
	})
}

// Behind a proxy the client's address is what the proxy says, for WebSockets as
// for others; who cannot write that header on another listener is itself.
func TestTheAddressBehindAProxyCounts(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Listeners: []fantail.Listener{
			listener(t, "ws://127.0.0.1:0?proxy_protocol=true"), listener(t, "tcp://127.0.0.1:0"),
		}}, nil)
		for address, want := range map[string]packet.Code{"192.0.2.1": packet.NotAuthorized, "127.0.0.1": packet.Success} {
			conn, err := net.Dial("tcp", s.mqtt[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("PROXY TCP4 " + address + " 127.0.0.1 1234 1883\r\n")); err != nil {
				t.Fatal(err)
			}
			u := ws.Dialer{Protocols: []string{"mqtt"}}
			if _, _, err := u.Upgrade(conn, &url.URL{Scheme: "ws", Host: "localhost", Path: "/mqtt"}); err != nil {
				t.Fatal(err)
			}
			w := &wire{t: t, conn: &socket{Conn: conn}}
			if ack := w.hello("x", nil); ack.Code != want {
				t.Errorf("from %s: %v, want %v", address, ack.Code, want)
			}
			conn.Close()
		}
		conn, err := net.Dial("tcp", s.mqtt[1])
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{t: t, conn: conn}
		defer conn.Close()
		w.send([]byte("PROXY TCP4 192.0.2.9 127.0.0.1 1234 1883\r\n"))
		w.ended()
		s.log.wait(t, "refused", "addr=127.0.0.1")
	})
}

// What an authenticator or an authorizer says in its own words is for the log:
// it may name what strangers should not know.
func TestWhyIsForTheOwnerAlone(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) {
			b.UseAuthenticator(authenticator(func(_ context.Context, r *fantail.ConnectRequest) error {
				if r.UserName == "ann" {
					return nil
				}
				return errors.New("dial tcp 10.1.2.3:5432: no such host")
			}))
			b.UseAuthorizer(authorizer(func(*fantail.ClientInfo, fantail.Action, string) error {
				return errors.New("rule 7 of /etc/fantail/rules.yaml")
			}))
		})
		for _, c := range []struct {
			change func(*packet.Connect)
			logged string
		}{
			{func(*packet.Connect) {}, "10.1.2.3"},
			{func(c *packet.Connect) {
				signed("ann", "")(c)
				c.Will = &packet.Will{Topic: "w"}
			}, "rule 7"},
		} {
			ack := s.dial(t).hello(c.logged, c.change)
			if ack.Code != packet.NotAuthorized || strings.Contains(ack.Reason, c.logged) {
				t.Errorf("CONNACK: %v %q", ack.Code, ack.Reason)
			}
			s.log.wait(t, "connection refused", c.logged)
		}
		ann := s.device(t, "ann", signed("ann", ""))
		ann.send(packet.AppendSubscribe(nil, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "a"}}}, packet.V5))
		if f := ann.expect(packet.SUBACK); strings.Contains(string(f.Body), "rule") {
			t.Errorf("SUBACK: %q", f.Body)
		}
		ann.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), QoS: 1, ID: 2}, packet.V5))
		if f := ann.expect(packet.PUBACK); strings.Contains(string(f.Body), "rule") {
			t.Errorf("PUBACK: %q", f.Body)
		}
	})
}
