package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// StepHTTP asks a server about clients.
type StepHTTP struct {
	// URL may have placeholders behind the host.
	URL string `yaml:"url"`
	// Method is POST, which is the default, or GET.
	Method string `yaml:"method"`
	// Headers may have a key of the server's.
	Headers map[string]Secret `yaml:"headers"`
	// Body has the members of what is posted. nil: username, password, clientid.
	Body map[string]string `yaml:"body"`
	// Format is that of the body: FormatJSON, which is the default, or FormatForm.
	Format string `yaml:"format"`
	// Timeout bounds the wait for an answer. 0: 5s.
	Timeout time.Duration `yaml:"timeout"`
	// Connections are open to the server at most. 0: 16.
	Connections int `yaml:"connections"`
	// Failures in a row leave the server alone for Rest. 0: 5, and 5s.
	Failures int           `yaml:"failures"`
	Rest     time.Duration `yaml:"rest"`
	// CA has who signed the server's certificate; Cert and Key are the broker's.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Cache is for how long answers are remembered, and CacheSize of how many
	// clients. 0: not at all, and 10,000.
	Cache     time.Duration `yaml:"cache"`
	CacheSize int           `yaml:"cache_size"`
}

// FormatForm posts a form as browsers do. FormatJSON is the other format.
const FormatForm = "form"

// eachFile visits the names of files.
func (s *StepHTTP) eachFile(visit func(name *string)) {
	if s != nil {
		visit(&s.CA)
		visit(&s.Cert)
		visit(&s.Key)
	}
}

func (k *check) http(key string, s *StepHTTP) {
	if s == nil {
		return
	}
	key += ".http"
	names := append(clientPlaceholders(), "password", "port", "version")
	k.webURL(key+".url", s.URL)
	k.placeholders(key+".url", s.URL, names...)
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		k.placeholders(key+".headers."+name, string(s.Headers[name]), names...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Body)) {
		k.placeholders(key+".body."+name, s.Body[name], names...)
	}
	if s.Method != "" {
		k.oneOf(key+".method", s.Method, "POST", "GET")
	}
	if s.Format != "" {
		k.oneOf(key+".format", s.Format, FormatJSON, FormatForm)
	}
	if s.Method == "GET" && s.Body != nil {
		k.add(key+".body", "a GET has none: write it into the URL, or use POST")
	}
	if s.Timeout != 0 {
		between(k, key+".timeout", s.Timeout, 10*time.Millisecond, time.Minute)
	}
	between(k, key+".connections", s.Connections, 0, 1000)
	between(k, key+".failures", s.Failures, 0, 1_000_000)
	between(k, key+".rest", s.Rest, 0, time.Hour)
	between(k, key+".cache", s.Cache, 0, 24*time.Hour)
	between(k, key+".cache_size", s.CacheSize, 0, 10_000_000)
	if (s.Cert == "") != (s.Key == "") {
		k.add(key+".cert", "cert and key belong together: write both or none")
	}
}

// webURL checks what is to be asked over HTTP.
func (k *check) webURL(key, text string) {
	const example = "write a URL such as https://id.example/auth"
	if text == "" {
		k.add(key, "is missing: "+example)
		return
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "https" && scheme != "http" {
		k.add(key, "begins with neither https:// nor http://: "+example)
		return
	}
	host := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host = rest[:end]
	}
	u, err := url.Parse(scheme + "://" + host)
	if err != nil || u.Hostname() == "" || strings.Contains(host, "${") {
		k.add(key, "the host cannot be read: "+example)
	}
}

// clientPlaceholders are those of package fill.
func clientPlaceholders() []string {
	return []string{"username", "clientid", "ip", "listener", "transport", "cert.cn", "cert.dn", "cert.serial"}
}

// placeholders checks those in a text.
func (k *check) placeholders(key, text string, known ...string) {
	for {
		_, rest, found := strings.Cut(text, "${")
		if !found {
			return
		}
		name, after, closed := strings.Cut(rest, "}")
		switch {
		case !closed:
			k.add(key, "${ has no }")
			return
		case !slices.Contains(known, name):
			k.add(key, "${%s} is unknown: there are ${%s}", name, strings.Join(known, "}, ${"))
		}
		text = after
	}
}
