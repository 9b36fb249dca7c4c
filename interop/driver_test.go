package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"
)

// driver is a client in another process, which speaks JSON lines. Connect
// starts the process when there is none, and Die kills it.
type driver struct {
	t       *testing.T
	command []string
	running *driverProcess
}

type driverProcess struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stderr  bytes.Buffer
	inbox   inbox
	replies chan event
	ended   chan struct{} // the process has written all it will
}

// event is a line that a driver writes.
type event struct {
	Event   string `json:"event"`
	Code    int    `json:"code"`
	Codes   []int  `json:"codes"`
	Session int    `json:"session"`
	Text    string `json:"text"`
	message
}

func newDriver(t *testing.T, command ...string) *driver {
	d := &driver{t: t, command: command}
	t.Cleanup(d.Die)
	return d
}

func (d *driver) start() error {
	p := &driverProcess{
		cmd:     exec.Command(d.command[0], d.command[1:]...),
		inbox:   newInbox(),
		replies: make(chan event, 16),
		ended:   make(chan struct{}),
	}
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", d.command, err)
	}
	go p.read(stdout) // until the process ends; Die waits for it
	d.running = p
	return nil
}

// read sorts what the driver writes into answers and arrivals.
func (p *driverProcess) read(stdout io.Reader) {
	defer close(p.ended)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			p.replies <- event{Event: "error", Text: fmt.Sprintf("the driver writes %q: %v", line, err)}
			continue
		}
		switch e.Event {
		case "message":
			p.inbox <- arrival{message: e.message}
		case "gone":
			p.inbox <- arrival{gone: &gone{e.Code}}
		default:
			p.replies <- e
		}
	}
}

// ask sends a command and waits for the event which answers it.
func (d *driver) ask(ctx context.Context, command any, answer string) (event, error) {
	p := d.running
	if p == nil {
		return event{}, errors.New("the driver does not run")
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(command); err != nil {
		return event{}, err
	}
	if _, err := p.stdin.Write(line.Bytes()); err != nil {
		return event{}, fmt.Errorf("tell the driver: %w", err)
	}
	select {
	case e := <-p.replies:
		if e.Event != answer {
			return e, fmt.Errorf("the driver answers %s %s, want %s", e.Event, e.Text, answer)
		}
		return e, nil
	case <-p.ended:
		return event{}, errors.New("the driver ended")
	case <-ctx.Done():
		return event{}, fmt.Errorf("no %s: %w", answer, ctx.Err())
	}
}

func (d *driver) Connect(ctx context.Context, o connect) (connack, error) {
	if d.running == nil {
		if err := d.start(); err != nil {
			return connack{}, err
		}
	}
	for len(d.running.inbox) > 0 { // of the connection before
		<-d.running.inbox
	}
	e, err := d.ask(ctx, struct {
		Do string `json:"do"`
		connect
	}{"connect", o}, "connected")
	return connack{Code: e.Code, Session: e.Session}, err
}

func (d *driver) Subscribe(ctx context.Context, filters ...filter) ([]int, error) {
	e, err := d.ask(ctx, struct {
		Do      string   `json:"do"`
		Filters []filter `json:"filters"`
	}{"subscribe", filters}, "subscribed")
	return e.Codes, err
}

func (d *driver) Unsubscribe(ctx context.Context, filters ...string) ([]int, error) {
	e, err := d.ask(ctx, struct {
		Do      string   `json:"do"`
		Filters []string `json:"filters"`
	}{"unsubscribe", filters}, "unsubscribed")
	return e.Codes, err
}

func (d *driver) Publish(ctx context.Context, m message) (int, error) {
	e, err := d.ask(ctx, struct {
		Do string `json:"do"`
		message
	}{"publish", m}, "published")
	return e.Code, err
}

func (d *driver) Next(ctx context.Context) (message, error) {
	if d.running == nil {
		return message{}, errors.New("the driver does not run")
	}
	return d.running.inbox.next(ctx)
}

func (d *driver) Disconnect(ctx context.Context) error {
	_, err := d.ask(ctx, struct {
		Do string `json:"do"`
	}{"disconnect"}, "disconnected")
	return err
}

// Die kills the process: the system closes its socket, nothing says DISCONNECT.
func (d *driver) Die() {
	p := d.running
	if p == nil {
		return
	}
	d.running = nil
	_ = p.stdin.Close()
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.cmd.Wait() // killed
	if d.t.Failed() && p.stderr.Len() > 0 {
		d.t.Logf("%s writes to stderr:\n%s", d.command, p.stderr.String())
	}
}
