package http

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/breaker"
	"github.com/fantail-mqtt/fantail/packet"
)

func step(t testing.TB, o Options) *HTTP {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.Start()
	t.Cleanup(h.Close)
	return h
}

func client(user, password string) *access.Request {
	return &access.Request{
		ClientID: "dev-1", UserName: user, HasUserName: true, Password: []byte(password), HasPassword: true, Version: packet.V5,
		Peer: access.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}, Listener: "tcp://:1883", Transport: "tcp"},
	}
}

// server answers all requests with f.
func server(t testing.TB, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAnswers(t *testing.T) {
	long := `{"result":"allow","reason":"` + strings.Repeat("x", maxAnswer) + `"}`
	for name, c := range map[string]struct {
		status int
		body   string
		want   auth.Verdict
		failed bool
		why    string
	}{
		"allow":                    {200, `{"result":"allow"}`, auth.Allow, false, ""},
		"allow with more":          {200, " {\"result\":\"allow\",\"unknown\":{}}\n", auth.Allow, false, ""},
		"no content":               {204, "", auth.Allow, false, ""},
		"deny":                     {200, `{"result":"deny"}`, auth.Deny, false, "denies it"},
		"deny with a reason":       {200, `{"result":"deny","reason":"no\nsuch\u001b[31m key"}`, auth.Deny, false, "denies it: no such [31m key"},
		"ignore":                   {200, `{"result":"ignore"}`, auth.Ignore, false, "does not know"},
		"unauthorized":             {401, "", auth.Deny, false, "401"},
		"forbidden":                {403, "<html>", auth.Deny, false, "403"},
		"not found":                {404, "", auth.Ignore, false, "404"},
		"a bad request":            {400, "", auth.Deny, true, "neither yes nor no"},
		"a wrong method":           {405, "", auth.Deny, true, "405"},
		"too many requests":        {429, "", auth.Deny, true, "429"},
		"an error":                 {500, `{"result":"allow"}`, auth.Deny, true, "500"},
		"unavailable":              {503, "", auth.Deny, true, "503"},
		"created":                  {201, `{"result":"allow"}`, auth.Deny, true, "201"},
		"elsewhere":                {302, "", auth.Deny, true, "sends elsewhere"},
		"elsewhere, with the body": {307, "", auth.Deny, true, "sends elsewhere"},
		"nothing":                  {200, "", auth.Deny, true, "nothing more"},
		"a word":                   {200, "allow", auth.Deny, true, "no JSON"},
		"HTML":                     {200, "<html>ok</html>", auth.Deny, true, "no JSON"},
		"a list":                   {200, `["allow"]`, auth.Deny, true, "no object"},
		"no result":                {200, `{"is_superuser":true}`, auth.Deny, true, "none of allow"},
		"another result":           {200, `{"result":"Allow"}`, auth.Deny, true, "none of allow"},
		"a result that is true":    {200, `{"result":true}`, auth.Deny, true, "none of allow"},
		"two results":              {200, `{"result":"deny","result":"allow"}`, auth.Deny, true, "comes twice"},
		"two answers":              {200, `{"result":"allow"}{"result":"deny"}`, auth.Deny, true, "follows"},
		"too large":                {200, long, auth.Deny, true, "more than 65536 bytes"},
		"cut":                      {200, `{"result":"allow"`, auth.Deny, true, "ends too early"},
		"a superuser in words":     {200, `{"result":"allow","is_superuser":"true"}`, auth.Deny, true, "is_superuser is neither"},
		"attributes in a list":     {200, `{"result":"allow","client_attrs":[1]}`, auth.Deny, true, "client_attrs is no object"},
		"rules that are none":      {200, `{"result":"allow","acl":[{"permission":"allow"}]}`, auth.Deny, true, "acl has a rule 1 whose"},
		"an end in the past":       {200, `{"result":"allow","expire_at":1}`, auth.Deny, false, "1970-01-01"},
		"an end in milliseconds":   {200, `{"result":"allow","expire_at":1700000000000}`, auth.Deny, true, "counted in seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			followed := false
			h := step(t, Options{Failures: 100, URL: server(t, func(w http.ResponseWriter, r *http.Request) {
				followed = followed || r.URL.Path == "/elsewhere"
				w.Header().Set("Location", "/elsewhere")
				says(c.status, c.body)(w, r)
			})})
			a := h.Check(t.Context(), client("ann", "pencil"))
			if a.Verdict != c.want || a.Failed != c.failed || !strings.Contains(a.Why, c.why) || followed {
				t.Errorf("%v (failed: %v) because %q; followed: %v", a.Verdict, a.Failed, a.Why, followed)
			}
		})
	}
}

