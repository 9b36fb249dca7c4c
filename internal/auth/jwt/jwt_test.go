package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/grant"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

type object = map[string]any

// pairs are private keys, made once: RSA takes its time.
var pairs = sync.OnceValue(func() (p struct {
	rsa, otherRSA    *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
},
) {
	p.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	p.otherRSA, _ = rsa.GenerateKey(rand.Reader, 2048)
	p.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p.p521, _ = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, p.ed, _ = ed25519.GenerateKey(rand.Reader)
	return p
})

// publicPEM is the file text of the public keys of private ones.
func publicPEM(t testing.TB, private ...crypto.Signer) []byte {
	t.Helper()
	var out []byte
	for _, p := range private {
		der, err := x509.MarshalPKIXPublicKey(p.Public())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	return out
}

// file writes a file of a test and returns its name.
func file(t testing.TB, text []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// step makes one that logs to nobody.
func step(t testing.TB, o Options) *JWT {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	j, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	j.Start()
	t.Cleanup(j.Close)
	return j
}

// sign makes a token.
func sign(t testing.TB, alg string, key any, head, claims object) string {
	t.Helper()
	h := object{"alg": alg, "typ": "JWT"}
	maps.Copy(h, head)
	return signText(t, alg, key, text(t, h), text(t, claims))
}

func text(t testing.TB, o object) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// signText makes a token of texts that need not be JSON.
func signText(t testing.TB, alg string, key any, head, claims string) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sig, err := method(alg).Sign(signed, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// show asks the step about a client with a token for a password.
func show(t testing.TB, j *JWT, token string) auth.Answer {
	t.Helper()
	return ask(t, j, &access.Request{
		ClientID: "dev-1", UserName: "ann", HasUserName: true, Password: []byte(token), HasPassword: true,
	})
}

func ask(t testing.TB, j *JWT, r *access.Request) auth.Answer {
	t.Helper()
	a := j.Check(t.Context(), r)
	if !j.Concerns(r) && a.Verdict != auth.Ignore {
		t.Errorf("%v, and the step says that it is not concerned", a.Verdict)
	}
	if token := string(j.shown(r)); len(token) > 40 && strings.Contains(a.Why+a.Do, token[:40]) {
		t.Errorf("the token is in %q, %q", a.Why, a.Do)
	}
	if a.Verdict == auth.Deny && (a.Why == "" || a.Do == "") {
		t.Errorf("no cause or no cure: %q, %q", a.Why, a.Do)
	}
	return a
}

// wantDeny says that the step denies for a reason with that text.
func wantDeny(t testing.TB, a auth.Answer, why string) {
	t.Helper()
	if a.Verdict != auth.Deny || a.Failed || !strings.Contains(a.Why, why) {
		t.Errorf("%v (failed: %v) because %q, want deny because of %q", a.Verdict, a.Failed, a.Why, why)
	}
}

func wantAllow(t testing.TB, a auth.Answer) {
	t.Helper()
	if a.Verdict != auth.Allow {
		t.Errorf("%v because %q", a.Verdict, a.Why)
	}
}

// signers are all algorithms with a key for each.
func signers() map[string]crypto.Signer {
	p := pairs()
	return map[string]crypto.Signer{
		"RS256": p.rsa, "RS384": p.rsa, "RS512": p.rsa, "PS256": p.rsa, "PS384": p.rsa, "PS512": p.rsa,
		"ES256": p.p256, "ES384": p.p384, "ES512": p.p521, "EdDSA": p.ed, "Ed25519": p.ed,
	}
}

func TestEveryAlgorithm(t *testing.T) {
	for alg, private := range signers() {
		t.Run(alg, func(t *testing.T) {
			j := step(t, Options{PublicKey: file(t, publicPEM(t, private))})
			token := sign(t, alg, private, nil, object{"sub": "ann"})
			wantAllow(t, show(t, j, token))
			wantAllow(t, show(t, j, token)) // now it was seen
			wantDeny(t, show(t, j, flip(token)), "signature of the token is wrong")
			only := step(t, Options{PublicKey: file(t, publicPEM(t, private)), Algorithms: []string{alg}})
			wantAllow(t, show(t, only, token))
		})
	}
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		t.Run(alg, func(t *testing.T) {
			j := step(t, Options{Secret: secret})
			token := sign(t, alg, secret, nil, object{"sub": "ann"})
			wantAllow(t, show(t, j, token))
			wantDeny(t, show(t, j, flip(token)), "signature of the token is wrong")
		})
	}
}

// flip changes one bit of the signature.
func flip(token string) string {
	b := []byte(token)
	i := strings.LastIndex(token, ".") + 5
	if b[i]++; b[i] == 'z'+1 || b[i] == 'Z'+1 || b[i] == '9'+1 || b[i] == '_'+1 || b[i] == '-'+1 {
		b[i] = 'a'
	}
	return string(b)
}

// The classes of published attacks on JWT: those of RFC 8725, and of what was
// found in libraries and products since 2015.
func TestAttacks(t *testing.T) {
	p := pairs()
	rsaFile := publicPEM(t, p.rsa)
	public := step(t, Options{PublicKey: file(t, rsaFile), Issuer: "https://id.example", Audience: []string{"mqtt"}})
	good := object{"iss": "https://id.example", "aud": "mqtt", "sub": "ann"}
	with := func(more object) object {
		o := maps.Clone(good)
		maps.Copy(o, more)
		return o
	}
	rs := func(head, claims object) string { return sign(t, "RS256", p.rsa, head, claims) }
	unsigned := func(alg string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+alg+`"}`)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(text(t, good))) + "."
	}
	now := time.Now()
	der, err := x509.MarshalPKIXPublicKey(p.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(rs(nil, good), ".")
	otherJWK := jwkOf("mine", p.otherRSA)
	wantAllow(t, show(t, public, rs(nil, good)))
	for name, c := range map[string]struct{ token, why string }{
		"alg none":                           {unsigned("none"), "none of those that are verified"},
		"alg None":                           {unsigned("None"), "none of those that are verified"},
		"alg nOnE":                           {unsigned("nOnE"), "none of those that are verified"},
		"an empty alg":                       {unsigned(""), "none of those that are verified"},
		"alg none with a good signature":     {unsigned("none") + parts[2], "none of those that are verified"},
		"no signature":                       {parts[0] + "." + parts[1] + ".", "signature of the token is wrong"},
		"HS256 with the PEM file for secret": {sign(t, "HS256", rsaFile, nil, good), "no key of"},
		"HS256 with the key for secret":      {sign(t, "HS256", der, nil, good), "no key of"},
		"HS256 with an empty secret":         {sign(t, "HS256", []byte{}, nil, good), "no key of"},
		"another key of the kind":            {sign(t, "RS256", p.otherRSA, nil, good), "signature of the token is wrong"},
		"another kind of key":                {sign(t, "ES256", p.p256, nil, good), "no key of"},
		"its own key in the header (jwk)":    {sign(t, "RS256", p.otherRSA, object{"jwk": otherJWK}, good), "signature of the token is wrong"},
		"a place of its own for keys (jku)":  {sign(t, "RS256", p.otherRSA, object{"jku": "https://evil.example/", "kid": "mine"}, good), "signature of the token is wrong"},
		"a certificate of its own (x5c)":     {sign(t, "RS256", p.otherRSA, object{"x5c": []string{"MII="}, "x5u": "https://evil.example/"}, good), "signature of the token is wrong"},
		"a kid that is a path":               {sign(t, "HS256", []byte{}, object{"kid": "../../../../dev/null"}, good), "no key of"},
		"a kid that is SQL":                  {sign(t, "HS256", []byte("x"), object{"kid": "' UNION SELECT 'x' --"}, good), "no key of"},
		"a kid that is a command":            {sign(t, "RS256", p.otherRSA, object{"kid": "|touch /tmp/x"}, good), "signature of the token is wrong"},
		"a kid that is a number":             {rs(object{"kid": 7}, good), "(kid) in the token is no text"},
		"a kid that is a list":               {rs(object{"kid": []string{"a"}}, good), "(kid) in the token is no text"},
		"an extension that must be known":    {rs(object{"crit": []string{"exp"}}, good), "(crit)"},
		"an empty list of extensions":        {rs(object{"crit": []string{}}, good), "(crit)"},
		"a payload outside (b64)":            {rs(object{"b64": false, "crit": []string{"b64"}}, good), "(crit)"},
		"nested":                             {rs(object{"cty": "JWT"}, good), "(cty)"},
		"encrypted":                          {parts[0] + ".AA.AA.AA.AA", "(JWE)"},
		"expired":                            {rs(nil, with(object{"exp": now.Add(-time.Minute).Unix()})), "expired at"},
		"expired in 1970":                    {rs(nil, with(object{"exp": 0})), "expired at"},
		"not valid yet":                      {rs(nil, with(object{"nbf": now.Add(time.Minute).Unix()})), "is the clock of the device that signed it right?"},
		"exp that is a text":                 {rs(nil, with(object{"exp": "never"})), "exp is no number"},
		"exp that is null":                   {rs(nil, with(object{"exp": nil})), "exp is no number"},
		"exp that is below 0":                {rs(nil, with(object{"exp": -1})), "exp is no number"},
		"exp in milliseconds":                {rs(nil, with(object{"exp": now.UnixMilli()})), "counted in seconds"},
		"exp that is too large for a number": {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, `{"iss":"https://id.example","aud":"mqtt","exp":1e999}`), "exp is no number"},
		"nbf that is a text":                 {rs(nil, with(object{"nbf": "0"})), "nbf is no number"},
		"another issuer":                     {rs(nil, with(object{"iss": "https://evil.example"})), "another issuer"},
		"no issuer":                          {rs(nil, object{"aud": "mqtt"}), "another issuer (iss): none"},
		"a list of issuers":                  {rs(nil, with(object{"iss": []string{"https://id.example"}})), "another issuer"},
		"another audience":                   {rs(nil, with(object{"aud": "shop"})), "for somebody else (aud)"},
		"no audience":                        {rs(nil, object{"iss": "https://id.example"}), "for somebody else (aud): none"},
		"other audiences":                    {rs(nil, with(object{"aud": []string{"mqtts", "mqt"}})), "for somebody else (aud)"},
		"a claim twice":                      {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, `{"iss":"x","iss":"https://id.example","aud":"mqtt"}`), `"iss" comes twice`},
		"a claim twice, once escaped":        {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, `{"iss":"https://id.example","aud":"mqtt","\u0061ud":"x"}`), `"aud" comes twice`},
		"something behind the claims":        {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, `{"iss":"https://id.example","aud":"mqtt"}{}`), "something follows"},
		"claims that are a list":             {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, `["mqtt"]`), "it is no object"},
		"claims that are no JSON":            {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, `{"iss":`), "it is no JSON"},
		"claims that are not UTF-8":          {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, "{\"iss\":\"\xff\"}"), "not UTF-8"},
		"claims that are deep":               {signText(t, "RS256", p.rsa, `{"alg":"RS256"}`, strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)), "levels"},
		"oversized":                          {rs(nil, with(object{"pad": strings.Repeat("x", maxToken)})), "is above 16384"},
		"base64 with padding":                {parts[0] + "." + parts[1] + "." + parts[2] + "=", "not base64url"},
		"base64 in another form":             {parts[0] + "." + parts[1] + "." + other(parts[2]), "not base64url"},
		"other claims under the signature":   {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(text(t, with(object{"sub": "root"})))) + "." + parts[2], "signature of the token is wrong"},
		"another header above the signature": {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256" }`)) + "." + parts[1] + "." + parts[2], "signature of the token is wrong"},
	} {
		t.Run(name, func(t *testing.T) { wantDeny(t, show(t, public, c.token), c.why) })
	}
}

