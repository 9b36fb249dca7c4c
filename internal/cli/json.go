package cli

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// jsonMessage is a message with mosquitto's keys. A payload that is no text
// goes into payload_b64, which mosquitto does not have: it loses such bytes.
type jsonMessage struct {
	Time       string          `json:"tst"`
	Topic      string          `json:"topic"`
	QoS        byte            `json:"qos"`
	Retain     int             `json:"retain"`
	Length     int             `json:"payloadlen"`
	ID         uint16          `json:"mid,omitempty"`
	Properties *jsonProperties `json:"properties,omitempty"`
	Payload    json.RawMessage `json:"payload,omitempty"`
	Base64     []byte          `json:"payload_b64,omitempty"`
}

type jsonProperties struct {
	ContentType     string            `json:"content-type,omitempty"`
	Correlation     *string           `json:"correlation-data,omitempty"`
	CorrelationB64  []byte            `json:"correlation-data_b64,omitempty"`
	Expiry          *uint32           `json:"message-expiry-interval,omitempty"`
	PayloadFormat   *byte             `json:"payload-format-indicator,omitempty"`
	ResponseTopic   string            `json:"response-topic,omitempty"`
	SubscriptionIDs []uint32          `json:"subscription-identifiers,omitempty"`
	Alias           uint16            `json:"topic-alias,omitempty"`
	User            *jsonUserProperty `json:"user-properties,omitempty"`
}

// jsonUserProperty is an object whose keys keep their order. One that comes
// more than once has an array of its values.
type jsonUserProperty []packet.UserProperty

func (users jsonUserProperty) MarshalJSON() ([]byte, error) {
	values := map[string][]string{}
	var order []string
	for _, u := range users {
		if _, seen := values[u.Key]; !seen {
			order = append(order, u.Key)
		}
		values[u.Key] = append(values[u.Key], u.Value)
	}
	b := []byte{'{'}
	for i, key := range order {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, jsonText(key)...), ':')
		if len(values[key]) == 1 {
			b = append(b, jsonText(values[key][0])...)
			continue
		}
		for j, value := range values[key] {
			b = append(append(b, "[,"[min(j, 1)]), jsonText(value)...)
		}
		b = append(b, ']')
	}
	return append(b, '}'), nil
}

// asJSON is %j, or with embed %J: there a payload that is JSON itself stands
// as it is; any other is a string as in %j.
func asJSON(m *client.Message, now time.Time, embed, pretty bool) []byte {
	out := jsonMessage{
		Time: now.Format(time.RFC3339Nano), Topic: m.Topic, QoS: m.QoS, Length: len(m.Payload), ID: m.ID, Properties: propertiesOf(m),
	}
	if m.Retain {
		out.Retain = 1
	}
	switch {
	case embed && json.Valid(m.Payload):
		out.Payload = m.Payload
	case utf8.Valid(m.Payload):
		out.Payload = jsonText(string(m.Payload))
	default:
		out.Base64 = m.Payload
	}
	b := encodeJSON(out)
	if !pretty {
		return b
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, b, "", "\t"); err != nil {
		return b
	}
	return indented.Bytes()
}

func propertiesOf(m *client.Message) *jsonProperties {
	p := jsonProperties{ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, Alias: m.Alias, SubscriptionIDs: m.SubscriptionIDs}
	if m.HasExpiry {
		p.Expiry = &m.Expiry
	}
	if m.HasPayloadFormat {
		p.PayloadFormat = &m.PayloadFormat
	}
	if m.HasCorrelation {
		text := string(m.CorrelationData)
		p.Correlation = &text
		if !utf8.ValidString(text) {
			p.Correlation, p.CorrelationB64 = nil, m.CorrelationData
		}
	}
	if len(m.User) > 0 {
		users := jsonUserProperty(m.User)
		p.User = &users
	}
	if p.ContentType == "" && p.Correlation == nil && p.CorrelationB64 == nil && p.Expiry == nil && p.PayloadFormat == nil &&
		p.ResponseTopic == "" && p.SubscriptionIDs == nil && p.Alias == 0 && p.User == nil {
		return nil
	}
	return &p
}

func jsonText(s string) json.RawMessage { return encodeJSON(s) }

// encodeJSON writes x without the escapes that are for HTML.
func encodeJSON(x any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(x); err != nil {
		return jsonText(err.Error()) // not reached: all that is written are texts, numbers and valid JSON
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