func TestGrantOfAnAnswer(t *testing.T) {
	h := step(t, Options{URL: server(t, says(200, `{"result":"allow","is_superuser":true,"client_attrs":{"site":"north"},
		"expire_at":4102444800,"client_id":"c9","username":"ann b","groups":["a","b"],"limits":"small",
		"acl":[{"permission":"allow","action":"publish","topic":"a/${clientid}"}]}`))})
	a := h.Check(t.Context(), client("ann", "pencil"))
	rules := a.Grant.Rules
	a.Grant.Rules = nil
	want := access.Grant{
		UserName: "ann b", ClientID: "c9", Superuser: true, Groups: []string{"a", "b"},
		Attributes: map[string]string{"site": "north"}, Expires: 4102444800_000, Limits: "small",
	}
	if diff := cmp.Diff(want, a.Grant); diff != "" || a.Verdict != auth.Allow || rules.Len() != 1 {
		t.Errorf("%v because %q, %d rules\n%s", a.Verdict, a.Why, rules.Len(), diff)
	}
}

// seen is a request as it reached the server.
type seen struct {
	method, uri, kind, body string
	header                  http.Header
}

// watched is a server that keeps the last request.
func watched(t *testing.T) (address string, last func() seen) {
	t.Helper()
	var mu sync.Mutex
	var s seen
	address = server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		s = seen{r.Method, r.RequestURI, r.Header.Get("Content-Type"), string(body), r.Header.Clone()}
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	return address, func() seen {
		mu.Lock()
		defer mu.Unlock()
		return s
	}
}

// What a client says stays a value, whatever it says.
func TestValuesStayValues(t *testing.T) {
	address, last := watched(t)
	for _, user := range []string{
		"ann", "ann b", `"}, {"admin": true, "x": "`, "a&admin=1", "a=b", "a#b", "a?b", "a/b", "a%2fb", "a%00b", "a+b", "'; DROP TABLE users; --",
		"<script>alert(1)</script>", "${password}", "\\u0022", "über/ärø", "a;b", "a:b@c", "http://evil.example/", "//evil.example", "a\u2028b", "\U0001F511",
	} {
		for _, o := range []Options{
			{URL: address + "/v1/${username}/check?u=${username}&c=${clientid}", Method: "GET"},
			{URL: address, Headers: map[string]string{"X-User": "u-${username}"}},
			{URL: address, Form: true, Body: map[string]string{"u": "u-${username}", "c": "${clientid}"}},
			{URL: address, Body: map[string]string{"u": "u-${username}", "c": "${clientid}"}},
		} {
			a := step(t, o).Check(t.Context(), client(user, "pencil"))
			if a.Verdict != auth.Allow {
				t.Errorf("%q: %v because %q", user, a.Verdict, a.Why)
				continue
			}
			s := last()
			switch {
			case o.Method == "GET":
				u, err := url.ParseRequestURI(s.uri)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Count(u.EscapedPath(), "/") != 3 || u.Path != "/v1/"+user+"/check" || u.Query().Get("u") != user || len(u.Query()) != 2 {
					t.Errorf("%q: %s", user, s.uri)
				}
			case o.Headers != nil:
				if got := s.header.Get("X-User"); got != "u-"+user {
					t.Errorf("%q: the header is %q", user, got)
				}
			case o.Form:
				v, err := url.ParseQuery(s.body)
				if err != nil || v.Get("u") != "u-"+user || v.Get("c") != "dev-1" || len(v) != 2 || s.kind != "application/x-www-form-urlencoded" {
					t.Errorf("%q: %q as %s", user, s.body, s.kind)
				}
			default:
				var v map[string]string
				err := json.Unmarshal([]byte(s.body), &v)
				if err != nil || v["u"] != "u-"+user || v["c"] != "dev-1" || len(v) != 2 || s.kind != "application/json" {
					t.Errorf("%q: %q as %s", user, s.body, s.kind)
				}
			}
		}
	}
}

