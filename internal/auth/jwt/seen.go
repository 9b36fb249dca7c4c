package jwt

import (
	"crypto/sha256"
	"sync"
)

// What is remembered of tokens, at most: twice maxTokens, each of up to maxSeen
// bytes. Their claims take some four times that: about 20 MB in the end.
const (
	maxTokens = 2048
	maxSeen   = 2048
)

// seen remembers the claims of tokens whose signatures held, by the hash of
// the token. What is in them is checked each time anew, the time too. It
// belongs to a set of keys and goes with it. It forgets in halves: what was
// not asked for since the last half was full goes.
type seen struct {
	mu         sync.Mutex // guards the rest; held for memory work only
	young, old map[[sha256.Size]byte]map[string]any
}

func newSeen() *seen { return &seen{young: map[[sha256.Size]byte]map[string]any{}} }

// get is the claims of a token that was seen, or nil. They must not change.
func (s *seen) get(sum [sha256.Size]byte) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if claims := s.young[sum]; claims != nil {
		return claims
	}
	claims := s.old[sum]
	if claims != nil {
		s.add(sum, claims)
	}
	return claims
}

func (s *seen) put(sum [sha256.Size]byte, claims map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(sum, claims)
}

// add needs the lock.
func (s *seen) add(sum [sha256.Size]byte, claims map[string]any) {
	if len(s.young) >= maxTokens {
		s.young, s.old = map[[sha256.Size]byte]map[string]any{}, s.young
	}
	s.young[sum] = claims
}
