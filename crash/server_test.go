package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// starting is how long a server may take until it is ready.
const starting = 10 * time.Second

// server is the process under test, one after the other on the same directory.
type server struct {
	command   func(dir string, port int) *exec.Cmd
	readyLine bool // it says when it is ready, and where
	dir       string
	port      int // for a command that does not take a free one
	output    io.Writer
	signal    syscall.Signal // that ends it

	mu    sync.Mutex // guards the rest
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	hosts []string      // of the ready line; the first one speaks MQTT
	up    chan struct{} // closed while it is ready
}

// fantail runs the binary.
func fantail(binary, durability string) func(string, int) *exec.Cmd {
	return func(dir string, _ int) *exec.Cmd {
		return exec.Command(binary, "server", "--data", dir, "--durability", durability, "--listen", "tcp://127.0.0.1:0")
	}
}

// shell runs any broker: {dir} and {port} are filled in.
func shell(command string) func(string, int) *exec.Cmd {
	return func(dir string, port int) *exec.Cmd {
		return exec.Command("sh", "-c", strings.NewReplacer("{dir}", dir, "{port}", fmt.Sprint(port)).Replace(command))
	}
}

func newServer(command func(string, int) *exec.Cmd, readyLine bool, dir string) (*server, error) {
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &server{
		command: command, readyLine: readyLine, dir: data, port: l.Addr().(*net.TCPAddr).Port,
		output: log, signal: syscall.SIGKILL, up: make(chan struct{}),
	}, nil
}

// start returns when the server is ready.
func (s *server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	cmd := s.command(s.dir, s.port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = s.output
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said := make(chan string, 1)
	ended := make(chan struct{})
	go func() { // ends with the process
		read := bufio.NewReader(stdout)
		line, _ := read.ReadString('\n')
		said <- line
		_, _ = io.Copy(s.output, read)
		_ = cmd.Wait()
		close(ended)
	}()
	s.mu.Lock()
	s.cmd, s.ended = cmd, ended
	s.mu.Unlock()
	hosts, err := s.listening(ctx, said, ended)
	if err != nil {
		s.kill()
		return fmt.Errorf("start %s: %w", cmd, err)
	}
	s.mu.Lock()
	s.hosts = hosts
	close(s.up)
	s.mu.Unlock()
	return nil
}

func (s *server) listening(ctx context.Context, said <-chan string, ended <-chan struct{}) ([]string, error) {
	if !s.readyLine {
		address, err := s.answering(ctx, ended)
		return []string{address}, err
	}
	select {
	case line := <-said:
		return parseReady(line)
	case <-ctx.Done():
		return nil, fmt.Errorf("is not ready after %s", starting)
	}
}

// parseReady reads `ready tcp://127.0.0.1:41233 …`.
func parseReady(line string) (hosts []string, err error) {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "ready" {
		return nil, fmt.Errorf("says %q, no ready line", line)
	}
	for _, text := range fields[1:] {
		u, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, u.Host)
	}
	return hosts, nil
}

func (s *server) answering(ctx context.Context, ended <-chan struct{}) (string, error) {
	address := fmt.Sprintf("127.0.0.1:%d", s.port)
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return address, conn.Close()
		}
		select {
		case <-ended:
			return "", errors.New("ended at once")
		default:
		}
		if !pause(ctx, 5*time.Millisecond) {
			return "", fmt.Errorf("does not listen on %s: %w", address, err)
		}
	}
}

// kill ends the process as a crash does and waits until it is gone.
func (s *server) kill() {
	s.mu.Lock()
	cmd, ended := s.cmd, s.ended
	select {
	case <-s.up:
		s.up = make(chan struct{})
	default:
	}
	s.mu.Unlock()
	_ = syscall.Kill(-cmd.Process.Pid, s.signal)
	<-ended
}

// await waits until the server is ready.
func (s *server) await(ctx context.Context) bool {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	select {
	case <-up:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// over is closed when the process has ended.
func (s *server) over() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *server) at() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[0]
}

// pause waits, and says whether there is reason to go on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
