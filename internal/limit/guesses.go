package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Guesses counts the wrong passwords that come for a user name from an address.
// With too many of them further ones are not looked at for a while: checking
// costs more than guessing does.
type Guesses struct {
	seed maphash.Seed

	mu    sync.Mutex // guards the rest
	most  int        // in a window; 0: no bound
	young map[uint64]guessed
	older map[uint64]guessed // was young before; so what is tried again is remembered longest
}

type guessed struct {
	since time.Duration
	wrong int
}

const (
	guessWindow = time.Minute
	maxGuesses  = 1 << 15 // in one of the two maps
)

// NewGuesses allows so many wrong passwords a minute; 0: as many as come.
func NewGuesses(most int) *Guesses {
	return &Guesses{seed: maphash.MakeSeed(), most: most, young: map[uint64]guessed{}}
}

// SetMost replaces the bound.
func (g *Guesses) SetMost(most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.most = most
}

// Wait is how long no password of the user name from the address is looked at;
// 0: it is.
func (g *Guesses) Wait(a netip.Addr, user string, now time.Duration) time.Duration {
	k := g.key(a, user)
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.find(k, now); ok && g.most > 0 && s.wrong >= g.most {
		return s.since + guessWindow - now
	}
	return 0
}

// Wrong counts a wrong password.
func (g *Guesses) Wrong(a netip.Addr, user string, now time.Duration) {
	k := g.key(a, user)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.most == 0 {
		return
	}
	s, ok := g.find(k, now)
	if !ok {
		s.since = now
	}
	s.wrong++
	if len(g.young) >= maxGuesses {
		g.young, g.older = map[uint64]guessed{}, g.young
	}
	g.young[k] = s
}

// find is what is known of a key, if its window is not over. The caller holds
// g.mu.
func (g *Guesses) find(k uint64, now time.Duration) (s guessed, ok bool) {
	if s, ok = g.young[k]; !ok {
		s, ok = g.older[k]
	}
	if !ok || now >= s.since+guessWindow {
		return guessed{}, false
	}
	return s, true
}

func (g *Guesses) key(a netip.Addr, user string) uint64 {
	var h maphash.Hash
	h.SetSeed(g.seed)
	if a.IsValid() { // a unix socket has none
		b := Key(a).As16()
		_, _ = h.Write(b[:])
	}
	_, _ = h.WriteString(user)
	return h.Sum64()
}
