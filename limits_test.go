package fantail_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/packet"
)

// openTo lets everybody in.
func openTo(l fantail.Limits) fantail.Config {
	return fantail.Config{Limits: l, Auth: fantail.Auth{Anonymous: "always"}}
}

// say0 sends n messages of QoS 0 at once.
func (w *wire) flood(topic string, n, size int) {
	w.t.Helper()
	var b []byte
	for i := range n {
		payload := append([]byte(strconv.Itoa(i)+" "), make([]byte, size)...)
		b = packet.AppendPublish(b, &packet.Publish{Topic: []byte(topic), Payload: payload}, w.v)
	}
	w.send(b)
}

// A client that sends faster than it may is read as fast as it may, and loses
// nothing.
func TestAPublisherOverItsRateIsSlowed(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		for name, limits := range map[string]fantail.Limits{
			"messages": {MessagesIn: 50},
			"bytes":    {BytesIn: 50 * 110},
			"user":     {PerUser: fantail.PerUser{MessagesIn: 50}},
		} {
			t.Run(name, func(t *testing.T) {
				c := openTo(limits)
				c.Auth.Users = []fantail.User{{Name: "ann", Password: "secret"}}
				c.Access.Default = "allow"
				s := serve(t, transport, c, nil)
				sub, pub := s.device(t, "sub", nil).to("a", 0), s.device(t, "pub", func(c *packet.Connect) {
					c.UserName, c.HasUserName, c.Password, c.HasPassword = "ann", true, []byte("secret"), true
				})
				start := time.Now()
				pub.flood("a", 150, 100)
				for i := range 150 {
					if p := sub.message(); !strings.HasPrefix(string(p.Payload), strconv.Itoa(i)+" ") {
						t.Fatalf("%q came, want %d", p.Payload, i)
					}
				}
				if d := time.Since(start); d < 1500*time.Millisecond || d > 6*time.Second {
					t.Errorf("150 messages took %v, want about 2 s", d)
				}
				pub.quiet() // and pings behind it
				if s.total(t, "rate_slowed_total") == 0 {
					t.Error("nothing is counted")
				}
			})
		}
	})
}

// What goes to a client over its rate: at QoS 0 it is dropped and counted, at QoS
// 1 and 2 it waits, and all of it comes in order.
func TestASubscriberOverItsRateIsPaced(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		for qos := range byte(3) {
			t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
				s := serve(t, transport, openTo(fantail.Limits{MessagesOut: 20, BytesOut: 1 << 20}), nil)
				sub, pub := s.device(t, "sub", nil).to("a", qos), s.device(t, "pub", nil)
				const n = 50
				start := time.Now()
				for i := range n {
					if code := pub.publish(packet.Publish{Topic: []byte("a"), Payload: []byte(strconv.Itoa(i)), QoS: qos}); code.Failed() {
						t.Fatal(code)
					}
				}
				if qos == 0 {
					s.reaches(t, `messages_dropped_total{reason="rate_out"}`, n-22)
					if came := n - int(s.figure(t, `messages_dropped_total{reason="rate_out"}`)); came < 20 {
						t.Errorf("%d came, want 20 at least", came)
					}
					return
				}
				for i := range n {
					p := sub.nextPublish()
					if string(p.Payload) != strconv.Itoa(i) {
						t.Fatalf("%q came, want %d", p.Payload, i)
					}
					if qos == 1 {
						sub.answer(packet.PUBACK, p.ID)
					} else {
						sub.answer(packet.PUBREC, p.ID)
					}
				}
				if d := time.Since(start); d < 1200*time.Millisecond || d > 5*time.Second {
					t.Errorf("%d messages took %v, want about 1.5 s", n, d)
				}
			})
		}
	})
}

