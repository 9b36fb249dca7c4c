package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, opts client.Options) *client.Client {
	t.Helper()
	if opts.ClientID == "" {
		opts.CleanStart = true
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = time.Minute
	}
	c, err := client.Dial(within(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// inbox gives a channel on which the messages of a client arrive.
func inbox() (func(*client.Message), <-chan *client.Message) {
	ch := make(chan *client.Message, 10_000)
	return func(m *client.Message) { ch <- m }, ch
}

func receive(t *testing.T, ch <-chan *client.Message) *client.Message {
	t.Helper()
	select {
	case m := <-ch:
		return m
	case <-within(t).Done():
		t.Fatal("no message came")
		return nil
	}
}

func subscribe(t *testing.T, c *client.Client, filter string, qos byte) {
	t.Helper()
	_, err := c.Subscribe(within(t), &packet.Subscribe{Filters: []packet.Subscription{{Filter: filter, QoS: qos}}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryTransportVersionAndQoS(t *testing.T) {
	b := startBroker(t)
	for name, url := range map[string]string{"tcp": b.tcp, "tls": b.tls, "ws": b.ws, "unix": b.unix} {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			t.Run(name+" "+v.String(), func(t *testing.T) {
				got, arrived := inbox()
				c := dial(t, client.Options{URL: url, Version: v, TLS: b.trust(), OnMessage: got, ClientID: "c", CleanStart: true})
				topic := name + "/" + v.String()
				subscribe(t, c, topic+"/+", 2)
				for qos := byte(0); qos <= 2; qos++ {
					for _, size := range []int{0, 1, 200, 20_000} {
						m := &client.Message{Topic: fmt.Sprintf("%s/%d", topic, qos), Payload: bytes.Repeat([]byte{'x'}, size), QoS: qos}
						if _, err := c.Publish(within(t), m); err != nil {
							t.Fatal(err)
						}
						r := receive(t, arrived)
						if r.Topic != m.Topic || !bytes.Equal(r.Payload, m.Payload) || r.QoS != qos {
							t.Fatalf("%q, QoS %d, %d bytes came back as %q, QoS %d, %d bytes", m.Topic, qos, size, r.Topic, r.QoS, len(r.Payload))
						}
					}
				}
				if err := c.Disconnect(within(t), nil); err != nil {
					t.Error(err)
				}
				if err := c.Err(); !errors.Is(err, client.ErrClosed) {
					t.Errorf("Err = %v after Disconnect, want %v", err, client.ErrClosed)
				}
			})
		}
	}
}

func TestPropertiesOf5ArriveAsTheyWereSent(t *testing.T) {
	b := startBroker(t)
	got, arrived := inbox()
	c := dial(t, client.Options{URL: b.tcp, OnMessage: got, Properties: packet.ConnectProperties{TopicAliasMaximum: 5}})
	if c.ID() == "" || c.ID() != c.Connack().AssignedClientID {
		t.Errorf("ID = %q, want what the server assigned, %q", c.ID(), c.Connack().AssignedClientID)
	}
	_, err := c.Subscribe(within(t), &packet.Subscribe{SubscriptionID: 7, Filters: []packet.Subscription{{Filter: "a", QoS: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	sent := client.Message{
		Topic: "a", Payload: []byte("x"), QoS: 1, Expiry: 100, HasExpiry: true, Alias: 1,
		ForwardProperties: packet.ForwardProperties{
			PayloadFormat: 1, HasPayloadFormat: true, ContentType: "text/plain", ResponseTopic: "r",
			CorrelationData: []byte{1}, HasCorrelation: true, User: []packet.UserProperty{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}},
		},
	}
	if _, err := c.Publish(within(t), &sent); err != nil {
		t.Fatal(err)
	}
	r := receive(t, arrived)
	if diff := cmp.Diff(sent.ForwardProperties, r.ForwardProperties); diff != "" {
		t.Errorf("properties differ (-sent +received):\n%s", diff)
	}
	if !r.HasExpiry || r.Expiry > 100 || len(r.SubscriptionIDs) != 1 || r.SubscriptionIDs[0] != 7 {
		t.Errorf("expiry %d, subscription ids %v; want at most 100 and [7]", r.Expiry, r.SubscriptionIDs)
	}
	again := client.Message{Alias: 1, Payload: []byte("y")} // the topic is known by now
	if _, err := c.Publish(within(t), &again); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, arrived); r.Topic != "a" {
		t.Errorf("topic of the alias = %q, want a", r.Topic)
	}
}

func TestWhatTheServerRefusesIsARefusalWithItsCode(t *testing.T) {
	b := startBroker(t)
	for v, want := range map[packet.Version]packet.Code{packet.V311: packet.NotAuthorized, packet.V5: packet.NotAuthorized} {
		_, err := client.Dial(within(t), client.Options{URL: b.closed, Version: v, CleanStart: true})
		var r *packet.Refusal
		if !errors.As(err, &r) || r.Code != want {
			t.Errorf("%v: Dial = %v, want %v", v, err, want)
		}
	}
	c := dial(t, client.Options{URL: b.tcp})
	for qos := byte(1); qos <= 2; qos++ {
		result, err := c.Publish(within(t), &client.Message{Topic: "denied/x", QoS: qos})
		var r *packet.Refusal
		if !errors.As(err, &r) || r.Code != packet.NotAuthorized || result.Code != packet.NotAuthorized {
			t.Errorf("QoS %d: Publish = %v, %v, want not authorized", qos, result, err)
		}
	}
	result, err := c.Publish(within(t), &client.Message{Topic: "nobody/listens", QoS: 1})
	if err != nil || result.Code != packet.NoMatchingSubscribers {
		t.Errorf("Publish to nobody = %v, %v, want no matching subscribers", result, err)
	}
}

func TestWhatCannotBeSentIsRefusedBeforeItIs(t *testing.T) {
	b := startBroker(t)
	c := dial(t, client.Options{URL: b.tcp})
	for name, m := range map[string]client.Message{
		"a wildcard":                    {Topic: "a/#"},
		"no topic":                      {},
		"a topic of 65536 bytes":        {Topic: string(make([]byte, 65_536))},
		"QoS 3":                         {Topic: "a", QoS: 3},
		"an alias that is not allowed":  {Topic: "a", Alias: 65_535},
		"a topic that is no UTF-8 text": {Topic: "\xff"},
	} {
		if _, err := c.Publish(within(t), &m); err == nil {
			t.Errorf("%s was published", name)
		}
	}
	if _, err := c.Subscribe(within(t), &packet.Subscribe{}); err == nil {
		t.Error("a subscription without a filter was sent")
	}
	if err := c.Err(); err != nil {
		t.Errorf("the connection has ended: %v", err)
	}
}

func TestManyPublishesShareTheWindow(t *testing.T) {
	b := startBroker(t)
	got, arrived := inbox()
	s := dial(t, client.Options{URL: b.tcp, OnMessage: got})
	subscribe(t, s, "many/#", 2)
	c := dial(t, client.Options{URL: b.ws})
	const publishers, each = 8, 100
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			for j := range each {
				m := &client.Message{Topic: fmt.Sprintf("many/%d", i), Payload: []byte{byte(j)}, QoS: byte(1 + i%2)}
				if _, err := c.Publish(within(t), m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	next := map[string]byte{}
	for range publishers * each {
		m := receive(t, arrived)
		if m.Payload[0] != next[m.Topic] {
			t.Fatalf("%s: message %d came when %d was due", m.Topic, m.Payload[0], next[m.Topic])
		}
		next[m.Topic]++
	}
}

func TestAResumedSessionGetsWhatItMissed(t *testing.T) {
	b := startBroker(t)
	expiry := packet.ConnectProperties{SessionExpiry: 60, HasSessionExpiry: true}
	first := dial(t, client.Options{URL: b.tcp, ClientID: "sleeper", CleanStart: true, Properties: expiry})
	subscribe(t, first, "missed", 2)
	if err := first.Disconnect(within(t), nil); err != nil {
		t.Fatal(err)
	}
	p := dial(t, client.Options{URL: b.tcp})
	if _, err := p.Publish(within(t), &client.Message{Topic: "missed", Payload: []byte("x"), QoS: 2}); err != nil {
		t.Fatal(err)
	}
	got, arrived := inbox()
	second := dial(t, client.Options{URL: b.tcp, ClientID: "sleeper", Properties: expiry, OnMessage: got, Resume: first})
	if !second.Connack().SessionPresent {
		t.Fatal("the server has not kept the session")
	}
	if m := receive(t, arrived); string(m.Payload) != "x" {
		t.Errorf("payload = %q, want x", m.Payload)
	}
}

func TestAWillIsPublishedUnlessTheClientSaysGoodbye(t *testing.T) {
	b := startBroker(t)
	got, arrived := inbox()
	s := dial(t, client.Options{URL: b.tcp, OnMessage: got})
	subscribe(t, s, "will/#", 1)
	will := func(topic string) client.Options {
		return client.Options{URL: b.tcp, CleanStart: true, Will: &packet.Will{Topic: topic, Payload: []byte("gone"), QoS: 1}}
	}
	polite := dial(t, will("will/polite"))
	if err := polite.Disconnect(within(t), nil); err != nil {
		t.Fatal(err)
	}
	rude := dial(t, will("will/rude"))
	rude.Close()
	if m := receive(t, arrived); m.Topic != "will/rude" {
		t.Errorf("will on %q, want will/rude only", m.Topic)
	}
}
