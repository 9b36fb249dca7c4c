package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// dial opens the transport which o.URL names. WebSocket is that of
// paho.mqtt.golang (gorilla).
func dial(ctx context.Context, o connect) (net.Conn, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	secure, err := tlsConfig(o)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "mqtt":
		return new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	case "mqtts":
		return (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", u.Host)
	case "ws", "wss":
		return mqtt.NewWebsocket(o.URL, secure, 5*time.Second, nil, nil)
	}
	return nil, fmt.Errorf("unknown transport %q", u.Scheme)
}

func tlsConfig(o connect) (*tls.Config, error) {
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// goClient is paho.golang, 5.0.
type goClient struct {
	paho    *paho.Client
	session *state.State
	conn    net.Conn
	inbox   inbox
}

func newGoClient() *goClient {
	return &goClient{session: state.NewInMemory()}
}

func (c *goClient) Connect(ctx context.Context, o connect) (connack, error) {
	conn, err := dial(ctx, o)
	if err != nil {
		return connack{}, err
	}
	c.conn = conn
	box := newInbox()
	c.inbox = box
	var once sync.Once
	lose := func(code int) { once.Do(func() { box <- arrival{gone: &gone{code}} }) }
	c.paho = paho.NewClient(paho.ClientConfig{
		Conn:    packets.NewThreadSafeConn(conn),
		Session: c.session,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			box <- arrival{message: fromGo(r.Packet)}
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { lose(int(d.ReasonCode)) },
		OnClientError:      func(error) { lose(unseen) },
	})
	ack, err := c.paho.Connect(ctx, goConnect(o))
	if ack == nil {
		return connack{}, err
	}
	return connack{Code: int(ack.ReasonCode), Session: flag(ack.SessionPresent)}, nil
}

func goConnect(o connect) *paho.Connect {
	p := &paho.Connect{
		ClientID: o.ClientID, CleanStart: o.Clean, KeepAlive: uint16(o.KeepAlive),
		Username: o.Username, UsernameFlag: o.Username != "",
		Password: []byte(o.Password), PasswordFlag: o.Password != "",
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &o.SessionExpiry, RequestProblemInfo: true},
	}
	if w := o.Will; w != nil {
		p.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: w.Payload, QoS: byte(w.QoS), Retain: w.Retain}
		p.WillProperties = &paho.WillProperties{
			WillDelayInterval: &o.WillDelay, ContentType: w.ContentType,
			ResponseTopic: w.Response, CorrelationData: w.Correlation, User: toGoUser(w.User),
		}
	}
	return p
}

func (c *goClient) Subscribe(ctx context.Context, filters ...filter) ([]int, error) {
	var s paho.Subscribe
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f.Filter, QoS: byte(f.QoS)})
	}
	ack, err := c.paho.Subscribe(ctx, &s)
	if ack == nil {
		return nil, err
	}
	return codes(ack.Reasons), nil
}

func (c *goClient) Unsubscribe(ctx context.Context, filters ...string) ([]int, error) {
	ack, err := c.paho.Unsubscribe(ctx, &paho.Unsubscribe{Topics: filters})
	if ack == nil {
		return nil, err
	}
	return codes(ack.Reasons), nil
}

func codes(reasons []byte) []int {
	var all []int
	for _, r := range reasons {
		all = append(all, int(r))
	}
	return all
}

func (c *goClient) Publish(ctx context.Context, m message) (int, error) {
	p := &paho.Publish{
		Topic: m.Topic, Payload: m.Payload, QoS: byte(m.QoS), Retain: m.Retain,
		Properties: &paho.PublishProperties{
			ContentType: m.ContentType, ResponseTopic: m.Response,
			CorrelationData: m.Correlation, User: toGoUser(m.User),
		},
	}
	if m.Expiry > 0 {
		p.Properties.MessageExpiry = &m.Expiry
	}
	ack, err := c.paho.Publish(ctx, p)
	if ack == nil || m.QoS == 0 {
		return unseen, err
	}
	return int(ack.ReasonCode), nil
}