// Retained messages come at the client's rate, and all of them.
func TestRetainedMessagesComeAtTheRate(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, openTo(fantail.Limits{MessagesOut: 50}), nil)
		pub := s.device(t, "pub", nil)
		for i := range 120 {
			pub.publish(packet.Publish{Topic: []byte(fmt.Sprint("r/", i)), Payload: []byte("x"), Retain: true})
		}
		pub.quiet()
		sub := s.device(t, "sub", nil)
		start := time.Now()
		sub.send(packet.AppendSubscribe(nil, &packet.Subscribe{ID: 9, Filters: []packet.Subscription{{Filter: "r/#"}}}, packet.V5))
		sub.expect(packet.SUBACK)
		for range 120 {
			sub.message()
		}
		if d := time.Since(start); d < time.Second || d > 5*time.Second {
			t.Errorf("120 retained messages took %v, want about 1.4 s", d)
		}
		if n := s.total(t, "messages_dropped_total"); n > 0 {
			t.Errorf("%v were dropped", n)
		}
	})
}

// A set of limits holds for those that are given it, and is announced.
func TestASetOfLimits(t *testing.T) {
	c := openTo(fantail.Limits{Sets: map[string]fantail.LimitSet{"small": {
		Packet: 1000, ReceiveMaximum: 5, TopicAliasMaximum: 3, KeepAliveMax: 30 * time.Second, MaximumQoS: 1, NoRetain: true,
		Subscriptions: 2, InFlight: 1, SessionExpiryMax: time.Minute, QueueMessages: 3, MessageExpiryMax: time.Hour,
	}}})
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, c, func(b *fantail.Broker) { b.UseAuthenticator(giver{}) })
		w, a := s.connect(t, "small", func(c *packet.Connect) {
			c.CleanStart, c.KeepAlive, c.SessionExpiry, c.HasSessionExpiry = true, 600, 3600, true
		})
		if a.MaximumPacketSize != 1000 || a.ReceiveMaximum != 5 || a.TopicAliasMaximum != 3 || a.ServerKeepAlive != 30 ||
			!a.HasMaximumQoS || a.MaximumQoS != 1 || !a.WithoutRetain || a.SessionExpiry != 60 {
			t.Errorf("announced: %+v", a.ConnackProperties)
		}
		_, all := s.connect(t, "large", nil)
		if all.MaximumPacketSize != 1<<20 || all.HasMaximumQoS || all.WithoutRetain || all.ReceiveMaximum != 100 {
			t.Errorf("announced to others: %+v", all.ConnackProperties)
		}
		w.to("a", 1).to("b", 1)
		if codes := w.subscribe(packet.Subscription{Filter: "c"}); codes[0] != packet.QuotaExceeded {
			t.Errorf("a third subscription: %v", codes)
		}
		pub := s.device(t, "pub", nil).to("c", 0)
		for range 3 {
			pub.say("a", "x")
		}
		if p := w.message(); p.ID == 0 { // not acknowledged: there is room for one
			t.Errorf("%+v", p)
		}
		w.quiet()
		w.say("c", "y")
		if p := pub.message(); !p.HasExpiry || p.Expiry > 3600 || p.Expiry < 3500 {
			t.Errorf("the message expires: %v, %d", p.HasExpiry, p.Expiry)
		}
		w.conn.Close()
		s.reaches(t, `connections_closed_total{reason="peer_closed"}`, 1)
		for range 5 {
			pub.say("a", "z")
		}
		s.reaches(t, `messages_dropped_total{reason="queue_full"}`, 4) // two wait, of three

		for code, p := range map[packet.Code]packet.Publish{
			packet.QoSNotSupported:    {Topic: []byte("a"), QoS: 2, ID: 1},
			packet.RetainNotSupported: {Topic: []byte("a"), Retain: true},
		} {
			w := s.device(t, "small", nil)
			w.send(packet.AppendPublish(nil, &p, w.v))
			w.sentAway(code)
		}
		if a := s.dial(t).hello("unknown", nil); a.Code != packet.NotAuthorized {
			t.Errorf("limits that there are not: %v", a.Code)
		}
		s.log.wait(t, "connection refused", "limits nowhere, which are not among limits.sets")
	})
}

// giver gives each client the limits that its id names.
type giver struct{}

func (giver) Authenticate(_ context.Context, r *fantail.ConnectRequest) (*fantail.Grant, error) {
	switch r.ClientID {
	case "small":
		return &fantail.Grant{Limits: "small"}, nil
	case "unknown":
		return &fantail.Grant{Limits: "nowhere"}, nil
	default:
		return nil, nil
	}
}

