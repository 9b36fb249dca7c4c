package http

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/grant"
	"github.com/fantail-mqtt/fantail/packet"
)

// members are those of an answer that make the grant.
func members() grant.Names {
	return grant.Names{
		UserName: "username", ClientID: "client_id", Superuser: "is_superuser", Groups: "groups",
		Attributes: "client_attrs", Limits: "limits", Rules: "acl", Expires: "expire_at",
	}
}

// answerOf is what the server's reply means. Only what says allow in so many
// words lets a client in.
func answerOf(a reply, now time.Time) auth.Answer {
	switch {
	case a.status == http.StatusNoContent:
		return auth.Answer{Verdict: auth.Allow, Why: "the server answers 204"}
	case a.status == http.StatusOK:
		return read(a.text, now)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return denied(fmt.Sprintf("the server answers %d", a.status))
	case a.status == http.StatusNotFound:
		return auth.Passed("the server answers 404: it does not know the client")
	case a.status >= 300 && a.status < 400:
		return failure("the server answers %d and sends elsewhere, where nobody follows", a.status)
	default:
		return failure("the server answers %d, which says neither yes nor no", a.status)
	}
}

func denied(why string) auth.Answer {
	return auth.Denied(packet.BadUserNameOrPassword, why, "look into the log of that server, or correct user name and password in the client")
}

func failure(format string, args ...any) auth.Answer {
	return auth.Failure(fmt.Sprintf(format, args...), "let the server answer 204, or 200 with JSON such as {\"result\":\"deny\"}; see docs/authentication.md")
}

// read takes in the JSON of an answer.
func read(text []byte, now time.Time) auth.Answer {
	if len(text) > maxAnswer {
		return failure("the server's answer has more than %d bytes", maxAnswer)
	}
	if len(text) == 0 {
		return failure("the server answers 200 and nothing more, which says neither yes nor no")
	}
	object, err := grant.Decode(text)
	if err != nil {
		return failure("the server's answer cannot be read: %v", err)
	}
	reason := ""
	if s, ok := object["reason"].(string); ok && s != "" {
		reason = ": " + printable(s)
	}
	switch object["result"] {
	case "deny":
		return denied("the server denies it" + reason)
	case "ignore":
		return auth.Passed("the server does not know the client" + reason)
	case "allow":
	default:
		return failure("the member result of the server's answer is none of allow, deny and ignore")
	}
	g, err := members().Of(object)
	if err != nil {
		return failure("the member %v in the server's answer", err)
	}
	if g.Expires > 0 && g.Expires <= now.UnixMilli() {
		return denied(fmt.Sprintf("the server allows it until %s, which is over: see whether the clocks are right",
			time.UnixMilli(g.Expires).UTC().Format(time.RFC3339)))
	}
	return auth.Allowed(g, "the server allows it"+reason)
}

// printable is the beginning of a text from outside, as it can stand in a log.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	return fmt.Sprintf("%.200s", s)
}
