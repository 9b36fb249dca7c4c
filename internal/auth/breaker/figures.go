package breaker

// State is whether a breaker lets calls through.
type State byte

// The states.
const (
	Closed State = iota // calls go through
	Open                // none does, for a while
	Trying              // one is under way that tries for all
)

func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case Trying:
		return "trying"
	default:
		return "closed"
	}
}

// Figures are what a breaker has seen.
type Figures struct {
	Name    string
	State   State
	Waiting int    // calls under way
	Calls   uint64 // that have ended
	Failed  uint64 // of those: by an error, or too late
	Late    uint64 // of those that failed: no answer came in time
	Refused uint64 // not asked, because it was open
	Busy    uint64 // not asked, because no place came free
	Opened  uint64 // how often it opened
}

// Figures are those of now.
func (b *Breaker) Figures() Figures {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.figures
	f.Name, f.State, f.Waiting = b.o.Name, b.state, len(b.places)
	return f
}
