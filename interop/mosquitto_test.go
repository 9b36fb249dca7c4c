package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// tools plays a client with mosquitto_sub, which runs from Subscribe (or from
// a Connect that resumes a session) to Disconnect or Die, and one
// mosquitto_pub for each Publish.
type tools struct {
	t       *testing.T
	o       connect
	filters []filter
	sub     *subscriber
	inbox   inbox
}

// messageFormat makes mosquitto_sub print a message as one line: what the
// functions fromTool and parseUser read.
const messageFormat = "message\t%t\t%q\t%r\t%E\t%C\t%R\t%D\t%P\t%x"

func newTools(t *testing.T) *tools {
	c := &tools{t: t, inbox: newInbox()}
	t.Cleanup(c.Die)
	return c
}

func (c *tools) Connect(ctx context.Context, o connect) (connack, error) {
	c.o = o
	if o.Clean || len(c.filters) == 0 {
		c.filters = nil
		return connack{Session: unseen}, nil
	}
	_, err := c.listen(ctx)
	return connack{Session: unseen}, err
}

func (c *tools) Subscribe(ctx context.Context, filters ...filter) ([]int, error) {
	if c.sub != nil {
		return nil, errors.New("mosquitto_sub subscribes once")
	}
	c.filters = filters
	return c.listen(ctx)
}

// listen starts mosquitto_sub and waits for the SUBACK.
func (c *tools) listen(ctx context.Context) ([]int, error) {
	args := append(endpoint(c.o), "-i", c.o.ClientID, "-F", messageFormat, "-k", strconv.Itoa(c.o.KeepAlive))
	for _, f := range c.filters {
		if f.QoS != c.filters[0].QoS {
			return nil, errors.New("mosquitto_sub has one QoS")
		}
		args = append(args, "-q", strconv.Itoa(f.QoS), "-t", f.Filter)
	}
	if !c.o.Clean {
		args = append(args, "-c")
	}
	if !c.o.Clean && c.o.Version == 5 {
		args = append(args, "-x", strconv.Itoa(int(c.o.SessionExpiry)))
	}
	args = append(args, willArgs(c.o)...)
	c.inbox = newInbox()
	c.sub = startSubscriber(c.t, args...)
	granted := make(chan []int, 1)
	go c.read(c.sub, c.inbox, granted) // ends with mosquitto_sub
	select {
	case codes, ok := <-granted:
		if !ok {
			return nil, fmt.Errorf("mosquitto_sub ended without SUBACK: %s", c.sub.stderr.String())
		}
		return codes, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("no SUBACK: %w", ctx.Err())
	}
}

// read understands what mosquitto_sub prints. Its second CONNECT says that
// the connection was lost.
func (c *tools) read(s *subscriber, box inbox, granted chan<- []int) {
	connects := 0
	for line := range s.lines {
		switch {
		case strings.HasPrefix(line, "message\t"):
			m, err := fromTool(line)
			if err != nil {
				m.Topic = err.Error() // no test expects that topic
			}
			box <- arrival{message: m}
		case strings.HasPrefix(line, "Subscribed ") && granted != nil:
			granted <- grantedCodes(line)
			close(granted)
			granted = nil
		case strings.HasSuffix(line, " sending CONNECT"):
			if connects++; connects == 2 {
				_ = s.cmd.Process.Kill() // it would fight for its client id
			}
		}
	}
	box <- arrival{gone: &gone{unseen}}
	if granted != nil {
		close(granted)
	}
}

// grantedCodes reads "Subscribed (mid: 1): 2, 128".
func grantedCodes(line string) []int {
	var codes []int
	_, list, _ := strings.Cut(line, "): ")
	for word := range strings.SplitSeq(list, ", ") {
		code, err := strconv.Atoi(word)
		if err != nil {
			code = unseen
		}
		codes = append(codes, code)
	}
	return codes
}

func fromTool(line string) (message, error) {
	part := strings.Split(line, "\t")
	if len(part) != 10 {
		return message{}, fmt.Errorf("mosquitto_sub prints %q", line)
	}
	qos, err := strconv.Atoi(part[2])
	if err != nil {
		return message{}, fmt.Errorf("mosquitto_sub prints QoS %q", part[2])
	}
	payload, err := hex.DecodeString(part[9])
	if err != nil {
		return message{}, fmt.Errorf("mosquitto_sub prints payload %q", part[9])
	}
	expiry, _ := strconv.ParseUint(part[4], 10, 32) // or empty
	return message{
		Topic: part[1], QoS: qos, Retain: part[3] == "1", Expiry: uint32(expiry),
		ContentType: part[5], Response: part[6], Correlation: []byte(part[7]), User: parseUser(part[8]), Payload: payload,
	}, nil
}