// other is base64 that decodes to the same by a careless decoder: the last
// digit has bits that mean nothing.
func other(b64 string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, b64[len(b64)-1])
	return b64[:len(b64)-1] + string(digits[last^1])
}

// A curve's signature of zeros was once good for everything (CVE-2022-21449).
func TestZeroSignatures(t *testing.T) {
	for alg, size := range map[string]int{"ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64, "RS256": 256, "PS256": 256} {
		j := step(t, Options{PublicKey: file(t, publicPEM(t, signers()[alg]))})
		token := sign(t, alg, signers()[alg], nil, object{"sub": "ann"})
		unsigned := token[:strings.LastIndex(token, ".")+1]
		for _, n := range []int{size, 0, 1, size - 1, size + 1} {
			wantDeny(t, show(t, j, unsigned+base64.RawURLEncoding.EncodeToString(make([]byte, n))), "signature of the token is wrong")
		}
	}
}

func TestWhatIsNoTokenIsLeftToOthers(t *testing.T) {
	j := step(t, Options{Secret: secret})
	for name, password := range map[string]string{
		"nothing":                         "",
		"a password":                      "correct horse battery staple",
		"a password with dots":            "a.b.c",
		"a password that begins like one": "eyewitness",
		"one that begins and has dots":    "eyewitness.of.the.night",
		"a header that is no JSON":        "eyJhbGciOiJIUzI1NiI.e30.AAAA",
		"a header that is cut":            "eyJhbGci.e30.AAAAAAAAAAA",
		"two parts":                       "eyJhbGciOiJIUzI1NiJ9.e30",
		"four parts":                      "eyJhbGciOiJIUzI1NiJ9.e30.AAAA.AAAA",
		"six parts":                       "eyJhbGciOiJIUzI1NiJ9.e30.AAAA.AAAA.AA.AA",
		"bytes":                           "ey\x00\xff.\xfe.\x01aaaaaaaaaaaaa",
	} {
		if a := show(t, j, password); a.Verdict != auth.Ignore || a.Why == "" {
			t.Errorf("%s: %v because %q", name, a.Verdict, a.Why)
		}
	}
}

