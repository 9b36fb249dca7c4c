package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/fantail-mqtt/fantail"
)

// startBroker starts Fantail in this process and returns the address of its
// listener and what stops it again.
func startBroker(ctx context.Context) (addr string, stop func(), err error) {
	tcp, err := fantail.ParseListener("tcp://127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	b, err := fantail.New(fantail.Config{
		Listeners: []fantail.Listener{tcp},
		Auth:      fantail.Auth{Anonymous: "always", Users: []fantail.User{{Name: "conform", Password: "conform-secret"}}},
		Access: fantail.Access{Default: "allow", Rules: []fantail.AccessRule{ // else a stranger sees nothing of $SYS
			{Statement: fantail.Statement{Allow: []string{"subscribe"}, Topic: []string{"$SYS/#"}}},
		}},
	})
	if err != nil {
		return "", nil, err
	}
	b.UseLogger(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }() // ends with stop, which waits for it
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			slog.Error("the broker did not end well", slog.Any("err", err))
		}
	}
	select {
	case <-b.Ready():
	case err := <-ended:
		cancel()
		return "", nil, fmt.Errorf("start the broker: %w", err)
	}
	u, err := url.Parse(b.Addresses()[0])
	if err != nil {
		stop()
		return "", nil, err
	}
	return u.Host, stop, nil
}
