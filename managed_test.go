package fantail_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// manage is a broker whose accounts and devices are managed at run time.
func manage(t *testing.T, transport string, c fantail.Config) (s *server, data string) {
	t.Helper()
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	c.Data = data
	if transport != onDisk {
		c.Durability = "memory"
	}
	return serve(t, transport, c, nil), data
}

// tells the API something, and has to hear a status.
func tells(t *testing.T, data, method, path string, body any, want int) string {
	t.Helper()
	status, answer := controlled(t, data, method, path, body)
	if status != want {
		t.Fatalf("%s %s: %d %s, want %d", method, path, status, answer, want)
	}
	return answer
}

type fields map[string]any

func shows(user, password string) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.HasUserName, c.UserName = user != "", user
		c.HasPassword, c.Password = user != "", []byte(password)
	}
}

func TestAnAccountHoldsAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, data := manage(t, transport, fantail.Config{})
		s.device(t, "before", nil).lose()
		tells(t, data, http.MethodPut, "/api/v1/users/ann", fields{"password": "pencil"}, http.StatusCreated)
		if a := s.dial(t).hello("stranger", nil); a.Code != packet.NotAuthorized {
			t.Errorf("a stranger: %v", a.Code)
		}
		if a := s.dial(t).hello("guess", shows("ann", "wrong")); a.Code != packet.BadUserNameOrPassword {
			t.Errorf("a wrong password: %v", a.Code)
		}
		if a := s.dial(t).hello("nobody", shows("eve", "pencil")); a.Code != packet.BadUserNameOrPassword {
			t.Errorf("an unknown user: %v", a.Code)
		}
		s.log.wait(t, "connection refused", "user=ann", "step=accounts", "the password is wrong")
		ann := s.device(t, "a", shows("ann", "pencil")).to("t", 1)
		s.says(t, "t", "x")
		ann.hears("x")

		for _, change := range []fields{{"disabled": true}, {"disabled": false, "groups": []string{"x"}}, {"password": "eraser"}} {
			tells(t, data, http.MethodPut, "/api/v1/users/ann", fields{"password": "pencil"}, http.StatusOK)
			w := s.device(t, "b", shows("ann", "pencil"))
			tells(t, data, http.MethodPatch, "/api/v1/users/ann", change, http.StatusOK)
			w.sentAway(packet.NotAuthorized)
		}
		s.device(t, "b", shows("ann", "eraser"))
		tells(t, data, http.MethodDelete, "/api/v1/users/ann", nil, http.StatusNoContent)
		// With the last account, all is as it was before the first.
		s.device(t, "after", nil)
	})
}

func TestAnAccountIsProvedByAUTH(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, data := manage(t, transport, fantail.Config{})
		tells(t, data, http.MethodPut, "/api/v1/users/ann", fields{"password": "pencil"}, http.StatusCreated)
		for password, ok := range map[string]bool{"pencil": true, "wrong": false} {
			opts, conv := scramClient(t, "tcp://"+s.mqtt[0], "ann", password)
			opts.OnAuth = answers(conv)
			c, err := client.Dial(t.Context(), opts)
			if (err == nil) != ok {
				t.Errorf("%s: %v", password, err)
			}
			if err != nil {
				continue
			}
			if _, err := conv().Step(string(c.Connack().AuthData)); err != nil || !conv().Valid() {
				t.Errorf("the server's proof: %v", err)
			}
			c.Close()
		}
	})
}

func answers(conv func() *scram.ClientConversation) func(a *packet.Auth) (*packet.Auth, error) {
	return func(a *packet.Auth) (*packet.Auth, error) {
		reply, err := conv().Step(string(a.Data))
		return &packet.Auth{
			Code: packet.ContinueAuthentication, Method: a.Method, HasMethod: true, Data: []byte(reply), HasData: true,
		}, err
	}
}

func TestAccountsAndDevicesSurviveTheEnd(t *testing.T) {
	s, data := manage(t, onDisk, fantail.Config{})
	tells(t, data, http.MethodPut, "/api/v1/users/ann", fields{"password": "pencil"}, http.StatusCreated)
	tells(t, data, http.MethodPut, "/api/v1/users/bob", fields{"password": "pencil"}, http.StatusCreated)
	tells(t, data, http.MethodDelete, "/api/v1/users/bob", nil, http.StatusNoContent)
	tells(t, data, http.MethodPut, "/api/v1/devices/baidu/mydevice", fields{"key": "ImSeCrEt0I1M2jkl"}, http.StatusCreated)
	salt := challenged(t, s, "eve")
	s = s.again(t, fantail.Config{Data: data})
	s.device(t, "a", shows("ann", "pencil"))
	s.device(t, "d", shows("thingidp@abcd123|mydevice|0|MD5", "22bc75231495220c7a2202fe15f7d286"))
	if a := s.dial(t).hello("b", shows("bob", "pencil")); a.Code != packet.BadUserNameOrPassword {
		t.Errorf("an account that is gone: %v", a.Code)
	}
	if again := challenged(t, s, "eve"); again != salt {
		t.Errorf("an unknown name has the salt %s, and after a restart %s: it can be told from an account", salt, again)
	}
}

// challenged is the salt that SCRAM shows for a name.
func challenged(t *testing.T, s *server, name string) string {
	t.Helper()
	w := s.dial(t)
	w.v = packet.V5
	w.send(packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V5, ClientID: "c", CleanStart: true, ConnectProperties: packet.ConnectProperties{
			AuthMethod: "SCRAM-SHA-256", HasAuthMethod: true,
			AuthData: []byte("n,,n=" + name + ",r=abc"), HasAuthData: true,
		},
	}))
	a, err := packet.ParseAuth(w.expect(packet.AUTH).Body, packet.FromServer)
	if err != nil {
		t.Fatal(err)
	}
	_, salt, _ := strings.Cut(string(a.Data), ",s=")
	return salt
}

