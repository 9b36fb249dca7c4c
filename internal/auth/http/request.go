package http

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
)

// request is one with placeholders.
type request struct {
	method  string
	server  string       // scheme and host, for the log
	base    string       // scheme, user and host, as they are asked
	path    []*fill.Text // its segments
	query   *fill.Text   // nil: none
	headers []field
	body    []field // of POST
	form    bool

	names             []string // of the placeholders in it
	user, certificate bool     // it is about the client's user name, or certificate
	plain             bool     // it goes over the network without TLS
}

type field struct {
	name string
	text *fill.Text
}

// more are placeholders beside fill.Names.
func more() []string { return []string{"password", "port", "version"} }

// valueOf is what a client says under the name of a placeholder.
func valueOf(r *access.Request, name string) string {
	switch name {
	case "password":
		return string(r.Password)
	case "version":
		return r.Version.String()
	case "port":
		if r.Peer.Addr == nil {
			return ""
		}
		_, port, _ := net.SplitHostPort(r.Peer.Addr.String())
		return port
	default:
		return fill.Value(r, name)
	}
}

func newRequest(o *Options) (*request, error) {
	q := &request{method: cmp.Or(strings.ToUpper(o.Method), http.MethodPost), form: o.Form}
	if q.method != http.MethodPost && q.method != http.MethodGet {
		return nil, fmt.Errorf("method: %q is neither GET nor POST", o.Method)
	}
	if err := q.readURL(o.URL); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	var err error
	if q.headers, err = q.fields(o.Headers); err != nil {
		return nil, fmt.Errorf("headers.%w", err)
	}
	for _, h := range q.headers {
		err := allowedHeader(h.name)
		if err == nil {
			_, err = asHeader(h.text.Join(func(string) string { return "" }))
		}
		if err != nil {
			return nil, fmt.Errorf("headers.%s: %w", h.name, err)
		}
	}
	body := o.Body
	switch {
	case q.method == http.MethodGet && body != nil:
		return nil, errors.New("body: a GET has none: write it into the URL, or use POST")
	case q.method == http.MethodPost && body == nil:
		body = map[string]string{"username": "${username}", "password": "${password}", "clientid": "${clientid}"}
	}
	if q.body, err = q.fields(body); err != nil {
		return nil, fmt.Errorf("body.%w", err)
	}
	q.user = slices.Contains(q.names, "username")
	q.certificate = slices.ContainsFunc(q.names, func(n string) bool { return strings.HasPrefix(n, "cert.") })
	return q, nil
}

// text reads a text and notes its placeholders.
func (q *request) text(s string) (*fill.Text, error) {
	t, err := fill.Parse(s, more()...)
	if err != nil {
		return nil, err
	}
	for _, name := range append(fill.Names(), more()...) {
		if t.Uses(name) && !slices.Contains(q.names, name) {
			q.names = append(q.names, name)
		}
	}
	return t, nil
}

func (q *request) fields(texts map[string]string) ([]field, error) {
	var list []field
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		t, err := q.text(texts[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, field{name, t})
	}
	return list, nil
}

// allowedHeader keeps out headers that net/http or the format of the body
// sets, and names that are none.
func allowedHeader(name string) error {
	switch http.CanonicalHeaderKey(name) {
	case "Content-Type":
		return errors.New("it goes with format: json or form")
	case "Content-Length", "Transfer-Encoding", "Connection", "Host", "Trailer", "Upgrade", "Te":
		return errors.New("it is not for the configuration to set")
	}
	token := func(r rune) bool {
		return r > ' ' && r < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !token(r) }) {
		return errors.New("it is no name of a header")
	}
	return nil
}

