package session

import (
	"slices"

	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// Work is what the steps of sessions leave to their caller, who owns it and
// uses it again and again.
type Work struct {
	Limits *Limits
	Now    int64  // unix milliseconds
	Out    []byte // the client's encoded packets; steps append to it

	// Large says that the current message is encoded into memory of its own, which
	// its sessions may share; Message takes that back. Where Share says so, too, it is
	// not copied to Out, but appended to Parts, behind what was in Out by then.
	Large, Share bool
	Parts        []Part
	Ahead        int // bytes of Parts, and of what waits before them

	Full bool // no queue may grow

	// Pace bounds what is sent in this step; nil: nothing does.
	Pace *Pace

	// May says whether the client may receive now what has waited on a topic; nil: it
	// may receive everything.
	May func(topic string) bool

	// Changes of durable state, in order; steps of durable sessions append to
	// it. A packet that depends on one waits until the change is safe.
	Changes []Change

	// Stores says that changes become safe later, and that the store of the
	// log has the messages of durable sessions.
	Stores bool
	// Waits are the messages, by Seq, that wait for all changes so far to be
	// safe: the caller then calls Safe for each.
	Waits []uint64
	// Load, if not zero, asks for the session's stored messages from this Seq
	// on: the caller hands them to Loaded.
	Load uint64

	Drained  [3]int // messages sent by Drain for the first time, by QoS
	Evicted  int    // QoS 0 messages dropped to make room for newer ones
	Expired  int    // messages dropped because their expiry interval had passed
	TooLarge int    // messages dropped for the client's Maximum Packet Size
	Barred   int    // messages dropped because the client may not receive them any more
	Lost     int    // messages that the store has not any more

	pub    packet.Publish // for encoding
	name   []byte
	many   bool // the message goes to several sessions
	frames [2][3][2]frame
	buf    []byte // holds the frames
}

// Part is a piece of what is to be sent. One that is shared does not change.
type Part struct {
	Bytes  []byte
	Shared bool
}

// Pace is how much may be sent to a client now. What has to wait does so in its
// queue, until the caller calls Drain.
type Pace struct {
	Messages int // so many more; encoding one takes it from there
	End      int // and until so many bytes are pending
}

// slow says that nothing more may be sent in this step.
func (w *Work) slow() bool {
	return w.Pace != nil && (w.Pace.Messages <= 0 || w.pending() >= w.Pace.End)
}

// Change is one change of durable state.
type Change struct {
	Kind ChangeKind
	Item Item   // of Queue; only its Seq and ID else
	ID   uint16 // of Receive and Complete: the incoming packet identifier
	Size int    // of Send and Finish: the message's, if it was never sent before
	Run  Run    // of Expire
}

// Run is queued messages that follow one another.
type Run struct {
	First, Last     uint64 // their Seq
	At              int64  // when the last of them expires, unix milliseconds
	Messages, Bytes int
}

// ChangeKind says what changed.
type ChangeKind byte

// The changes of a session's messages.
const (
	Queue    ChangeKind = iota + 1 // a message for the client; with a packet identifier if it was sent
	Send                           // a queued message got its packet identifier
	Release                        // QoS 2: the client has the message; the identifier stays
	Finish                         // an outgoing message is done or dropped
	Receive                        // the packet identifier of an incoming QoS 2 message
	Complete                       // such an identifier is free again
	Expire                         // stored messages have expired
)

// frame is the current message encoded once for all sessions that get it
// alike. Its packet identifier stands at id, if it has one.
type frame struct {
	bytes []byte
	id    int
}

// Message sets the message that Deliver sends, to several sessions or to one.
func (w *Work) Message(d *message.Draft, many bool) {
	w.set(packet.Publish{Topic: d.Name, Payload: d.Payload, Forward: d.Forward}, many)
}

func (w *Work) set(p packet.Publish, many bool) {
	w.pub = p
	if w.many {
		w.frames = [2][3][2]frame{}
		w.buf = w.buf[:0]
	}
	w.many, w.Large = many, false
}

// bars says that the client may not receive a message that has waited, and counts
// it.
func (w *Work) bars(m *message.Message) bool {
	if w.May == nil || w.May(m.Topic) {
		return false
	}
	w.Barred++
	return true
}

// kept sets a kept message to be sent.
func (w *Work) kept(m *message.Message) {
	w.name = append(w.name[:0], m.Topic...)
	w.set(packet.Publish{Topic: w.name, Payload: m.Payload, Forward: m.Forward}, false)
}

// encoded appends the current message out of the frames, encoding it first if
// nobody has.
func (w *Work) encoded(v packet.Version, qos byte, retain bool, id uint16) {
	k, r := 0, 0
	if v == packet.V5 {
		k = 1
	}
	if retain {
		r = 1
	}
	f := &w.frames[k][qos][r]
	if f.bytes == nil {
		w.encodeFrame(f, v)
	}
	n := len(f.bytes)
	if w.Share && w.Large {
		n = 0
		if qos > 0 {
			n = f.id + 2 // each session has its own
		}
	}
	start := len(w.Out)
	w.Out = append(w.Out, f.bytes[:n]...)
	if qos > 0 {
		w.Out[start+f.id] = byte(id >> 8)
		w.Out[start+f.id+1] = byte(id)
	}
	if n < len(f.bytes) {
		w.share(f.bytes[n:])
	}
}

// encodeFrame encodes the current message. A large one gets memory of its own,
// which those it is sent to share.
func (w *Work) encodeFrame(f *frame, v packet.Version) {
	f.id = w.pub.IDOffset(v)
	if w.Large {
		f.bytes = packet.AppendPublish(make([]byte, 0, w.pub.Size(v)), &w.pub, v)
		return
	}
	start := len(w.buf)
	w.buf = packet.AppendPublish(w.buf, &w.pub, v)
	f.bytes = w.buf[start:]
}

// share sends b behind what is in Out. Of that, a little is copied rather than to
// leave a large buffer with it.
func (w *Work) share(b []byte) {
	if n := len(w.Out); n > 0 {
		head := w.Out
		if cap(head) > 2*n {
			head, w.Out = slices.Clone(head), head[:0]
		} else {
			w.Out = nil
		}
		w.Parts = append(w.Parts, Part{Bytes: head})
		w.Ahead += n
	}
	w.Parts = append(w.Parts, Part{Bytes: b, Shared: true})
	w.Ahead += len(b)
}

// pending is how many encoded bytes wait for the client.
func (w *Work) pending() int { return w.Ahead + len(w.Out) }
