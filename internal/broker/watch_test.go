package broker

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/route"
)

// A watch asks the connections of its own clients, and goes by the first of them.
func TestWatchAsksItsOwn(t *testing.T) {
	b := &Broker{}
	asked := map[int]bool{}
	for i := range 3 * together {
		c := &Client{}
		b.table.add(c)
		if i%2 == 0 { // the others are away
			c.link = &dueLink{due: func() int64 { asked[i] = true; return int64(1000 - i) }}
		}
	}
	w := b.watches.of(b, route.Handle(together+5))
	if got, want := w.Due(1), int64(1000-2*together+2); got != want {
		t.Errorf("it is to be asked again at %d, want %d", got, want)
	}
	for i := range 3 * together {
		if want := i%2 == 0 && i/together == 1; asked[i] != want {
			t.Errorf("client %d: asked is %v", i, asked[i])
		}
	}
	if next := b.watches.of(b, route.Handle(100*together)).Due(1); next != 0 {
		t.Errorf("one without clients is to be asked at %d", next)
	}
}

type dueLink struct {
	Link
	due func() int64
}

func (l *dueLink) Due(int64) int64 { return l.due() }
