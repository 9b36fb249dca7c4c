package lock

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets this binary be the other process: with holdEnv set it takes
// the directory, says so, and keeps it until its input ends.
func TestMain(m *testing.M) {
	dir := os.Getenv("FANTAIL_TEST_HOLD")
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := Acquire(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, "held")
	bufio.NewReader(os.Stdin).ReadByte()
	os.Exit(0)
}

// hold has another process take dir, and returns its pid and what kills it.
func hold(t *testing.T, dir string) (pid int, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FANTAIL_TEST_HOLD="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
		stdin.Close()
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return cmd.Process.Pid, kill
}

func TestASecondProcessIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	pid, kill := hold(t, dir)
	_, err := Acquire(dir)
	want := fmt.Sprintf("data directory %s is in use by process %d: stop it, or choose another with --data", dir, pid)
	if err == nil || err.Error() != want {
		t.Fatalf("err = %v, want %s", err, want)
	}
	kill()
	lock, err := Acquire(dir)
	if err != nil {
		t.Fatalf("after the other process was killed: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func TestReleaseLetsTheNextIn(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		lock, err := Acquire(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Acquire(dir); err == nil {
			t.Error("this process took the directory twice")
		}
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAcquireCreatesAPrivateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	lock, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	info, err := os.Stat(dir)
	if err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("mode = %v, %v, want 0700", info.Mode(), err)
	}
}

func TestAcquireSaysWhatIsWrongWithTheDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	notDir := filepath.Join(t.TempDir(), "notdir")
	if err := os.MkdirAll(filepath.Join(notDir, fileName), 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		file:                     "is not a directory: choose another with --data",
		filepath.Join(file, "x"): "cannot be opened: not a directory: choose another with --data",
		notDir:                   "cannot be written: is a directory: make it belong to this user, or choose another with --data",
	} {
		_, err := Acquire(dir)
		if want := "data directory " + dir + " " + want; err == nil || err.Error() != want {
			t.Errorf("err = %v, want %s", err, want)
		}
	}
}

func TestAnUnreadableDirectoryIsASentence(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing is unreadable to root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := Acquire(dir)
	if err == nil || !strings.Contains(err.Error(), "cannot be written: permission denied") {
		t.Errorf("err = %v", err)
	}
}
