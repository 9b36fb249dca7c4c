package session_test

import (
	"fmt"
	"slices"

	"github.com/fantail-mqtt/fantail/internal/session"
)

// ledger is the naive log of a durable session: what its changes add up to.
type ledger struct {
	items []session.Item // in the order of Seq
	open  map[uint16]bool
	last  uint64 // Seq
}

func newLedger() *ledger { return &ledger{open: map[uint16]bool{}} }

// apply carries out a change. It refuses one that does not fit the state, such
// as a second Finish.
func (l *ledger) apply(c session.Change) error {
	switch c.Kind {
	case session.Queue:
		if c.Item.Seq <= l.last || c.Item.Message == nil || c.Item.Released {
			return fmt.Errorf("queue of a wrong item %+v after #%d", c.Item, l.last)
		}
		l.last = c.Item.Seq
		l.items = append(l.items, c.Item)
		return nil
	case session.Receive:
		if l.open[c.ID] {
			return fmt.Errorf("second receive of id %d", c.ID)
		}
		l.open[c.ID] = true
		return nil
	case session.Complete:
		if !l.open[c.ID] {
			return fmt.Errorf("complete of id %d, which is not open", c.ID)
		}
		delete(l.open, c.ID)
		return nil
	default:
		return l.applyTo(c)
	}
}

// applyTo carries out a change of one item.
func (l *ledger) applyTo(c session.Change) error {
	i := slices.IndexFunc(l.items, func(it session.Item) bool { return it.Seq == c.Item.Seq })
	if i < 0 {
		return fmt.Errorf("%s: no such item", changeText(c))
	}
	it := &l.items[i]
	switch {
	case c.Kind == session.Send && it.ID == 0 && c.Item.ID != 0:
		it.ID = c.Item.ID
	case c.Kind == session.Release && it.ID != 0 && it.QoS == 2 && !it.Released:
		it.Released, it.Message = true, nil
	case c.Kind == session.Finish:
		l.items = slices.Delete(l.items, i, i+1)
	default:
		return fmt.Errorf("%s does not fit %+v", changeText(c), *it)
	}
	return nil
}

// compare says where the session is not what its changes add up to.
func (l *ledger) compare(s *session.Session) error {
	i := 0
	for it := range s.Unfinished {
		if i == len(l.items) {
			return fmt.Errorf("the session has %+v, the log has finished it", it)
		}
		want := l.items[i]
		if it.Seq != want.Seq || it.ID != want.ID || it.QoS != want.QoS || it.Retain != want.Retain || it.Released != want.Released ||
			it.Message != want.Message || it.Shared != want.Shared || !slices.Equal(it.IDs, want.IDs) {
			return fmt.Errorf("the session has %+v, the log %+v", it, want)
		}
		i++
	}
	if i < len(l.items) {
		return fmt.Errorf("the log has %+v, the session does not", l.items[i])
	}
	n := 0
	for id := range s.Open {
		if n++; !l.open[id] {
			return fmt.Errorf("id %d is open, the log has completed it", id)
		}
	}
	if n != len(l.open) {
		return fmt.Errorf("%d ids are open, in the log %d", n, len(l.open))
	}
	return nil
}
