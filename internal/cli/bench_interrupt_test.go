package cli

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// What there is when the user has had enough is told.
func TestABenchThatIsInterruptedTellsWhatItHas(t *testing.T) {
	address := serving(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	c, err := client.Dial(t.Context(), client.Options{URL: "mqtt://" + address, CleanStart: true, OnMessage: func(*client.Message) { interrupt() }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Subscribe(t.Context(), &packet.Subscribe{Filters: []packet.Subscription{{Filter: "heard/#"}}}); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	e := &env{ctx: ctx, stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
	code := run(e, []string{"fantail", "bench", "pairs", "--clients", "2", "--duration", "10h", "--warmup", "0s", "-L", "mqtt://" + address + "/heard/%i"})
	if code != exitInterrupted || !strings.Contains(out.String(), "interrupted: this is what there is") || !strings.Contains(out.String(), "\nlost           0\n") {
		t.Errorf("exit status %d; it printed\n%s%s", code, out.String(), errs.String())
	}
	if code := run(e, []string{"fantail", "bench", "pairs", "-L", "mqtt://" + address}); code != exitInterrupted {
		t.Errorf("exit status %d where it was interrupted before it began", code)
	}
}

// serving runs a broker until the test ends.
func serving(t *testing.T) (address string) {
	t.Helper()
	l, err := fantail.ParseListener("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := fantail.New(fantail.Config{Listeners: []fantail.Listener{l}})
	if err != nil {
		t.Fatal(err)
	}
	b.UseLogger(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }() // ends with the test, which waits for it
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-b.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the broker is not ready")
	}
	u, err := url.Parse(b.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
