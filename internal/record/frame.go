package record

import "github.com/fantail-mqtt/fantail/message"

// Frame collects records that are kept together, or not at all. A message that
// its queued records share is in it once, however many sessions it goes to. A
// Frame is not safe for concurrent use; its zero value is empty.
type Frame struct {
	bytes   []byte
	bodies  map[*message.Message]int // held until Reset, so that no address is another message
	inForce *message.Message
}

// Append puts records behind those that are there, copied. The queued ones
// among them that have a message have body; nil if there are none. What is the
// same message is seen by its address alone.
func (f *Frame) Append(records []byte, body *message.Message) {
	if body != nil && body != f.inForce {
		f.use(body)
	}
	f.bytes = append(f.bytes, records...)
}

func (f *Frame) use(body *message.Message) {
	f.inForce = body
	if n, ok := f.bodies[body]; ok {
		f.bytes = AppendUse(f.bytes, n)
		return
	}
	if f.bodies == nil {
		f.bodies = make(map[*message.Message]int)
	}
	f.bodies[body] = len(f.bodies)
	f.bytes = AppendBody(f.bytes, body)
}

// Bytes is the frame for [State.Apply], until the next Append or Reset.
func (f *Frame) Bytes() []byte { return f.bytes }

// Len is the size of the frame in bytes.
func (f *Frame) Len() int { return len(f.bytes) }

// Reset empties the frame and keeps its memory for the next one.
func (f *Frame) Reset() {
	f.bytes = f.bytes[:0]
	clear(f.bodies)
	f.inForce = nil
}
