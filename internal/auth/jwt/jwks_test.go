package jwt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
)

// jwkOf is a public key as a server hands it out.
func jwkOf(kid string, private crypto.Signer) object {
	b64 := base64.RawURLEncoding.EncodeToString
	o := object{"use": "sig"}
	if kid != "" {
		o["kid"] = kid
	}
	switch public := private.Public().(type) {
	case *rsa.PublicKey:
		o["kty"], o["n"], o["e"] = "RSA", b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		o["kty"], o["crv"], o["x"], o["y"] = "EC", public.Curve.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
	case ed25519.PublicKey:
		o["kty"], o["crv"], o["x"] = "OKP", "Ed25519", b64(public)
	}
	return o
}

// issuer hands out keys over a pipe: in the time of a synctest.
type issuer struct {
	mu       sync.Mutex
	keys     []object
	answer   func(w http.ResponseWriter, r *http.Request) bool // true: that was all
	requests atomic.Int32
	confirms atomic.Int32
}

func (i *issuer) set(keys ...object) {
	i.mu.Lock()
	i.keys = keys
	i.mu.Unlock()
}

// behave sets what the server does instead of answering.
func (i *issuer) behave(f func(w http.ResponseWriter, r *http.Request) bool) {
	i.mu.Lock()
	i.answer = f
	i.mu.Unlock()
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.requests.Add(1)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.answer != nil && i.answer(w, r) {
		return
	}
	text, err := json.Marshal(object{"keys": i.keys})
	if err != nil {
		panic(err)
	}
	body := string(text)
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(text))
	if r.Header.Get("If-None-Match") == tag {
		i.confirms.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", tag)
	_, _ = io.WriteString(w, body)
}

func down(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// within makes a step whose requests go to the issuer without a network.
func within(t *testing.T, i *issuer, o JWKS, log io.Writer) *JWT {
	t.Helper()
	o.URL = "http://127.0.0.1/keys?secret=hidden"
	r, err := newRemote(o, nil, slog.New(slog.NewTextHandler(log, nil)), handed{i})
	if err != nil {
		t.Fatal(err)
	}
	j := &JWT{o: Options{Leeway: 5 * time.Second}, keys: r}
	j.Start()
	t.Cleanup(j.Close)
	return j
}

// handed is a transport that hands requests to a handler.
type handed struct{ http.Handler }

func (h handed) RoundTrip(r *http.Request) (a *http.Response, err error) {
	defer func() {
		if v := recover(); v != nil {
			a, err = nil, errors.New("connection reset")
		}
	}()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return w.Result(), nil
}

func TestKeysOfAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pairs()
		var i issuer
		i.set(jwkOf("a", p.rsa), jwkOf("b", p.p256), jwkOf("c", p.ed))
		j := within(t, &i, JWKS{}, io.Discard)
		wantAllow(t, show(t, j, sign(t, "PS256", p.rsa, object{"kid": "a"}, object{}))) // waits for the first answer
		wantAllow(t, show(t, j, sign(t, "ES256", p.p256, object{"kid": "b"}, object{})))
		wantAllow(t, show(t, j, sign(t, "EdDSA", p.ed, object{"kid": "c"}, object{})))
		wantAllow(t, show(t, j, sign(t, "EdDSA", p.ed, nil, object{}))) // the one that can be meant
		wantDeny(t, show(t, j, sign(t, "EdDSA", p.ed, object{"kid": "a"}, object{})), "no key of")
		wantDeny(t, show(t, j, sign(t, "RS256", p.otherRSA, object{"kid": "a"}, object{})), "signature of the token is wrong")
		if n := i.requests.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// A token of a new key comes before the next look: the broker looks at once,
// but strangers cannot make it look all the time.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pairs()
		var i issuer
		var said bytes.Buffer
		i.set(jwkOf("old", p.rsa))
		j := within(t, &i, JWKS{Refresh: time.Hour}, &said)
		old, fresh := sign(t, "RS256", p.rsa, object{"kid": "old"}, object{}), sign(t, "RS256", p.otherRSA, object{"kid": "new"}, object{})
		wantAllow(t, show(t, j, old))
		wantAllow(t, show(t, j, old)) // it is remembered
		time.Sleep(rest)
		for range 100 {
			wantDeny(t, show(t, j, fresh), `"old" for`)
		}
		if n := i.requests.Load(); n != 2 {
			t.Errorf("%d requests for a hundred tokens of unknown keys", n)
		}
		i.set(jwkOf("new", p.otherRSA))
		time.Sleep(rest)
		wantAllow(t, show(t, j, fresh))
		wantDeny(t, show(t, j, old), "no key of") // what was remembered is gone with the key
		if n := i.requests.Load(); n != 3 {
			t.Errorf("%d requests", n)
		}
		if n := strings.Count(said.String(), "new keys of tokens"); n != 2 || strings.Contains(said.String(), "hidden") {
			t.Errorf("the log:\n%s", said.String())
		}
	})
}

