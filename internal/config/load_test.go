package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fantail.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadNamesTheFile(t *testing.T) {
	path := write(t, "node: a\nlimits:\n  packet: \"1GB\"\nx: 1\n")
	_, err := Load(path)
	mistakesOf(t, err)
	want := path + ":3: limits.packet: 1GB is above 256MiB\n" + path + ":4: x: unknown key: the keys here are "
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("err = %v\nwant it to begin with %s", err, want)
	}
}

func TestLoadWithoutAFileSaysWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone.yaml")
	_, err := Load(path)
	mistakesOf(t, err)
	if want := path + ": there is no such file: create it, or start without --config"; err.Error() != want {
		t.Errorf("err = %v, want %s", err, want)
	}
	_, err = Load(t.TempDir())
	mistakesOf(t, err)
	if !strings.HasSuffix(err.Error(), "the file cannot be read: is a directory") {
		t.Errorf("err = %v", err)
	}
	_, err = Load(write(t, strings.Repeat("# padding\n", 1<<17)))
	mistakesOf(t, err)
	if !strings.HasSuffix(err.Error(), "the file is larger than 1MiB: this is no configuration") {
		t.Errorf("err = %v", err)
	}
}

func TestLoadTakesRelativeNamesFromTheFilesFolder(t *testing.T) {
	path := write(t, "data: state\nlisteners:\n  - {url: 'tls://:8883', cert: c.pem, key: /etc/k.pem, client_ca: ca.pem, crl: r.pem}\nauth: {chain: [{password_file: {path: passwd}}]}\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	got := []string{c.Data, c.Listeners[0].Cert, c.Listeners[0].Key, c.Listeners[0].ClientCA, c.Listeners[0].CRL, c.Auth.Chain[0].PasswordFile.Path}
	want := []string{filepath.Join(dir, "state"), filepath.Join(dir, "c.pem"), "/etc/k.pem", filepath.Join(dir, "ca.pem"), filepath.Join(dir, "r.pem"), filepath.Join(dir, "passwd")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The example in the manual shows every key, and each with its default.
func TestTheExampleInTheManualHoldsTheDefaults(t *testing.T) {
	c, err := Load("../../docs/fantail.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults() // and what the command adds to them
	want.Data, want.Durability = filepath.Join("../../docs", ServerData), DurabilityFsync
	if diff := cmp.Diff(want, *c); diff != "" {
		t.Errorf("docs/fantail.example.yaml is not the defaults (-want +got):\n%s", diff)
	}
	text, err := os.ReadFile("../../docs/fantail.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{Config{}, Auth{}, User{}, Limits{}, Log{}, Loop{}, Listener{}} {
		for _, key := range keysOf(v) {
			if !strings.Contains(string(text), key+":") {
				t.Errorf("docs/fantail.example.yaml does not show the key %s", key)
			}
		}
	}
}
