package conform

import (
	"context"
	"log/slog"
	"net/url"
	"testing"

	"github.com/fantail-mqtt/fantail"
)

// startBroker starts the broker that TestConform checks and says how.
func startBroker(t *testing.T) Options {
	t.Helper()
	tcp, err := fantail.ParseListener("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := fantail.New(fantail.Config{
		Listeners: []fantail.Listener{tcp},
		Auth:      fantail.Auth{Anonymous: "always", Users: []fantail.User{{Name: "conform", Password: "conform-secret"}}},
		Access: fantail.Access{Default: "allow", Rules: []fantail.AccessRule{ // else a stranger sees nothing of $SYS
			{Statement: fantail.Statement{Allow: []string{"subscribe"}, Topic: []string{"$SYS/#"}}},
		}},
	})
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
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	u, err := url.Parse(b.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	return Options{Addr: u.Host, Codes: true, Offers: true}
}
