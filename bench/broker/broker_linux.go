// Package broker starts an MQTT broker of any make as a process of its own on
// a free port of 127.0.0.1, without data from an earlier run, and stops it.
//
// A broker is a command line with placeholders: {port} is the free port, {dir}
// an empty directory that goes away with the process, and {mosquitto.conf} a
// configuration in it that lets mosquitto run without limits or persistence;
// {mosquitto-durable.conf} turns persistence on, and {fantail.yaml} is one that lifts
// Fantail's limits of messages in flight and of pending bytes.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	startTime = 10 * time.Second // until it must answer
	stopTime  = 5 * time.Second  // between SIGTERM and SIGKILL
	probeGap  = 10 * time.Millisecond
)

// Kind is a broker that can be started.
type Kind struct {
	Name    string
	Argv    []string // with placeholders
	Durable []string // the same with state on disk; Argv if empty
	Version []string // a command whose output names the version; none if empty

	under string // where {dir} is made; the system's place if empty
}

// Fantail is ours, in memory as mosquitto is without persistence, and with the
// given promise where state is on disk. Its limit of messages in flight is lifted
// as mosquitto's is.
func Fantail(path, durability string) Kind {
	return Kind{
		Name: "fantail",
		Argv: []string{
			path, "server", "--config", "{fantail.yaml}", "--listen", "tcp://127.0.0.1:{port}",
			"--durability", "memory", "--log-level", "error",
		},
		Durable: []string{
			path, "server", "--config", "{fantail.yaml}", "--listen", "tcp://127.0.0.1:{port}", "--data", "{dir}/data",
			"--durability", durability, "--log-level", "error",
		},
		Version: []string{path, "version"},
	}
}

// Mosquitto is the yardstick.
func Mosquitto(path string) Kind {
	return Kind{
		Name:    "mosquitto",
		Argv:    []string{path, "-c", "{mosquitto.conf}"},
		Durable: []string{path, "-c", "{mosquitto-durable.conf}"},
		Version: []string{path, "-h"},
	}
}

// Floor is bench/floor, which is no broker but the least that one can cost.
func Floor(path string) Kind {
	return Kind{Name: "floor", Argv: []string{path, "{port}"}}
}

// OnDisk is the broker with its state in a directory under the given one.
func (k Kind) OnDisk(under string) Kind {
	k.under = under
	if len(k.Durable) > 0 {
		k.Argv = k.Durable
	}
	return k
}

// Parse reads name=command, the words of the command parted by blanks.
func Parse(s string) (Kind, error) {
	name, command, ok := strings.Cut(s, "=")
	argv := strings.Fields(command)
	if !ok || name == "" || len(argv) == 0 {
		return Kind{}, fmt.Errorf("broker %q: want name=command", s)
	}
	if !strings.Contains(command, "{port}") && !strings.Contains(command, "{mosquitto.conf}") {
		return Kind{}, fmt.Errorf("broker %q: the command must take the port by {port} or {mosquitto.conf}", s)
	}
	k := Kind{Name: name, Argv: argv}
	if strings.Contains(command, "{mosquitto.conf}") {
		k.Durable = strings.Fields(strings.ReplaceAll(command, "{mosquitto.conf}", "{mosquitto-durable.conf}"))
		k.Version = []string{argv[0], "-h"}
	}
	return k, nil
}

// VersionLine is the first line of what the version command prints.
func (k Kind) VersionLine(ctx context.Context) string {
	if len(k.Version) == 0 {
		return "version unknown"
	}
	// mosquitto -h prints what we want and exits with 1, so the output decides.
	out, err := exec.CommandContext(ctx, k.Version[0], k.Version[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return fmt.Sprintf("version unknown: %v", err)
	}
	return strings.TrimSpace(line)
}

// Process is a running broker.
type Process struct {
	Addr netip.AddrPort
	PID  int

	cmd  *exec.Cmd
	dir  string
	said *tail
	gone chan struct{} // closed when it has ended; err is set before
	err  error
}

// Start runs the broker and returns once it answers a CONNECT. The caller stops
// it.
func (k Kind) Start(ctx context.Context) (*Process, error) {
	p, err := k.launch(ctx)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", k.Name, err)
	}
	if err := p.answers(ctx); err != nil {
		err = errors.Join(err, p.Stop())
		return nil, fmt.Errorf("start %s: %w; it said: %s", k.Name, err, p.said)
	}
	return p, nil
}

