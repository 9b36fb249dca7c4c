package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// newHost is a server on a data directory of the test's, whose log can be asked.
func newHost(t *testing.T, data string) (*server, *journal) {
	t.Helper()
	said := newJournal()
	s := &server{
		command: watched(build(t)), readyLine: true, dir: data, output: said, signal: syscall.SIGKILL, up: make(chan struct{}),
	}
	t.Cleanup(func() {
		if s.over() != nil {
			s.kill()
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", said)
		}
	})
	return s, said
}

// watched runs the binary with its metrics.
func watched(binary string) func(string, int) *exec.Cmd {
	return func(dir string, _ int) *exec.Cmd {
		return exec.Command(binary, "server", "--data", dir, "--listen", "tcp://127.0.0.1:0", "--listen", "http://127.0.0.1:0")
	}
}

// running starts the server, or ends the test.
func (s *server) running(t *testing.T) {
	t.Helper()
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *server) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// counter reads one of the metrics, 0 if there is none of that name and those labels.
func (s *server) counter(t *testing.T, name string) int {
	t.Helper()
	s.mu.Lock()
	at := s.hosts[1]
	s.mu.Unlock()
	r, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(f)
		}
	}
	return 0
}

// journal is what a server says, as it says it.
type journal struct {
	mu   sync.Mutex // guards these
	text bytes.Buffer
	more chan struct{} // closed when there is more
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.more)
	j.more = make(chan struct{})
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// mark is the end of what was said so far.
func (j *journal) mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Len()
}

// await returns the first line behind a mark that has all parts, once it is there.
func (j *journal) await(ctx context.Context, mark int, parts ...string) (string, error) {
	for {
		j.mu.Lock()
		text, more := j.text.String()[mark:], j.more
		j.mu.Unlock()
		if line := lineWith(text, parts...); line != "" {
			return line, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return "", fmt.Errorf("the server does not say %q", parts)
		}
	}
}

// lineWith returns the first whole line that has all parts.
func lineWith(text string, parts ...string) string {
	for line := range strings.Lines(text) {
		all := strings.HasSuffix(line, "\n")
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return line
		}
	}
	return ""
}

// awaited is await that ends the test.
func (j *journal) awaited(t *testing.T, mark int, parts ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, err := j.await(ctx, mark, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// refusal starts a server that must not come up, and returns what it says.
func refusal(t *testing.T, data string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var said bytes.Buffer
	cmd := watched(build(t))(data, 0)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		<-ended
		t.Fatalf("the server has not ended; it says\n%s", &said)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the server ended with %v, want exit status 1", err)
	}
	return said.String()
}

// await waits for a channel, or ends the test.
func await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatalf("waited in vain: %s", what)
	}
	return v
}

// until asks the server again and again, each time over the network.
func until(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ask(); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to this: %s", what)
		}
	}
}
