package broker

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const mosquittoPath = "/usr/sbin/mosquitto"

func TestParse(t *testing.T) {
	cases := map[string]struct {
		in   string
		argv []string // nil where it is refused
	}{
		"a name and a command":  {"nats=/opt/nats -p {port}", []string{"/opt/nats", "-p", "{port}"}},
		"a mosquitto elsewhere": {"m=/opt/m -c {mosquitto.conf}", []string{"/opt/m", "-c", "{mosquitto.conf}"}},
		"an = in the command":   {"x=a --port={port}", []string{"a", "--port={port}"}},
		"no name":               {"=a {port}", nil},
		"no command":            {"x=", nil},
		"no =":                  {"x {port}", nil},
		"no port":               {"x=a b", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			k, err := Parse(c.in)
			if (err != nil) != (c.argv == nil) || !slices.Equal(k.Argv, c.argv) {
				t.Errorf("Parse(%q) = %q, %v", c.in, k.Argv, err)
			}
		})
	}
}

func TestMosquittoStartsAndStops(t *testing.T) {
	if _, err := os.Stat(mosquittoPath); err != nil {
		t.Fatalf("no %s: install mosquitto (apt-get install mosquitto); make test does", mosquittoPath)
	}
	k := Mosquitto(mosquittoPath)
	if v := k.VersionLine(t.Context()); !strings.HasPrefix(v, "mosquitto version") {
		t.Errorf("version: %q", v)
	}
	p, err := k.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Running(); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if p.Running() == nil {
		t.Error("it counts as running after Stop")
	}
	if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
		t.Errorf("its directory is still there: %v", err)
	}
	if err := greet(t.Context(), p.Addr); err == nil {
		t.Error("it still answers")
	}
}

func TestStateOnDisk(t *testing.T) {
	parsed, err := Parse("m=" + mosquittoPath + " -c {mosquitto.conf}")
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]Kind{"ours": Mosquitto(mosquittoPath), "another": parsed} {
		t.Run(name, func(t *testing.T) {
			under := t.TempDir()
			p, err := k.OnDisk(under).Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conf, err := os.ReadFile(filepath.Join(p.dir, "mosquitto.conf"))
			if want := "\npersistence true\npersistence_location " + p.dir + "/\n"; err != nil || !strings.Contains(string(conf), want) {
				t.Errorf("configuration %v: %s", err, conf)
			}
			if filepath.Dir(p.dir) != under {
				t.Errorf("its directory is %s, want one in %s", p.dir, under)
			}
			if err := p.Discard(); err != nil {
				t.Error(err)
			}
			if p.Running() == nil {
				t.Error("it counts as running after Discard")
			}
			if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
				t.Errorf("its directory is still there: %v", err)
			}
		})
	}
}

func TestFantailKeepsItsPromiseOnlyOnDisk(t *testing.T) {
	k := Fantail("/f", "fsync")
	if line := strings.Join(k.Argv, " "); !strings.Contains(line, "--durability memory") || strings.Contains(line, "--data") {
		t.Errorf("in memory: %s", line)
	}
	if line := strings.Join(k.OnDisk("/d").Argv, " "); !strings.Contains(line, "--data {dir}/data --durability fsync") {
		t.Errorf("on disk: %s", line)
	}
}

func TestStartTellsWhyItFailed(t *testing.T) {
	cases := map[string]struct {
		argv     []string
		patience time.Duration
		want     string
	}{
		"no such command":         {[]string{"/nonexistent/broker", "{port}"}, startTime, "no such file"},
		"it ends at once":         {[]string{"sh", "-c", "exit 3"}, startTime, "exit status 3"},
		"it ends as if all well":  {[]string{"true"}, startTime, "exit status 0"},
		"its last words are told": {[]string{"sh", "-c", "echo last words >&2; exit 3"}, startTime, "last words"},
		"it never opens its port": {[]string{"sleep", "60"}, 200 * time.Millisecond, "no answer"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), c.patience)
			defer cancel()
			_, err := Kind{Name: "test", Argv: c.argv}.Start(ctx)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var s tail
	if s.String() != "nothing" {
		t.Errorf("an empty one says %q", s.String())
	}
	for range 3 {
		if _, err := s.Write(bytes.Repeat([]byte("x"), tailSize)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	if got := s.String(); len(got) != tailSize || !strings.HasSuffix(got, "the end") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-10:])
	}
}
