package jwt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
	"github.com/fantail-mqtt/fantail/internal/auth/grant"
)

// judge says whether verified claims let the client in.
func (j *JWT) judge(claims map[string]any, r *access.Request, now time.Time) auth.Answer {
	if err := j.times(claims, now); err != nil {
		return answer(err)
	}
	if err := j.addressed(claims); err != nil {
		return answer(err)
	}
	for i := range j.claims {
		if err := j.claims[i].check(claims, r); err != nil {
			return answer(err)
		}
	}
	g, err := j.o.Grant.Of(claims)
	if err != nil {
		return denied("the token's claim "+err.Error(), "let the issuer correct the claim")
	}
	if j.o.FromUserName && g.UserName == "" {
		return denied("the token does not say who the client is: it has no claim "+j.o.Grant.UserName,
			"let the issuer add it, or name another with user_claim")
	}
	switch {
	case j.o.StayAfterExp:
		g.Expires = 0
	case g.Expires > 0:
		g.Expires += j.o.Leeway.Milliseconds()
	}
	return auth.Allowed(g, "the token holds")
}

// times checks exp and nbf (RFC 7519, sections 4.1.4 and 4.1.5).
func (j *JWT) times(claims map[string]any, now time.Time) error {
	if v, ok := claims["exp"]; ok {
		exp, err := grant.Millis(v)
		if err != nil {
			return refuse("let the issuer correct it", "the token's claim exp %v", err)
		}
		if at := time.UnixMilli(exp); !now.Before(at.Add(j.o.Leeway)) {
			return refuse("give the client a new token, or let it fetch one before it connects",
				"the token expired at %s, %v ago", stamp(at), now.Sub(at).Round(time.Second))
		}
	}
	if v, ok := claims["nbf"]; ok {
		nbf, err := grant.Millis(v)
		if err != nil {
			return refuse("let the issuer correct it", "the token's claim nbf %v", err)
		}
		if at := time.UnixMilli(nbf); now.Before(at.Add(-j.o.Leeway)) {
			return refuse("set the clocks of the device or issuer that signed it, and of this machine, or raise leeway",
				"the token is not valid before %s, in %v: is the clock of the device that signed it right?", stamp(at), at.Sub(now).Round(time.Second))
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// addressed checks iss and aud (RFC 7519, sections 4.1.1 and 4.1.3).
func (j *JWT) addressed(claims map[string]any) error {
	if j.o.Issuer != "" {
		if iss, _ := claims["iss"].(string); iss != j.o.Issuer {
			return refuse("let that issuer make the token, or correct issuer in the configuration",
				"the token is from another issuer (iss): %s instead of %q", short(claims["iss"]), j.o.Issuer)
		}
	}
	if len(j.o.Audience) == 0 {
		return nil
	}
	aud := claims["aud"]
	for _, want := range j.o.Audience {
		if has(aud, want) {
			return nil
		}
	}
	return refuse("let the issuer name this broker in it, or correct audience in the configuration",
		"the token is for somebody else (aud): %s instead of %s", short(aud), strings.Join(j.o.Audience, " or "))
}

// check compares a claim with what the client says of itself.
func (m *match) check(claims map[string]any, r *access.Request) error {
	missing := ""
	want := m.text.Join(func(name string) string {
		v := fill.Value(r, name)
		if v == "" {
			missing = name
		}
		return v
	})
	if missing != "" {
		return refuse("let the client show it, or change claims in the configuration",
			"the token's claim %s has to fit the client's ${%s}, and it shows none", m.claim, missing)
	}
	v, ok := grant.Find(claims, m.claim)
	if !ok {
		return refuse("let the issuer add it, or change claims in the configuration", "the token has no claim %s", m.claim)
	}
	if !has(v, want) {
		return refuse("give the client its own token, or correct what it calls itself",
			"the token's claim %s is %s, and the client says %.128q", m.claim, short(v), want)
	}
	return nil
}

// has says whether a claim is a text, or a list that has it.
func has(v any, want string) bool {
	switch v := v.(type) {
	case string:
		return v == want
	case json.Number:
		return v.String() == want
	case bool:
		return fmt.Sprint(v) == want
	case []any:
		return slices.ContainsFunc(v, func(v any) bool {
			s, ok := v.(string)
			return ok && s == want
		})
	default:
		return false
	}
}

// short writes a claim for the log.
func short(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return fmt.Sprintf("%.128q", v)
	default:
		return fmt.Sprintf("%.128s", fmt.Sprint(v))
	}
}
