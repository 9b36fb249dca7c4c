// Package fill puts what a client says of itself into texts that the owner of
// the broker wrote, where these have a placeholder such as ${username}.
//
// What a client says never becomes a part of a language: a [Text] is cut up
// once, and whoever fills it in says how a value is written there, as the
// parameter of a query or escaped for a distinguished name.
package fill

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// Text is a text with placeholders.
type Text struct {
	pieces []piece
}

// piece is some text, and behind it a placeholder or the end.
type piece struct {
	text string
	name string // empty: the end
}

// Names are those of all placeholders.
func Names() []string {
	return []string{"username", "clientid", "ip", "listener", "transport", "cert.cn", "cert.dn", "cert.serial"}
}

// Parse cuts up a text. Everything but a known name in ${} is text.
func Parse(text string, more ...string) (*Text, error) {
	t := &Text{}
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			t.pieces = append(t.pieces, piece{text: text})
			return t, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if names := append(Names(), more...); !closed || !slices.Contains(names, name) {
			return nil, fmt.Errorf("${%s} is no placeholder: they are ${%s}", firstWord(name), strings.Join(names, "}, ${"))
		}
		t.pieces = append(t.pieces, piece{text: before, name: name})
		text = after
	}
}

// firstWord keeps a message short where a } is missing.
func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// Uses says whether the text has the placeholder.
func (t *Text) Uses(name string) bool {
	return slices.ContainsFunc(t.pieces, func(p piece) bool { return p.name == name })
}

// Join writes the text with what write makes of each placeholder's name.
func (t *Text) Join(write func(name string) string) string {
	var b strings.Builder
	for _, p := range t.pieces {
		b.WriteString(p.text)
		if p.name != "" {
			b.WriteString(write(p.name))
		}
	}
	return b.String()
}

// Fill writes the text with the client's values, each as escape makes it.
func (t *Text) Fill(r *access.Request, escape func(string) string) string {
	return t.Join(func(name string) string { return escape(Value(r, name)) })
}

// Value is what a client says of itself under a name of Names. What it does
// not have is empty.
func Value(r *access.Request, name string) string {
	switch name {
	case "username":
		return r.UserName
	case "clientid":
		return r.ClientID
	case "ip":
		return ip(r.Peer.Addr)
	case "listener":
		return r.Peer.Listener
	case "transport":
		return r.Peer.Transport
	}
	c := r.Peer.Certificate
	switch {
	case c == nil:
		return ""
	case name == "cert.cn":
		return c.Subject.CommonName
	case name == "cert.dn":
		return c.Subject.String()
	case name == "cert.serial":
		return c.SerialNumber.Text(16)
	default:
		return ""
	}
}

// ip is the address without its port; a unix socket has none.
func ip(addr net.Addr) string {
	if addr == nil || strings.HasPrefix(addr.Network(), "unix") {
		return ""
	}
	if a, ok := addr.(interface{ AddrPort() netip.AddrPort }); ok {
		return plain(a.AddrPort().Addr())
	}
	a, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return ""
	}
	return plain(a.Addr())
}

func plain(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().WithZone("").String()
}
