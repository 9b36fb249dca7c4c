package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bench runs mosquitto_pub, mosquitto_sub and mosquitto_rr as a person does.
type bench struct {
	*stage
	host, port string
}

// newBench starts a broker: these tests are few and have it to themselves.
func newBench(t *testing.T, o options) *bench {
	t.Helper()
	s := newStage(t, startBroker(t, o), flavour{})
	host, port, err := net.SplitHostPort(s.at.TCP)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{s, host, port}
}

// run runs a tool to its end and returns its exit code.
func (b *bench) run(stdin, name string, args ...string) (stdout string, exit int) {
	b.t.Helper()
	cmd := exec.CommandContext(b.ctx, find(b.t, "mosquitto-clients", name), b.args(args)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) || b.ctx.Err() != nil {
		b.t.Fatalf("%s %q: %v: %s", name, args, err, stderr.String())
	}
	if stderr.Len() > 0 {
		b.t.Logf("%s %q says %s", name, args, stderr.String())
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (b *bench) args(args []string) []string {
	if slices.Contains(args, "-L") {
		return args
	}
	return append([]string{"-h", b.host, "-p", b.port}, args...)
}

func (b *bench) pub(stdin string, args ...string) {
	b.t.Helper()
	if out, exit := b.run(stdin, "mosquitto_pub", args...); exit != 0 {
		b.t.Fatalf("mosquitto_pub %q exits with %d: %s", args, exit, out)
	}
}

// sub runs mosquitto_sub to its end, which must be good, and returns what it
// prints.
func (b *bench) sub(args ...string) string {
	b.t.Helper()
	out, exit := b.run("", "mosquitto_sub", args...)
	if exit != 0 {
		b.t.Fatalf("mosquitto_sub %q exits with %d: %s", args, exit, out)
	}
	return out
}

// listen starts mosquitto_sub and returns when it has subscribed.
func (b *bench) listen(args ...string) *subscriber {
	b.t.Helper()
	return b.start("mosquitto_sub", append(args, "-d")...)
}

// start starts a tool, which must be told -d, and returns when it has
// subscribed.
func (b *bench) start(name string, args ...string) *subscriber {
	b.t.Helper()
	s := startTool(b.t, name, b.args(args)...)
	b.await(s, " received SUBACK")
	return s
}

// await reads what the tool prints up to a line with this text.
func (b *bench) await(s *subscriber, text string) {
	b.t.Helper()
	for !strings.Contains(b.anyLine(s), text) {
	}
}

// printed checks the next lines which are not of -d.
func (b *bench) printed(s *subscriber, want ...string) {
	b.t.Helper()
	for _, w := range want {
		if got := b.line(s); got != w {
			b.t.Fatalf("prints %q, want %q", got, w)
		}
	}
}

func (b *bench) line(s *subscriber) string {
	b.t.Helper()
	for {
		line := b.anyLine(s)
		if !strings.HasPrefix(line, "Client ") && !strings.HasPrefix(line, "Subscribed ") {
			return line
		}
	}
}

func (b *bench) anyLine(s *subscriber) string {
	b.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			b.t.Fatalf("%q ends: %s", s.cmd.Args, s.stderr.String())
		}
		return line
	case <-b.ctx.Done():
		b.t.Fatalf("%q prints nothing more: %v", s.cmd.Args, context.Cause(b.ctx))
	}
	return ""
}

// exited checks the exit code of a tool that ends by itself.
func (b *bench) exited(s *subscriber, want int) {
	b.t.Helper()
	select {
	case <-s.ended:
		if got := s.cmd.ProcessState.ExitCode(); got != want {
			b.t.Errorf("exit code %d, want %d: %s", got, want, s.stderr.String())
		}
	case <-b.ctx.Done():
		b.t.Fatalf("does not end: %v", context.Cause(b.ctx))
	}
}

func versions(t *testing.T, run func(t *testing.T, version string)) {
	t.Helper()
	for _, v := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		t.Run(v, func(t *testing.T) { run(t, v) })
	}
}

