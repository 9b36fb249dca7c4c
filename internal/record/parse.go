package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// Parse reads the first record of a frame and returns how many bytes it
// takes. The payload and the forwarded properties of its message, and the value of a setting, alias b;
// empty ones are nil. A queued message is read without its body, which stands
// apart: [Record.HasBody] says whether it has one. A frame that ends inside the record is
// [io.ErrUnexpectedEOF]. It allocates no more than a few times what b holds.
func Parse(b []byte) (Record, int, error) {
	r := reader{b: b}
	rec := Record{Kind: Kind(r.byte())}
	if r.err != nil {
		return Record{}, 0, fmt.Errorf("parse record: %w", r.err)
	}
	if !rec.read(&r) {
		return Record{}, 0, fmt.Errorf("parse record: kind %d is not known", rec.Kind)
	}
	if r.err != nil {
		return Record{}, 0, fmt.Errorf("parse record %q: %w", rec.Kind, r.err)
	}
	return rec, len(b) - len(r.b), nil
}

// read reads the fields behind the kind. It is false for an unknown kind.
func (rec *Record) read(r *reader) bool {
	switch rec.Kind {
	case KindRetained:
		rec.Message, rec.By = r.message(), r.source()
		return true
	case KindRetainCleared:
		rec.Topic = r.text()
		return true
	case KindBody:
		rec.Message = r.message()
		return true
	case KindUse:
		rec.Use = int(r.number(math.MaxInt32))
		return true
	case KindSettingPut:
		rec.Setting = Setting{Place: r.place(), At: r.time(), Value: r.bytes()}
		return true
	case KindSettingGone:
		rec.Setting.Place = r.place()
		return true
	default:
	}
	if rec.Kind < KindSessionOpened || rec.Kind > KindExpired {
		return false
	}
	rec.Client = r.text()
	switch rec.Kind {
	case KindSessionOpened:
		rec.Opened = r.opened()
	case KindSessionClosed:
		rec.At = r.time()
		rec.Expiry = r.uint32()
		rec.Doubt = r.number(math.MaxUint64)
	case KindSubscribed:
		rec.Subscription = r.subscription()
	case KindUnsubscribed:
		rec.Filter = r.text()
	case KindQueued:
		rec.Queued, rec.HasBody = r.queued()
	case KindSent:
		rec.Seq = r.number(math.MaxUint64)
		rec.ID = r.uint16()
		rec.Size = r.size()
	case KindReleased:
		rec.Seq = r.number(math.MaxUint64)
	case KindAcked:
		rec.Seq = r.number(math.MaxUint64)
		rec.Size = r.size()
	case KindExpired:
		rec.Run = r.run()
	case KindReceived, KindCompleted:
		rec.ID = r.uint16()
	case KindWillArmed:
		rec.Will = Will{Delay: r.uint32(), FireAt: r.time(), Message: r.message()}
	default: // KindSessionEnded, KindWillGone: the client is all
	}
	return true
}

// reader walks over a frame; the first thing that does not fit sets err and
// makes every later read return zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(io.ErrUnexpectedEOF)
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

// flags reads a byte of which only the known bits may be set.
func (r *reader) flags(known byte) byte {
	f := r.byte()
	if f&^known != 0 {
		r.fail(errors.New("unknown flags"))
		return 0
	}
	return f
}

// number reads a varint in its shortest form, up to limit.
func (r *reader) number(limit uint64) uint64 {
	x, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.fail(io.ErrUnexpectedEOF)
		return 0
	case n < 0 || x > limit:
		r.fail(errors.New("number is too large"))
		return 0
	case n > 1 && r.b[n-1] == 0:
		r.fail(errors.New("number is not in its shortest form"))
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) uint16() uint16 { return uint16(r.number(math.MaxUint16)) }
func (r *reader) uint32() uint32 { return uint32(r.number(math.MaxUint32)) }
func (r *reader) time() int64    { return int64(r.number(math.MaxUint64)) }

// bytes reads a field that aliases the input, nil if it is empty.
func (r *reader) bytes() []byte {
	n := r.number(math.MaxInt32)
	if n > uint64(len(r.b)) {
		r.fail(io.ErrUnexpectedEOF)
		return nil
	}
	if n == 0 {
		return nil
	}
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) size() int { return int(r.number(math.MaxInt)) }

func (r *reader) run() Run {
	return Run{
		First: r.number(math.MaxUint64), Last: r.number(math.MaxUint64), At: r.time(), Messages: r.size(), Bytes: r.size(),
	}
}

func (r *reader) place() Place { return Place{Space: r.text(), Key: r.text()} }

func (r *reader) opened() Opened {
	return Opened{At: r.time(), Expiry: r.uint32(), Version: packet.Version(r.byte()), UserName: r.text()}
}

func (r *reader) subscription() Subscription {
	s := Subscription{Filter: r.text()}
	f := r.flags(subscribedQoS | subscribedNoLocal | subscribedPublished | subscribedHandling)
	s.QoS = f & subscribedQoS
	s.NoLocal = f&subscribedNoLocal != 0
	s.RetainAsPublished = f&subscribedPublished != 0
	s.RetainHandling = f & subscribedHandling >> 4
	s.ID = r.uint32()
	return s
}

func (r *reader) queued() (q Queued, hasBody bool) {
	return r.delivery(Queued{Seq: r.number(math.MaxUint64), ID: r.uint16()})
}

func (r *reader) delivery(q Queued) (_ Queued, hasBody bool) {
	f := r.flags(queuedKnown)
	q.QoS = f & queuedQoS
	q.Retain = f&queuedRetain != 0
	if f&queuedShared != 0 {
		if q.Shared = r.text(); q.Shared == "" {
			r.fail(errors.New("shared filter is empty"))
		}
	}
	if f&queuedIDs != 0 {
		q.IDs = r.ids()
	}
	return q, f&queuedBody != 0
}

// ids reads a list that is not empty.
func (r *reader) ids() []uint32 {
	n := r.number(math.MaxInt32)
	if n > uint64(len(r.b)) { // each takes a byte at least
		r.fail(io.ErrUnexpectedEOF)
		return nil
	}
	if n == 0 {
		r.fail(errors.New("list of identifiers is empty"))
		return nil
	}
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = r.uint32()
	}
	return ids
}

func (r *reader) source() (s message.Source) {
	f := r.flags(sourceThere | sourceKnown)
	if f == 0 {
		return s
	}
	s = message.Source{Known: f&sourceKnown != 0, Client: r.text(), User: r.text()}
	if f&sourceThere == 0 || r.err == nil && s == (message.Source{}) {
		r.fail(errors.New("a source that is nobody"))
	}
	return s
}

func (r *reader) message() *message.Message {
	f := r.flags(bodyKnown)
	m := &message.Message{QoS: f & bodyQoS, Retain: f&bodyRetain != 0, HasExpiry: f&bodyExpiry != 0}
	m.Arrived = r.time()
	if m.HasExpiry {
		m.Expiry = r.uint32()
	}
	m.Topic = r.text()
	m.Forward = r.bytes()
	m.Payload = r.bytes()
	return m
}
