package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/fantail-mqtt/fantail/message"
)

// Raw is a record taken apart no further than a store needs, which keeps most
// of it as it is. Its slices alias the frame.
type Raw struct {
	Kind   Kind
	Client []byte // as in [Record]
	Name   []byte // the topic of KindRetained and KindRetainCleared, the filter of KindSubscribed and KindUnsubscribed, the key of KindSettingPut and KindSettingGone
	Space  []byte // KindSettingPut, KindSettingGone

	Seq     uint64 // KindQueued, KindSent, KindReleased, KindAcked
	ID      uint16 // KindQueued, KindSent, KindReceived, KindCompleted
	Rest    []byte // KindQueued: what stands behind ID, for [ParseRest]
	HasBody bool   // KindQueued
	Use     int    // KindUse
	Size    int    // KindBody: by message.Message.Size; KindSent, KindAcked
	Expires int64  // KindBody: when, in unix milliseconds; 0: never
}

// Scan reads the first record of a frame as [Parse] does, without allocating.
// It trusts the frame to be one that was appended to: it checks its bounds, and
// not that each number is in its shortest form.
func Scan(b []byte, raw *Raw) (int, error) {
	if len(b) == 0 {
		return 0, fmt.Errorf("scan record: %w", io.ErrUnexpectedEOF)
	}
	*raw = Raw{Kind: Kind(b[0])}
	s := scanner{b: b, at: 1}
	if !raw.scan(&s) {
		return 0, fmt.Errorf("scan record: kind %d is not known", raw.Kind)
	}
	if s.torn {
		return 0, fmt.Errorf("scan record %q: %w", raw.Kind, io.ErrUnexpectedEOF)
	}
	return s.at, nil
}

func (raw *Raw) scan(s *scanner) bool {
	switch raw.Kind {
	case KindRetained, KindBody:
		raw.Name, raw.Size, raw.Expires = s.message()
		if raw.Kind == KindRetained && s.flags() != 0 {
			s.bytes()
			s.bytes()
		}
		return true
	case KindRetainCleared:
		raw.Name = s.bytes()
		return true
	case KindUse:
		raw.Use = int(s.number())
		return true
	case KindSettingPut:
		raw.Space, raw.Name = s.bytes(), s.bytes()
		s.number()
		s.bytes()
		return true
	case KindSettingGone:
		raw.Space, raw.Name = s.bytes(), s.bytes()
		return true
	default:
	}
	if raw.Kind < KindSessionOpened || raw.Kind > KindExpired {
		return false
	}
	raw.Client = s.bytes()
	switch raw.Kind {
	case KindQueued:
		raw.Seq, raw.ID = s.number(), uint16(s.number())
		raw.Rest, raw.HasBody = s.rest()
	case KindSent:
		raw.Seq, raw.ID, raw.Size = s.number(), uint16(s.number()), int(s.number())
	case KindReleased:
		raw.Seq = s.number()
	case KindAcked:
		raw.Seq, raw.Size = s.number(), int(s.number())
	case KindExpired:
		for range 5 { // rare: who needs them parses it
			s.number()
		}
	case KindReceived, KindCompleted:
		raw.ID = uint16(s.number())
	case KindSubscribed:
		raw.Name = s.bytes()
		s.skip(1)
		s.number()
	case KindUnsubscribed:
		raw.Name = s.bytes()
	case KindSessionOpened:
		s.number()
		s.number()
		s.skip(1)
		s.bytes()
	case KindSessionClosed:
		s.number()
		s.number()
		s.number()
	case KindWillArmed:
		s.number()
		s.number()
		s.message()
	default: // KindSessionEnded, KindWillGone: the client is all
	}
	return true
}

// ParseRest reads what [Raw.Rest] holds of a queued message: all but Seq, ID
// and Message. It returns how many bytes it takes, and whether there is a
// message. It allocates what it returns.
func ParseRest(b []byte) (q Queued, hasBody bool, n int, err error) {
	r := reader{b: b}
	q, hasBody = r.delivery(q)
	if r.err != nil {
		return Queued{}, false, 0, fmt.Errorf("parse queued message: %w", r.err)
	}
	return q, hasBody, len(b) - len(r.b), nil
}

// SkipRest is how many bytes [ParseRest] would take, and its hasBody.
func SkipRest(b []byte) (n int, hasBody bool, err error) {
	s := scanner{b: b}
	rest, hasBody := s.rest()
	if s.torn {
		return 0, false, errors.New("skip queued message: it ends early")
	}
	return len(rest), hasBody, nil
}

// KeepBody reads a record of kind [KindBody] into a message that owns its memory.
func KeepBody(b []byte) (*message.Message, error) {
	rec, n, err := Parse(b)
	if err != nil {
		return nil, err
	}
	if rec.Kind != KindBody || n != len(b) {
		return nil, fmt.Errorf("keep body: a record %q of %d bytes in %d", rec.Kind, n, len(b))
	}
	return keep(rec.Message), nil
}

// BodySize is the Size of the message in a record of kind [KindBody].
func BodySize(b []byte) (int, error) {
	var raw Raw
	if _, err := Scan(b, &raw); err != nil {
		return 0, err
	}
	return raw.Size, nil
}

// scanner walks over a frame; the first thing that does not fit sets torn.
type scanner struct {
	b    []byte
	at   int
	torn bool
}

func (s *scanner) fail() {
	s.torn = true
	s.at = len(s.b)
}

func (s *scanner) number() uint64 {
	if s.at < len(s.b) && s.b[s.at] < 0x80 { // most are
		s.at++
		return uint64(s.b[s.at-1])
	}
	x, n := binary.Uvarint(s.b[s.at:])
	if n <= 0 {
		s.fail()
		return 0
	}
	s.at += n
	return x
}

func (s *scanner) skip(n int) {
	if n > len(s.b)-s.at {
		s.fail()
		return
	}
	s.at += n
}

func (s *scanner) bytes() []byte {
	n := s.number()
	if n > math.MaxInt32 || int(n) > len(s.b)-s.at {
		s.fail()
		return nil
	}
	s.at += int(n)
	return s.b[s.at-int(n) : s.at : s.at]
}

func (s *scanner) flags() byte {
	if s.at >= len(s.b) {
		s.fail()
		return 0
	}
	s.at++
	return s.b[s.at-1]
}

func (s *scanner) rest() (rest []byte, hasBody bool) {
	from := s.at
	f := s.flags()
	if f&queuedShared != 0 {
		s.bytes()
	}
	if f&queuedIDs != 0 {
		for n := s.number(); n > 0 && !s.torn; n-- {
			s.number()
		}
	}
	return s.b[from:s.at], f&queuedBody != 0
}

func (s *scanner) message() (topic []byte, size int, expires int64) {
	f := s.flags()
	arrived := int64(s.number())
	if f&bodyExpiry != 0 {
		expires = arrived + int64(s.number())*1000
	}
	topic = s.bytes()
	return topic, len(topic) + len(s.bytes()) + len(s.bytes()) + int(unsafe.Sizeof(message.Message{})), expires
}