// parseUser reads "key:value key:value"; the tests write neither with spaces.
func parseUser(text string) []property {
	var all []property
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, ":")
		all = append(all, property{key, value})
	}
	return all
}

func (c *tools) Publish(ctx context.Context, m message) (int, error) {
	args := append(endpoint(c.o), "-t", m.Topic, "-q", strconv.Itoa(m.QoS))
	if m.Retain {
		args = append(args, "-r")
	}
	args = append(args, propertyArgs("publish", m)...)
	if len(m.Payload) == 0 {
		args = append(args, "-n")
	} else {
		args = append(args, "-s")
	}
	pub := exec.CommandContext(ctx, find(c.t, "mosquitto-clients", "mosquitto_pub"), args...)
	pub.Stdin = bytes.NewReader(m.Payload)
	out, err := pub.CombinedOutput()
	if err != nil {
		return unseen, fmt.Errorf("mosquitto_pub: %w: %s", err, out)
	}
	code := unseen
	if _, after, found := strings.Cut(string(out), "RC:"); found { // of PUBACK or PUBCOMP
		if _, err := fmt.Sscanf(after, "%d", &code); err != nil {
			return unseen, fmt.Errorf("mosquitto_pub prints %q: %w", out, err)
		}
	}
	return code, nil
}

func (c *tools) Next(ctx context.Context) (message, error) { return c.inbox.next(ctx) }

func (c *tools) Disconnect(ctx context.Context) error {
	if c.sub == nil {
		return nil
	}
	_ = c.sub.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended, as it should
	select {
	case <-c.sub.ended:
		c.sub = nil
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mosquitto_sub does not end: %w", ctx.Err())
	}
}

func (c *tools) Die() {
	if c.sub != nil {
		c.sub.kill()
		c.sub = nil
	}
}

// endpoint returns the arguments which both tools share.
func endpoint(o connect) []string {
	u, err := url.Parse(o.URL)
	if err != nil {
		return []string{err.Error()} // the tool refuses it and says so
	}
	name := map[int]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}
	args := []string{"-d", "-h", u.Hostname(), "-p", u.Port(), "-V", name[o.Version]}
	if o.CA != "" {
		args = append(args, "--cafile", o.CA)
	}
	if o.Cert != "" {
		args = append(args, "--cert", o.Cert, "--key", o.Key)
	}
	if o.Username != "" {
		args = append(args, "-u", o.Username, "-P", o.Password)
	}
	return args
}

func willArgs(o connect) []string {
	w := o.Will
	if w == nil {
		return nil
	}
	args := []string{"--will-topic", w.Topic, "--will-payload", string(w.Payload), "--will-qos", strconv.Itoa(w.QoS)}
	if w.Retain {
		args = append(args, "--will-retain")
	}
	if o.Version == 5 && o.WillDelay > 0 {
		args = append(args, "-D", "will", "will-delay-interval", strconv.Itoa(int(o.WillDelay)))
	}
	return append(args, propertyArgs("will", *w)...)
}

func propertyArgs(command string, m message) []string {
	var args []string
	for _, p := range m.User {
		args = append(args, "-D", command, "user-property", p[0], p[1])
	}
	if m.ContentType != "" {
		args = append(args, "-D", command, "content-type", m.ContentType)
	}
	if m.Response != "" {
		args = append(args, "-D", command, "response-topic", m.Response)
	}
	if len(m.Correlation) > 0 {
		args = append(args, "-D", command, "correlation-data", string(m.Correlation))
	}
	if m.Expiry > 0 {
		args = append(args, "-D", command, "message-expiry-interval", strconv.Itoa(int(m.Expiry)))
	}
	return args
}

// subscriber is a running mosquitto_sub, or mosquitto_rr.
type subscriber struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	lines  chan string   // what it prints; closed at its end
	ended  chan struct{} // it has been waited for
}

// startSubscriber runs mosquitto_sub until the end of the test, at the latest.
func startSubscriber(t *testing.T, args ...string) *subscriber {
	t.Helper()
	return startTool(t, "mosquitto_sub", args...)
}

func startTool(t *testing.T, name string, args ...string) *subscriber {
	t.Helper()
	s := &subscriber{
		// their debug lines would wait in a buffer until the first message
		cmd:   exec.Command(find(t, "coreutils", "stdbuf"), append([]string{"-oL", find(t, "mosquitto-clients", name)}, args...)...),
		lines: make(chan string, 4096),
		ended: make(chan struct{}),
	}
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go s.read(out) // until the process ends; kill waits for it
	t.Cleanup(s.kill)
	return s
}

func (s *subscriber) read(out io.Reader) {
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	for err == nil {
		s.lines <- strings.TrimSuffix(line, "\n")
		line, err = lines.ReadString('\n')
	}
	close(s.lines)
	_ = s.cmd.Wait() // its exit code is in ProcessState
	close(s.ended)
}

func (s *subscriber) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}
