package fantail_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// A backend that is slow, and then dead, shows in the metrics as it does to the
// clients; another step of the same kind keeps figures of its own.
func TestADeadBackendShowsInTheMetrics(t *testing.T) {
	gone := make(chan struct{})
	accounts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User") == "late" {
			<-gone
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer accounts.Close()
	defer close(gone)
	nobody := httptest.NewServer(http.NotFoundHandler())
	defer nobody.Close()
	s := serve(t, "auto", chain(
		fantail.Step{HTTP: &fantail.StepHTTP{URL: nobody.URL}},
		fantail.Step{HTTP: &fantail.StepHTTP{
			URL: accounts.URL, Headers: map[string]fantail.Secret{"User": "${username}"},
			Timeout: 2 * time.Second, Failures: 2, Rest: time.Hour, Cache: time.Hour,
		}},
		fantail.Step{Users: &fantail.StepUsers{}},
	), nil)
	for range 3 {
		w, _ := s.connect(t, "a", login("bob", "pencil"))
		w.lose()
	}
	const open, refused = `auth_backend_open{step="auth.http#2"}`, `auth_backend_refused_total{reason="open",step="auth.http#2"}`
	figures := func(want map[string]float64) {
		t.Helper()
		for name, v := range want {
			if got := s.figure(t, name); got != v {
				t.Errorf("%s is %v, want %v", name, got, v)
			}
		}
	}
	figures(map[string]float64{
		open: 0, refused: 0,
		`auth_backend_calls_total{step="auth.http"}`: 3, `auth_backend_calls_total{step="auth.http#2"}`: 1,
		`auth_cache_total{result="hit",step="auth.http#2"}`: 2, `auth_cache_total{result="miss",step="auth.http#2"}`: 1,
		`auth_total{step="auth.http#2",verdict="allow"}`: 3, `auth_total{step="auth.http",verdict="ignore"}`: 3,
	})
	late := func() {
		t.Helper()
		if ack := s.dial(t).hello("late", login("late", "pencil")); ack.Code != packet.ServerUnavailable {
			t.Errorf("CONNACK: %v", ack.Code)
		}
	}
	late()
	accounts.CloseClientConnections()
	accounts.Listener.Close()
	late() // it cannot be reached, which opens the breaker
	late()
	late()
	figures(map[string]float64{
		open: 1, refused: 2, `auth_backend_open{step="auth.http"}`: 0,
		`auth_backend_opened_total{step="auth.http#2"}`:                    1,
		`auth_backend_calls_total{step="auth.http#2"}`:                     3,
		`auth_backend_failures_total{reason="timeout",step="auth.http#2"}`: 1,
		`auth_backend_failures_total{reason="error",step="auth.http#2"}`:   1,
		`auth_backend_refused_total{reason="busy",step="auth.http#2"}`:     0,
		`auth_failures_total{step="auth.http#2"}`:                          4,
		`auth_cache_total{result="hit",step="auth.http#2"}`:                2,
	})
	if s.figure(t, `auth_backend_open{step="auth.users"}`) != 0 {
		t.Error("a step without a backend has figures of one")
	}
	w, _ := s.connect(t, "a", login("bob", "pencil")) // is remembered
	w.quiet()
}
