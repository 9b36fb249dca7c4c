package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// Strategy says which member of a shared group gets a message.
type Strategy uint8

// The strategies.
const (
	Random       Strategy = iota
	RoundRobin            // each in turn
	Sticky                // the same one until it leaves
	HashClientID          // by the publisher: one publisher's messages go to one member
	HashTopic             // by the topic
)

func strategyNames() []string {
	return []string{"random", "round_robin", "sticky", "hash_clientid", "hash_topic"}
}

// String is the name of the strategy in the configuration.
func (s Strategy) String() string {
	if names := strategyNames(); int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("strategy %d", uint8(s))
}

// ParseStrategy reads a name from the configuration.
func ParseStrategy(name string) (Strategy, error) {
	names := strategyNames()
	if i := slices.Index(names, name); i >= 0 {
		return Strategy(i), nil
	}
	return 0, fmt.Errorf("%q is no strategy for shared subscriptions; there are %s", name, strings.Join(names, ", "))
}

// Chooser remembers what one group needs to choose by turns or to stick to a
// member. Its zero value is ready, any number of goroutines may use it, and a
// group whose strategy is one of the others can do without: they may share
// one.
type Chooser struct {
	state atomic.Uint64 // Sticky: the handle plus one; RoundRobin: how many were chosen
}

// Draw is what a choice may depend on. The choice uses only what its strategy
// is named for.
type Draw struct {
	Client uint64 // hash of the publisher's client id
	Topic  uint64 // hash of the topic name
	Random uint64
}

// Choose is the index of one of the members, which Match or Members found: at
// least one, ordered by handle. A caller who must try another leaves the
// member that failed out and asks again.
func (c *Chooser) Choose(s Strategy, members []Row, d Draw) int {
	n := uint64(len(members))
	switch s {
	case RoundRobin:
		return int((c.state.Add(1) - 1) % n)
	case Sticky:
		return c.stick(members, d.Random)
	case HashClientID:
		return jump(d.Client, len(members))
	case HashTopic:
		return jump(d.Topic, len(members))
	default:
		return int(d.Random % n)
	}
}

// stick is the member chosen last if it is still there, else a random one.
func (c *Chooser) stick(members []Row, random uint64) int {
	last := c.state.Load()
	if last != 0 {
		if i, ok := slices.BinarySearchFunc(members, Handle(last-1), byHandle); ok {
			return i
		}
	}
	i := int(random % uint64(len(members)))
	if c.state.CompareAndSwap(last, uint64(members[i].To)+1) {
		return i
	}
	return c.stick(members, random) // another loop chose meanwhile: follow it
}

// jump spreads hashes over n members so that one more takes from each of the
// others its share and nothing else moves (Lamping and Veach, 2014).
func jump(hash uint64, n int) int {
	var at, next int64
	for next < int64(n) {
		at = next
		hash = hash*2862933555777941757 + 1
		next = int64(float64(at+1) * (float64(1<<31) / float64(hash>>33+1)))
	}
	return int(at)
}

func byHandle(r Row, to Handle) int { return cmp.Compare(r.To, to) }