func TestTimes(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for name, c := range map[string]struct {
		claims object
		leeway time.Duration
		why    string
	}{
		"no times":                      {object{}, 0, ""},
		"in the middle":                 {object{"nbf": now.Unix() - 10, "exp": now.Unix() + 10}, 0, ""},
		"with fractions":                {object{"nbf": float64(now.Unix()) - 9.75, "exp": float64(now.Unix()) + 9.25}, 0, ""},
		"expired within the leeway":     {object{"exp": now.Unix() - 3}, 0, ""},
		"expired at its end":            {object{"exp": now.Unix() - 5}, 0, "expired at"},
		"too early within the leeway":   {object{"nbf": now.Unix() + 5}, 0, ""},
		"too early":                     {object{"nbf": now.Unix() + 6}, 0, "is not valid before"},
		"expired within a large leeway": {object{"exp": now.Unix() - 59}, time.Minute, ""},
		"expired without a leeway":      {object{"exp": now.Unix()}, -1, "expired at"},
		"made in the future":            {object{"iat": now.Unix() + 3600}, 0, ""}, // RFC 7519, 4.1.6 does not say to check it
	} {
		t.Run(name, func(t *testing.T) {
			j := step(t, Options{Secret: secret, Leeway: c.leeway})
			claims := map[string]any{}
			for name, v := range c.claims {
				claims[name] = json.Number(fmt.Sprint(text(t, object{"v": v})[5 : len(text(t, object{"v": v}))-1]))
			}
			a := j.judge(claims, &access.Request{}, now)
			if c.why == "" {
				wantAllow(t, a)
				return
			}
			wantDeny(t, a, c.why)
		})
	}
}

