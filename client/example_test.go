package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, client.Options{
		URL:        "mqtt://127.0.0.1:1883",
		CleanStart: true,
		KeepAlive:  time.Minute,
		OnMessage:  func(m *client.Message) { fmt.Printf("%s %s\n", m.Topic, m.Payload) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Subscribe(ctx, &packet.Subscribe{Filters: []packet.Subscription{{Filter: "plant/+/temp", QoS: 1}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Publish(ctx, &client.Message{Topic: "plant/1/temp", Payload: []byte("21.5"), QoS: 1}); err != nil {
		fmt.Println(err)
	}
	if err := c.Disconnect(ctx, nil); err != nil {
		fmt.Println(err)
	}
}
