package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// history draws the records that a broker might write: sessions send in the
// order of their queues, and drop what waits.
type history struct {
	sessions map[string]*model
	sent     []*message.Message
	overdue  []record.Run // as the store has told
	settings map[record.Place]bool
	n        int
}

type model struct {
	next   uint64
	waits  []uint64
	sizes  map[uint64]int
	window []uint64
	open   map[uint16]bool
	filter map[string]bool
	will   bool
}

// step is what is appended at once.
type step struct {
	records []byte
	body    *message.Message
}

func newHistory() *history {
	return &history{sessions: map[string]*model{}, settings: map[record.Place]bool{}}
}

func (h *history) message(t *rapid.T) *message.Message {
	h.n++
	size := rapid.SampledFrom([]int{0, 3, 30, 90, 200, 3000}).Draw(t, "size")
	m := &message.Message{
		Topic: rapid.SampledFrom([]string{"a", "b", "c/d"}).Draw(t, "topic"), QoS: 1,
		Payload: []byte(fmt.Sprintf("%d %s", h.n, strings.Repeat("x", size))), Arrived: int64(h.n),
	}
	if m.HasExpiry = rapid.IntRange(0, 2).Draw(t, "expires") > 0; m.HasExpiry {
		m.Arrived -= 1000
		m.Expiry = 1
	}
	return m
}

// steps draws what comes next; several steps if a message goes to many.
func (h *history) steps(t *rapid.T) []step {
	switch rapid.IntRange(0, 20).Draw(t, "about") {
	case 0:
		return []step{{record.AppendRetained(nil, record.Retained{Message: h.message(t), By: message.Source{Client: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "by")}}), nil}}
	case 1:
		return []step{{record.AppendRetainCleared(nil, "a"), nil}}
	case 2, 3, 4:
		return h.fan(t)
	case 7:
		return []step{{h.setting(t), nil}}
	case 5, 6:
		if b := h.expire(t); b != nil {
			return []step{{b, nil}}
		}
	}
	client := rapid.SampledFrom([]string{"a", "ab", "b", "c", "d", "e", "f", "g"}).Draw(t, "client")
	m := h.sessions[client]
	if m == nil || rapid.IntRange(0, 29).Draw(t, "open") == 0 {
		if m == nil {
			h.sessions[client] = &model{next: 1, sizes: map[uint64]int{}, open: map[uint16]bool{}, filter: map[string]bool{}}
		}
		h.n++
		return []step{{record.AppendSessionOpened(nil, client, record.Opened{At: int64(h.n), Expiry: 60, Version: packet.V5, UserName: "u"}), nil}}
	}
	if rapid.IntRange(0, 39).Draw(t, "end") == 0 {
		delete(h.sessions, client)
		h.overdue = slices.DeleteFunc(h.overdue, func(r record.Run) bool { return r.Client == client })
		return []step{{record.AppendSessionEnded(nil, client), nil}}
	}
	return []step{h.session(t, client, m)}
}

// setting puts one or takes it away.
func (h *history) setting(t *rapid.T) []byte {
	h.n++
	p := record.Place{Space: rapid.SampledFrom([]string{"s", "sk"}).Draw(t, "space"), Key: rapid.SampledFrom([]string{"k", "\x00", "kk"}).Draw(t, "key")}
	if h.settings[p] && rapid.Bool().Draw(t, "gone") {
		delete(h.settings, p)
		return record.AppendSettingGone(nil, p)
	}
	h.settings[p] = true
	return record.AppendSettingPut(nil, record.Setting{Place: p, Value: fmt.Append(nil, h.n), At: int64(h.n)})
}

// fan queues one message for several sessions.
func (h *history) fan(t *rapid.T) (steps []step) {
	msg := h.message(t)
	if len(h.sent) > 0 && rapid.IntRange(0, 4).Draw(t, "again") == 0 {
		msg = h.sent[len(h.sent)-1]
	}
	h.sent = append(h.sent, msg)
	for _, client := range slices.Sorted(maps.Keys(h.sessions)) {
		if rapid.IntRange(0, 7).Draw(t, "skip") > 0 {
			steps = append(steps, h.queue(t, client, h.sessions[client], msg))
		}
	}
	return steps
}

