package http

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/auth"
)

// sum is what a client's answer is remembered by: a hash of all that was said
// of the client, under a key that nobody knows, so that a password cannot be
// guessed from memory that has leaked.
type sum [sha256.Size]byte

// memory remembers answers for a while, of a bounded number of clients. It
// forgets in halves: what was put there before the last half was full goes.
type memory struct {
	key [32]byte
	ttl time.Duration
	max int // of a half

	mu         sync.Mutex // guards the rest; held for memory work only
	young, old map[sum]remembered

	hits, misses atomic.Uint64
}

type remembered struct {
	answer auth.Answer
	until  time.Time
}

func newMemory(ttl time.Duration, size int) *memory {
	m := &memory{ttl: ttl, max: max(size/2, 1), young: map[sum]remembered{}}
	_, _ = rand.Read(m.key[:]) // never fails, says crypto/rand
	return m
}

func (m *memory) sum(values []string) (out sum) {
	h := hmac.New(sha256.New, m.key[:])
	var length [8]byte
	for _, v := range values {
		binary.BigEndian.PutUint64(length[:], uint64(len(v)))
		h.Write(length[:]) // so that "ab", "c" is not "a", "bc"
		h.Write([]byte(v))
	}
	h.Sum(out[:0])
	return out
}

func (m *memory) get(k sum, now time.Time) (auth.Answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.young[k]
	if !ok {
		r, ok = m.old[k]
	}
	if !ok || !now.Before(r.until) {
		m.misses.Add(1)
		return auth.Answer{}, false
	}
	m.hits.Add(1)
	return r.answer, true
}

// put remembers an answer, though never for longer than it holds.
func (m *memory) put(k sum, a auth.Answer, now time.Time) {
	until := now.Add(m.ttl)
	if a.Grant.Expires > 0 {
		if end := time.UnixMilli(a.Grant.Expires); end.Before(until) {
			until = end
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= m.max {
		m.young, m.old = map[sum]remembered{}, m.young
	}
	m.young[k] = remembered{a, until}
}
