package fantail_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
	"github.com/fantail-mqtt/fantail/packet"
)

// doorman is a server that says whether clients may come in.
type doorman struct {
	*httptest.Server
	ca    string
	mode  atomic.Pointer[string] // "", down, or slow
	asked chan struct{}          // one for each slow request
	open  chan struct{}          // ends the slow ones
}

func newDoorman(t *testing.T) *doorman {
	t.Helper()
	d := &doorman{asked: make(chan struct{}, 1000), open: make(chan struct{})}
	d.behave("")
	d.Server = httptest.NewTLSServer(d)
	t.Cleanup(func() {
		close(d.open)
		d.Close()
	})
	d.ca = authority(t, d.Server)
	return d
}

func (d *doorman) behave(mode string) { d.mode.Store(&mode) }

func (d *doorman) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch *d.mode.Load() {
	case "down":
		panic(http.ErrAbortHandler)
	case "slow":
		d.asked <- struct{}{}
		<-d.open
		return
	}
	var c map[string]string
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	passwords := map[string]string{"dev": "right", `"},{"a": "'; DROP TABLE users; --<b>&user=x#/../${password}`: "right"}
	answer := map[string]any{"result": "deny", "reason": "the password is not the device's"}
	switch want, known := passwords[c["username"]]; {
	case !known:
		answer = map[string]any{"result": "ignore"}
	case c["password"] == want:
		answer = map[string]any{"result": "allow", "client_id": "known-" + c["clientid"]}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestServerThatIsAsked(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		d := newDoorman(t)
		s := serve(t, transport, chain(
			fantail.Step{HTTP: &fantail.StepHTTP{URL: d.URL + "/auth", CA: d.ca, Failures: 2, Rest: 50 * time.Millisecond}},
			fantail.Step{Users: &fantail.StepUsers{}},
		), nil)
		n := 0
		hello := func(user, password string, want packet.Code) packet.Connack {
			t.Helper()
			n++
			ack := s.dial(t).hello(fmt.Sprint(n), login(user, password))
			if ack.Code != want {
				t.Errorf("%s: %v, want %v", user, ack.Code, want)
			}
			return ack
		}
		if ack := hello("dev", "right", packet.Success); ack.AssignedClientID != "known-1" {
			t.Errorf("the client is called %q", ack.AssignedClientID)
		}
		hello(`"},{"a": "'; DROP TABLE users; --<b>&user=x#/../${password}`, "right", packet.Success)
		hello("dev", "wrong", packet.BadUserNameOrPassword)
		s.log.wait(t, "connection refused", "the server denies it: the password is not the device's", "step=auth.http")
		hello("ann", "pencil", packet.Success) // the step behind it
		hello("eve", "pencil", packet.BadUserNameOrPassword)
		d.behave("down")
		for range 4 {
			hello("dev", "right", packet.ServerUnavailable)
		}
		s.log.wait(t, "connection refused", "not asked: it failed too often")
		s.log.wait(t, "a backend of the authentication fails")
		d.behave("")
		eventually(t, func() bool {
			return s.dial(t).hello("y", login("dev", "right")).Code == packet.Success
		}, func() any { return "the server is not asked again" })
		s.log.wait(t, "a backend of the authentication answers again")
	})
}

// Those who wait for a slow server, more than may work at a time, hold up
// neither those of another step nor who is connected.
func TestSlowServerHoldsNobodyElseUp(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		d := newDoorman(t)
		s := serve(t, transport, chain(
			fantail.Step{Users: &fantail.StepUsers{}},
			fantail.Step{HTTP: &fantail.StepHTTP{URL: d.URL, CA: d.ca, Timeout: time.Minute, Connections: 40}},
		), nil)
		sub := s.device(t, "sub", login("ann", "pencil")).to("x", 1)
		d.behave("slow")
		for range 100 {
			w := s.dial(t)
			c := packet.Connect{ClientID: "slow", Version: packet.V5, CleanStart: true}
			login("dev", "right")(&c)
			w.send(packet.AppendConnect(nil, &c))
		}
		for range 40 {
			receive(t, d.asked)
		}
		start := time.Now()
		for range 10 {
			pub := s.device(t, "pub", login("bob", "eraser"))
			pub.say("x", "works")
			sub.hears("works")
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("ten clients took %v", took)
		}
	})
}

// The configuration takes those placeholders that the steps know.
func TestPlaceholders(t *testing.T) {
	known := fill.Names()
	_, err := fantail.New(chain(fantail.Step{JWT: &fantail.StepJWT{
		Secret: "0123456789abcdef0123456789abcdef", Claims: map[string]string{"sub": "${x}"},
	}}))
	_, list, _ := strings.Cut(fmt.Sprint(err), "there are ")
	if want := "${" + strings.Join(known, "}, ${") + "}"; list != want {
		t.Errorf("the configuration says %s, want %s", list, want)
	}
	for _, name := range append(known, "password", "port", "version") {
		b, err := fantail.New(chain(fantail.Step{HTTP: &fantail.StepHTTP{URL: "https://accounts.example/${" + name + "}"}}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b.Close()
	}
}
