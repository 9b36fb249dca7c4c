package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// workshop is where the binary under test is made, removed at the end.
var workshop string

// built is that binary, made once for all tests.
var built = sync.OnceValues(func() (string, error) {
	if *program != "" {
		return filepath.Abs(*program)
	}
	var err error
	if workshop, err = os.MkdirTemp("", "fantail-built-"); err != nil {
		return "", err
	}
	path := filepath.Join(workshop, "fantail")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/fantail").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build fantail: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if workshop != "" {
		_ = os.RemoveAll(workshop)
	}
	os.Exit(code)
}

// build returns the path of the binary under test.
func build(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
