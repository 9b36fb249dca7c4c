package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStepsOfTokensAndServers(t *testing.T) {
	c, err := Parse([]byte(`
auth:
  chain:
    - jwt:
        secret_base64: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
        audience: [mqtt]
        leeway: 0s
        claims: {sub: "${username}", "device.id": "x-${clientid}"}
    - jwt: {jwks: "https://id.example/keys", jwks_ca: ca.pem, algorithms: [ES256, EdDSA]}
    - http:
        url: https://accounts.example/${listener}?a=${password}
        headers: {Authorization: Bearer x}
        format: form
        cache: 30s
        cert: c.pem
        key: /k.pem
`))
	if err != nil {
		t.Fatal(err)
	}
	c.rebase("/etc/fantail")
	want := []Step{
		{JWT: &StepJWT{
			SecretBase64: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", Audience: []string{"mqtt"}, Leeway: -1,
			Claims: map[string]string{"sub": "${username}", "device.id": "x-${clientid}"},
		}},
		{JWT: &StepJWT{JWKS: "https://id.example/keys", JWKSCA: "/etc/fantail/ca.pem", Algorithms: []string{"ES256", "EdDSA"}}},
		{HTTP: &StepHTTP{
			URL: "https://accounts.example/${listener}?a=${password}", Headers: map[string]Secret{"Authorization": "Bearer x"},
			Format: FormatForm, Cache: 30 * time.Second, Cert: "/etc/fantail/c.pem", Key: "/k.pem",
		}},
	}
	if diff := cmp.Diff(want, c.Auth.Chain); diff != "" {
		t.Error(diff)
	}
	if got := string(c.Auth.Chain[0].JWT.Key()); got != "0123456789abcdef0123456789abcdef" {
		t.Errorf("the secret is %q", got)
	}
}

func TestMistakesInSteps(t *testing.T) {
	const secret = "secret: 0123456789abcdef0123456789abcdef"
	for text, want := range map[string]string{
		"jwt: {}":                                                             "auth.chain[0].jwt: has 0 keys",
		"jwt: {" + secret + ", jwks: x}":                                      "auth.chain[0].jwt: has 2 keys",
		"jwt: {secret: short}":                                                "auth.chain[0].jwt.secret: the secret has 5 bytes, which is below 32",
		"jwt: {secret_base64: '!'}":                                           "auth.chain[0].jwt.secret_base64: the secret has 0 bytes",
		"jwt: {" + secret + ", from: passwort}":                               "auth.chain[0].jwt.from: \"passwort\" is unknown: did you mean password?",
		"jwt: {" + secret + ", algorithms: [none]}":                           "auth.chain[0].jwt.algorithms[0]: \"none\" is unknown",
		"jwt: {" + secret + ", leeway: 2h}":                                   "auth.chain[0].jwt.leeway: 2h0m0s is above 1h0m0s",
		"jwt: {" + secret + ", claims: {sub: '${user}'}}":                     "auth.chain[0].jwt.claims.sub: ${user} is unknown: there are ${username}",
		"jwt: {" + secret + ", claims: {sub: '${password}'}}":                 "auth.chain[0].jwt.claims.sub: ${password} is unknown",
		"jwt: {" + secret + ", claims: {sub: '${username'}}":                  "auth.chain[0].jwt.claims.sub: ${ has no }",
		"jwt: {" + secret + ", from: username, claims: {sub: '${username}'}}": "auth.chain[0].jwt.claims.sub: the user name is the token itself",
		"jwt: {jwks: id.example}":                                             "auth.chain[0].jwt.jwks: begins with neither https://",
		"jwt: {jwks: 'https://'}":                                             "auth.chain[0].jwt.jwks: the host cannot be read",
		"jwt: {jwks: 'https://id.example', jwks_refresh: 1s}":                 "auth.chain[0].jwt.jwks_refresh: 1s is below 10s",
		"http: {}":                                             "auth.chain[0].http.url: is missing",
		"http: {url: 'https://${ip}/'}":                        "auth.chain[0].http.url: the host cannot be read",
		"http: {url: 'https://a/${name}'}":                     "auth.chain[0].http.url: ${name} is unknown",
		"http: {url: 'https://a/', method: PUT}":               "auth.chain[0].http.method: \"PUT\" is unknown",
		"http: {url: 'https://a/', method: GET, body: {a: b}}": "auth.chain[0].http.body: a GET has none",
		"http: {url: 'https://a/', body: {a: '${pass}'}}":      "auth.chain[0].http.body.a: ${pass} is unknown",
		"http: {url: 'https://a/', headers: {a: '${pass}'}}":   "auth.chain[0].http.headers.a: ${pass} is unknown",
		"http: {url: 'https://a/', format: xml}":               "auth.chain[0].http.format: \"xml\" is unknown",
		"http: {url: 'https://a/', timeout: 2h}":               "auth.chain[0].http.timeout: 2h0m0s is above 1m0s",
		"http: {url: 'https://a/', connections: -1}":           "auth.chain[0].http.connections: -1 is below 0",
		"http: {url: 'https://a/', cert: a.pem}":               "auth.chain[0].http.cert: cert and key belong together",
		"http: {uri: 'https://a/'}":                            "auth.chain[0].http.uri: unknown key: did you mean auth.chain[0].http.url?",
	} {
		_, err := Parse([]byte("auth:\n  chain:\n    - " + text + "\n"))
		if err == nil || !strings.Contains(err.Error(), "line 3: "+want) {
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
}