func TestRetainedMessagesOfAClient(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, openTo(fantail.Limits{ClientRetainedMessages: 2, RetainedExpiry: time.Hour}), nil)
		a, b := s.device(t, "a", nil), s.device(t, "b", nil)
		for i, want := range []packet.Code{0, 0, packet.QuotaExceeded} {
			if code := a.keep(fmt.Sprint("r/", i), "x"); code != want {
				t.Errorf("retained message %d: %v, want %v", i, code, want)
			}
		}
		if code := a.keep("r/1", "another"); code.Failed() {
			t.Errorf("in the place of another one: %v", code)
		}
		if code := b.keep("r/0", "mine"); code.Failed() {
			t.Errorf("another client: %v", code)
		}
		if code := a.keep("r/2", "x"); code.Failed() {
			t.Errorf("after another client took one over: %v", code)
		}
		a.keep("r/2", "")
		if code := a.keep("r/3", "x"); code.Failed() {
			t.Errorf("after one was cleared: %v", code)
		}
		a.to("r/3", 0)
		if p := a.message(); !p.HasExpiry || p.Expiry > 3600 {
			t.Errorf("it is retained: expires %v, %d", p.HasExpiry, p.Expiry)
		}
	})
}

// The PROXY header's address is the one that counts.
func proxied(t *testing.T, s *server, from string) *wire {
	t.Helper()
	w := s.dial(t)
	w.send([]byte("PROXY TCP4 " + from + " 192.0.2.200 4000 1883\r\n"))
	return w
}

func proxyListener(t *testing.T, options string) []fantail.Listener {
	t.Helper()
	return []fantail.Listener{listener(t, "tcp://127.0.0.1:0?proxy_protocol=true"+options)}
}

func TestConnectionsOfAnAddressAreBounded(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := openTo(fantail.Limits{PerAddress: fantail.PerAddress{Connections: 2}})
		c.Listeners = proxyListener(t, "")
		s := serve(t, transport, c, nil)
		first := proxied(t, s, "192.0.2.1")
		if a := first.hello("a", nil); a.Code.Failed() {
			t.Fatal(a.Code)
		}
		if a := proxied(t, s, "192.0.2.1").hello("b", nil); a.Code.Failed() {
			t.Fatal(a.Code)
		}
		if a := proxied(t, s, "192.0.2.1").hello("c", nil); a.Code != packet.QuotaExceeded {
			t.Errorf("a third one: %v", a.Code)
		}
		if a := proxied(t, s, "192.0.2.1").hello("c", func(c *packet.Connect) { c.Version, c.CleanStart = packet.V311, true }); a.Code != packet.ServerUnavailable {
			t.Errorf("a third one of 3.1.1: %v", a.Code)
		}
		if a := proxied(t, s, "192.0.2.2").hello("d", nil); a.Code.Failed() {
			t.Errorf("another address: %v", a.Code)
		}
		s.reaches(t, `connections_refused_total{reason="address_connections"}`, 2)
		s.log.wait(t, "connections refused", "address_connections", "limits.per_address.connections of 2", "addr=192.0.2.1")
		first.bye(packet.Disconnect{})
		eventually(t, func() bool { a := proxied(t, s, "192.0.2.1").hello("e", nil); return !a.Code.Failed() }, func() any { return "after one has left" })
	})
}

func TestConnectionsOfAListenerAndAUserAreBounded(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := openTo(fantail.Limits{PerUser: fantail.PerUser{Connections: 1}})
		c.Listeners = []fantail.Listener{listener(t, "tcp://127.0.0.1:0?max_connections=3")}
		c.Auth.Users = []fantail.User{{Name: "ann", Password: "secret"}}
		s := serve(t, transport, c, nil)
		ann := func(c *packet.Connect) {
			c.UserName, c.HasUserName, c.Password, c.HasPassword = "ann", true, []byte("secret"), true
		}
		s.device(t, "a", ann)
		if a := s.dial(t).hello("b", ann); a.Code != packet.QuotaExceeded {
			t.Errorf("a second one of the user: %v", a.Code)
		}
		s.reaches(t, `connections_refused_total{reason="user_connections"}`, 1)
		again := s.device(t, "a", ann) // in the place of the first
		again.bye(packet.Disconnect{})
		eventually(t, func() bool { a := s.dial(t).hello("c", ann); return !a.Code.Failed() }, func() any { return "after it has left" })
		eventually(t, func() bool {
			a := s.dial(t).hello(fmt.Sprint(time.Now().UnixNano()), nil)
			return a.Code == packet.QuotaExceeded
		},
			func() any { return "the listener is never full" })
		if s.figure(t, `connections_refused_total{reason="listener_connections"}`) == 0 {
			t.Error("it is not counted")
		}
	})
}

