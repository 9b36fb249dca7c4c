package conform

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// scram is the client side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without
// channel binding, for a user name with no special characters.
type scram struct {
	user, password string
	nonce          string
	signature      []byte // what the server must prove at the end
}

const scramMethod = "SCRAM-SHA-256"

func newScram(password string) *scram {
	return &scram{user: scramUser, password: password, nonce: rand.Text()}
}

func (s *scram) bare() string { return "n=" + s.user + ",r=" + s.nonce }

// first is what the client begins with.
func (s *scram) first() string { return "n,," + s.bare() }

// final answers the server's challenge.
func (s *scram) final(challenge string) (string, error) {
	fields := map[string]string{}
	for part := range strings.SplitSeq(challenge, ",") {
		key, value, _ := strings.Cut(part, "=")
		fields[key] = value
	}
	if !strings.HasPrefix(fields["r"], s.nonce) || fields["r"] == s.nonce {
		return "", fmt.Errorf("challenge %q does not extend our nonce", challenge)
	}
	salt, err := base64.StdEncoding.DecodeString(fields["s"])
	if err != nil {
		return "", fmt.Errorf("salt in %q: %w", challenge, err)
	}
	rounds, err := strconv.Atoi(fields["i"])
	if err != nil {
		return "", fmt.Errorf("iterations in %q: %w", challenge, err)
	}
	salted, err := pbkdf2.Key(sha256.New, s.password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive key: %w", err)
	}
	without := "c=biws,r=" + fields["r"]
	message := s.bare() + "," + challenge + "," + without
	clientKey := sign(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	proof := sign(stored[:], message)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	s.signature = sign(sign(salted, "Server Key"), message)
	return without + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// proven reports whether the server's last message shows that it knows the password too.
func (s *scram) proven(last string) bool {
	value, found := strings.CutPrefix(last, "v=")
	got, err := base64.StdEncoding.DecodeString(value)
	return found && err == nil && hmac.Equal(got, s.signature)
}

func sign(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
