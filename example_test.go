package fantail_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// A broker inside a program that takes part itself.
func Example() {
	address, err := fantail.ParseListener("tcp://127.0.0.1:0") // any free port
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := fantail.New(fantail.Config{Listeners: []fantail.Listener{address}})
	if err != nil {
		fmt.Println(err)
		return
	}
	b.UseLogger(slog.New(slog.DiscardHandler))

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()

	// The program answers what devices ask.
	unsubscribe, err := b.Subscribe("ask/+", func(m fantail.Message) {
		err := b.Publish(ctx, fantail.Message{Topic: "answer", Payload: append([]byte("you said "), m.Payload...), QoS: 1})
		if err != nil {
			fmt.Println(err)
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	// A device, which could as well be any other MQTT client.
	answers := make(chan string, 1)
	device, err := client.Dial(ctx, client.Options{
		URL: b.Addresses()[0], ClientID: "device", CleanStart: true,
		OnMessage: func(m *client.Message) { answers <- string(m.Payload) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := device.Subscribe(ctx, &packet.Subscribe{Filters: []packet.Subscription{{Filter: "answer", QoS: 1}}}); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := device.Publish(ctx, &client.Message{Topic: "ask/device", Payload: []byte("hello"), QoS: 1}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-answers)

	if err := device.Disconnect(ctx, nil); err != nil {
		fmt.Println(err)
	}
	unsubscribe()
	stop()
	fmt.Println(<-ended)
	// Output:
	// you said hello
	// <nil>
}
