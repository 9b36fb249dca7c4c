package fantail_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// issuer signs tokens and hands out its key over TLS.
type issuer struct {
	*httptest.Server
	ca string // a PEM file

	mu   sync.Mutex
	key  *ecdsa.PrivateKey
	kid  string
	down bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.rotate(t, "first")
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Close)
	i.ca = authority(t, i.Server)
	return i
}

// authority writes the certificate of a server into a file.
func authority(t *testing.T, s *httptest.Server) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// rotate takes a new key.
func (i *issuer) rotate(t *testing.T, kid string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	i.key, i.kid = key, kid
	i.mu.Unlock()
}

func (i *issuer) fail(down bool) {
	i.mu.Lock()
	i.down = down
	i.mu.Unlock()
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	point, err := i.key.PublicKey.Bytes()
	if err != nil || i.down {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text, _ := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": i.kid, "x": b64(point[1:33]), "y": b64(point[33:]),
	}}})
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(text))
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", tag)
	_, _ = w.Write(text)
}

// token signs claims.
func (i *issuer) token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	unsigned.Header["kid"] = i.kid
	token, err := unsigned.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// login is a client with a user name and a password.
func login(user, password string) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.HasUserName, c.UserName, c.HasPassword, c.Password = true, user, true, []byte(password)
	}
}

// chain is a configuration of steps.
func chain(steps ...fantail.Step) fantail.Config {
	return fantail.Config{Auth: fantail.Auth{Users: users().Users, Chain: steps}}
}

func TestTokens(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		i := newIssuer(t)
		s := serve(t, transport, chain(fantail.Step{JWT: &fantail.StepJWT{
			JWKS: i.URL, JWKSCA: i.ca, Issuer: "https://id.example", Audience: []string{"mqtt"},
			Claims: map[string]string{"sub": "${username}", "client": "${clientid}"},
		}}, fantail.Step{Users: &fantail.StepUsers{}}), nil)
		claims := func(change func(c jwt.MapClaims)) jwt.MapClaims {
			c := jwt.MapClaims{"iss": "https://id.example", "aud": "mqtt", "sub": "dev", "client": "x", "exp": time.Now().Add(time.Hour).Unix()}
			if change != nil {
				change(c)
			}
			return c
		}
		good := i.token(t, claims(nil))
		cases := []struct {
			user, password string
			want           packet.Code
			why            string
		}{
			{"dev", good, packet.Success, ""},
			{"ann", "pencil", packet.Success, ""}, // the step behind it
			{"ann", "eraser", packet.BadUserNameOrPassword, "the password is wrong"},
			{"eve", good, packet.BadUserNameOrPassword, "the token's claim sub is \\\"dev\\\", and the client says \\\"eve\\\""},
			{"dev' OR '1'='1", good, packet.BadUserNameOrPassword, "the token's claim sub"},
			{"dev", good[:len(good)-8] + "AAAAAAAA", packet.BadUserNameOrPassword, "signature of the token is wrong"},
			{"dev", i.token(t, claims(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Hour).Unix() })), packet.BadUserNameOrPassword, "the token expired at"},
			{"dev", i.token(t, claims(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() })), packet.BadUserNameOrPassword, "is the clock of the device that signed it right?"},
			{"dev", i.token(t, claims(func(c jwt.MapClaims) { c["aud"] = "shop" })), packet.BadUserNameOrPassword, "for somebody else (aud)"},
			{"dev", i.token(t, claims(func(c jwt.MapClaims) { c["client"] = "y" })), packet.BadUserNameOrPassword, "the token's claim client"},
			{"dev", "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", packet.BadUserNameOrPassword, "none of those that are verified"},
		}
		for n, c := range cases {
			w := s.dial(t)
			ack := w.hello("x", login(c.user, c.password))
			if ack.Code != c.want {
				t.Errorf("case %d: %v, want %v", n, ack.Code, c.want)
			}
			if c.why == "" {
				continue
			}
			s.log.wait(t, "connection refused", c.why)
			if strings.Contains(ack.Reason, "token") || strings.Contains(ack.Reason, "sub") {
				t.Errorf("case %d: the client hears %q", n, ack.Reason)
			}
		}
		if lines := s.log.having(good[:40]); len(lines) > 0 {
			t.Errorf("a token in the log: %s", lines)
		}
	})
}

// Keys may change, and their server go, while the broker runs.
func TestKeysOfTokensChange(t *testing.T) {
	i := newIssuer(t)
	i.fail(true) // it need not run when the broker starts
	s := serve(t, "auto", chain(fantail.Step{JWT: &fantail.StepJWT{JWKS: i.URL, JWKSCA: i.ca, JWKSRefresh: 10 * time.Second}}), nil)
	s.log.wait(t, "cannot fetch the keys of tokens", "500")
	first := i.token(t, jwt.MapClaims{"sub": "dev"})
	if ack := s.dial(t).hello("x", login("dev", first)); ack.Code != packet.ServerUnavailable {
		t.Errorf("without keys: %v", ack.Code)
	}
	s.log.wait(t, "connection refused", "there are no keys yet", "step=auth.jwt")
	i.fail(false)
	s.log.wait(t, "new keys of tokens", "first")
	s.connect(t, "x", login("dev", first))
	i.rotate(t, "second")
	second := i.token(t, jwt.MapClaims{"sub": "dev"})
	s.log.wait(t, "new keys of tokens", "second") // by and by; unit tests have the way by a token
	s.connect(t, "y", login("dev", second))
	if ack := s.dial(t).hello("x", login("dev", first)); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("a token of the old key: %v", ack.Code)
	}
	i.fail(true)
	s.connect(t, "z", login("dev", second)) // the keys stay
}

// A token for a user name is as secret as a password.
func TestTokenForUserName(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	token := func(key []byte) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "porch", "id": "dev-7"}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := serve(t, "auto", chain(fantail.Step{JWT: &fantail.StepJWT{From: "username", Secret: string(secret), ClientClaim: "id"}}), nil)
	_, ack := s.connect(t, "x", func(c *packet.Connect) { c.HasUserName, c.UserName = true, token(secret) })
	if ack.AssignedClientID != "dev-7" {
		t.Errorf("the client is called %q", ack.AssignedClientID)
	}
	wrong := token([]byte("another secret of at least 32 bytes"))
	if ack := s.dial(t).hello("x", login(wrong, "")); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("CONNACK: %v", ack.Code)
	}
	s.log.wait(t, "connection refused", "user=(a token)", "signature")
	if lines := append(s.log.having(token(secret)), s.log.having(wrong)...); len(lines) > 0 {
		t.Errorf("a token in the log: %s", lines)
	}
}