// readURL cuts up a URL: what a client says may come into its path and query
// alone.
func (q *request) readURL(text string) error {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return errors.New("it begins with neither https:// nor http://")
	}
	host := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host = rest[:end]
	}
	rest = rest[len(host):]
	if strings.Contains(host, "${") {
		return errors.New("a client cannot choose the server: write placeholders behind the host")
	}
	if strings.Contains(rest, "#") {
		return errors.New("what follows a # is not sent: leave it out")
	}
	u, err := url.Parse(scheme + "://" + host)
	if err != nil || u.Hostname() == "" {
		return errors.New("the host cannot be read")
	}
	q.base, q.server = scheme+"://"+host, scheme+"://"+u.Host
	q.plain = scheme == "http" && !loopback(u.Hostname())
	path, query, asked := strings.Cut(rest, "?")
	for segment := range strings.SplitSeq(path, "/") {
		t, err := q.text(segment)
		if err != nil {
			return err
		}
		q.path = append(q.path, t)
	}
	if asked {
		if q.query, err = q.text(query); err != nil {
			return err
		}
	}
	example := q.base + path + "?" + query
	if t, err := fill.Parse(example, more()...); err == nil {
		example = t.Join(func(string) string { return "x" })
	}
	if _, err = url.Parse(example); err != nil || strings.ContainsFunc(example, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("it has characters that a URL cannot have: write them as %20 and the like")
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// values are all that the request says of a client.
func (q *request) values(r *access.Request) []string {
	list := make([]string, len(q.names))
	for i, name := range q.names {
		list[i] = valueOf(r, name)
	}
	return list
}

// build fills the request in for a client. The error says what cannot be
// written where, and nothing of its value.
func (q *request) build(r *access.Request) (*http.Request, error) {
	address, err := q.address(r)
	if err != nil {
		return nil, err
	}
	body, kind, err := q.posted(r)
	if err != nil {
		return nil, err
	}
	out, err := http.NewRequest(q.method, address, bytes.NewReader(body)) // its context comes later
	if err != nil {
		return nil, errors.New("what the client says cannot stand in a URL")
	}
	out.Header["Idempotency-Key"] = []string{} // not sent; lets net/http try again when the server closes an idle connection
	out.Header.Set("Accept", "application/json")
	out.Header.Set("User-Agent", "fantail")
	if kind != "" {
		out.Header.Set("Content-Type", kind)
	}
	for _, h := range q.headers {
		v, err := filled(h.text, r, asHeader)
		if err != nil {
			return nil, fmt.Errorf("%w in the header %s", err, h.name)
		}
		out.Header.Set(h.name, v)
	}
	return out, nil
}

// filled writes a text with a client's values, each as escape makes it.
func filled(t *fill.Text, r *access.Request, escape func(v string) (string, error)) (string, error) {
	var wrong error
	s := t.Join(func(name string) string {
		v, err := escape(valueOf(r, name))
		if err != nil && wrong == nil {
			wrong = fmt.Errorf("${%s} %w", name, err)
		}
		return v
	})
	return s, wrong
}

// address is the URL.
func (q *request) address(r *access.Request) (string, error) {
	var b strings.Builder
	b.WriteString(q.base)
	for i, segment := range q.path {
		if i > 0 {
			b.WriteByte('/')
		}
		if err := standsInPath(segment, r); err != nil {
			return "", err
		}
		s, _ := filled(segment, r, func(v string) (string, error) { return url.PathEscape(v), nil })
		b.WriteString(s)
	}
	if q.query != nil {
		b.WriteByte('?')
		s, _ := filled(q.query, r, func(v string) (string, error) { return url.QueryEscape(v), nil })
		b.WriteString(s)
	}
	return b.String(), nil
}

// standsInPath says whether a segment stays one: servers and proxies resolve
// dots, and some decode slashes first, so that ../admin would leave its place
// even when it is escaped (RFC 3986, section 5.2.4).
func standsInPath(segment *fill.Text, r *access.Request) error {
	names := 0
	plain := segment.Join(func(name string) string { names++; return valueOf(r, name) })
	if names == 0 {
		return nil
	}
	for piece := range strings.FieldsFuncSeq(plain, func(c rune) bool { return c == '/' || c == '\\' }) {
		if piece == "." || piece == ".." {
			return errors.New("a path of dots cannot stand in the path of a URL")
		}
	}
	if plain == "" {
		return errors.New("nothing cannot stand in the path of a URL")
	}
	return nil
}

// asHeader lets through what can be in a header's value (RFC 9110, section
// 5.5).
func asHeader(v string) (string, error) {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", errors.New("has a control character, which cannot stand")
		}
	}
	return v, nil
}

// posted is the body and its type.
func (q *request) posted(r *access.Request) (body []byte, kind string, err error) {
	if q.method == http.MethodGet {
		return nil, "", nil
	}
	if q.form {
		form := url.Values{}
		for _, f := range q.body {
			v, _ := filled(f.text, r, func(v string) (string, error) { return v, nil })
			form.Set(f.name, v)
		}
		return []byte(form.Encode()), "application/x-www-form-urlencoded", nil
	}
	object := make(map[string]string, len(q.body))
	for _, f := range q.body {
		if object[f.name], err = filled(f.text, r, asJSON); err != nil {
			return nil, "", err
		}
	}
	body, err = json.Marshal(object)
	return body, "application/json", err
}

// asJSON lets text through, which is written as JSON later. Bytes that are no
// text would become the same replacement for all of them: two passwords would
// be one.
func asJSON(v string) (string, error) {
	if !utf8.ValidString(v) {
		return "", errors.New("is not UTF-8 text, as JSON has to be")
	}
	return v, nil
}