func (k Kind) launch(ctx context.Context) (*Process, error) {
	addr, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(k.under, "bench-"+k.Name+"-")
	if err != nil {
		return nil, err
	}
	argv, err := fillIn(k.Argv, dir, addr.Port())
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p := &Process{Addr: addr, dir: dir, said: &tail{}, gone: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.WaitDelay = stopTime // for a grandchild that keeps the pipe open
	dieWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.PID = p.cmd.Process.Pid
	go func() { // ends with the process, which Stop ends and waits for
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	return p, nil
}

// freePort asks the kernel for a port that is free now.
func freePort(ctx context.Context) (netip.AddrPort, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
	}
	addr, err := netip.ParseAddrPort(l.Addr().String())
	return addr, errors.Join(err, l.Close())
}

func fillIn(argv []string, dir string, port uint16) ([]string, error) {
	conf, ours := filepath.Join(dir, "mosquitto.conf"), filepath.Join(dir, "fantail.yaml")
	r := strings.NewReplacer("{port}", strconv.Itoa(int(port)), "{dir}", dir,
		"{mosquitto.conf}", conf, "{mosquitto-durable.conf}", conf, "{fantail.yaml}", ours)
	filled := make([]string, len(argv))
	for i, word := range argv {
		filled[i] = r.Replace(word)
		file, text := conf, []byte(nil)
		switch {
		case word == "{fantail.yaml}":
			file, text = ours, []byte("limits: {in_flight: 65535, pending_bytes: 1GiB, all_pending_bytes: 64GiB}\n")
		case strings.Contains(word, "{mosquitto.conf}"):
			text = mosquittoConf(port, "persistence false")
		case strings.Contains(word, "{mosquitto-durable.conf}"):
			text = mosquittoConf(port, "persistence true\npersistence_location "+dir+"/")
		default:
			continue
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return nil, err
		}
	}
	return filled, nil
}

// mosquittoConf removes what would slow mosquitto down or let it drop messages.
// Started by root it would change its user, and the kernel would forget that it
// is to end with us; started by anyone else it ignores the user.
//
// With persistence it writes its state to disk every half hour and at its end,
// which is its default: nothing slows it down in between.
func mosquittoConf(port uint16, persistence string) []byte {
	return fmt.Appendf(nil, `listener %d 127.0.0.1
user root
allow_anonymous true
%s
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
sys_interval 0
log_dest stderr
log_type error
`, port, persistence)
}

// answers waits until the broker accepts an MQTT connection: an open port alone
// may belong to a broker that is still loading.
func (p *Process) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	gap := time.NewTicker(probeGap)
	defer gap.Stop()
	for {
		err := greet(ctx, p.Addr)
		if err == nil {
			return nil
		}
		select {
		case <-p.gone:
			return fmt.Errorf("it ended at once (%w)", p.ending())
		case <-ctx.Done():
			return fmt.Errorf("no answer within %v: %w", startTime, err)
		case <-gap.C:
		}
	}
}

// ending says how the process ended, once gone is closed.
func (p *Process) ending() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}

// greet connects as a client and leaves again.
func greet(ctx context.Context, to netip.AddrPort) (err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(startTime)); err != nil {
		return err
	}
	// CONNECT, MQTT 3.1.1, clean session, keep-alive 60 s, client id "probe".
	if _, err := conn.Write([]byte("\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe")); err != nil {
		return err
	}
	var ack [4]byte
	if _, err := io.ReadFull(conn, ack[:]); err != nil {
		return err
	}
	if ack != [4]byte{0x20, 2, 0, 0} {
		return fmt.Errorf("it answered CONNECT with % x", ack)
	}
	_, err = conn.Write([]byte{0xe0, 0}) // DISCONNECT
	return err
}

// Running is nil while the broker runs, and says how it ended after.
func (p *Process) Running() error {
	select {
	case <-p.gone:
		return fmt.Errorf("the broker ended by itself (%w); it said: %s", p.ending(), p.said)
	default:
		return nil
	}
}

// Stop ends the broker and removes its directory. That it did not end cleanly
// is no error: a measurement is over by then.
func (p *Process) Stop() error {
	if err := p.end(); err != nil {
		return fmt.Errorf("stop process %d: %w", p.PID, err)
	}
	return os.RemoveAll(p.dir)
}

// Discard ends the broker at once, for one that would write what it holds to a
// directory that goes away.
func (p *Process) Discard() error {
	if err := p.kill(); err != nil {
		return fmt.Errorf("stop process %d: %w", p.PID, err)
	}
	return os.RemoveAll(p.dir)
}

func (p *Process) end() error {
	if err := p.cmd.Process.Signal(terminate); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	patience := time.NewTimer(stopTime)
	defer patience.Stop()
	select {
	case <-p.gone:
		return nil
	case <-patience.C:
		return p.kill()
	}
}

func (p *Process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.gone
	return nil
}