// All who come with a new key wait for one look.
func TestManyWaitForOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pairs()
		var i issuer
		i.set(jwkOf("old", p.rsa))
		j := within(t, &i, JWKS{Refresh: time.Hour}, io.Discard)
		synctest.Wait()
		time.Sleep(rest)
		i.set(jwkOf("new", p.otherRSA))
		i.behave(func(http.ResponseWriter, *http.Request) bool { time.Sleep(time.Second); return false })
		fresh := sign(t, "RS256", p.otherRSA, object{"kid": "new"}, object{})
		seats := make(chan struct{}, 1)
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				seats <- struct{}{}
				defer func() { <-seats }()
				ctx := access.WithSeats(t.Context(), seats)
				wantAllow(t, j.Check(ctx, &access.Request{Password: []byte(fresh)}))
			})
		}
		start := time.Now()
		group.Wait()
		if n := i.requests.Load(); n != 2 {
			t.Errorf("%d requests", n)
		}
		if took := time.Since(start); took != time.Second { // one seat is enough: who waits gives it up
			t.Errorf("they took %v", took)
		}
	})
}

func TestKeysStayWhenTheServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pairs()
		var i issuer
		var said bytes.Buffer
		i.set(jwkOf("a", p.rsa))
		j := within(t, &i, JWKS{Refresh: 5 * time.Minute, Keep: 24 * time.Hour}, &said)
		token := sign(t, "RS256", p.rsa, object{"kid": "a"}, object{})
		wantAllow(t, show(t, j, token))
		i.behave(down)
		time.Sleep(24 * time.Hour)
		wantAllow(t, show(t, j, token))
		time.Sleep(time.Minute)
		a := show(t, j, token)
		if a.Verdict != auth.Deny || !a.Failed || !strings.Contains(a.Why, "are too old") || !strings.Contains(a.Why, "connection reset") || strings.Contains(a.Why, "hidden") {
			t.Errorf("after a day: %v because %q", a.Verdict, a.Why)
		}
		if n := i.requests.Load(); n < 1000 || n > 2000 { // once a minute, more often at first
			t.Errorf("%d requests in a day", n)
		}
		i.behave(nil)
		time.Sleep(time.Minute)
		wantAllow(t, show(t, j, token))
		if n := strings.Count(said.String(), "cannot fetch"); n != 1 || !strings.Contains(said.String(), "can be fetched again") {
			t.Errorf("the log:\n%s", said.String())
		}
	})
}

func TestStartWithoutTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pairs()
		var i issuer
		i.set(jwkOf("a", p.rsa))
		i.behave(down)
		j := within(t, &i, JWKS{}, io.Discard)
		token := sign(t, "RS256", p.rsa, object{"kid": "a"}, object{})
		a := show(t, j, token)
		if !a.Failed || !strings.Contains(a.Why, "no keys yet") {
			t.Errorf("%v because %q", a.Verdict, a.Why)
		}
		i.behave(nil)
		time.Sleep(time.Second) // the first retry
		synctest.Wait()
		wantAllow(t, show(t, j, token))
	})
}

func TestASlowServerHoldsNobodyLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i issuer
		i.behave(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		j := within(t, &i, JWKS{}, io.Discard)
		start := time.Now()
		a := show(t, j, sign(t, "RS256", pairs().rsa, object{"kid": "a"}, object{}))
		if !a.Failed || !strings.Contains(a.Why, "no answer within 5s") || time.Since(start) != fetchTimeout {
			t.Errorf("%v because %q after %v", a.Verdict, a.Why, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if a := j.Check(ctx, &access.Request{Password: []byte(sign(t, "RS256", pairs().rsa, object{"kid": "a"}, object{}))}); !a.Failed {
			t.Errorf("given up: %v", a.Verdict)
		}
	})
}

// The server is asked whether anything has changed, as often as it says.
func TestRefreshAsksForChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pairs()
		var i issuer
		i.set(jwkOf("a", p.rsa))
		j := within(t, &i, JWKS{Refresh: 10 * time.Minute}, io.Discard)
		token := sign(t, "RS256", p.rsa, object{"kid": "a"}, object{})
		wantAllow(t, show(t, j, token))
		set := j.keys.(*remote).set
		time.Sleep(time.Hour + time.Second)
		if n, c := i.requests.Load(), i.confirms.Load(); n != 7 || c != 6 {
			t.Errorf("%d requests, %d of them unchanged", n, c)
		}
		if j.keys.(*remote).set != set {
			t.Error("what was remembered is forgotten without need")
		}
		i.behave(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Cache-Control", "public, max-age=120, must-revalidate")
			return false
		})
		time.Sleep(10 * time.Minute) // the next look, with the new header
		before := i.requests.Load()
		time.Sleep(time.Hour)
		if n := i.requests.Load() - before; n != 30 {
			t.Errorf("%d requests in an hour with max-age=120", n)
		}
		i.behave(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Cache-Control", "max-age=0")
			return false
		})
		time.Sleep(2 * time.Minute)
		before = i.requests.Load()
		time.Sleep(time.Hour)
		if n := i.requests.Load() - before; n != 60 {
			t.Errorf("%d requests in an hour with max-age=0", n)
		}
	})
}

func TestAnswersThatAreNoKeys(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter)
		why    string
	}{
		"an error":       {func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }, "answers 500"},
		"not changed":    {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotModified) }, "answers 304"},
		"elsewhere":      {func(w http.ResponseWriter) { w.Header().Set("Location", "http://evil.example/"); w.WriteHeader(302) }, "sends elsewhere"},
		"HTML":           {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") }, "no JWKS"},
		"nothing":        {func(http.ResponseWriter) {}, "no JWKS"},
		"no list":        {func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"keys":{}}`) }, "no list of keys"},
		"no keys":        {func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"keys":[]}`) }, "no key for signatures"},
		"shared secrets": {func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}`) }, "no key for signatures, and 1 others"},
		"too much":       {func(w http.ResponseWriter) { _, _ = w.Write(bytes.Repeat([]byte(" "), maxJWKS+1)) }, "more than 262144 bytes"},
		"too many": {func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"keys":[`+strings.TrimSuffix(strings.Repeat("{},", maxKeys+1), ",")+`]}`)
		}, "101 keys"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var i issuer
				i.behave(func(w http.ResponseWriter, _ *http.Request) bool { c.answer(w); return true })
				j := within(t, &i, JWKS{}, io.Discard)
				a := show(t, j, sign(t, "HS256", []byte{0, 0, 0}, object{"kid": "a"}, object{}))
				if !a.Failed || !strings.Contains(a.Why, c.why) {
					t.Errorf("%v because %q, want %q", a.Verdict, a.Why, c.why)
				}
			})
		})
	}
}

