package interop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// unseen is a code or flag which a client does not show to its user.
const unseen = -1

// A client is a foreign MQTT client. Its methods return when the broker has
// answered. Only Die may be called while another method runs.
type client interface {
	Connect(ctx context.Context, o connect) (connack, error)
	Subscribe(ctx context.Context, filters ...filter) (codes []int, err error)
	Publish(ctx context.Context, m message) (code int, err error)
	// Next waits for a message, or returns a *gone when the connection ended
	// without Disconnect.
	Next(ctx context.Context) (message, error)
	Disconnect(ctx context.Context) error
	// Die ends the connection as a crash does, without DISCONNECT. The
	// client may connect again.
	Die()
}

// An unsubscriber is a client that can take subscriptions back.
type unsubscriber interface {
	Unsubscribe(ctx context.Context, filters ...string) (codes []int, err error)
}

// connect is what a CONNECT says, and where it is sent.
type connect struct {
	URL           string   `json:"url"` // mqtt, mqtts, ws or wss
	Version       int      `json:"version"`
	ClientID      string   `json:"client_id"`
	Clean         bool     `json:"clean"`
	SessionExpiry uint32   `json:"session_expiry"` // seconds; 5.0 only
	KeepAlive     int      `json:"keep_alive"`
	Username      string   `json:"username,omitempty"`
	Password      string   `json:"password,omitempty"`
	Will          *message `json:"will,omitempty"`
	WillDelay     uint32   `json:"will_delay"` // seconds; 5.0 only
	CA            string   `json:"ca,omitempty"`
	Cert          string   `json:"cert,omitempty"`
	Key           string   `json:"key,omitempty"`
}

// connack is what the broker answered.
type connack struct {
	Code    int
	Session int // session present: 0, 1 or unseen
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

type filter struct {
	Filter string `json:"filter"`
	QoS    int    `json:"qos"`
}

// message is a PUBLISH, or a will.
type message struct {
	Topic   string   `json:"topic"`
	Payload hexBytes `json:"payload"`
	QoS     int      `json:"qos"`
	Retain  bool     `json:"retain"`
	Dup     bool     `json:"dup"`

	// 5.0 only; empty is absent.
	User        []property `json:"user,omitempty"`
	ContentType string     `json:"content_type,omitempty"`
	Response    string     `json:"response,omitempty"`
	Correlation hexBytes   `json:"correlation,omitempty"`
	Expiry      uint32     `json:"expiry,omitempty"` // seconds
}

type property [2]string

// String is short, for messages of failed tests.
func (m message) String() string {
	payload := fmt.Sprintf("%q", string(m.Payload))
	if len(m.Payload) > 80 {
		payload = fmt.Sprintf("%d bytes, sha256 %x", len(m.Payload), sha256.Sum256(m.Payload))
	}
	return fmt.Sprintf("{%s qos=%d retain=%t dup=%t user=%q type=%q response=%q correlation=%q expiry=%d payload=%s}", m.Topic,
		m.QoS, m.Retain, m.Dup, m.User, m.ContentType, m.Response, string(m.Correlation), m.Expiry, payload)
}

// gone is why a connection ended that was not disconnected by its client.
type gone struct {
	Code int // of the broker's DISCONNECT, or unseen
}

func (g *gone) Error() string { return fmt.Sprintf("connection is gone, code %d", g.Code) }

// hexBytes travel as hex in JSON, which every language decodes in one line.
type hexBytes []byte

// MarshalText implements [encoding.TextMarshaler].
func (h hexBytes) MarshalText() ([]byte, error) {
	return []byte(hex.EncodeToString(h)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// inbox holds what arrived at a client and was not asked for: messages, and
// the end of the connection. It is large enough to never block its writer.
type inbox chan arrival

type arrival struct {
	message message
	gone    *gone
}

func newInbox() inbox { return make(inbox, 4096) }

func (b inbox) next(ctx context.Context) (message, error) {
	select {
	case a := <-b:
		if a.gone != nil {
			return message{}, a.gone
		}
		return a.message, nil
	case <-ctx.Done():
		return message{}, fmt.Errorf("nothing arrives: %w", context.Cause(ctx))
	}
}
