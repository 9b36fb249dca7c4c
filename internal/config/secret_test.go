package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

func TestSecretsAreNeverShown(t *testing.T) {
	c := Defaults()
	c.Auth.Users = []User{{"ann", "pencil"}}
	s := c.Auth.Users[0].Password
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%5.2s"} {
		for name, v := range map[string]any{"the secret": s, "a pointer": &s, "the user": c.Auth.Users[0], "the users": c.Auth.Users, "all": c, "a pointer to all": &c} {
			shown[verb+" of "+name] = fmt.Sprintf(verb, v)
		}
	}
	shown["Sprint"] = fmt.Sprint(s, c)
	shown["Errorf"] = fmt.Errorf("wrong: %v", c).Error()
	for _, marshal := range []func(any) ([]byte, error){yaml.Marshal, json.Marshal} {
		text, err := marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		shown[fmt.Sprintf("%d bytes", len(text))] = string(text)
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", slog.Any("secret", s), slog.Any("user", c.Auth.Users[0]), slog.Any("config", c))
	}
	shown["the log"] = log.String()
	func() {
		defer func() { shown["a panic"] = fmt.Sprint(recover()) }()
		panic(c)
	}()
	for name, text := range shown {
		for _, secret := range []string{"pencil", fmt.Sprintf("%x", "pencil"), fmt.Sprintf("%X", "pencil")} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows it: %s", name, text)
			}
		}
	}
	if string(s) != "pencil" {
		t.Error("it is lost")
	}
}

func TestValuesFromTheEnvironmentAndFromFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"word": "from a file\r\n", "two": "a\nb\n\n", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	absolute := filepath.Join(dir, "word")
	t.Setenv("FANTAIL_TEST_WORD", "from ${env:HOME}")
	t.Setenv("FANTAIL_TEST_EMPTY", "")
	for text, want := range map[string]string{
		"plain":                    "plain",
		"${env:FANTAIL_TEST_WORD}": "from ${env:HOME}",
		"a${env:FANTAIL_TEST_EMPTY}b${env:FANTAIL_TEST_WORD}c": "abfrom ${env:HOME}c",
		"${file:word}":                     "from a file",
		"${file:" + absolute + "}":         "from a file",
		"${file:./word}${file:empty}":      "from a file",
		"${file:two}":                      "a\nb\n",
		"$${env:X}":                        "${env:X}",
		"$$${env:X}":                       "$${env:X}",
		"$${file:x} ${file:word} $${env:Y": "${file:x} from a file ${env:Y",
		"${username} $${x} $ $$ ${ENV:X}":  "${username} $${x} $ $$ ${ENV:X}",
		"ends with $":                      "ends with $",
		"ends with ${":                     "ends with ${",
	} {
		got, err := expand(text, dir)
		if err != nil || got != want {
			t.Errorf("%q is %q, want %q (%v)", text, got, want, err)
		}
	}
	for text, want := range map[string]string{
		"${env:FANTAIL_TEST_NONE}": "the environment has no FANTAIL_TEST_NONE",
		"${env:}":                  "the environment has no",
		"${env:X":                  "has no end",
		"a ${file:gone}":           "${file:gone}: there is no file " + filepath.Join(dir, "gone"),
		"${file:}":                 "names no file",
		"${file:.}":                "no regular file",
		"${file:/dev/zero}":        "no regular file",
	} {
		if _, err := expand(text, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if err := os.WriteFile(absolute, make([]byte, maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := expand("${file:word}", dir); err == nil || !strings.Contains(err.Error(), "64 KiB") {
		t.Errorf("a large file: %v", err)
	}
}

func TestAnyValueMayComeFromElsewhere(t *testing.T) {
	t.Setenv("FANTAIL_TEST_PACKET", "2MiB")
	t.Setenv("FANTAIL_TEST_PORT", "1884")
	path := write(t, `
node: ${env:FANTAIL_TEST_PORT}
listeners:
  - tcp://127.0.0.1:${env:FANTAIL_TEST_PORT}
auth:
  users:
    - name: ann
      password: ${file:pass word}
    - {name: bob, password: "$${env:literal}"}
limits:
  packet: ${env:FANTAIL_TEST_PACKET}
`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "pass word"), []byte("pencil\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Node, want.Limits.Packet = "1884", 2*MiB
	want.Listeners = []Listener{{Scheme: SchemeTCP, Address: "127.0.0.1:1884"}}
	want.Auth.Users = []User{{"ann", "pencil"}, {"bob", "${env:literal}"}}
	if diff := cmp.Diff(want, *c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"pencil", "${env:literal}"}, []string{string(c.Auth.Users[0].Password), string(c.Auth.Users[1].Password)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMistakesDoNotTellWhatCameFromElsewhere(t *testing.T) {
	t.Setenv("FANTAIL_TEST_SECRET", "pen\"cil")
	path := write(t, `
shared: ${env:FANTAIL_TEST_SECRET}
limits:
  packet: ${env:FANTAIL_TEST_SECRET}
  in_flight: ${env:FANTAIL_TEST_NONE}
listeners:
  - ${env:FANTAIL_TEST_SECRET}
auth:
  users:
    - {name: "a${env:FANTAIL_TEST_SECRET}", password: x}
    - {name: "a${env:FANTAIL_TEST_SECRET}", password: x}
    - {name: b, password: "${file:gone}"}
`)
	_, err := Load(path)
	mistakesOf(t, err)
	want := []string{
		":2: shared: ${env:FANTAIL_TEST_SECRET} is unknown: it is one of round_robin, random, sticky, hash_clientid, hash_topic",
		":4: limits.packet: ${env:FANTAIL_TEST_SECRET} does not stand for a size, such as 64KiB or 1MiB",
		":5: limits.in_flight: the environment has no FANTAIL_TEST_NONE: set it, or write $${ for ${",
		":7: listeners[0]: ${env:FANTAIL_TEST_SECRET} is no listener: write a URL such as tcp://0.0.0.0:1883",
		":11: auth.users[1].name: a${env:FANTAIL_TEST_SECRET} is auth.users[0] already",
		":12: auth.users[2].password: ${file:gone}: there is no file " + filepath.Join(filepath.Dir(path), "gone"),
	}
	for i := range want {
		want[i] = path + want[i]
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