// TestToolsPayloads: -m, -n, -f, -s, -l and --repeat; -C ends the subscriber.
func TestToolsPayloads(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, v string) {
		b := newBench(t, options{})
		file := filepath.Join(t.TempDir(), "payload")
		if err := os.WriteFile(file, []byte("a\x00file\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := b.listen("-V", v, "-q", "1", "-t", "house/+", "-F", "%t %l %x", "-C", "9")
		b.pub("", "-V", v, "-q", "1", "-t", "house/m", "-m", "hello")
		b.pub("", "-V", v, "-q", "2", "-t", "house/n", "-n")
		b.pub("", "-V", v, "-q", "0", "-t", "house/f", "-f", file)
		b.pub("two\nlines\n", "-V", v, "-q", "1", "-t", "house/s", "-s")
		b.pub("a\nb\nc\n", "-V", v, "-q", "1", "-t", "house/l", "-l")
		b.pub("", "-V", v, "-q", "1", "-t", "house/r", "-m", "r", "--repeat", "2", "--repeat-delay", "0")
		b.printed(s, "house/m 5 68656c6c6f", "house/n 0 ", "house/f 7 610066696c650a", "house/s 10 74776f0a6c696e65730a",
			"house/l 1 61", "house/l 1 62", "house/l 1 63", "house/r 1 72", "house/r 1 72")
		b.exited(s, 0)
	})
}

// TestToolsRetained: -r, --retained-only, -R and --remove-retained.
func TestToolsRetained(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, v string) {
		b := newBench(t, options{})
		for _, name := range []string{"a", "b", "keep"} {
			b.pub("", "-V", v, "-q", "1", "-r", "-t", "kept/"+name, "-m", name)
		}
		only := b.listen("-V", v, "-t", "kept/#", "--retained-only", "-v")
		fresh := b.listen("-V", v, "-t", "kept/#", "-R", "-v", "-C", "1")
		got := []string{b.line(only), b.line(only), b.line(only)}
		slices.Sort(got) // no order is promised
		if want := []string{"kept/a a", "kept/b b", "kept/keep keep"}; !slices.Equal(got, want) {
			t.Errorf("--retained-only prints %q, want %q", got, want)
		}
		b.pub("", "-V", v, "-t", "kept/live", "-m", "live")
		b.exited(only, 0)
		b.printed(fresh, "kept/live live")

		remover := b.listen("-V", v, "-t", "kept/#", "-T", "kept/keep", "--remove-retained")
		b.await(remover, " received PUBACK ")
		b.await(remover, " received PUBACK ")
		remover.kill()
		rest := b.listen("-V", v, "-t", "kept/#", "-v", "-C", "2")
		b.pub("", "-V", v, "-t", "kept/live", "-m", "fence")
		b.printed(rest, "kept/keep keep", "kept/live fence")
	})
}

// TestToolsSession: -c keeps the session, of 5.0 with -x; -E ends once it is
// subscribed; -U takes a subscription back.
func TestToolsSession(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, v string) {
		b := newBench(t, options{})
		durable := []string{"-V", v, "-i", "durable", "-c", "-q", "1"}
		if v == "mqttv5" {
			durable = append(durable, "-x", "60")
		}
		b.sub(append(durable, "-t", "queue/a", "-t", "queue/b", "-E")...)
		b.pub("1\n2\n3\n", "-V", v, "-q", "1", "-t", "queue/a", "-l")
		if got, want := b.sub(append(durable, "-t", "queue/b", "-C", "3")...), "1\n2\n3\n"; got != want {
			t.Errorf("prints %q, want %q", got, want)
		}
		b.sub(append(durable, "-t", "queue/b", "-U", "queue/a", "-E")...)
		b.pub("", "-V", v, "-q", "1", "-t", "queue/a", "-m", "4")
		b.pub("", "-V", v, "-q", "1", "-t", "queue/b", "-m", "5")
		back := startTool(t, "mosquitto_sub", b.args(append(durable, "-t", "queue/b", "-d"))...) // prints it before the SUBACK
		for got := ""; got != "5"; {
			// with -C 3 it may have gone before it acknowledged the 3
			if got = b.line(back); got != "3" && got != "5" {
				t.Fatalf("prints %q, want 5", got)
			}
		}
	})
}

// TestToolsWill: --will-topic, --will-payload, --will-qos and --will-retain.
func TestToolsWill(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, v string) {
		b := newBench(t, options{})
		w := b.listen("-V", v, "-t", "wills", "-q", "2", "-F", "%t %q %r %p", "-C", "1")
		mortal := b.listen("-V", v, "-t", "life", "--will-topic", "wills", "--will-payload", "farewell", "--will-qos", "1", "--will-retain")
		mortal.kill()
		b.printed(w, "wills 1 0 farewell")
		if got, want := b.sub("-V", v, "-t", "wills", "-q", "2", "-F", "%t %q %r %p", "-C", "1"), "wills 1 1 farewell\n"; got != want {
			t.Errorf("a later subscriber prints %q, want %q", got, want)
		}
	})
}

