package session

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/fantail-mqtt/fantail/packet"
)

// Subscription is one of the session's.
type Subscription struct {
	packet.Subscription
	ID uint32 // subscription identifier; 0: none
}

// Subscribe adds or replaces a subscription [MQTT-3.8.4-3].
func (s *Session) Subscribe(sub Subscription) (existed bool) {
	s.shares = s.shares || strings.HasPrefix(sub.Filter, "$share/") || strings.HasPrefix(sub.Filter, "$queue/")
	return s.subs.put(sub)
}

// Unsubscribe removes a subscription, if it is there [MQTT-3.10.4-1].
func (s *Session) Unsubscribe(filter string) (existed bool) { return s.subs.remove(filter) }

// Subscriptions are the session's, by filter; not to be changed.
func (s *Session) Subscriptions() []Subscription { return s.subs.list(nil) }

// SubscriptionCount is how many there are.
func (s *Session) SubscriptionCount() int {
	if s.subs.many != nil {
		return len(*s.subs.many)
	}
	var room [fewSubscriptions]Subscription
	return len(s.subs.list(room[:0]))
}

// Subscribed says whether the session has a subscription of this filter.
func (s *Session) Subscribed(filter string) bool {
	var room [fewSubscriptions]Subscription
	_, ok := place(s.subs.list(room[:0]), filter)
	return ok
}

// subscriptions are held by filter. Most sessions have a few, which are packed
// into one string: with a filter of 20 characters that is 24 bytes in place of
// 56, and nothing in it for the garbage collector to follow.
type subscriptions struct {
	few  string          // packed; empty if there are many
	many *[]Subscription // nil: few
}

// Up to so many are packed; many of them, once there are only half as many.
const fewSubscriptions = 8

// list is all of them: packed ones are appended to room.
func (l *subscriptions) list(room []Subscription) []Subscription {
	if l.many != nil {
		return *l.many
	}
	for rest := l.few; rest != ""; {
		var sub Subscription
		sub, rest = unpack(rest)
		room = append(room, sub)
	}
	return room
}

func (l *subscriptions) put(sub Subscription) (existed bool) {
	if l.many != nil {
		*l.many, existed = with(*l.many, sub)
		return existed
	}
	var room [fewSubscriptions + 1]Subscription
	list, existed := with(l.list(room[:0]), sub)
	l.set(list)
	return existed
}

// with is the list with a subscription, which has replaced that of its filter.
func with(list []Subscription, sub Subscription) (_ []Subscription, existed bool) {
	i, existed := place(list, sub.Filter)
	if !existed {
		return slices.Insert(list, i, sub), false
	}
	sub.Filter = list[i].Filter
	list[i] = sub
	return list, true
}

func (l *subscriptions) remove(filter string) (existed bool) {
	var room [fewSubscriptions]Subscription
	list := l.list(room[:0])
	i, existed := place(list, filter)
	switch {
	case !existed:
	case l.many != nil && len(list) > fewSubscriptions/2+1:
		*l.many = slices.Delete(*l.many, i, i+1)
	default:
		l.set(slices.Delete(list, i, i+1))
	}
	return existed
}

// set holds a list, of which it keeps no part.
func (l *subscriptions) set(list []Subscription) {
	if len(list) > fewSubscriptions {
		many := slices.Clone(list) // of which the filters are parts of few
		for i := range many {
			many[i].Filter = strings.Clone(many[i].Filter)
		}
		*l = subscriptions{many: &many}
		return
	}
	var room [512]byte
	b := room[:0]
	for i := range list {
		b = pack(b, &list[i])
	}
	*l = subscriptions{few: string(b)}
}

func place(list []Subscription, filter string) (int, bool) {
	return slices.BinarySearchFunc(list, filter, func(sub Subscription, filter string) int {
		return strings.Compare(sub.Filter, filter)
	})
}

// The first byte of a packed subscription: QoS, Retain Handling, and these.
const (
	packedNoLocal  = 1 << 4
	packedRetain   = 1 << 5
	packedID       = 1 << 6 // an identifier follows
	packedHandling = 2      // where Retain Handling stands
)

func pack(b []byte, s *Subscription) []byte {
	flags := s.QoS | s.RetainHandling<<packedHandling
	if s.NoLocal {
		flags |= packedNoLocal
	}
	if s.RetainAsPublished {
		flags |= packedRetain
	}
	if s.ID > 0 {
		flags |= packedID
	}
	b = append(b, flags)
	if s.ID > 0 {
		b = binary.AppendUvarint(b, uint64(s.ID))
	}
	b = binary.AppendUvarint(b, uint64(len(s.Filter)))
	return append(b, s.Filter...)
}

// unpack takes the first subscription off packed ones. Its filter is a part of
// them.
func unpack(p string) (s Subscription, rest string) {
	flags := p[0]
	p = p[1:]
	s.QoS, s.RetainHandling = flags&3, flags>>packedHandling&3
	s.NoLocal, s.RetainAsPublished = flags&packedNoLocal != 0, flags&packedRetain != 0
	if flags&packedID != 0 {
		s.ID, p = number(p)
	}
	size, p := number(p)
	s.Filter = p[:size]
	return s, p[size:]
}

// number takes a number off packed subscriptions.
func number(p string) (n uint32, rest string) {
	for shift := 0; ; shift += 7 {
		b := p[shift/7]
		n |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return n, p[shift/7+1:]
		}
	}
}