func TestADeviceOfACloudHasItsOwnTopics(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s, data := manage(t, transport, fantail.Config{})
		tells(t, data, http.MethodPut, "/api/v1/devices/alibaba/a1B2c3D4e5F/sensor_001", fields{"key": "Y877Bgo8X5owd3lcB5wWDjryNPoB"}, http.StatusCreated)
		tells(t, data, http.MethodPut, "/api/v1/devices/adafruit/ann", fields{"key": "aio_abc"}, http.StatusCreated)
		w, ack := s.connect(t, "a1B2c3D4e5F.sensor_001|securemode=2,signmethod=hmacsha256,timestamp=324721152001213|",
			shows("sensor_001&a1B2c3D4e5F", "26dc1595358d45d373fbe40b54540c0d8763dabde7f1cbb263ff4067a93f7150"))
		if ack.AssignedClientID != "a1B2c3D4e5F.sensor_001" {
			t.Errorf("client id %q", ack.AssignedClientID)
		}
		w.to("/sys/a1B2c3D4e5F/sensor_001/thing/service/#", 1)
		s.says(t, "/sys/a1B2c3D4e5F/sensor_001/thing/service/x", "mine")
		w.hears("mine")
		if got := w.say("/sys/a1B2c3D4e5F/sensor_001/thing/event/property/post", "{}"); got.Failed() {
			t.Errorf("its own topic: %v", got)
		}
		ann := s.device(t, "", shows("ann", "aio_abc")).to("ann/feeds/#", 1)
		for topic, code := range map[string]packet.Code{"/sys/a1B2c3D4e5F/sensor_002/x": packet.NotAuthorized, "ann/feeds/x": packet.NotAuthorized} {
			if got := w.say(topic, "x"); got != code {
				t.Errorf("%s: %v, want %v", topic, got, code)
			}
		}
		if got := ann.say("bob/feeds/x", "x"); got != packet.NotAuthorized {
			t.Errorf("bob's feed: %v", got)
		}
		s.says(t, "ann/feeds/x", "21")
		ann.hears("21")
		tells(t, data, http.MethodDelete, "/api/v1/devices/adafruit/ann", nil, http.StatusNoContent)
		ann.sentAway(packet.NotAuthorized)
	})
}

// says publishes inside the program.
func (s *server) says(t *testing.T, topic, text string) {
	t.Helper()
	if err := s.Publish(t.Context(), fantail.Message{Topic: topic, Payload: []byte(text), QoS: 1}); err != nil {
		t.Fatal(err)
	}
}

// fickle takes back what it has granted before the client is connected.
type fickle struct{ holds atomic.Bool }

func (f *fickle) Authenticate(context.Context, *fantail.ConnectRequest) (*fantail.Grant, error) {
	return &fantail.Grant{By: "the test", Still: f.holds.Load}, nil
}

func TestAGrantThatIsTakenBackMeanwhileEndsTheConnection(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		f := &fickle{}
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) { b.UseAuthenticator(f) })
		w, _ := s.connect(t, "a", nil)
		w.sentAway(packet.NotAuthorized)
		f.holds.Store(true)
		s.device(t, "a", nil)
	})
}

func TestTheAPISaysWhatIsWrong(t *testing.T) {
	_, data := manage(t, "auto", fantail.Config{})
	tells(t, data, http.MethodPut, "/api/v1/users/ann", fields{"password": "pencil"}, http.StatusCreated)
	for _, c := range []struct {
		method, path string
		body         any
		status       int
		sentence     string
	}{
		{"GET", "/api/v1/users/eve", nil, 404, `there is no user "eve"`},
		{"PATCH", "/api/v1/users/eve", fields{}, 404, `there is no user "eve"`},
		{"DELETE", "/api/v1/users/eve", nil, 404, `there is no user "eve"`},
		{"PUT", "/api/v1/users/eve", fields{}, 422, "a new user needs a password"},
		{"PUT", "/api/v1/users/eve", fields{"pasword": "x"}, 422, `unknown field "pasword"`},
		{"PUT", "/api/v1/devices/x", fields{"key": "x"}, 422, `names no device`},
		{"POST", "/api/v1/users", fields{"lists": 1}, 422, `unknown field "lists"`},
		{"GET", "/api/v1/users?limit=0", nil, 400, "limit is not between 1 and 1000"},
		{"GET", "/api/v1/users?page=2", nil, 400, "page is no parameter here"},
		{"PUT", "/api/v1/users/eve", strings.Repeat("x", 2<<20), 413, "the request has more than"},
		{"GET", "/api/v1/userz", nil, 404, "there is no GET /api/v1/userz"},
	} {
		if answer := tells(t, data, c.method, c.path, c.body, c.status); !strings.Contains(strings.ReplaceAll(answer, `\"`, `"`), c.sentence) {
			t.Errorf("%s %s: %s, want %q", c.method, c.path, answer, c.sentence)
		}
	}
}

func TestAccountsThatNoStepAsksAreSaid(t *testing.T) {
	s, data := manage(t, "auto", fantail.Config{Auth: fantail.Auth{Chain: []fantail.Step{{Users: &fantail.StepUsers{}}}}})
	tells(t, data, http.MethodPut, "/api/v1/users/ann", fields{"password": "pencil"}, http.StatusCreated)
	s.log.wait(t, "nobody is let in by what is managed at run time: add a step accounts to auth.chain")
	if a := s.dial(t).hello("a", shows("ann", "pencil")); a.Code != packet.BadUserNameOrPassword {
		t.Errorf("%v", a.Code)
	}
}
