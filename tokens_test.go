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
	"maps"
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
		token := func(id string, more jwt.MapClaims) string {
			c := jwt.MapClaims{"iss": "https://id.example", "aud": "mqtt", "sub": "dev", "client": id, "exp": time.Now().Add(time.Hour).Unix()}
			maps.Copy(c, more)
			return i.token(t, c)
		}
		good, foreign := token("good", nil), token("forged", nil)
		forged := foreign[:len(foreign)-8] + "AAAAAAAA"
		for _, c := range []struct {
			id, user, password string
			want               packet.Code
			why                string
		}{
			{"good", "dev", good, packet.Success, ""},
			{"ann", "ann", "pencil", packet.Success, ""}, // the step behind it
			{"ann2", "ann", "eraser", packet.BadUserNameOrPassword, "the password is wrong"},
			{"eve", "eve", token("eve", nil), packet.BadUserNameOrPassword, `the token's claim sub is "dev", and the client says "eve"`},
			{"sql", "dev' OR '1'='1", token("sql", nil), packet.BadUserNameOrPassword, "the token's claim sub"},
			{"copied", "dev", good, packet.BadUserNameOrPassword, `the token's claim client is "good"`},
			{"forged", "dev", forged, packet.BadUserNameOrPassword, "signature of the token is wrong"},
			{"late", "dev", token("late", jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), packet.BadUserNameOrPassword, "the token expired at"},
			{"early", "dev", token("early", jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), packet.BadUserNameOrPassword, "is the clock of the device that signed it right?"},
			{"aud", "dev", token("aud", jwt.MapClaims{"aud": "shop"}), packet.BadUserNameOrPassword, "for somebody else (aud)"},
			{"none", "dev", "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", packet.BadUserNameOrPassword, "none of those that are verified"},
		} {
			ack := s.dial(t).hello(c.id, login(c.user, c.password))
			if ack.Code != c.want {
				t.Errorf("%s: %v, want %v", c.id, ack.Code, c.want)
			}
			if c.why == "" {
				continue
			}
			s.log.wait(t, "connection refused", "client="+c.id+" ", c.why, "step=")
			if ack.Reason != "user name or password is wrong" {
				t.Errorf("%s: the client hears %q", c.id, ack.Reason)
			}
		}
		if lines := s.log.having(good[:40]); len(lines) > 0 {
			t.Errorf("a token in the log: %s", lines)
		}
	})
}

// A token may say what the client may do, and for how long it is good.
func TestRightsOfATokenAndItsEnd(t *testing.T) {
	i := newIssuer(t)
	s := serve(t, "auto", chain(fantail.Step{JWT: &fantail.StepJWT{JWKS: i.URL, JWKSCA: i.ca, SuperuserClaim: "admin", Leeway: -1}}), nil)
	short := s.device(t, "short", login("dev", i.token(t, jwt.MapClaims{"exp": time.Now().Add(2 * time.Second).Unix()})))
	own := map[string]any{"pub": []string{"dev/${clientid}/up"}, "sub": []string{"dev/${clientid}/#"}}
	w := s.device(t, "a", login("dev", i.token(t, jwt.MapClaims{"acl": own})))
	for topic, want := range map[string]packet.Code{"dev/a/up": packet.NoMatchingSubscribers, "dev/b/up": packet.NotAuthorized, "dev/a/x": packet.NotAuthorized} {
		if got := w.say(topic, "hello"); got != want {
			t.Errorf("publish to %s: %v, want %v", topic, got, want)
		}
	}
	for filter, want := range map[string]packet.Code{"dev/a/x": packet.GrantedQoS1, "dev/b/x": packet.NotAuthorized, "#": packet.NotAuthorized, "dev/+/x": packet.NotAuthorized} {
		if got := w.subscribe(packet.Subscription{Filter: filter, QoS: 1}); got[0] != want {
			t.Errorf("subscribe to %s: %v, want %v", filter, got, want)
		}
	}
	deny := []any{map[string]any{"permission": "deny", "action": "all", "topic": "secret/#"}}
	w = s.device(t, "b", login("dev", i.token(t, jwt.MapClaims{"acl": deny})))
	if got := w.say("secret/x", "hello"); got != packet.NotAuthorized {
		t.Errorf("publish to secret/x: %v", got)
	}
	w = s.device(t, "c", login("dev", i.token(t, jwt.MapClaims{"acl": deny, "admin": true})))
	if got := w.say("secret/x", "hello"); got.Failed() {
		t.Errorf("a superuser publishes to secret/x: %v", got)
	}
	bad := []any{map[string]any{"permission": "allow", "action": "publish", "topic": "a/#/b"}}
	if ack := s.dial(t).hello("d", login("dev", i.token(t, jwt.MapClaims{"acl": bad}))); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("rules that are none: %v", ack.Code)
	}
	s.log.wait(t, "connection refused", "client=d ", "the token's claim acl has a mistake in acl[0]: topic", "a/#/b")
	short.sentAway(packet.MaximumConnectTime)
}

// Keys may change, and their server go, while the broker runs.
func TestKeysOfTokensChange(t *testing.T) {
	t.Parallel() // it waits for the next look
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
	if ack := s.dial(t).hello("z", login("dev", first)); ack.Code != packet.BadUserNameOrPassword {
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
	s := serve(t, "auto", chain(fantail.Step{JWT: &fantail.StepJWT{From: "username", Secret: fantail.Secret(secret), ClientClaim: "id"}}), nil)
	_, ack := s.connect(t, "x", func(c *packet.Connect) { c.HasUserName, c.UserName = true, token(secret) })
	if ack.AssignedClientID != "dev-7" {
		t.Errorf("the client is called %q", ack.AssignedClientID)
	}
	wrong := token([]byte("another secret of at least 32 bytes"))
	if ack := s.dial(t).hello("y", login(wrong, "")); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("CONNACK: %v", ack.Code)
	}
	s.log.wait(t, "connection refused", "user=(a token)", "signature")
	if lines := append(s.log.having(token(secret)), s.log.having(wrong)...); len(lines) > 0 {
		t.Errorf("a token in the log: %s", lines)
	}
}