// Connections that come too fast are left waiting, and much too fast are refused.
func TestConnectsOverTheirRate(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, openTo(fantail.Limits{ConnectRate: 5}), nil)
		start := time.Now()
		var at []*wire
		for range 15 {
			at = append(at, s.dial(t))
		}
		codes := map[packet.Code]int{}
		for i, w := range at {
			codes[w.hello(fmt.Sprint("c", i), nil).Code]++
		}
		if d := time.Since(start); codes[packet.Success] < 10 || codes[packet.Success] > 14 || codes[packet.Success]+codes[packet.ConnectionRateExceeded] != 15 || d < 500*time.Millisecond {
			t.Errorf("in %v: %v", d, codes)
		}
		if n := s.figure(t, `connections_refused_total{reason="connect_rate"}`); n != float64(codes[packet.ConnectionRateExceeded]) {
			t.Errorf("%v are counted, of %v", n, codes)
		}
		if lines := s.log.having("connections refused", "connect_rate"); len(lines) != 1 {
			t.Errorf("it is logged %d times", len(lines))
		}
	})
}

// Who says nothing makes room for others, the oldest first; one deadline is for
// all that comes before CONNACK.
func TestConnectionsThatSayNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		limits := fantail.Limits{Unauthenticated: fantail.Unauthenticated{Connections: 50, PerAddress: 20}}
		s := serve(t, transport, openTo(limits), nil)
		var silent []*wire
		for range 100 {
			silent = append(silent, s.dial(t))
		}
		s.reaches(t, `connections_refused_total{reason="unauthenticated"}`, 80)
		s.device(t, "honest", nil).quiet()
		silent[0].conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := silent[0].conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the oldest is still connected: %v", err)
		}
		if a := silent[99].hello("newest", nil); a.Code.Failed() {
			t.Errorf("the newest: %v", a.Code)
		}
	})
}

func TestOneDeadlineForAllBeforeConnack(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, openTo(fantail.Limits{ConnectTimeout: 2 * time.Second}), nil)
		connect := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "slow", CleanStart: true})
		w := s.dial(t)
		start := time.Now()
		<-time.After(1500 * time.Millisecond)
		for _, b := range connect[:len(connect)-1] {
			if _, err := w.conn.Write([]byte{b}); err != nil {
				break
			}
		}
		w.conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, w.conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("it is still connected")
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("it was closed after %v, want 2 s", d)
		}
	})
}

func TestALargeConnectIsRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, openTo(fantail.Limits{ConnectPacket: 1 << 10}), nil)
		w := s.dial(t)
		w.send([]byte{0x10, 0x81, 0x10, 0, 4, 'M', 'Q', 'T', 'T', 5}) // more follows, it says
		w.ended()
		s.reaches(t, `connections_refused_total{reason="packet_too_large"}`, 1)
		ok := s.device(t, "a", nil).to("a", 1)
		ok.publish(packet.Publish{Topic: []byte("a"), Payload: make([]byte, 100<<10)})
		if p := ok.message(); len(p.Payload) != 100<<10 {
			t.Errorf("%d bytes came", len(p.Payload))
		}
	})
}

// controlled asks the control socket.
func controlled(t *testing.T, data, method, path string, body any) (status int, answer string) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(data, "fantail.sock"))
		},
	}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://fantail"+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// A ban disconnects who is there, keeps out who comes, and outlives the broker.