func TestClaimsThatMustFit(t *testing.T) {
	j := step(t, Options{Secret: secret, Claims: map[string]string{"sub": "${username}", "device.id": "${clientid}", "scope": "mqtt"}})
	good := func() object {
		return object{"sub": "ann", "device": object{"id": "dev-1"}, "scope": []string{"mail", "mqtt"}}
	}
	for name, c := range map[string]struct {
		change func(o object)
		why    string
	}{
		"all fit":                  {func(object) {}, ""},
		"a path written as a name": {func(o object) { delete(o, "device"); o["device.id"] = "dev-1" }, ""},
		"another user":             {func(o object) { o["sub"] = "bob" }, `claim sub is "bob", and the client says "ann"`},
		"another client":           {func(o object) { o["device"] = object{"id": "dev-2"} }, "claim device.id"},
		"no user":                  {func(o object) { delete(o, "sub") }, "has no claim sub"},
		"no device":                {func(o object) { o["device"] = "dev-1" }, "has no claim device.id"},
		"null":                     {func(o object) { o["sub"] = nil }, "claim sub is none"},
		"an object":                {func(o object) { o["sub"] = object{"ann": "ann"} }, "claim sub"},
		"other scopes":             {func(o object) { o["scope"] = []string{"mail"} }, "claim scope"},
		"a scope in one text":      {func(o object) { o["scope"] = "mail mqtt" }, "claim scope"},
		"a wildcard":               {func(o object) { o["sub"] = "*" }, "claim sub"},
		"a placeholder":            {func(o object) { o["sub"] = "${username}" }, "claim sub"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			c.change(o)
			a := show(t, j, sign(t, "HS256", secret, nil, o))
			if c.why == "" {
				wantAllow(t, a)
				return
			}
			wantDeny(t, a, c.why)
		})
	}
	empty := good()
	empty["sub"] = ""
	wantDeny(t, ask(t, j, &access.Request{ClientID: "dev-1", Password: []byte(sign(t, "HS256", secret, nil, empty))}),
		"has to fit the client's ${username}, and it shows none")
}

