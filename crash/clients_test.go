package crash

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	packets3 "github.com/eclipse/paho.mqtt.golang/packets"
)

// patience is how long a library may wait for an answer.
const patience = 20 * time.Second

// errNotSent says that the library did not take the message into its session.
var errNotSent = errors.New("not sent")

// foreign is a client of others with the session that it holds through all its
// connections. One goroutine uses it.
type foreign interface {
	// dial connects and resumes: what was not acknowledged was sent again when it returns.
	dial(ctx context.Context) error
	subscribe(ctx context.Context, filter string, qos byte) error
	// publish does not wait for the acknowledgement.
	publish(ctx context.Context, topic, text string, qos byte, retain bool) error
	// gone is closed when the connection has ended and the library is done with it.
	gone() <-chan struct{}
}

// wish is the CONNECT of a client.
type wish struct {
	line    *line
	address func() string
	clean   bool
	expiry  uint32 // s, of the session
	will    *bequest
}

type bequest struct {
	topic, text string
	qos         byte
	delay       uint32 // s
}

// client5 is paho.golang, 5.0.
type client5 struct {
	wish
	session *state.State
	paho    *paho.Client
}

func newClient5(w wish) *client5 { return &client5{wish: w, session: state.NewInMemory()} }

func (c *client5) dial(ctx context.Context) error {
	conn, err := tapped(ctx, c.line, c.address())
	if err != nil {
		return err
	}
	client := paho.NewClient(paho.ClientConfig{
		Conn:              conn,
		Session:           c.session,
		PacketTimeout:     patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(paho.PublishReceived) (bool, error) { return true, nil }},
	})
	p := &paho.Connect{
		ClientID: c.line.who, CleanStart: c.clean, KeepAlive: 60,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &c.expiry},
	}
	if w := c.will; w != nil {
		p.WillMessage = &paho.WillMessage{Topic: w.topic, Payload: []byte(w.text), QoS: w.qos}
		p.WillProperties = &paho.WillProperties{WillDelayInterval: &w.delay}
	}
	if _, err := client.Connect(ctx, p); err != nil {
		conn.drop()
		_ = c.session.ConnectionLost(nil)
		return err
	}
	c.paho = client
	return nil
}

func (c *client5) gone() <-chan struct{} { return c.paho.Done() }

func (c *client5) subscribe(ctx context.Context, filter string, qos byte) error {
	ctx, cancel := c.whileConnected(ctx)
	defer cancel()
	_, err := c.paho.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (c *client5) whileConnected(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	done := c.paho.Done()
	go func() { // ends with the call
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (c *client5) publish(ctx context.Context, topic, text string, qos byte, retain bool) error {
	p := &paho.Publish{Topic: topic, Payload: []byte(text), QoS: qos, Retain: retain, Properties: &paho.PublishProperties{}}
	_, err := c.paho.PublishWithOptions(ctx, p, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err != nil && !errors.Is(err, paho.ErrNetworkErrorAfterStored) {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	return nil
}

// client3 is paho.mqtt.golang, 3.1.1.
type client3 struct {
	wish
	mqtt mqtt.Client
	lost chan struct{}
}

func newClient3(w wish) *client3 {
	c := &client3{wish: w}
	store := mqtt.NewOrderedMemoryStore()
	// The library forgets that it sent a PUBREL and would send the PUBLISH again
	// [MQTT-4.3.3-1]. Its store can hold one, which it resumes as it should.
	w.line.release = func(id uint16) {
		pubrel := packets3.NewControlPacket(packets3.Pubrel).(*packets3.PubrelPacket)
		pubrel.MessageID = id
		store.Put(fmt.Sprintf("o.%d", id), pubrel)
	}
	o := mqtt.NewClientOptions().AddBroker("tcp://127.0.0.1:1").SetClientID(w.line.who).SetCleanSession(w.clean)
	o.SetProtocolVersion(4).SetKeepAlive(time.Minute).SetConnectTimeout(patience)
	o.SetAutoReconnect(false).SetConnectRetry(false).SetStore(store)
	// A Publish which meets the end of its connection waits this long; the message is
	// in the store and goes out when the session resumes.
	o.SetWriteTimeout(200 * time.Millisecond)
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		return tapped(context.Background(), w.line, w.address())
	})
	o.SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) {})
	o.SetConnectionLostHandler(func(mqtt.Client, error) { close(c.lost) })
	c.mqtt = mqtt.NewClient(o)
	return c
}

// dial does not return before the library is done: it would go on connecting.
func (c *client3) dial(ctx context.Context) error {
	c.lost = make(chan struct{})
	token := c.mqtt.Connect()
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
	}
	c.line.drop()
	<-token.Done()
	return token.Error()
}

func (c *client3) gone() <-chan struct{} { return c.lost }

func (c *client3) subscribe(ctx context.Context, filter string, qos byte) error {
	token := c.mqtt.Subscribe(filter, qos, nil)
	select {
	case <-token.Done():
		return token.Error()
	case <-c.lost:
		return errNotSent
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish: the token is not looked at. When the library resumes, it completes the
// tokens of all that it sends again.
func (c *client3) publish(_ context.Context, topic, text string, qos byte, retain bool) error {
	token := c.mqtt.Publish(topic, qos, retain, text)
	select {
	case <-token.Done():
		if errors.Is(token.Error(), mqtt.ErrNotConnected) {
			return errNotSent
		}
	default:
	}
	return nil
}
