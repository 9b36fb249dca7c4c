package dist

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unit is the service with another program, since the real one is not
// installed here.
func unit(t *testing.T) (path, text string) {
	t.Helper()
	b, err := os.ReadFile("fantail.service")
	if err != nil {
		t.Fatal(err)
	}
	text = string(b)
	path = filepath.Join(t.TempDir(), "fantail.service")
	stand := strings.Replace(text, "ExecStart=/usr/bin/fantail ", "ExecStart=/bin/true ", 1)
	if stand == text {
		t.Fatal("the unit does not start /usr/bin/fantail")
	}
	if err := os.WriteFile(path, []byte(stand), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, text
}

func TestTheUnitIsOne(t *testing.T) {
	_, text := unit(t)
	section, keys := "", map[string][]string{}
	for i, line := range strings.Split(text, "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = line
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" || strings.TrimSpace(key) != key {
				t.Errorf("line %d is no setting: %q", i+1, line)
			}
			keys[section+key] = append(keys[section+key], value)
		}
	}
	for key, want := range map[string]string{
		"[Service]User": "fantail", "[Service]NoNewPrivileges": "yes", "[Service]ProtectSystem": "strict", "[Service]CapabilityBoundingSet": "",
		"[Service]MemoryDenyWriteExecute": "yes", "[Service]LimitCORE": "0", "[Service]StateDirectory": "fantail",
		"[Service]SystemCallFilter": "@system-service ~@privileged", "[Install]WantedBy": "multi-user.target",
	} {
		if got, ok := keys[key]; !ok || strings.Join(got, " ") != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// Where there is systemd, it judges the unit itself.
func TestSystemdTakesTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	path, _ := unit(t)
	out, err := exec.CommandContext(t.Context(), analyze, "verify", path).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", "--no-pager", path).CombinedOutput()
	if err != nil {
		t.Errorf("its exposure is above 2.0 of 10: %v\n%s", err, out)
	}
}