func toGoUser(user []property) paho.UserProperties {
	var all paho.UserProperties
	for _, p := range user {
		all.Add(p[0], p[1])
	}
	return all
}

func fromGo(p *paho.Publish) message {
	m := message{
		Topic: p.Topic, Payload: p.Payload, QoS: int(p.QoS), Retain: p.Retain, Dup: p.Duplicate(),
		ContentType: p.Properties.ContentType, Response: p.Properties.ResponseTopic, Correlation: p.Properties.CorrelationData,
	}
	for _, u := range p.Properties.User {
		m.User = append(m.User, property{u.Key, u.Value})
	}
	if p.Properties.MessageExpiry != nil {
		m.Expiry = *p.Properties.MessageExpiry
	}
	return m
}

func (c *goClient) Next(ctx context.Context) (message, error) { return c.inbox.next(ctx) }

func (c *goClient) Disconnect(ctx context.Context) error {
	if err := c.paho.Disconnect(&paho.Disconnect{}); err != nil {
		return err
	}
	select {
	case <-c.paho.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *goClient) Die() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// go3Client is paho.mqtt.golang, 3.1 and 3.1.1.
type go3Client struct {
	mqtt  mqtt.Client
	conn  net.Conn
	inbox inbox
}

func (c *go3Client) Connect(ctx context.Context, o connect) (connack, error) {
	box := newInbox()
	c.inbox = box
	p := mqtt.NewClientOptions().AddBroker(o.URL).SetClientID(o.ClientID).SetCleanSession(o.Clean)
	p.SetProtocolVersion(uint(o.Version)).SetKeepAlive(time.Duration(o.KeepAlive) * time.Second)
	p.SetUsername(o.Username).SetPassword(o.Password)
	p.SetAutoReconnect(false).SetConnectRetry(false)
	p.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		conn, err := dial(ctx, o)
		c.conn = conn
		return conn, err
	})
	p.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		box <- arrival{message: message{Topic: m.Topic(), Payload: m.Payload(), QoS: int(m.Qos()), Retain: m.Retained(), Dup: m.Duplicate()}}
	})
	p.SetConnectionLostHandler(func(mqtt.Client, error) { box <- arrival{gone: &gone{unseen}} })
	if w := o.Will; w != nil {
		p.SetBinaryWill(w.Topic, w.Payload, byte(w.QoS), w.Retain)
	}
	c.mqtt = mqtt.NewClient(p)
	token := c.mqtt.Connect().(*mqtt.ConnectToken)
	err := wait(ctx, token)
	const networkError = 0xFE // the library's own
	if code := token.ReturnCode(); err != nil && (code == 0 || code >= networkError) {
		return connack{}, err
	}
	return connack{Code: int(token.ReturnCode()), Session: flag(token.SessionPresent())}, nil
}

func wait(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *go3Client) Subscribe(ctx context.Context, filters ...filter) ([]int, error) {
	wanted := make(map[string]byte)
	for _, f := range filters {
		wanted[f.Filter] = byte(f.QoS)
	}
	token := c.mqtt.SubscribeMultiple(wanted, nil).(*mqtt.SubscribeToken)
	if err := wait(ctx, token); err != nil {
		return nil, err
	}
	var granted []int
	for _, f := range filters {
		granted = append(granted, int(token.Result()[f.Filter]))
	}
	return granted, nil
}

func (c *go3Client) Unsubscribe(ctx context.Context, filters ...string) ([]int, error) {
	return nil, wait(ctx, c.mqtt.Unsubscribe(filters...))
}

func (c *go3Client) Publish(ctx context.Context, m message) (int, error) {
	return unseen, wait(ctx, c.mqtt.Publish(m.Topic, byte(m.QoS), m.Retain, []byte(m.Payload)))
}

func (c *go3Client) Next(ctx context.Context) (message, error) { return c.inbox.next(ctx) }

func (c *go3Client) Disconnect(context.Context) error {
	if !c.mqtt.IsConnected() {
		return errors.New("is not connected")
	}
	c.mqtt.Disconnect(1000)
	return nil
}

func (c *go3Client) Die() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
}
