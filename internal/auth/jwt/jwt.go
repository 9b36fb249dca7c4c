// Package jwt lets in clients that show a JSON Web Token (RFC 7519), by its
// signature and its claims.
//
// A token is taken apart by hand, in this order: its length, its header, the
// key, the signature, and only then its claims, so that what a stranger wrote
// is read as little as can be. A key is for the algorithms of its kind, or for
// the one that its set names, and for nothing else: an algorithm that a token
// asks for chooses among those and cannot make a public key a shared secret.
// Of the header only alg, kid, crit and cty count; keys and addresses of keys
// in a token are not looked at.
//
// Keys are a secret, public keys in a file, or a set of keys (JWKS, RFC 7517)
// that a server hands out ([remote]). A signature that held is remembered for
// a while ([seen]): verifying is what a token costs.
//
// A token that is none, as an ordinary password, is left to other steps; one
// that does not hold is denied, and the log says why, without the token.
package jwt

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
	"github.com/fantail-mqtt/fantail/internal/auth/grant"
	"github.com/fantail-mqtt/fantail/packet"
)

// Options of the step. One of Secret, PublicKey and JWKS is set.
type Options struct {
	// FromUserName: the token is the user name and not the password. Then the
	// claim Grant.UserName (sub, if there is none) is the user name.
	FromUserName bool

	Secret    []byte // shared with who signs: at least 32 bytes
	PublicKey string // a PEM file of public keys or certificates
	JWKS      *JWKS

	// Algorithms narrows down those that the keys are good for. Empty: all.
	Algorithms []string
	// Issuer is what iss must be; empty: anything. Audience has what aud must
	// have one of; empty: anything.
	Issuer   string
	Audience []string
	// Leeway is how far clocks may differ. Default: 5s; below 0: none.
	Leeway time.Duration
	// Claims have to be as these texts with placeholders say.
	Claims map[string]string
	// Grant says which claims the client's grant is made of; exp is added.
	Grant grant.Names
	// StayAfterExp lets clients stay when their token expires.
	StayAfterExp bool

	Logger *slog.Logger // nil: slog's default
}

// maxToken bounds a token. Those of large directories, which list the groups of
// a user, have some thousand bytes.
const maxToken = 16 << 10

// JWT checks tokens. Any number of goroutines may use it.
type JWT struct {
	o      Options
	claims []match // by name
	keys   source
}

// source has keys.
type source interface {
	// now are those of now; nil: there are none.
	now() *keySet
	// ready are those of now, once it is known whether they are all that a
	// token with this header could need.
	ready(ctx context.Context, h *header) (*keySet, error)
	// prepare reads what is in files anew, for the caller to commit or drop.
	prepare() (commit func(), err error)
	start()
	close()
}

// match is a claim that must be as a text says.
type match struct {
	claim string
	text  *fill.Text
}

// New makes the step. It reads the keys, but for those of a server, which
// come after Start.
func New(o Options) (*JWT, error) {
	if o.Leeway == 0 {
		o.Leeway = 5 * time.Second
	}
	o.Leeway = max(o.Leeway, 0)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Grant.Expires = "exp"
	if o.FromUserName {
		o.Grant.UserName = cmp.Or(o.Grant.UserName, "sub")
	}
	j := &JWT{o: o}
	for _, claim := range slices.Sorted(maps.Keys(o.Claims)) {
		text, err := fill.Parse(o.Claims[claim])
		if err != nil {
			return nil, fmt.Errorf("claims.%s: %w", claim, err)
		}
		j.claims = append(j.claims, match{claim: claim, text: text})
	}
	var err error
	if j.keys, err = newSource(&o); err != nil {
		return nil, err
	}
	return j, nil
}

