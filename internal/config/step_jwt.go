package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// StepJWT lets in clients that show a JSON Web Token. One of Secret,
// SecretBase64, PublicKey and JWKS says what verifies it.
type StepJWT struct {
	// From is where the token is: TokenFromPassword, which is the default, or
	// TokenFromUserName.
	From string `yaml:"from"`
	// Secret is shared with who signs: at least 32 bytes.
	Secret       Secret `yaml:"secret"`
	SecretBase64 Secret `yaml:"secret_base64"`
	// PublicKey is a PEM file of public keys or certificates.
	PublicKey string `yaml:"public_key"`
	// JWKS is the URL of a server that hands out keys. JWKSRefresh is the longest
	// time between two looks at it (0: 5m), JWKSKeep for how long its keys count
	// while it is gone (0: 24h), JWKSCA who signed its certificate. JWKSHTTP takes
	// a URL without TLS.
	JWKS        string        `yaml:"jwks"`
	JWKSRefresh time.Duration `yaml:"jwks_refresh"`
	JWKSKeep    time.Duration `yaml:"jwks_keep"`
	JWKSCA      string        `yaml:"jwks_ca"`
	JWKSHTTP    bool          `yaml:"jwks_http"`
	// Algorithms narrows down those that the keys are good for.
	Algorithms []string `yaml:"algorithms"`
	// Issuer and Audience are what iss has to be, and aud to have one of.
	Issuer   string   `yaml:"issuer"`
	Audience []string `yaml:"audience"`
	// Leeway is how far clocks may differ. 0: 5s; below 0: none (written 0 in
	// the file).
	Leeway time.Duration `yaml:"leeway"`
	// Claims have to be as these texts with placeholders say.
	Claims map[string]string `yaml:"claims"`
	// The claims that say what the client is and may do. Empty: none does; for
	// ACLClaim: acl.
	UserClaim       string `yaml:"user_claim"`
	ClientClaim     string `yaml:"client_claim"`
	SuperuserClaim  string `yaml:"superuser_claim"`
	GroupsClaim     string `yaml:"groups_claim"`
	AttributesClaim string `yaml:"attributes_claim"`
	LimitsClaim     string `yaml:"limits_claim"`
	ACLClaim        string `yaml:"acl_claim"`
	// StayAfterExp lets a client stay when its token expires.
	StayAfterExp bool `yaml:"stay_after_exp"`
}

// Where a token may be.
const (
	TokenFromPassword = "password"
	TokenFromUserName = "username"
)

// Key is the secret, or nil.
func (s *StepJWT) Key() []byte {
	if s.SecretBase64 == "" {
		if s.Secret == "" {
			return nil
		}
		return []byte(s.Secret)
	}
	text := strings.TrimSpace(string(s.SecretBase64))
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		key, _ = base64.RawURLEncoding.DecodeString(text) // Validate has seen to it
	}
	return key
}

// eachFile visits the names of files.
func (s *StepJWT) eachFile(visit func(name *string)) {
	if s != nil {
		visit(&s.PublicKey)
		visit(&s.JWKSCA)
	}
}

func (k *check) jwt(key string, s *StepJWT) {
	if s == nil {
		return
	}
	key += ".jwt"
	var set []string
	for _, way := range []struct{ name, value string }{
		{"secret", string(s.Secret)}, {"secret_base64", string(s.SecretBase64)}, {"public_key", s.PublicKey}, {"jwks", s.JWKS},
	} {
		if way.value != "" {
			set = append(set, way.name)
		}
	}
	if len(set) != 1 {
		k.add(key, "has %d keys to verify tokens with: write one of secret, secret_base64, public_key and jwks", len(set))
	}
	if s.From != "" {
		k.oneOf(key+".from", s.From, TokenFromPassword, TokenFromUserName)
	}
	if secret := s.Key(); len(set) == 1 && s.Secret+s.SecretBase64 != "" && len(secret) < 32 {
		k.add(key+"."+set[0], "the secret has %d bytes, which is below 32 (RFC 7518, section 3.2): make one with openssl rand -base64 32", len(secret))
	}
	for i, a := range s.Algorithms {
		k.oneOf(fmt.Sprintf("%s.algorithms[%d]", key, i), a, tokenAlgorithms()...)
	}
	for _, claim := range slices.Sorted(maps.Keys(s.Claims)) {
		at, text := key+".claims."+claim, s.Claims[claim]
		k.placeholders(at, text, clientPlaceholders()...)
		if s.From == TokenFromUserName && strings.Contains(text, "${username}") {
			k.add(at, "the user name is the token itself: compare with ${clientid}, or take the token from the password")
		}
	}
	k.jwks(key, s)
	atMost(k, key+".leeway", s.Leeway, time.Hour)
}

func (k *check) jwks(key string, s *StepJWT) {
	if s.JWKS == "" {
		return
	}
	k.webURL(key+".jwks", s.JWKS)
	if s.JWKSRefresh != 0 {
		between(k, key+".jwks_refresh", s.JWKSRefresh, 10*time.Second, 24*time.Hour)
	}
	if s.JWKSKeep != 0 {
		between(k, key+".jwks_keep", s.JWKSKeep, time.Minute, 365*24*time.Hour)
	}
}

func tokenAlgorithms() []string {
	return []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
}
