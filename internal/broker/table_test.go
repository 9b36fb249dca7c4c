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
	if n := all.next; n > 2*resting {
		t.Errorf("the table has grown to %d", n)
	}
}

// A row asks the connections of its own clients, and goes by the first of them.
func TestRowAsksItsOwn(t *testing.T) {
	var all table
	asked := map[int]bool{}
	for i := range 3 * rowSize {
		c := &Client{}
		all.add(c)
		if i%2 == 0 { // the others are away
			c.link = &dueLink{due: func() int64 { asked[i] = true; return int64(1000 - i) }}
		}
	}
	if got, want := all.rows[1].Due(1), int64(1000-(2*rowSize-2)); got != want {
		t.Errorf("it is to be asked again at %d, want %d", got, want)
	}
	for i := range 3 * rowSize {
		if want := i%2 == 0 && i/rowSize == 1; asked[i] != want {
			t.Errorf("client %d: asked is %v", i, asked[i])
		}
	}
}

type dueLink struct {
	Link
	due func() int64
}

func (l *dueLink) Due(int64) int64 { return l.due() }