// What cannot stand in a place is not sent there, nor something else instead.
func TestValuesThatCannotStand(t *testing.T) {
	asked := atomic.Int32{}
	address := server(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	path := Options{URL: address + "/users/${username}", Method: "GET"}
	header := Options{URL: address, Headers: map[string]string{"X-User": "${username}"}}
	body := Options{URL: address}
	for name, c := range map[string]struct {
		o    Options
		user string
		why  string
	}{
		"up":                        {path, "..", "path of dots"},
		"here":                      {path, ".", "path of dots"},
		"up and down":               {path, "../admin", "path of dots"},
		"down and up":               {path, "ann/../../admin", "path of dots"},
		"up for Windows":            {path, `..\admin`, "path of dots"},
		"nothing":                   {path, "", "nothing cannot stand"},
		"another header":            {header, "a\r\nX-Admin: 1", "control character"},
		"another line":              {header, "a\nb", "control character"},
		"a zero":                    {header, "a\x00b", "control character"},
		"bytes that are no text":    {body, "a\xffb", "is not UTF-8"},
		"half of a surrogate":       {body, "a\xed\xa0\x80b", "is not UTF-8"},
		"dots that others complete": {Options{URL: address + "/x.${username}/y", Method: "GET"}, "/..", "path of dots"},
	} {
		a := step(t, c.o).Check(t.Context(), client(c.user, "pencil"))
		if a.Verdict != auth.Deny || a.Failed || !strings.Contains(a.Why, c.why) || len(c.user) > 4 && strings.Contains(a.Why, c.user) {
			t.Errorf("%s: %v because %q", name, a.Verdict, a.Why)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestEveryPlaceholder(t *testing.T) {
	address, last := watched(t)
	r := client("ann", "pen\xffcil")
	r.Peer.Certificate = &x509.Certificate{Subject: pkix.Name{CommonName: "porch", Organization: []string{"home"}}}
	h := step(t, Options{URL: address, Form: true, Headers: map[string]string{"Authorization": "Bearer of-the-broker"}, Body: map[string]string{
		"a": "${username},${clientid},${password}", "b": "${ip},${port},${listener},${transport},${version}", "c": "${cert.cn},${cert.dn}",
	}})
	if a := h.Check(t.Context(), r); a.Verdict != auth.Allow {
		t.Fatal(a.Why)
	}
	want := url.Values{"a": {"ann,dev-1,pen\xffcil"}, "b": {"192.0.2.7,4711,tcp://:1883,tcp,5.0"}, "c": {"porch,CN=porch,O=home"}}
	got, _ := url.ParseQuery(last().body)
	if diff := cmp.Diff(want, got); diff != "" || last().header.Get("Authorization") != "Bearer of-the-broker" || last().method != "POST" {
		t.Error(diff, last().header)
	}
	nobody := &access.Request{}
	if a := step(t, Options{URL: address + "/?${ip}${port}${cert.cn}", Method: "GET"}).Check(t.Context(), nobody); a.Verdict != auth.Ignore {
		t.Errorf("about a certificate of a client that has none: %v", a.Verdict)
	}
	if a := step(t, Options{URL: address + "/?${ip}${port}", Method: "GET"}).Check(t.Context(), nobody); a.Verdict != auth.Allow || last().uri != "/?" {
		t.Errorf("about a client without an address: %v, %s", a.Verdict, last().uri)
	}
}

func TestConcerns(t *testing.T) {
	for text, want := range map[string][3]bool{ // a client with a user name, with a certificate, with neither
		"https://id.example/${username}": {true, false, false},
		"https://id.example/${clientid}": {true, true, true},
		"https://id.example/${cert.cn}":  {false, true, false},
	} {
		h := step(t, Options{URL: text, Method: "GET"})
		got := [3]bool{
			h.Concerns(&access.Request{HasUserName: true}),
			h.Concerns(&access.Request{Peer: access.Peer{Certificate: &x509.Certificate{}}}),
			h.Concerns(&access.Request{}),
		}
		if got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o   Options
		why string
	}{
		"no URL":                   {Options{}, "url"},
		"a file":                   {Options{URL: "file:///etc/passwd"}, "neither https"},
		"no host":                  {Options{URL: "https:///x"}, "host"},
		"a host by choice":         {Options{URL: "https://${username}.example/"}, "cannot choose the server"},
		"a port by choice":         {Options{URL: "https://id.example:${port}/"}, "cannot choose the server"},
		"a fragment":               {Options{URL: "https://id.example/#${username}"}, "is not sent"},
		"a space":                  {Options{URL: "https://id.example/a b"}, "%20"},
		"a line":                   {Options{URL: "https://id.example/?a\nb"}, "%20"},
		"an unknown placeholder":   {Options{URL: "https://id.example/${user}"}, "${user}"},
		"an open placeholder":      {Options{URL: "https://id.example/", Body: map[string]string{"u": "${username"}}, "body.u"},
		"an unknown method":        {Options{URL: "https://id.example/", Method: "DELETE"}, "neither GET nor POST"},
		"a GET with a body":        {Options{URL: "https://id.example/", Method: "GET", Body: map[string]string{}}, "a GET has none"},
		"a header of two lines":    {Options{URL: "https://id.example/", Headers: map[string]string{"A\r\nB": "c"}}, "no name of a header"},
		"a header with a line":     {Options{URL: "https://id.example/", Headers: map[string]string{"A": "b\r\nC: d"}}, "control character"},
		"a type by hand":           {Options{URL: "https://id.example/", Headers: map[string]string{"content-type": "text/plain"}}, "format"},
		"a length by hand":         {Options{URL: "https://id.example/", Headers: map[string]string{"content-length": "7"}}, "not for the configuration"},
		"no such CA":               {Options{URL: "https://id.example/", CA: empty + "x"}, "ca"},
		"a CA without any":         {Options{URL: "https://id.example/", CA: empty}, "holds no certificate"},
		"a certificate that isn't": {Options{URL: "https://id.example/", Cert: empty, Key: empty}, "cert"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
	}
}

// A server that is down is left alone, and nobody waits for it.
func TestServerDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	var said bytes.Buffer
	h := step(t, Options{URL: "http://owner:hidden@" + address + "/?p=${password}", Method: "GET", Failures: 2, Rest: time.Hour, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	r := client("ann", "pencil")
	for range 3 {
		a := h.Check(t.Context(), r)
		if !a.Failed || a.Code != packet.ServerUnavailable || !strings.Contains(a.Why, "refused") || a.Do == "" || strings.Contains(a.Why, "pencil") || strings.Contains(a.Why, "hidden") {
			t.Errorf("%v because %q, do %q", a.Verdict, a.Why, a.Do)
		}
	}
	if f := h.Breaker().Figures(); f.State != breaker.Open || f.Refused != 1 || strings.Contains(said.String(), "hidden") || strings.Count(said.String(), "\n") != 1 {
		t.Errorf("%+v\n%s", f, said.String())
	}
}

func TestServerSlow(t *testing.T) {
	release := make(chan struct{})
	address := server(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	h := step(t, Options{URL: address, Timeout: 50 * time.Millisecond, Failures: 1, Rest: time.Hour})
	a := h.Check(t.Context(), client("ann", "pencil"))
	if !a.Failed || !strings.Contains(a.Why, "no answer within 50ms") {
		t.Errorf("%v because %q", a.Verdict, a.Why)
	}
	start := time.Now()
	if a := h.Check(t.Context(), client("ann", "pencil")); !a.Failed || time.Since(start) > 20*time.Millisecond {
		t.Errorf("%v because %q after %v", a.Verdict, a.Why, time.Since(start))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := step(t, Options{URL: address}).Check(ctx, client("ann", "pencil")); !a.Failed {
		t.Errorf("given up: %v", a.Verdict)
	}
}

// A slow body is as slow as a slow answer.
func TestServerDribbles(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	h := step(t, Options{Timeout: 50 * time.Millisecond, URL: server(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"result":`)
		w.(http.Flusher).Flush()
		<-release
	})})
	if a := h.Check(t.Context(), client("ann", "pencil")); !a.Failed || !strings.Contains(a.Why, "no answer within 50ms") {
		t.Errorf("%v because %q", a.Verdict, a.Why)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var opened atomic.Int32
	s := httptest.NewUnstartedServer(says(204, ""))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	h := step(t, Options{URL: s.URL, Connections: 3})
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if a := h.Check(t.Context(), client("ann", "pencil")); a.Verdict != auth.Allow {
				t.Errorf("%v because %q", a.Verdict, a.Why)
			}
		})
	}
	group.Wait()
	// One more there may be, for the breaker's trial: it serves who comes while
	// another is on its way back.
	if n := opened.Load(); n > 3+1 {
		t.Errorf("%d connections", n)
	}
	s.CloseClientConnections() // as a server does with idle ones
	if a := h.Check(t.Context(), client("ann", "pencil")); a.Verdict != auth.Allow {
		t.Errorf("after it closed them: %v because %q", a.Verdict, a.Why)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(says(204, ""))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := step(t, Options{URL: s.URL, CA: ca}).Check(t.Context(), client("ann", "pencil")); a.Verdict != auth.Allow {
		t.Errorf("%v because %q", a.Verdict, a.Why)
	}
	if a := step(t, Options{URL: s.URL}).Check(t.Context(), client("ann", "pencil")); !a.Failed || !strings.Contains(a.Why, "certificate") {
		t.Errorf("a server that nobody knows: %v because %q", a.Verdict, a.Why)
	}
	var said bytes.Buffer
	step(t, Options{URL: "http://id.example/", Logger: slog.New(slog.NewTextHandler(&said, nil))})
	step(t, Options{URL: "http://127.0.0.1/", Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if strings.Count(said.String(), "without TLS") != 1 {
		t.Errorf("the log: %s", said.String())
	}
}

func TestAnswersAreRemembered(t *testing.T) {
	var asked atomic.Int32
	var failing atomic.Bool
	h := step(t, Options{Cache: time.Minute, CacheSize: 100, Failures: 1000, URL: server(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var v map[string]string
		_ = json.NewDecoder(r.Body).Decode(&v)
		switch {
		case failing.Load():
			w.WriteHeader(http.StatusInternalServerError)
		case v["password"] == "pencil":
			_, _ = io.WriteString(w, `{"result":"allow","expire_at":4102444800}`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	})})
	check := func(user, password string, want auth.Verdict, more int32) {
		t.Helper()
		before := asked.Load()
		a := h.Check(t.Context(), client(user, password))
		if n := asked.Load() - before; a.Verdict != want || n != more {
			t.Errorf("%s: %v because %q, after %d requests", password, a.Verdict, a.Why, n)
		}
	}
	check("ann", "pencil", auth.Allow, 1)
	check("ann", "pencil", auth.Allow, 0)
	check("ann", "eraser", auth.Deny, 1) // another password is another question
	check("ann", "eraser", auth.Deny, 0)
	check("annp", "encil", auth.Deny, 1) // and so is the same text cut elsewhere
	failing.Store(true)
	check("bob", "pencil", auth.Deny, 1)
	check("bob", "pencil", auth.Deny, 1) // a failure is not remembered
	check("ann", "pencil", auth.Allow, 0)
	failing.Store(false)
	for i := range 1000 {
		h.Check(t.Context(), client(strings.Repeat("x", i), "pencil"))
	}
	if n := len(h.memory.young) + len(h.memory.old); n > 100 {
		t.Errorf("%d clients are remembered", n)
	}
	for k := range h.memory.young {
		if bytes.Contains(k[:], []byte("pencil")) {
			t.Error("a password is kept")
		}
	}
}

func TestMemoryForgets(t *testing.T) {
	m := newMemory(time.Minute, 100)
	now := time.Unix(1000, 0)
	k := m.sum([]string{"ann", "pencil"})
	m.put(k, auth.Answer{Verdict: auth.Deny}, now)
	if _, ok := m.get(k, now.Add(time.Minute-1)); !ok {
		t.Error("forgotten too early")
	}
	if _, ok := m.get(k, now.Add(time.Minute)); ok {
		t.Error("remembered too long")
	}
	m.put(k, auth.Answer{Verdict: auth.Allow, Grant: access.Grant{Expires: now.Add(time.Second).UnixMilli()}}, now)
	if _, ok := m.get(k, now.Add(time.Second)); ok {
		t.Error("remembered for longer than it holds")
	}
	if k == newMemory(time.Minute, 100).sum([]string{"ann", "pencil"}) {
		t.Error("the key is the same elsewhere")
	}
}

func FuzzResponse(f *testing.F) {
	f.Add(200, []byte(`{"result":"allow","is_superuser":true,"client_attrs":{"a":"b"},"acl":{"pub":["a/#"]},"expire_at":1e10,"groups":["x"]}`))
	f.Add(200, []byte(`{"result":"deny","reason":"\u0000"}`))
	f.Add(200, []byte(`{"result":"allow","acl":[{"permission":"deny","action":"all","topics":["#"],"qos":[0,1],"retain":true}]}`))
	f.Add(204, []byte{})
	f.Add(302, []byte("x"))
	f.Fuzz(func(t *testing.T, status int, text []byte) {
		a := answerOf(reply{status, text}, time.Unix(1000, 0))
		if a.Verdict != auth.Allow {
			if a.Grant.Superuser || a.Grant.Rules != nil {
				t.Fatalf("%v with a grant", a.Verdict)
			}
			for _, c := range a.Why {
				if c < ' ' || c == 0x7f {
					t.Fatalf("the reason %q cannot stand in a log", a.Why)
				}
			}
			return
		}
		if status == http.StatusNoContent {
			return
		}
		var v struct{ Result string }
		if err := json.Unmarshal(text, &v); status != 200 || err != nil || v.Result != "allow" {
			t.Fatalf("%d %q lets in: %v", status, text, err)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add("/v1/${username}/x?u=${username}&p=${password}", "X-${clientid}", "u-${username}", "ann/../..", "pen&cil=1", "\r\ndev")
	f.Add("/${clientid}${username}", "${", "${password}", ".", ".", ".")
	f.Add("?${username}", "", "", "a#b", "", "%2e%2e")
	f.Fuzz(func(t *testing.T, address, header, body, user, password, id string) {
		o := &Options{URL: "https://id.example" + address, Headers: map[string]string{"X-A": header}, Body: map[string]string{"b": body}}
		if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "?") {
			o.URL = "https://id.example/" + address
		}
		form := *o
		form.Form = true
		r := &access.Request{UserName: user, Password: []byte(password), ClientID: id, HasUserName: true}
		for _, o := range []*Options{o, &form} {
			q, err := newRequest(o)
			if err != nil {
				return
			}
			out, err := q.build(r)
			if err != nil {
				continue
			}
			checkTarget(t, o.URL, out)
			checkBody(t, q, out, r)
		}
	})
}

// checkTarget says whether a request goes where its template says.
func checkTarget(t *testing.T, template string, out *http.Request) {
	t.Helper()
	if out.URL.Host != "id.example" || out.URL.Scheme != "https" || out.Host != "id.example" || out.URL.Fragment != "" || out.URL.User != nil {
		t.Fatalf("goes to %s", out.URL)
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(template, "https://id.example"), "?")
	if got, want := strings.Count(out.URL.EscapedPath(), "/"), strings.Count(path, "/"); got != want {
		t.Fatalf("%d segments instead of %d: %s", got, want, out.URL)
	}
	for segment := range strings.SplitSeq(out.URL.EscapedPath(), "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			t.Fatal(err)
		}
		if (plain == ".." || plain == ".") && !strings.Contains(path, plain) {
			t.Fatalf("a segment of dots: %s", out.URL)
		}
	}
	for _, v := range out.Header.Values("X-A") {
		if strings.ContainsAny(v, "\r\n\x00") {
			t.Fatalf("a header of two lines: %q", v)
		}
	}
}

// checkBody says whether a body has the one member, and it the values.
func checkBody(t *testing.T, q *request, out *http.Request, r *access.Request) {
	t.Helper()
	want := q.body[0].text.Join(func(name string) string { return valueOf(r, name) })
	text, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	if q.form {
		v, err := url.ParseQuery(string(text))
		if err != nil || len(v) != 1 || v.Get("b") != want {
			t.Fatalf("%q became %q: %v", want, text, err)
		}
		return
	}
	var v map[string]string
	if err := json.Unmarshal(text, &v); err != nil || len(v) != 1 || v["b"] != strings.ToValidUTF8(want, "\ufffd") && v["b"] != want && strings.ToValidUTF8(want, "") == want {
		t.Fatalf("%q became %q: %v", want, text, err)
	}
}

func BenchmarkCheck(b *testing.B) {
	address := server(b, says(200, `{"result":"allow","client_attrs":{"site":"north"}}`))
	for name, cache := range map[string]time.Duration{"asked": 0, "remembered": time.Hour} {
		b.Run(name, func(b *testing.B) {
			h := step(b, Options{URL: address, Cache: cache})
			r := client("ann", "pencil")
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if a := h.Check(b.Context(), r); a.Verdict != auth.Allow {
						b.Fatal(a.Why)
					}
				}
			})
		})
	}
}