func newSource(o *Options) (source, error) {
	for _, name := range o.Algorithms {
		if method(name) == nil {
			return nil, fmt.Errorf("algorithms: %q is unknown: there are HS256 to HS512, RS256, PS256 and ES256 to 512, and EdDSA", name)
		}
	}
	switch {
	case o.Secret != nil:
		k, err := secretKey(o.Secret)
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		return newFixed([]key{k}, o.Algorithms, "the secret")
	case o.PublicKey != "":
		return newFile(o.PublicKey, o.Algorithms)
	case o.JWKS != nil:
		transport, err := o.JWKS.dial()
		if err != nil {
			return nil, err
		}
		return newRemote(*o.JWKS, o.Algorithms, o.Logger, transport)
	default:
		return nil, errors.New("one of secret, public_key and jwks is needed")
	}
}

// Start begins to look for keys.
func (j *JWT) Start() { j.keys.start() }

// Prepare reads the keys in a file, or the file of authorities that a server of
// keys is known by, anew. The caller commits what was read, or drops it. A
// server of keys is looked at again.
func (j *JWT) Prepare() (commit func(), err error) {
	commit, err = j.keys.prepare()
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	return commit, nil
}

// Close ends looking for new keys.
func (j *JWT) Close() { j.keys.close() }

// Name implements auth.Step.
func (j *JWT) Name() string { return "auth.jwt" }

// Concerns implements auth.Step.
func (j *JWT) Concerns(r *access.Request) bool { return looksLike(j.shown(r)) }

// shown is what may be a token.
func (j *JWT) shown(r *access.Request) []byte {
	if j.o.FromUserName {
		return []byte(r.UserName)
	}
	return r.Password
}

// Check implements auth.Step.
func (j *JWT) Check(ctx context.Context, r *access.Request) auth.Answer {
	raw := j.shown(r)
	switch {
	case len(raw) == 0:
		return auth.Passed("the client shows no token")
	case !looksLike(raw):
		return auth.Passed("what the client shows is no token")
	case len(raw) > maxToken:
		return denied(fmt.Sprintf("the token has %d bytes, which is above %d", len(raw), maxToken), "let the issuer put fewer claims in")
	}
	sum := sha256.Sum256(raw)
	if set := j.keys.now(); set != nil {
		if claims := set.seen.get(sum); claims != nil {
			return j.judge(claims, r, time.Now())
		}
	}
	claims, err := j.verify(ctx, raw, sum)
	switch {
	case errors.Is(err, errNoToken):
		return auth.Passed("what the client shows is no token")
	case err != nil:
		return answer(err)
	}
	return j.judge(claims, r, time.Now())
}

// verify returns the claims of a token whose signature holds.
func (j *JWT) verify(ctx context.Context, raw []byte, sum [sha256.Size]byte) (map[string]any, error) {
	t, err := parse(raw)
	if err != nil {
		return nil, err
	}
	set, err := j.keys.ready(ctx, &t.header)
	if err != nil {
		return nil, err
	}
	if err := set.verify(t); err != nil {
		return nil, err
	}
	claims, err := t.claims()
	if err == nil && len(raw) <= maxSeen {
		set.seen.put(sum, claims)
	}
	return claims, err
}

// refusal is why a token does not hold, and what to do about it.
type refusal struct{ why, do string }

func (r *refusal) Error() string { return r.why }

func refuse(do, format string, args ...any) error {
	return &refusal{why: fmt.Sprintf(format, args...), do: do}
}

// unknowable is why nothing can be said about a token.
type unknowable struct{ why, do string }

func (u *unknowable) Error() string { return u.why }

func answer(err error) auth.Answer {
	if u, ok := errors.AsType[*unknowable](err); ok {
		return auth.Failure(u.why, u.do)
	}
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = &refusal{why: "the token: " + err.Error(), do: "let the issuer correct it"}
	}
	return denied(r.why, r.do)
}

func denied(why, do string) auth.Answer {
	return auth.Denied(packet.BadUserNameOrPassword, why, do)
}

// looksLike says whether something may be a token: a header, which is a JSON
// object in base64, and two or, if it is encrypted, four more parts. It is
// asked on an event loop.
func looksLike(raw []byte) bool {
	if len(raw) < 16 || raw[0] != 'e' || raw[1] != 'y' && raw[1] != 'w' {
		return false
	}
	dots := bytes.Count(raw, []byte("."))
	return dots == 2 || dots == 4
}
