package fantail_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// signer has a key, whose public half is in a file.
type signer struct{ private ed25519.PrivateKey }

func newSigner(t *testing.T, file string) *signer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	return &signer{private}
}

func (s *signer) token(t *testing.T) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "dev"}).SignedString(s.private)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What the steps read from files is read again by a reload: all of it, or with
// one broken file nothing at all.
func TestReloadReadsTheFilesOfTheStepsAnew(t *testing.T) {
	i := newIssuer(t) // a server with a certificate
	key, ca := filepath.Join(t.TempDir(), "key.pem"), filepath.Join(t.TempDir(), "ca.pem")
	right, err := os.ReadFile(i.ca)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, ca, string(right))
	first := newSigner(t, key)
	c := chain(fantail.Step{JWT: &fantail.StepJWT{PublicKey: key}}, fantail.Step{HTTP: &fantail.StepHTTP{URL: i.URL, CA: ca}})
	c.Limits.Packet = 1 << 20
	s := serve(t, "auto", c, nil)
	stays := s.device(t, "stays", login("dev", first.token(t)))
	second := newSigner(t, key)
	writeFile(t, ca, "nonsense")
	smaller := c
	smaller.Limits.Packet = 1000
	err = s.Reload(smaller)
	if err == nil || !strings.Contains(err.Error(), "auth.chain[1]: http: ca: "+ca+" holds no certificate: it has to be a PEM file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a broken file: %v", err)
	}
	if ack := s.dial(t).hello("x", login("dev", second.token(t))); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("half of what was read is in force: %v", ack.Code)
	}
	if _, ack := s.connect(t, "x", login("dev", first.token(t))); ack.MaximumPacketSize != 1<<20 {
		t.Errorf("the limits are in force: %d", ack.MaximumPacketSize)
	}
	writeFile(t, ca, string(right))
	if err := s.Reload(smaller); err != nil {
		t.Fatal(err)
	}
	if _, ack := s.connect(t, "x", login("dev", second.token(t))); ack.MaximumPacketSize != 1000 {
		t.Errorf("the limits are not in force: %d", ack.MaximumPacketSize)
	}
	if ack := s.dial(t).hello("y", login("dev", first.token(t))); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("a token of the old key: %v", ack.Code)
	}
	stays.quiet()
}

// One listener with a broken certificate keeps the others from taking theirs.
func TestReloadOfListenersIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	var ids []*identity
	var listeners []fantail.Listener
	for _, name := range []string{"a", "b"} {
		id := &identity{cert: filepath.Join(dir, name+".pem"), key: filepath.Join(dir, name+".key")}
		id.issue(t, 1)
		ids = append(ids, id)
		listeners = append(listeners, listener(t, "tls://127.0.0.1:0?cert="+id.cert+"&key="+id.key))
	}
	c := fantail.Config{Listeners: listeners}
	s := serve(t, "auto", c, nil)
	ids[0].issue(t, 2)
	writeFile(t, ids[1].cert, "nonsense")
	if err := s.Reload(c); err == nil {
		t.Fatal("no error")
	}
	conn, err := tls.Dial("tcp", s.mqtt[0], &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it only looks at the number
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
}
