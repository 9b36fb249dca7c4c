package broker

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/route"
)

// A loop that has just matched a handle may resolve it a moment later: it must
// find the client that it matched, or none.
func TestHandlesRest(t *testing.T) {
	var all table
	seen := map[route.Handle]bool{}
	for i := range resting {
		c := &Client{}
		all.add(c)
		if seen[c.handle] {
			t.Fatalf("handle %d came again after %d others", c.handle, i)
		}
		seen[c.handle] = true
		all.remove(c)
		if all.resolve(c.handle) != nil {
			t.Fatalf("handle %d still leads to its client", c.handle)
		}
	}
	for range 10 * resting {
		c := &Client{}
		all.add(c)
		all.remove(c)
	}
	if n := len(all.clients); n > 2*resting {
		t.Errorf("the table has grown to %d", n)
	}
}