// expire ends a run that the store says is overdue, unless some of it was sent or
// dropped meanwhile.
func (h *history) expire(t *rapid.T) []byte {
	if len(h.overdue) == 0 {
		return nil
	}
	i := rapid.IntRange(0, len(h.overdue)-1).Draw(t, "run")
	r := h.overdue[i]
	h.overdue = slices.Delete(h.overdue, i, i+1)
	m := h.sessions[r.Client]
	from, _ := slices.BinarySearch(m.waits, r.First)
	to, _ := slices.BinarySearch(m.waits, r.Last+1)
	if to-from != r.Messages {
		return nil
	}
	m.waits = slices.Delete(m.waits, from, to)
	return record.AppendExpired(nil, r)
}

func (h *history) queue(t *rapid.T, client string, m *model, msg *message.Message) step {
	q := record.Queued{Seq: m.next, QoS: 1, Message: msg}
	m.sizes[q.Seq] = msg.Size()
	m.next += uint64(rapid.SampledFrom([]int{1, 1, 1, 3}).Draw(t, "gap"))
	switch rapid.IntRange(0, 6).Draw(t, "with") {
	case 0:
		q.Shared, q.IDs = "$share/g/a", []uint32{1, 300}
	case 1:
		if len(m.waits) == 0 {
			q.ID = uint16(q.Seq)
		}
	}
	if q.ID != 0 {
		m.window = append(m.window, q.Seq)
	} else {
		m.waits = append(m.waits, q.Seq)
	}
	return step{record.AppendQueued(nil, client, q), msg}
}

func (h *history) session(t *rapid.T, client string, m *model) step {
	id := rapid.Uint16Range(1, 3).Draw(t, "id")
	switch rapid.IntRange(0, 11).Draw(t, "session") {
	case 0:
		h.n++
		return step{record.AppendSessionClosed(nil, client, int64(h.n), 90, uint64(h.n)%7), nil}
	case 1:
		filter := fmt.Sprint("f", id)
		if m.filter[filter] {
			delete(m.filter, filter)
			return step{record.AppendUnsubscribed(nil, client, filter), nil}
		}
		m.filter[filter] = true
		return step{record.AppendSubscribed(nil, client, record.Subscription{Filter: filter, QoS: 1, ID: uint32(h.n)}), nil}
	case 2, 3:
		if m.open[id] {
			delete(m.open, id)
			return step{record.AppendCompleted(nil, client, id), nil}
		}
		m.open[id] = true
		return step{record.AppendReceived(nil, client, id), nil}
	case 4:
		if m.will {
			m.will = false
			return step{record.AppendWillGone(nil, client), nil}
		}
		m.will = true
		return step{record.AppendWillArmed(nil, client, record.Will{Message: h.message(t), Delay: 5}), nil}
	case 5:
		return h.queue(t, client, m, h.message(t))
	default:
		return h.deliver(t, client, m)
	}
}

func (h *history) deliver(t *rapid.T, client string, m *model) step {
	what := rapid.IntRange(0, 5).Draw(t, "deliver")
	switch {
	case what == 0 && len(m.waits) > 0: // it expires, or is dropped
		i := 0
		if rapid.IntRange(0, 3).Draw(t, "which") == 0 {
			i = rapid.IntRange(0, len(m.waits)-1).Draw(t, "dropped")
		}
		seq := m.waits[i]
		m.waits = slices.Delete(m.waits, i, i+1)
		return step{record.AppendAcked(nil, client, seq, m.sizes[seq]), nil}
	case what <= 2 && len(m.waits) > 0:
		var b []byte
		for range rapid.IntRange(1, min(len(m.waits), 4)).Draw(t, "sent") {
			seq := m.waits[0]
			m.waits = m.waits[1:]
			m.window = append(m.window, seq)
			b = record.AppendSent(b, client, seq, uint16(seq), m.sizes[seq])
		}
		return step{b, nil}
	case what == 3 && len(m.window) > 0:
		return step{record.AppendReleased(nil, client, rapid.SampledFrom(m.window).Draw(t, "released")), nil}
	case len(m.window) > 0:
		i := 0
		if rapid.IntRange(0, 2).Draw(t, "any") == 0 {
			i = rapid.IntRange(0, len(m.window)-1).Draw(t, "acked")
		}
		seq := m.window[i]
		m.window = slices.Delete(m.window, i, i+1)
		return step{record.AppendAcked(nil, client, seq, 0), nil}
	default:
		return h.queue(t, client, m, h.message(t))
	}
}
