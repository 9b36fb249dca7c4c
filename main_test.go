package fantail_test

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// onDisk is the event loops, with the state on disk.
const onDisk = "disk"

// everywhere runs a test over the event loops and over the portable transport,
// and with the state on disk.
func everywhere(t *testing.T, f func(t *testing.T, transport string)) {
	for _, transport := range []string{"auto", "portable", onDisk} {
		t.Run(transport, func(t *testing.T) { f(t, transport) })
	}
}

// atOnce is everywhere for tests that mostly wait: they do so together.
func atOnce(t *testing.T, f func(t *testing.T, transport string)) {
	t.Parallel()
	everywhere(t, func(t *testing.T, transport string) {
		t.Parallel()
		f(t, transport)
	})
}

// server is a broker that runs until the test ends.
type server struct {
	*fantail.Broker
	mqtt []string // host:port of each listener but HTTP
	http string   // URL
	log  *journal
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned
	err  error         // what it returned
}

// serve runs a broker of c, which needs no addresses; setup may be nil.
func serve(t *testing.T, transport string, c fantail.Config, setup func(*fantail.Broker)) *server {
	t.Helper()
	c.Loop.Transport = transport
	if transport == onDisk {
		c.Loop.Transport = ""
		c.Data = cmp.Or(c.Data, t.TempDir())
	}
	if c.Listeners == nil {
		c.Listeners = []fantail.Listener{listener(t, "tcp://127.0.0.1:0")}
	}
	c.Listeners = append(c.Listeners, listener(t, "http://127.0.0.1:0"))
	if c.SysInterval == 0 {
		c.SysInterval = -1
	}
	b, err := fantail.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Broker: b, log: newJournal(), done: make(chan struct{})}
	b.UseLogger(slog.New(s.log))
	if setup != nil {
		setup(b)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { // ends with stop
		defer close(s.done)
		s.err = b.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-s.done
		if s.err != nil {
			t.Errorf("Run: %v", s.err)
		}
	})
	select {
	case <-b.Ready():
	case <-s.done:
		t.Fatalf("Run: %v", s.err)
	}
	for _, url := range b.Addresses() {
		if strings.HasPrefix(url, "http://") {
			s.http = url
			continue
		}
		_, address, _ := strings.Cut(url, "://")
		address, _, _ = strings.Cut(address, "/")
		s.mqtt = append(s.mqtt, address)
	}
	return s
}

func listener(t *testing.T, url string) fantail.Listener {
	t.Helper()
	l, err := fantail.ParseListener(url)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// get asks the HTTP listener.
func (s *server) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	r, err := (&http.Client{Transport: transport, Timeout: patience}).Get(s.http + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// figure is a value of /metrics, 0 if it is not there; the name is without
// "fantail_" and with its labels.
func (s *server) figure(t *testing.T, name string) float64 {
	t.Helper()
	_, text := s.get(t, "/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "fantail_"+name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// reaches waits until a figure has at least the value.
func (s *server) reaches(t *testing.T, name string, want float64) {
	t.Helper()
	eventually(t, func() bool { return s.figure(t, name) >= want }, func() any { return []any{name, s.figure(t, name), want} })
}

// eventually looks again and again whether something has come true.
func eventually(t *testing.T, ok func() bool, state func() any) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("it did not come: %v", state())
		}
	}
}

// receive takes the next value of a channel.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// journal keeps what is logged.
type journal struct {
	mu    sync.Mutex // guards the rest
	lines []string   // "LEVEL message key=value …"
	more  chan struct{}
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }

func (j *journal) WithAttrs([]slog.Attr) slog.Handler { return j }

func (j *journal) WithGroup(string) slog.Handler { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	close(j.more)
	j.more = make(chan struct{})
	return nil
}

// having are the lines with all these parts.
func (j *journal) having(parts ...string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

// wait returns the first line with all these parts.
func (j *journal) wait(t *testing.T, parts ...string) string {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		j.mu.Lock()
		more := j.more
		j.mu.Unlock()
		if found := j.having(parts...); len(found) > 0 {
			return found[0]
		}
		select {
		case <-more:
		case <-deadline.C:
			t.Fatalf("no log line has %q; there are:\n%s", parts, strings.Join(j.having(), "\n"))
		}
	}
}