func TestABan(t *testing.T) {
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	c := openTo(fantail.Limits{})
	c.Data, c.Listeners = data, proxyListener(t, "")
	s := serve(t, "auto", c, nil)
	hello := func(s *server, id, from string) packet.Code { return proxied(t, s, from).hello(id, nil).Code }
	a, b := proxied(t, s, "192.0.2.1"), proxied(t, s, "192.0.2.2")
	a.hello("bot-1", nil)
	b.hello("good", nil)
	status, text := controlled(t, data, "POST", "/api/v1/bans", map[string]string{"client_pattern": "bot-.*", "reason": "noise", "by": "ann"})
	if status != http.StatusOK || !strings.Contains(text, `"disconnected": 1`) {
		t.Fatalf("%d: %s", status, text)
	}
	a.sentAway(packet.AdministrativeAction)
	b.quiet()
	if code := hello(s, "bot-2", "192.0.2.3"); code != packet.Banned {
		t.Errorf("a banned client: %v", code)
	}
	s.log.wait(t, "connection refused", "reason=banned", "client ids like bot-.* is banned for good by ann: noise", "fantail ctl ban rm ")
	if status, text := controlled(t, data, "POST", "/api/v1/bans", map[string]string{"address": "198.51.100.0/24"}); status != http.StatusOK {
		t.Fatalf("%d: %s", status, text)
	}
	proxied(t, s, "198.51.100.7").ended()
	s.reaches(t, `connections_refused_total{reason="banned"}`, 2)
	if status, text := controlled(t, data, "POST", "/api/v1/bans", map[string]string{"reason": "x"}); status != http.StatusUnprocessableEntity {
		t.Errorf("a ban of nobody: %d: %s", status, text)
	}
	s.stop()
	<-s.done

	s = serve(t, "auto", c, nil)
	if code := hello(s, "bot-2", "192.0.2.3"); code != packet.Banned {
		t.Errorf("after a restart: %v", code)
	}
	var list []struct {
		ID      string `json:"id"`
		Refused int    `json:"refused"`
	}
	if _, text := controlled(t, data, "GET", "/api/v1/bans", nil); json.Unmarshal([]byte(text), &list) != nil || len(list) != 2 {
		t.Fatalf("%s", text)
	}
	for _, b := range list {
		if status, text := controlled(t, data, "DELETE", "/api/v1/bans/"+b.ID, nil); status != http.StatusOK {
			t.Errorf("%d: %s", status, text)
		}
	}
	if status, _ := controlled(t, data, "DELETE", "/api/v1/bans/nothing", nil); status != http.StatusNotFound {
		t.Errorf("a ban that there is not: %d", status)
	}
	if code := hello(s, "bot-2", "198.51.100.7"); code.Failed() {
		t.Errorf("after it was lifted: %v", code)
	}
}

// Two devices with one client id are told apart from each other in the log.
func TestFlappingIsBanned(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := openTo(fantail.Limits{Flapping: fantail.Flapping{Enabled: true, Connects: 5}})
		c.Listeners = proxyListener(t, "")
		s := serve(t, transport, c, nil)
		codes := map[packet.Code]int{}
		for range 6 {
			codes[proxied(t, s, "192.0.2.1").hello("twin", nil).Code]++
			codes[proxied(t, s, "192.0.2.2").hello("twin", nil).Code]++
		}
		if codes[packet.Success] != 10 || codes[packet.Banned] != 2 {
			t.Errorf("%v", codes)
		}
		s.log.wait(t, "client banned for flapping", "client=twin", "addr=192.0.2.1:4000", "other=192.0.2.2:4000", "two devices have one client id")
		if a := proxied(t, s, "192.0.2.3").hello("twin", nil); a.Code.Failed() {
			t.Errorf("at another address: %v", a.Code)
		}
	})
}