// TestToolsProperties: -D for connect, publish, subscribe and will.
func TestToolsProperties(t *testing.T) {
	t.Parallel()
	b := newBench(t, options{})
	s := b.listen("-V", "mqttv5", "-t", "p/#", "-q", "1", "-D", "connect", "receive-maximum", "1", "-D", "connect", "user-property", "a", "b",
		"-D", "subscribe", "subscription-identifier", "7", "-D", "subscribe", "user-property", "a", "b",
		"-F", "%t|%C|%R|%D|%P|%F|%S|%p", "-C", "5")
	b.pub("", "-V", "mqttv5", "-t", "p/all", "-q", "2", "-m", "hello", "-D", "publish", "content-type", "text/plain",
		"-D", "publish", "response-topic", "p/answer", "-D", "publish", "correlation-data", "x 1", "-D", "publish", "payload-format-indicator", "1",
		"-D", "publish", "user-property", "k", "1", "-D", "publish", "user-property", "k", "2", "-D", "publish", "message-expiry-interval", "60")
	b.printed(s, "p/all|text/plain|p/answer|x 1|k:1 k:2|1|7|hello")

	b.pub("a\nb\nc\n", "-V", "mqttv5", "-t", "p/alias", "-q", "1", "-l", "-D", "publish", "topic-alias", "1")
	b.printed(s, "p/alias||||||7|a", "p/alias||||||7|b", "p/alias||||||7|c")

	mortal := b.listen("-V", "mqttv5", "-t", "life", "-x", "60", "--will-topic", "p/will", "--will-payload", "bye",
		"-D", "will", "user-property", "k", "w", "-D", "will", "content-type", "text/will", "-D", "will", "will-delay-interval", "1")
	mortal.kill()
	b.printed(s, "p/will|text/will|||k:w||7|bye")
	b.exited(s, 0)
}

// TestToolsTimeout: -W ends a subscriber to which nothing comes.
func TestToolsTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t, options{})
	const timedOut = 27
	if out, exit := b.run("", "mosquitto_sub", "-t", "nothing", "-W", "1"); exit != timedOut || out != "" {
		t.Errorf("exit code %d, output %q; want %d and nothing", exit, out, timedOut)
	}
}

// TestToolsRequest: mosquitto_rr gets the response to its request.
func TestToolsRequest(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"mqttv311", "mqttv5"} {
		t.Run(v, func(t *testing.T) {
			b := newBench(t, options{})
			responder := b.witness()
			responder.subscribe(filter{"questions", 1})
			rr := b.start("mosquitto_rr", "-V", v, "-q", "1", "-t", "questions", "-e", "answers/1", "-m", "how many?", "-F", "%t %p", "-d")
			question := responder.next()
			if string(question.Payload) != "how many?" {
				t.Errorf("the request is %v", question)
			}
			if v == "mqttv5" && question.Response != "answers/1" {
				t.Errorf("the response topic is %q", question.Response)
			}
			responder.publish(message{Topic: "answers/1", Payload: []byte("42"), QoS: 1, Correlation: question.Correlation})
			b.printed(rr, "answers/1 42")
			b.exited(rr, 0)
		})
	}
}

// TestToolsURL: -L says all in one.
func TestToolsURL(t *testing.T) {
	t.Parallel()
	b := newBench(t, options{Users: map[string]string{"ann": "secret"}})
	url := fmt.Sprintf("mqtt://ann:secret@%s:%s/by/url", b.host, b.port)
	s := b.listen("-L", url, "-v", "-C", "1")
	b.pub("", "-L", url, "-m", "hello")
	b.printed(s, "by/url hello")
	b.exited(s, 0)
}

// TestToolsPassword: the exit code is that of the CONNACK.
func TestToolsPassword(t *testing.T) {
	t.Parallel()
	b := newBench(t, options{Users: map[string]string{"ann": "secret"}})
	for v, refusals := range map[string][]int{"mqttv31": {4, 5}, "mqttv311": {4, 5}, "mqttv5": {0x86, 0x87}} {
		b.pub("", "-V", v, "-u", "ann", "-P", "secret", "-t", "a", "-m", "hello")
		for _, wrong := range [][]string{{"-u", "ann", "-P", "guess"}, {"-u", "bob", "-P", "secret"}, {}} {
			_, exit := b.run("", "mosquitto_pub", append([]string{"-V", v, "-t", "a", "-m", "hello"}, wrong...)...)
			if !slices.Contains(refusals, exit) {
				t.Errorf("%s %q: exit code %d, want one of %v", v, wrong, exit, refusals)
			}
		}
	}
}
