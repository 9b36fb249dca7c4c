// Package message holds a message on its way through the broker.
package message

import "unsafe"

// Message is an application message that outlives the tick in which it came:
// queued, in flight, retained or remote. It is immutable and shared by
// pointer: one copy of its payload serves all its subscribers.
type Message struct {
	Topic   string
	Payload []byte
	Forward []byte // properties passed on unchanged, as in packet.Publish
	Arrived int64  // unix milliseconds
	Expiry  uint32 // message expiry interval, seconds; with HasExpiry
	QoS     byte   // as published
	Retain  bool   // as published

	HasExpiry bool
}

// Expired says whether the message's expiry interval has passed at now, in
// unix milliseconds [MQTT-3.3.2-5].
func (m *Message) Expired(now int64) bool {
	return m.HasExpiry && now >= m.Arrived+int64(m.Expiry)*1000
}

// Remaining is the expiry interval to send at now: what the publisher gave
// less the time that the message waited here [MQTT-3.3.2-6].
func (m *Message) Remaining(now int64) uint32 {
	waited := max(now-m.Arrived, 0) / 1000
	if waited >= int64(m.Expiry) {
		return 0
	}
	return m.Expiry - uint32(waited)
}

// ExpiresAt is the end of the message's life in unix milliseconds, 0 if it
// has none.
func (m *Message) ExpiresAt() int64 {
	if !m.HasExpiry {
		return 0
	}
	return m.Arrived + int64(m.Expiry)*1000
}

// Size is what the message counts for against limits, in bytes.
func (m *Message) Size() int {
	return len(m.Topic) + len(m.Payload) + len(m.Forward) + int(unsafe.Sizeof(*m))
}
