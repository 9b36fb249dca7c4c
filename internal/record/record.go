// Package record is what changes durable state, encoded, and the state that
// the changes add up to.
//
// Everything that must outlive the process leaves the broker as records: an
// Append function for each kind puts one behind the others in a [Frame],
// [Parse] takes the first one off again, and [State.Apply] carries out a
// frame. A record says what was decided, never what to decide: it carries its
// time and its packet identifier, and applying it reads no clock, so the same
// records give the same state on whatever machine and at whatever time they
// are applied. That is what recovery after a crash, and a replica, live from.
//
// A record is its kind, one byte, and then its fields one behind another,
// numbers as unsigned varints and strings as their length and bytes. Nothing
// else delimits it. The kind is also its version: a kind whose fields change
// gets a new number, and the old one stays readable. An encoding is unique;
// Parse refuses any other for the same content.
//
// A message that many sessions queue is in their frame once. It stands apart,
// as a record of its own, before the queued ones that have it: a frame is the
// unit in which such references have a meaning, and in which records are kept,
// so that none outlives what it refers to.
//
// A record about a session, a message, a packet identifier or a subscription
// that is not there is a fault of ours, and [State.Apply] names it. Where
// records are kept is not this package's concern: who needs a log declares
// the interface it needs.
package record

import (
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// Kind says what a record changes, and by its number how it is encoded.
type Kind byte

// The kinds. Their numbers are on disk: they are never given out anew.
const (
	KindSessionOpened Kind = iota + 1
	KindSessionClosed
	KindSessionEnded
	KindSubscribed
	KindUnsubscribed
	KindQueued
	KindSent
	KindReleased
	KindAcked
	KindReceived
	KindCompleted
	KindRetained
	KindRetainCleared
	KindWillArmed
	KindWillGone
	KindBody
	KindUse
	KindExpired
	KindSettingPut
	KindSettingGone
)

func (k Kind) String() string {
	names := [...]string{
		"unknown record", "session opened", "session closed", "session ended", "subscribed", "unsubscribed",
		"queued", "sent", "released", "acked", "received", "completed",
		"retained", "retain cleared", "will armed", "will gone", "body", "use of a body", "expired",
		"setting put", "setting gone",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// Never is the session expiry interval of a session that does not expire
// (5.0, section 3.1.2.11.2).
const Never uint32 = 0xFFFFFFFF

// Opened is what a connection brings to its session.
type Opened struct {
	At       int64  // unix milliseconds
	Expiry   uint32 // session expiry interval, seconds; or [Never]
	Version  packet.Version
	UserName string
}

// Subscription is what a client asked for with one filter.
type Subscription struct {
	Filter            string // as the client wrote it, "$share/…" included
	QoS               byte   // granted
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	ID                uint32 // subscription identifier; 0: none
}

// Queued is a message on its way to one client.
type Queued struct {
	Seq     uint64 // its place among the client's messages, never used twice in a session
	ID      uint16 // packet identifier once it has been sent, else 0
	QoS     byte   // to deliver with
	Retain  bool   // to deliver with
	IDs     []uint32
	Shared  string           // the "$share/…" filter it came through, else empty
	Message *message.Message // nil once it is not needed any more
}

// Retained is a retained message, with who published it.
type Retained struct {
	*message.Message
	By message.Source
}

// Will is the message to publish when the connection of a session is lost.
type Will struct {
	Message *message.Message
	Delay   uint32 // seconds
	FireAt  int64  // unix milliseconds; 0 while the client is connected
}

// Place is where a setting stands: a key in a space, which is what settings of
// one purpose share.
type Place struct{ Space, Key string }

// Setting is something that is managed at run time, as an account: what its
// value means is its space's concern.
type Setting struct {
	Place
	Value []byte
	At    int64 // when it was put, unix milliseconds
}

// Record is one record, read. Which fields have a meaning hangs from Kind.
type Record struct {
	Kind   Kind
	Client string // of all that changes a session

	Opened       Opened           // KindSessionOpened
	At           int64            // KindSessionClosed
	Expiry       uint32           // KindSessionClosed
	Doubt        uint64           // KindSessionClosed
	Subscription Subscription     // KindSubscribed
	Filter       string           // KindUnsubscribed
	Queued       Queued           // KindQueued; without Message
	HasBody      bool             // KindQueued: its message is the body in force
	Seq          uint64           // KindSent, KindReleased, KindAcked
	ID           uint16           // KindSent, KindReceived, KindCompleted
	Size         int              // KindSent, KindAcked
	Run          Run              // KindExpired; without Client
	Message      *message.Message // KindRetained, KindBody
	By           message.Source   // KindRetained
	Use          int              // KindUse
	Topic        string           // KindRetainCleared
	Will         Will             // KindWillArmed
	Setting      Setting          // KindSettingPut; of KindSettingGone, its place
}

// Run is messages of one queue that follow one another and were never sent.
type Run struct {
	Client   string
	First    uint64 // the seqs; there may be gaps between them
	Last     uint64
	At       int64 // when the last of them expires, unix milliseconds
	Messages int
	Bytes    int // of those, by [message.Message.Size]
}

// Recovered is a session as a store found it at start. Its messages stay in
// the store until they are asked for, in the order of Seq from Unsent on.
type Recovered struct {
	Client  string
	Session        // Queue is nil
	Window  []Sent // sent and unfinished, in the order of Seq

	Unsent   uint64 // the first seq that was never sent; all from here on wait, or were dropped
	Last     uint64 // the highest seq in use; 0: none
	Messages int    // how many wait, from Unsent on
	Bytes    int64  // of those, by [message.Message.Size]
}

// Sent is a message on its way to a client, as far as a store remembers it
// without its content.
type Sent struct {
	Seq      uint64
	ID       uint16 // packet identifier
	Released bool   // PUBREC came: PUBREL is to be sent
}