func TestGrant(t *testing.T) {
	j := step(t, Options{Secret: secret, Grant: grant.Names{
		UserName: "name", ClientID: "client", Superuser: "admin", Groups: "realm_access.roles", Attributes: "attrs", Limits: "plan",
	}})
	exp := time.Now().Add(time.Hour).Unix()
	a := show(t, j, sign(t, "HS256", secret, nil, object{
		"name": "ann b", "client": "c9", "admin": true, "realm_access": object{"roles": []string{"a", "b"}},
		"attrs": object{"site": "north", "floor": 3}, "plan": "small", "exp": exp, "sub": "x", "groups": []string{"c"},
	}))
	wantAllow(t, a)
	g := a.Grant
	if g.UserName != "ann b" || g.ClientID != "c9" || !g.Superuser || strings.Join(g.Groups, " ") != "a b" || g.Attributes["site"] != "north" ||
		g.Attributes["floor"] != "3" || g.Limits != "small" || g.Expires != (exp+5)*1000 {
		t.Errorf("%+v", g)
	}
	// Nothing of that counts unless the owner says so.
	a = show(t, step(t, Options{Secret: secret, StayAfterExp: true}), sign(t, "HS256", secret, nil, object{
		"is_superuser": true, "superuser": true, "groups": []string{"c"}, "exp": exp,
	}))
	wantAllow(t, a)
	if g := a.Grant; g.Superuser || g.Groups != nil || g.Expires != 0 {
		t.Errorf("%+v", g)
	}
	for name, claims := range map[string]object{
		"superuser": {"admin": "true"}, "groups": {"realm_access": object{"roles": 7}}, "group": {"realm_access": object{"roles": []int{7}}},
		"attributes": {"attrs": []string{}}, "attribute": {"attrs": object{"a": []string{}}}, "limits": {"plan": []string{}},
		"user name": {"name": "a\x00b"}, "client id": {"client": object{}},
	} {
		a := show(t, j, sign(t, "HS256", secret, nil, claims))
		if wantDeny(t, a, "claim"); a.Verdict != auth.Deny {
			t.Errorf("%s of a wrong kind", name)
		}
	}
}