func TestKeysOfASet(t *testing.T) {
	p := pairs()
	change := func(o object, name string, v any) object { o[name] = v; return o }
	for name, c := range map[string]struct {
		jwk  object
		algs string // empty: left out
	}{
		"RSA":                          {jwkOf("", p.rsa), "RS256 RS384 RS512 PS256 PS384 PS512"},
		"RSA for one algorithm":        {change(jwkOf("", p.rsa), "alg", "PS256"), "PS256"},
		"RSA for encryption":           {change(jwkOf("", p.rsa), "use", "enc"), ""},
		"RSA for an encryption":        {change(jwkOf("", p.rsa), "alg", "RSA-OAEP"), ""},
		"RSA for shared secrets":       {change(jwkOf("", p.rsa), "alg", "HS256"), ""},
		"RSA for a curve":              {change(jwkOf("", p.rsa), "alg", "ES256"), ""},
		"RSA to verify":                {change(jwkOf("", p.rsa), "key_ops", []any{"verify"}), "RS256 RS384 RS512 PS256 PS384 PS512"},
		"RSA to encrypt":               {change(jwkOf("", p.rsa), "key_ops", []any{"encrypt"}), ""},
		"RSA with exponent 1":          {change(jwkOf("", p.rsa), "e", "AQ"), ""},
		"RSA with an even exponent":    {change(jwkOf("", p.rsa), "e", "BA"), ""},
		"RSA with a large exponent":    {change(jwkOf("", p.rsa), "e", "AQAAAAE"), ""},
		"RSA with a small modulus":     {change(jwkOf("", p.rsa), "n", "AQAB"), ""},
		"RSA with a huge modulus":      {change(jwkOf("", p.rsa), "n", strings.Repeat("A", 2000)), ""},
		"RSA without a modulus":        {change(jwkOf("", p.rsa), "n", nil), ""},
		"P-256":                        {jwkOf("", p.p256), "ES256"},
		"P-384":                        {jwkOf("", p.p384), "ES384"},
		"P-521":                        {jwkOf("", p.p521), "ES512"},
		"P-256 said to be P-384":       {change(jwkOf("", p.p256), "crv", "P-384"), ""},
		"P-256 for ES384":              {change(jwkOf("", p.p256), "alg", "ES384"), ""},
		"a point not on the curve":     {change(jwkOf("", p.p256), "y", "AQ"), ""},
		"an unknown curve":             {change(jwkOf("", p.p256), "crv", "secp256k1"), ""},
		"Ed25519":                      {jwkOf("", p.ed), "EdDSA Ed25519"},
		"Ed25519 that is short":        {change(jwkOf("", p.ed), "x", "AQAB"), ""},
		"X25519":                       {change(jwkOf("", p.ed), "crv", "X25519"), ""},
		"a shared secret":              {object{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}, ""},
		"an unknown kind":              {object{"kty": "AKP"}, ""},
		"no kind":                      {object{}, ""},
		"an algorithm that is no text": {change(jwkOf("", p.p256), "alg", 7), ""},
	} {
		k, err := parseJWK(c.jwk)
		if got := strings.Join(k.algorithms, " "); got != c.algs || (err != nil) != (c.algs == "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.algs)
		}
	}
}

// A real server with TLS and its own CA.
func TestKeysOverTLS(t *testing.T) {
	p := pairs()
	var i issuer
	i.set(jwkOf("a", p.rsa))
	s := httptest.NewTLSServer(&i)
	defer s.Close()
	ca := file(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	token := sign(t, "RS256", p.rsa, object{"kid": "a"}, object{})
	wantAllow(t, show(t, step(t, Options{JWKS: &JWKS{URL: s.URL, CA: ca}}), token))
	a := show(t, step(t, Options{JWKS: &JWKS{URL: s.URL}}), token)
	if !a.Failed || !strings.Contains(a.Why, "certificate") {
		t.Errorf("a server that nobody knows: %v because %q", a.Verdict, a.Why)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	_ = l.Close()
	a = show(t, step(t, Options{JWKS: &JWKS{URL: "http://" + gone}}), token)
	if !a.Failed || !strings.Contains(a.Why, "refused") {
		t.Errorf("no server: %v because %q", a.Verdict, a.Why)
	}
}
