package config

import (
	"errors"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// What Parse takes can be written out and parsed to the same again; what it
// refuses, it refuses with a list of mistakes.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../docs/fantail.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	defaults, err := yaml.Marshal(Defaults())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(defaults)
	f.Add([]byte("auth: {users: [{name: a, password: b}]}\nlimits: {packet: 1GB, x: 1}\nnode: &a b\nnode: *a\n"))
	f.Add([]byte("node: ${env:USER}$${file:y}\nshared: \"${file:gone}${env:\"\n"))
	f.Add([]byte("listeners:\n- url: tls://:1\n  cert: c\n  key: k\n  client_ca: a\n- unix:///x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			var wrong *Error
			if !errors.As(err, &wrong) || len(wrong.Mistakes) == 0 {
				t.Fatalf("err = %#v, want an *Error with mistakes", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("Parse took what Validate refuses: %v", err)
		}
	})
}

// A listener that is taken is written back as one that means the same.
func FuzzParseListener(f *testing.F) {
	for _, l := range Defaults().Listeners {
		f.Add(l.String())
	}
	f.Add("tls://[::1]:8883?cert=c&key=k&client_ca=ca&client_cert=optional&min_version=1.3&proxy_protocol=true")
	f.Add("unix:///run/fantail.sock")
	f.Add("ws://:8083/a%2fb")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseListener(text)
		if err != nil {
			return
		}
		again, err := ParseListener(l.String())
		if err != nil {
			t.Fatalf("%q gave %q, which is refused: %v", text, l, err)
		}
		if diff := cmp.Diff(l, again); diff != "" {
			t.Fatalf("%q gave %q (-first +again):\n%s", text, l, diff)
		}
	})
}