func TestTokenAsUserName(t *testing.T) {
	j := step(t, Options{Secret: secret, FromUserName: true})
	r := &access.Request{UserName: sign(t, "HS256", secret, nil, object{"sub": "ann"}), HasUserName: true}
	a := ask(t, j, r)
	wantAllow(t, a)
	if a.Grant.UserName != "ann" {
		t.Errorf("user name %q", a.Grant.UserName)
	}
	r.UserName = sign(t, "HS256", secret, nil, object{})
	wantDeny(t, ask(t, j, r), "no claim sub")
	r = &access.Request{UserName: "ann", HasUserName: true, Password: []byte(r.UserName)}
	if a := ask(t, j, r); a.Verdict != auth.Ignore {
		t.Errorf("a token in the password: %v", a.Verdict)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := pairs()
	private, err := x509.MarshalPKCS8PrivateKey(p.ed)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o   Options
		why string
	}{
		"none at all":                   {Options{}, "one of secret, public_key and jwks is needed"},
		"a short secret":                {Options{Secret: secret[:31]}, "below 32"},
		"a secret that is a public key": {Options{Secret: publicPEM(t, p.rsa)}, "write the name of a file"},
		"no such file":                  {Options{PublicKey: filepath.Join(t.TempDir(), "x")}, "no such file"},
		"an empty file":                 {Options{PublicKey: file(t, nil)}, "BEGIN PUBLIC KEY"},
		"a small RSA key":               {Options{PublicKey: file(t, publicPEM(t, small))}, "1024 bits"},
		"an odd curve":                  {Options{PublicKey: file(t, publicPEM(t, p224))}, "P-224"},
		"a private key":                 {Options{PublicKey: file(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}, "private key"},
		"something else":                {Options{PublicKey: file(t, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1}}))}, "X509 CRL"},
		"an algorithm of another kind":  {Options{PublicKey: file(t, publicPEM(t, p.rsa)), Algorithms: []string{"HS256"}}, "for none of HS256"},
		"an unknown algorithm":          {Options{Secret: secret, Algorithms: []string{"none"}}, `"none" is unknown`},
		"an unknown placeholder":        {Options{Secret: secret, Claims: map[string]string{"sub": "${user}"}}, "${user}"},
		"keys without TLS":              {Options{JWKS: &JWKS{URL: "http://id.example/keys"}}, "anybody on the way"},
		"keys from a file":              {Options{JWKS: &JWKS{URL: "file:///etc/keys"}}, "jwks"},
		"keys from a gopher":            {Options{JWKS: &JWKS{URL: "gopher://id.example/"}}, "neither https nor http"},
		"keys with no such CA":          {Options{JWKS: &JWKS{URL: "https://id.example/", CA: file(t, nil)}}, "no certificate"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
	}
}

// Keys of a file without names are tried in turn, a bounded number of them.
func TestSeveralKeysInAFile(t *testing.T) {
	p := pairs()
	j := step(t, Options{PublicKey: file(t, publicPEM(t, p.otherRSA, p.p256, p.rsa))})
	for _, kid := range []object{nil, {"kid": "whatever"}} {
		wantAllow(t, show(t, j, sign(t, "RS256", p.rsa, kid, object{})))
		wantAllow(t, show(t, j, sign(t, "PS384", p.otherRSA, kid, object{})))
		wantAllow(t, show(t, j, sign(t, "ES256", p.p256, kid, object{})))
	}
	many := step(t, Options{PublicKey: file(t, bytes.Repeat(publicPEM(t, p.ed), maxTries+1))})
	wantDeny(t, show(t, many, sign(t, "EdDSA", p.ed, nil, object{})), "9 keys")
}

