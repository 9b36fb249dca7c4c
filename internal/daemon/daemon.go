//go:build linux

package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Daemon is a server and what it needs to be started again.
type Daemon struct {
	// Dir is the server's own folder, which it may write.
	Dir string

	account *syscall.Credential // nil: that of the test
	stop    os.Signal
	command []string
	ready   func() error
	process *exec.Cmd
	output  *journal
	ended   chan struct{} // closed when the process has
}

// New makes a folder for a server that will run as the named user, if the
// test is root's.
func New(name string) (*Daemon, error) {
	d := &Daemon{}
	if os.Getuid() == 0 {
		u, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("%w: run tools/setup", err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32) // user.Lookup's are numbers on Linux
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		d.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	dir, err := os.MkdirTemp("", "fantail-"+name)
	if err != nil {
		return nil, err
	}
	d.Dir = dir
	return d, d.own(dir)
}

// own gives a file to the server.
func (d *Daemon) own(name string) error {
	if d.account == nil {
		return nil
	}
	return os.Chown(name, int(d.account.Uid), int(d.account.Gid))
}

// Write makes a file in the server's folder.
func (d *Daemon) Write(name, text string) error {
	full := filepath.Join(d.Dir, name)
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		return err
	}
	return d.own(full)
}

// Mkdir makes a folder in the server's folder.
func (d *Daemon) Mkdir(name string) error {
	full := filepath.Join(d.Dir, name)
	if err := os.Mkdir(full, 0o700); err != nil {
		return err
	}
	return d.own(full)
}

func (d *Daemon) cmd(args []string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = d.Dir
	cmd.Env = append(os.Environ(), "HOME="+d.Dir, "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.account}
	return cmd
}

// Run runs a command to its end as the server's user.
func (d *Daemon) Run(input string, args ...string) error {
	cmd := d.cmd(args)
	cmd.Stdin = bytes.NewReader([]byte(input))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%q: %w: %s", args, err, out)
	}
	return nil
}

// Start starts the server, and returns when ready says nil. The signal stop
// ends it at once.
func (d *Daemon) Start(stop os.Signal, ready func() error, command ...string) error {
	d.stop, d.ready, d.command = stop, ready, command
	return d.Again()
}

// Again starts a server that was stopped.
func (d *Daemon) Again() error {
	d.process, d.output, d.ended = d.cmd(d.command), &journal{}, make(chan struct{})
	d.process.Stdout, d.process.Stderr = d.output, d.output
	d.process.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := d.process.Start(); err != nil {
		return fmt.Errorf("%w: run tools/setup", err)
	}
	go func(p *exec.Cmd, ended chan struct{}) { // ends with the process
		_ = p.Wait()
		close(ended)
	}(d.process, d.ended)
	return d.wait()
}

// wait polls: no server says in the same way that it is ready.
func (d *Daemon) wait() error {
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := d.ready()
		if err == nil {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("%s ended at its start: %s", d.command[0], d.output)
		case <-late.C:
			return fmt.Errorf("%s does not start: %w: %s", d.command[0], err, d.output)
		case <-again.C:
		}
	}
}

// Stop ends the server, frozen or not.
func (d *Daemon) Stop() {
	if d.process == nil {
		return
	}
	_ = d.process.Process.Signal(d.stop)
	d.Thaw()
	select {
	case <-d.ended:
	case <-time.After(10 * time.Second):
		_ = d.process.Process.Kill()
		<-d.ended
	}
	d.process = nil
}

// Freeze keeps the server from doing anything; its connections stay.
func (d *Daemon) Freeze() { d.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (d *Daemon) Thaw() { d.signal(syscall.SIGCONT) }

// signal tells the server and its children, which may each lead a group.
func (d *Daemon) signal(s syscall.Signal) {
	pid := d.process.Process.Pid
	_ = syscall.Kill(pid, s)
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for child := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(pid, s)
		}
	}
}

// Close ends the server and removes its folder.
func (d *Daemon) Close() error {
	d.Stop()
	return os.RemoveAll(d.Dir)
}

// Port is a TCP port of 127.0.0.1 that was free just now.
func Port() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// journal is the last that a server said.
type journal struct {
	mu   sync.Mutex // guards text
	text []byte
}

const kept = 8 << 10

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, b...)
	j.text = j.text[max(0, len(j.text)-kept):]
	return len(b), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text)
}
