package crash

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fingerprint is a hash of a folder: names, modes and contents, without the lock
// file, in which each process that tries leaves its mark.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	hash := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "fantail.lock" {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(hash, "%q %v\n", name, d.Type())
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(hash, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// mustRefuse is a start that must fail with one sentence, which says what, where and
// what to do, and change nothing.
func mustRefuse(t *testing.T, dir string, says ...string) {
	t.Helper()
	before := fingerprint(t, dir)
	said := refusal(t, dir)
	sentence := notLogged(said)
	t.Log(strings.TrimSpace(sentence))
	if lines := strings.Count(sentence, "\n"); lines != 1 {
		t.Errorf("it says %d lines beside its log, want one:\n%s", lines, said)
	}
	for _, part := range append(says, dir) {
		if !strings.Contains(sentence, part) {
			t.Errorf("it does not say %q", part)
		}
	}
	if !strings.Contains(sentence, "--data") && !strings.Contains(sentence, "--restore") {
		t.Error("it does not say what to do")
	}
	if after := fingerprint(t, dir); after != before {
		t.Error("the directory was changed")
	}
}

// notLogged is what is left of the output without the lines of the log.
func notLogged(said string) string {
	var rest strings.Builder
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "time=") {
			rest.WriteString(line)
		}
	}
	return rest.String()
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryOfAnotherProgramIsRefused(t *testing.T) {
	for name, file := range map[string]string{
		"files of anybody":     "store/notes.txt",
		"another Pebble store": "store/MANIFEST-000001",
		"the end of a copy":    "store/000004.log",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, file), "what somebody has there\n")
			mustRefuse(t, dir, filepath.Base(file), "not Fantail's")
		})
	}
	t.Run("a file in place of the store", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "store"), "a file\n")
		mustRefuse(t, dir, "not a directory")
	})
}

// first is a small store.
func first(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s, _ := newHost(t, dir)
	s.running(t)
	enrol(t, s, "a", topicOf("a"))
	newSender(t, s, topicOf("a"), 1000).burst(t, 20)
	s.kill()
	return dir
}

func TestAStoreOfAnotherFormatIsRefused(t *testing.T) {
	dir := first(t)
	format := filepath.Join(dir, "store", "fantail.format")
	text, err := os.ReadFile(format)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		says []string
	}{
		"newer":   {"fantail store 9999\n", []string{"newer Fantail", "format 9999"}},
		"garbled": {"\x00\x01\x02", []string{"fantail.format"}},
		"empty":   {"", []string{"fantail.format"}},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, format, c.text)
			mustRefuse(t, dir, c.says...)
		})
	}
	write(t, format, string(text))
	s, _ := newHost(t, dir)
	s.running(t)
	d := drain(t, s, "a", topicOf("a"))
	if len(d.parcels) != 20 {
		t.Errorf("%d of 20 messages are there after the refused starts", len(d.parcels))
	}
}

func TestADirectoryInUseIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, _ := newHost(t, dir)
	s.running(t)
	enrol(t, s, "a", topicOf("a"))
	p := newSender(t, s, topicOf("a"), 1000)
	p.burst(t, 20)
	said := refusal(t, dir)
	for _, part := range []string{dir, fmt.Sprintf("in use by process %d", s.pid()), "stop it", "--data"} {
		if !strings.Contains(said, part) {
			t.Errorf("it says %q, and not %q", said, part)
		}
	}
	p.burst(t, 20)
	s.kill()
	s.running(t)
	d := drain(t, s, "a", topicOf("a"))
	d.complete(t, p.acknowledged)
}
