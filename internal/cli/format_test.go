package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

func sample() *client.Message {
	return &client.Message{
		Topic: "a/b", Payload: []byte("h\xffi"), QoS: 1, Retain: true, ID: 9, Expiry: 60, HasExpiry: true, Alias: 3,
		SubscriptionIDs: []uint32{4, 5},
		ForwardProperties: packet.ForwardProperties{
			PayloadFormat: 1, HasPayloadFormat: true, ContentType: "text/plain", ResponseTopic: "r",
			CorrelationData: []byte("c"), HasCorrelation: true,
			User: []packet.UserProperty{{Key: "k", Value: "1"}, {Key: "l", Value: "2"}},
		},
	}
}

func sampleTime() time.Time {
	return time.Date(2026, 2, 3, 16, 5, 6, 7_000_000, time.FixedZone("CET", 3600))
}

func TestFormat(t *testing.T) {
	for f, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"%t %q %r %m %l":          "a/b 1 1 9 3",
		"%p":                      "h\xffi",
		"%x %X":                   "68ff69 68FF69",
		"%.2x|%.0p|":              "68ff||",
		"%8t|%-8t|%08l|":          "     a/b|a/b     |00000003|",
		"%.2t":                    "a/",
		"%A %C %D %E %F %P %R %S": "3 text/plain c 60 1 k:1 l:2 r 4 5",
		"100%% @@ \\\\":           "100% @ \\",
		`\n\t\0\a\e\r\v`:          "\n\t\x00\a\x1b\r\v",
		"%I":                      "2026-02-03T16:05:06+01:00",
		"%U @s.@N":                "1770131106.007000000 1770131106.007000000",
		"@Y-@m-@d @H:@M:@S @z @Z": "2026-02-03 16:05:06 +0100 CET",
		"@F @T|@D|@e|@j|@k|@l@p":  "2026-02-03 16:05:06|02/03/26| 3|034|16| 4PM",
		"@a @A @b @B @C @y @I":    "Tue Tuesday Feb February 20 26 04",
		"@u @w @G-@V @g @U @W @P": "2 2 2026-06 26 05 05 pm",
		"@c|@r|@R|@x|@X@n@t":      "Tue Feb  3 16:05:06 2026|04:05:06 PM|16:05|02/03/26|16:05:06\n\t",
	} {
		parsed, err := parseFormat(f)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if got := string(parsed.append(nil, sample(), sampleTime(), false)); got != want {
			t.Errorf("%s = %q, want %q", f, got, want)
		}
	}
}

func TestAFormatOfAMessageWithoutProperties(t *testing.T) {
	parsed, err := parseFormat("<%A%C%D%E%F%P%R%S|%p|%3l>")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(parsed.append(nil, &client.Message{Topic: "a"}, sampleTime(), false)), "<||  0>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFormatsThatMeanNothing(t *testing.T) {
	for _, f := range []string{"%", "@", `\`, "%y", "%5", "%-", "%.", "@!", `\x`, "%99999999999999999999t", "%10001t", "%.10001p"} {
		if _, err := parseFormat(f); err == nil {
			t.Errorf("%s passed", f)
		}
	}
}

func TestJSON(t *testing.T) {
	const head = `{"tst":"2026-02-03T16:05:06.007+01:00","topic":"a","qos":0,"retain":0,"payloadlen":`
	tests := map[string]struct {
		payload string
		embed   bool
		want    string
	}{
		"text":                     {`say "hi" <b>`, false, head + `12,"payload":"say \"hi\" <b>"}`},
		"empty":                    {"", false, head + `0,"payload":""}`},
		"JSON as text":             {`{"n":1}`, false, head + `7,"payload":"{\"n\":1}"}`},
		"JSON as it is":            {`{"n":1}`, true, head + `7,"payload":{"n":1}}`},
		"what is no JSON after %J": {"{", true, head + `1,"payload":"{"}`},
		"bytes that mosquitto loses": {
			"a\x00b\xff\xfe", false, head + `5,"payload_b64":"YQBi//4="}`,
		},
		"a zero byte is text": {"a\x00b", false, head + `3,"payload":"a\u0000b"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &client.Message{Topic: "a", Payload: []byte(tt.payload)}
			if got := string(asJSON(m, sampleTime(), tt.embed, false)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func FuzzFormat(f *testing.F) {
	for _, s := range []string{"%t %p", "%08.3x@H\\n", "%j %J", "@@%%\\\\", "%-5q", "%", "@", "\\"} {
		f.Add(s, []byte(`{"n":1}`))
		f.Add(s, []byte{0, 0xFF})
	}
	f.Fuzz(func(t *testing.T, s string, payload []byte) {
		parsed, err := parseFormat(s)
		if err != nil {
			return
		}
		m := sample()
		m.Payload = payload
		got := parsed.append([]byte("before"), m, sampleTime(), false)
		if !strings.HasPrefix(string(got), "before") {
			t.Fatalf("%q wrote over what was there: %q", s, got)
		}
		if s == "%j" || s == "%J" {
			if !json.Valid(got[len("before"):]) {
				t.Fatalf("%q is no JSON: %s", s, got)
			}
		}
		if !strings.ContainsAny(s, `%@\`) && string(got) != "before"+s {
			t.Fatalf("plain %q became %q", s, got)
		}
	})
}
