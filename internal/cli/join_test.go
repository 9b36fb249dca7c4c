package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPropertiesBecomeOneArgument(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"none":                         {"pub -t a -m x", "pub -t a -m x"},
		"one":                          {"pub -D publish content-type text -t a", "pub --property=publish_content-type_text -t a"},
		"a user property":              {"pub -D publish user-property k v -t a", "pub --property=publish_user-property_k_v -t a"},
		"by its long name":             {"pub --property will user-property k v", "pub --property=will_user-property_k_v"},
		"glued":                        {"pub -Dpublish content-type text", "pub --property=publish_content-type_text"},
		"in a group":                   {"pub -rD publish content-type text", "pub -r --property=publish_content-type_text"},
		"a value that looks like a -D": {"pub -m -D -t a", "pub -m -D -t a"},
		"a glued value with a D":       {"pub -mDay -D publish content-type -m", "pub -mDay --property=publish_content-type_-m"},
		"behind --":                    {"pub -- -D a", "pub -- -D a"},
		"another command":              {"server -D", "server -D"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := &env{ctx: t.Context(), stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
			got, err := joinProperties(rootCommand(e), strings.Fields(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			shown := strings.ReplaceAll(strings.Join(got, " "), propertySeparator, "_")
			if diff := cmp.Diff(tt.want, shown); diff != "" {
				t.Errorf("arguments differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPropertyCutShortIsAMistake(t *testing.T) {
	for _, in := range []string{"pub -D", "pub -D publish", "pub -D publish content-type", "sub -D subscribe user-property k"} {
		e := &env{ctx: t.Context(), stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
		if got := run(e, append([]string{"fantail"}, strings.Fields(in)...)); got != exitUsage {
			t.Errorf("%s: exit status %d, want %d", in, got, exitUsage)
		}
	}
}

func TestExpiry(t *testing.T) {
	for text, want := range map[string]uint32{"0": 0, "60": 60, "-1": 1<<32 - 1, "∞": 1<<32 - 1, "4294967295": 1<<32 - 1} {
		var got uint32
		if why := expiry(text, &got); why != "" || got != want {
			t.Errorf("%s = %d, %q, want %d", text, got, why, want)
		}
	}
	var n uint32
	for _, text := range []string{"", "-2", "4294967296", "1s"} {
		if expiry(text, &n) == "" {
			t.Errorf("%q passed", text)
		}
	}
}
