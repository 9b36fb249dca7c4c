package limit

import "sync"

// Hush lets through one of many lines of a log that say the same of the same
// client, and counts the others. A crowd of clients cannot make it grow: beyond
// what it remembers, those that are new go unsaid.
type Hush struct {
	mu   sync.Mutex // guards the rest
	said map[hushed]*saying
}

type hushed struct{ who, what string }

type saying struct {
	until int64 // unix milliseconds
	held  int
}

const (
	hushFor   = 10_000  // milliseconds
	maxHushed = 1 << 12 // clients and sayings that are remembered
)

// Say says whether a line about who is to be written now, and how many like it
// were held back since the last one.
func (h *Hush) Say(now int64, who, what string) (say bool, held int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := hushed{who, what}
	s := h.said[k]
	switch {
	case s == nil && len(h.said) >= maxHushed && !h.forget(now):
		return false, 0
	case s == nil:
		if h.said == nil {
			h.said = map[hushed]*saying{}
		}
		h.said[k] = &saying{until: now + hushFor}
		return true, 0
	case now < s.until:
		s.held++
		return false, 0
	default:
		held = s.held
		s.until, s.held = now+hushFor, 0
		return true, held
	}
}

// forget drops what nobody has said for a while, and says whether there was
// such. The caller holds h.mu.
func (h *Hush) forget(now int64) bool {
	for k, s := range h.said {
		if now >= s.until+hushFor {
			delete(h.said, k)
		}
	}
	return len(h.said) < maxHushed
}