func TestWhatWasSeenIsBounded(t *testing.T) {
	s := newSeen()
	sum := func(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	for i := range 10 * maxTokens {
		s.put(sum(i), object{})
		s.get(sum(0)) // is asked for and stays
	}
	if n := len(s.young) + len(s.old); n > 2*maxTokens {
		t.Errorf("%d tokens are remembered", n)
	}
	if s.get(sum(0)) == nil {
		t.Error("a token that is shown often is forgotten")
	}
	if s.get(sum(1)) != nil {
		t.Error("a token that was shown once is remembered for ever")
	}
}

// What was seen is checked anew, but for its signature.
func TestASeenTokenExpires(t *testing.T) {
	j := step(t, Options{Secret: secret})
	claims := object{"exp": time.Now().Add(-4 * time.Second).Unix(), "sub": "ann"}
	token := sign(t, "HS256", secret, nil, claims)
	wantAllow(t, show(t, j, token))
	if n := len(j.keys.(*fixed).set.seen.young); n != 1 {
		t.Errorf("%d tokens are remembered", n)
	}
	j.o.Leeway = 0
	wantDeny(t, show(t, j, token), "expired at")
}

// A wrong token is not remembered, so strangers cannot fill what is.
func TestWrongTokensAreNotRemembered(t *testing.T) {
	j := step(t, Options{Secret: secret})
	token := flip(sign(t, "HS256", secret, nil, object{"sub": "ann"}))
	wantDeny(t, show(t, j, token), "signature")
	if n := len(j.keys.(*fixed).set.seen.young); n != 0 {
		t.Errorf("%d tokens are remembered", n)
	}
}

func FuzzToken(f *testing.F) {
	p := pairs()
	set := newKeySet([]key{}, nil, "the test")
	for _, private := range []crypto.Signer{p.rsa, p.p256, p.p384, p.p521, p.ed} {
		k, err := publicKey(private.Public())
		if err != nil {
			f.Fatal(err)
		}
		k.id = fmt.Sprintf("%T", private)
		set.keys = append(set.keys, k)
	}
	j := &JWT{o: Options{Grant: grant.Names{Expires: "exp", Rules: "acl", Superuser: "admin", Attributes: "attrs"}}, keys: &fixed{set: set}}
	f.Add([]byte(sign(f, "RS256", p.rsa, object{"kid": "*rsa.PrivateKey"}, object{"sub": "ann", "exp": 1 << 40})))
	f.Add([]byte(sign(f, "ES256", p.p256, object{"crit": []string{"b64"}}, object{"acl": object{"pub": []string{"a/#"}}})))
	f.Add([]byte(sign(f, "EdDSA", p.ed, nil, object{"admin": true, "attrs": object{"a": 1}})))
	f.Add([]byte(sign(f, "HS256", secret, object{"kid": []int{1}}, object{})))
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &access.Request{Password: raw}
		a := j.Check(t.Context(), r)
		if a.Verdict == auth.Allow { // only what the test has signed can hold
			tok, err := parse(raw)
			if err != nil || set.verify(tok) != nil {
				t.Fatalf("let in: %q", raw)
			}
		}
		if !j.Concerns(r) && a.Verdict != auth.Ignore {
			t.Fatalf("%v without concern", a.Verdict)
		}
		// The claims are read as if the signature held.
		if tok, err := parse(raw); err == nil {
			if claims, err := tok.claims(); err == nil {
				j.judge(claims, r, time.Unix(1e9, 0))
			}
		}
		// What is let in is what the library lets in too.
		if a.Verdict == auth.Allow {
			if _, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(string(raw), jwt.MapClaims{}); err != nil {
				t.Fatalf("the library: %v", err)
			}
		}
	})
}

