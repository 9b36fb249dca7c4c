package session

import (
	"fmt"

	"github.com/fantail-mqtt/fantail/message"
)

// Idle says whether the session holds no memory for messages.
func (s *Session) Idle() bool { return s.out == nil && s.inbox == nil }

// Miscounted says what is wrong with the counts of what waits in memory, or "".
func (s *Session) Miscounted() string {
	if s.out == nil {
		return ""
	}
	bytes, bytes0, first := 0, 0, int64(0)
	see := func(m *message.Message) int {
		if at := m.ExpiresAt(); at > 0 && (first == 0 || at < first) {
			first = at
		}
		return m.Size()
	}
	for _, it := range s.out.queue.all() {
		bytes += see(it.Message)
	}
	if l := s.out.lossy; l != nil {
		for _, it := range l.items {
			bytes0 += see(it.message)
		}
	}
	if _, n := s.Queued0(); bytes != s.out.bytes || bytes0 != n {
		return fmt.Sprintf("%d and, of QoS 0, %d bytes are counted, there are %d and %d", s.out.bytes, n, bytes, bytes0)
	}
	if first > 0 && (s.out.expires == 0 || s.out.expires > first) {
		return fmt.Sprintf("the first expires at %d, noted is %d", first, s.out.expires)
	}
	return ""
}

// SetLastID makes the session go on as if id were the last packet identifier
// that it gave out.
func (s *Session) SetLastID(id uint16) { s.lastID = id }
