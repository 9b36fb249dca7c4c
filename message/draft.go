package message

import "unsafe"

// Draft is a message that has just come in. Its slices alias the buffer that
// it was read into, so it lives for one tick; whoever needs it longer takes
// [Draft.Keep], the one copy that all its subscribers share.
type Draft struct {
	Name    []byte // the topic
	Topic   string // the same as a string, if somebody has it already
	Payload []byte
	Forward []byte
	Arrived int64
	Expiry  uint32
	QoS     byte
	Retain  bool

	HasExpiry bool

	By SourceHandle // of one that is to be retained

	kept *Message
}

// Keep is the draft as a message that outlives its buffer.
func (d *Draft) Keep() *Message {
	if d.kept == nil {
		d.kept = d.copy()
	}
	return d.kept
}

// Size is what the draft will count for against limits, in bytes, if it is kept.
func (d *Draft) Size() int {
	return len(d.Name) + len(d.Payload) + len(d.Forward) + int(unsafe.Sizeof(Message{}))
}

func (d *Draft) copy() *Message {
	if d.Topic == "" {
		d.Topic = string(d.Name)
	}
	body := make([]byte, len(d.Payload)+len(d.Forward)) // one allocation for both
	n := copy(body, d.Payload)
	copy(body[n:], d.Forward)
	return &Message{
		Topic: d.Topic, Payload: body[:n:n], Forward: body[n:],
		Arrived: d.Arrived, Expiry: d.Expiry, HasExpiry: d.HasExpiry, QoS: d.QoS, Retain: d.Retain,
	}
}

// From is a draft of a kept message.
func From(m *Message) Draft {
	return Draft{
		Name: []byte(m.Topic), Topic: m.Topic, Payload: m.Payload, Forward: m.Forward,
		Arrived: m.Arrived, Expiry: m.Expiry, HasExpiry: m.HasExpiry, QoS: m.QoS, Retain: m.Retain, kept: m,
	}
}