// Claims behind a good signature: whoever signs may be careless.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"ann","client":"dev-1","exp":1e9,"nbf":0.5,"iss":"x","aud":["mqtt"]}`))
	f.Add([]byte(`{"acl":{"pub":["a/${clientid}"]},"admin":true,"attrs":{"a":1},"roles":{"a":["b"]},"plan":"x"}`))
	f.Add([]byte(`{"acl":[{"permission":"allow","action":"all","topics":["eq #"],"qos":[0],"retain":false}],"exp":-1}`))
	j, err := New(Options{
		Secret: secret, Issuer: "x", Audience: []string{"mqtt"}, Claims: map[string]string{"sub": "${username}"},
		Grant: grant.Names{ClientID: "client", Superuser: "admin", Attributes: "attrs", Groups: "roles.a", Limits: "plan", Rules: "acl"},
	})
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	f.Fuzz(func(t *testing.T, text []byte) {
		claims, err := (&token{payload: []byte(base64.RawURLEncoding.EncodeToString(text))}).claims()
		if err != nil {
			return
		}
		a := j.judge(claims, &access.Request{UserName: "ann"}, now)
		if a.Verdict == auth.Deny && (a.Why == "" || a.Do == "") {
			t.Fatalf("denied without a word: %q", text)
		}
		if a.Verdict != auth.Allow {
			return
		}
		var v struct {
			Iss string
			Sub any
			Exp *float64
		}
		if err := json.Unmarshal(text, &v); err == nil && (v.Iss != "x" || v.Exp != nil && *v.Exp < 999_999_994) {
			t.Fatalf("let in: %q", text)
		}
	})
}

func FuzzJWKS(f *testing.F) {
	p := pairs()
	f.Add([]byte(text(f, object{"keys": []object{jwkOf("a", p.rsa), jwkOf("b", p.p256), jwkOf("c", p.ed)}})))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	token := sign(f, "RS256", p.rsa, nil, object{})
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := parseJWKS(data)
		if err != nil {
			return
		}
		tok, err := parse([]byte(token))
		if err != nil {
			t.Fatal(err)
		}
		_ = newKeySet(keys, nil, "x").verify(tok)
	})
}

// Checking a token: seen for the first time, and again.
func BenchmarkCheck(b *testing.B) {
	claims := object{
		"iss": "https://id.example", "aud": "mqtt", "sub": "ann", "client": "dev-1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"jti": "f2a6c6a6-0f0a-4c2b-9a55-3b8b1cf0e1c2",
	}
	run := func(name string, o Options, token string) {
		o.Claims, o.Issuer, o.Audience = map[string]string{"sub": "${username}", "client": "${clientid}"}, "https://id.example", []string{"mqtt"}
		r := &access.Request{ClientID: "dev-1", UserName: "ann", HasUserName: true, Password: []byte(token), HasPassword: true}
		for _, again := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/seen=%v", name, again), func(b *testing.B) {
				j := step(b, o)
				b.ReportAllocs()
				for b.Loop() {
					if !again {
						clear(j.keys.(*fixed).set.seen.young)
					}
					if a := j.Check(b.Context(), r); a.Verdict != auth.Allow {
						b.Fatal(a.Why)
					}
				}
			})
		}
	}
	for _, alg := range []string{"HS256", "HS512"} {
		run(alg, Options{Secret: secret}, sign(b, alg, secret, nil, claims))
	}
	for _, alg := range []string{"RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"} {
		run(alg, Options{PublicKey: file(b, publicPEM(b, signers()[alg]))}, sign(b, alg, signers()[alg], nil, claims))
	}
}