// Above its memory the broker takes no new connection, and serves those it has.
func TestNoMemoryForNewConnections(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := openTo(fantail.Limits{})
		s := serve(t, transport, c, nil)
		w := s.device(t, "early", nil)
		c.Limits.Memory = 1 << 10
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		<-time.After(150 * time.Millisecond) // memory is looked at ten times a second
		if a := s.dial(t).hello("late", nil); a.Code != packet.ServerBusy {
			t.Errorf("%v", a.Code)
		}
		if a := s.dial(t).hello("late", func(c *packet.Connect) { c.Version, c.CleanStart = packet.V311, true }); a.Code != packet.ServerUnavailable {
			t.Errorf("3.1.1: %v", a.Code)
		}
		w.quiet()
		s.reaches(t, `connections_refused_total{reason="overloaded"}`, 2)
		if lines := s.log.having("connections refused", "overloaded", "MiB of memory are in use"); len(lines) != 1 {
			t.Errorf("it is logged %d times", len(lines))
		}
		c.Limits.Memory = -1
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		s.device(t, "late", nil)
	})
}

// The sandbox serves strangers, little by little.
func TestTheSandboxServes(t *testing.T) {
	c := config.Sandbox()
	c.Listeners = nil
	s := serve(t, "auto", c, nil)
	w, a := s.connect(t, "stranger", func(c *packet.Connect) { c.SessionExpiry, c.HasSessionExpiry = 1_000_000, true })
	if a.SessionExpiry != 3600 || a.ServerKeepAlive != 300 || a.MaximumPacketSize != 64<<10 || a.ReceiveMaximum != 16 {
		t.Errorf("announced: %+v", a.ConnackProperties)
	}
	for i := range 11 {
		if code := w.keep(fmt.Sprint("r/", i), "x"); (i == 10) != (code == packet.QuotaExceeded) {
			t.Errorf("retained message %d: %v", i, code)
		}
	}
	sub := s.device(t, "another", nil).to("r/1", 0)
	if p := sub.message(); !p.HasExpiry || p.Expiry > 3600 {
		t.Errorf("it expires: %v, %d", p.HasExpiry, p.Expiry)
	}
}

// limitedBy lets clients in with the set of limits that is named as they are.
type limitedBy struct{}

func (limitedBy) Authenticate(_ context.Context, r *fantail.ConnectRequest) (*fantail.Grant, error) {
	return &fantail.Grant{By: "the test", Limits: r.UserName}, nil
}

// A large message for many is encoded once for all of them. It counts as much for
// each who has a rate, and for who sends it.
func TestRatesOfBytesHoldForLargeMessagesForMany(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		const (
			n, size = 30, 20 << 10 // 600 KiB
			slow    = 200 << 10    // bytes a second: 2 s, and a burst
			many    = 20
		)
		c := openTo(fantail.Limits{Sets: map[string]fantail.LimitSet{"slow": {BytesOut: slow}, "held": {BytesIn: 2 * slow}}})
		s := serve(t, transport, c, func(b *fantail.Broker) { b.UseAuthenticator(limitedBy{}) })
		var others []*wire
		for i := range many {
			others = append(others, s.device(t, fmt.Sprint("fast", i), nil).to("a", 0))
		}
		sub := s.device(t, "slow", as("slow")).to("a", 1)
		pub := s.device(t, "pub", as("held"))
		start := time.Now()
		go func() { // ends with its last message
			for i := range n {
				payload := append([]byte(strconv.Itoa(i)+" "), make([]byte, size)...)
				_, _ = pub.conn.Write(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), Payload: payload, QoS: 1, ID: uint16(i + 1)}, pub.v))
			}
		}()
		all := func(w *wire) time.Duration {
			for i := range n {
				if p := w.take(); !strings.HasPrefix(string(p.Payload), strconv.Itoa(i)+" ") || len(p.Payload) < size {
					t.Fatalf("%.10q came, want %d", p.Payload, i)
				}
			}
			return time.Since(start)
		}
		if d := all(others[0]); d < 400*time.Millisecond || d > 5*time.Second {
			t.Errorf("from a publisher of 400 KiB a second 600 KiB took %v, want about 0.5 s", d)
		}
		if d := all(sub); d < 1700*time.Millisecond || d > 5*time.Second {
			t.Errorf("to a subscriber of 200 KiB a second 600 KiB took %v, want about 2 s", d)
		}
		for _, w := range others[1:] {
			all(w)
		}
		if dropped := s.total(t, "messages_dropped_total"); dropped > 0 {
			t.Errorf("%v messages were dropped", dropped)
		}
	})
}
