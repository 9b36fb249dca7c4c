package record

import (
	"encoding/binary"

	"github.com/fantail-mqtt/fantail/message"
)

// AppendSessionOpened records that a client has connected, to a session that
// stands already, which keeps all it holds, or else to a new one. A clean
// start is [AppendSessionEnded] first.
func AppendSessionOpened(dst []byte, client string, s Opened) []byte {
	dst = head(dst, KindSessionOpened, client)
	dst = number(dst, uint64(s.At))
	dst = number(dst, uint64(s.Expiry))
	dst = append(dst, byte(s.Version))
	return text(dst, s.UserName)
}

// AppendSessionClosed records that a client is gone, at unix milliseconds, and
// that its session expires expiry seconds later, or [Never]: DISCONNECT may
// have changed the interval (5.0, section 3.14.2.2.2). Of the messages that were
// never marked as sent, those at QoS 1 up to doubt may have been: see [Session].
func AppendSessionClosed(dst []byte, client string, at int64, expiry uint32, doubt uint64) []byte {
	dst = head(dst, KindSessionClosed, client)
	dst = number(dst, uint64(at))
	dst = number(dst, uint64(expiry))
	return number(dst, doubt)
}

// AppendSessionEnded records that a session is gone with all that belongs to
// it, its will included.
func AppendSessionEnded(dst []byte, client string) []byte {
	return head(dst, KindSessionEnded, client)
}

const (
	subscribedQoS       = 3 << 0
	subscribedNoLocal   = 1 << 2
	subscribedPublished = 1 << 3
	subscribedHandling  = 3 << 4
)

// AppendSubscribed records a subscription, in place of one with the same
// filter [MQTT-3.8.4-3].
func AppendSubscribed(dst []byte, client string, s Subscription) []byte {
	dst = head(dst, KindSubscribed, client)
	dst = text(dst, s.Filter)
	dst = append(dst, s.QoS&3|bit(s.NoLocal, subscribedNoLocal)|
		bit(s.RetainAsPublished, subscribedPublished)|s.RetainHandling&3<<4)
	return number(dst, uint64(s.ID))
}

// AppendUnsubscribed records the end of a subscription.
func AppendUnsubscribed(dst []byte, client, filter string) []byte {
	return text(head(dst, KindUnsubscribed, client), filter)
}

const (
	queuedQoS    = 3 << 0
	queuedRetain = 1 << 2
	queuedShared = 1 << 3
	queuedIDs    = 1 << 4
	queuedBody   = 1 << 5
	queuedKnown  = 1<<6 - 1
)

// AppendQueued records that a message has joined a client's queue. Of
// q.Message it says only whether there is one: the message itself stands apart,
// before this record, where [Frame.Append] puts it.
func AppendQueued(dst []byte, client string, q Queued) []byte {
	dst = head(dst, KindQueued, client)
	dst = number(dst, q.Seq)
	dst = number(dst, uint64(q.ID))
	dst = append(dst, q.QoS&3|bit(q.Retain, queuedRetain)|bit(q.Shared != "", queuedShared)|
		bit(len(q.IDs) > 0, queuedIDs)|bit(q.Message != nil, queuedBody))
	if q.Shared != "" {
		dst = text(dst, q.Shared)
	}
	if len(q.IDs) > 0 {
		dst = number(dst, uint64(len(q.IDs)))
		for _, id := range q.IDs {
			dst = number(dst, uint64(id))
		}
	}
	return dst
}

// AppendBody records a message that queued ones behind it have for their
// body, until the next [KindBody] or [KindUse]. See [Frame].
func AppendBody(dst []byte, m *message.Message) []byte {
	return body(append(dst, byte(KindBody)), m)
}

// AppendUse puts a body of this frame in force again: the n-th, from 0.
func AppendUse(dst []byte, n int) []byte {
	return number(append(dst, byte(KindUse)), uint64(n))
}

// AppendSent records that a queued message, of so many bytes by
// [message.Message.Size], got its packet identifier.
func AppendSent(dst []byte, client string, seq uint64, id uint16, size int) []byte {
	dst = head(dst, KindSent, client)
	dst = number(dst, seq)
	dst = number(dst, uint64(id))
	return number(dst, uint64(size))
}

// AppendReleased records that PUBREC came for a message of QoS 2: it is never
// sent again, only its PUBREL is [MQTT-4.3.3-5].
func AppendReleased(dst []byte, client string, seq uint64) []byte {
	return number(head(dst, KindReleased, client), seq)
}

// AppendAcked records that a queued message is done with: PUBACK, PUBCOMP or
// a failing PUBREC came, or it has expired or was dropped. If it was never sent,
// size is its bytes by [message.Message.Size], else 0.
func AppendAcked(dst []byte, client string, seq uint64, size int) []byte {
	return number(number(head(dst, KindAcked, client), seq), uint64(size))
}

// AppendExpired records that messages have expired before they were sent.
func AppendExpired(dst []byte, r Run) []byte {
	dst = head(dst, KindExpired, r.Client)
	dst = number(dst, r.First)
	dst = number(dst, r.Last)
	dst = number(dst, uint64(r.At))
	dst = number(dst, uint64(r.Messages))
	return number(dst, uint64(r.Bytes))
}

// AppendReceived records the packet identifier of an incoming message of
// QoS 2, so that its repetition is known for one [MQTT-4.3.3-10].
func AppendReceived(dst []byte, client string, id uint16) []byte {
	return number(head(dst, KindReceived, client), uint64(id))
}

// AppendCompleted records that PUBREL has freed the packet identifier of an
// incoming message of QoS 2 [MQTT-4.3.3-11].
func AppendCompleted(dst []byte, client string, id uint16) []byte {
	return number(head(dst, KindCompleted, client), uint64(id))
}

// AppendRetained records the retained message of a topic, in place of the one
// before it [MQTT-3.3.1-5].
func AppendRetained(dst []byte, m Retained) []byte {
	return source(body(append(dst, byte(KindRetained)), m.Message), m.By)
}

const (
	sourceThere = 1 << 0
	sourceKnown = 1 << 1
)

// source appends who published a message: a zero if that is nobody.
func source(dst []byte, s message.Source) []byte {
	if s == (message.Source{}) {
		return append(dst, 0)
	}
	dst = append(dst, sourceThere|bit(s.Known, sourceKnown))
	return text(text(dst, s.Client), s.User)
}

// AppendRetainCleared records that a topic has no retained message any more:
// an empty one came [MQTT-3.3.1-6], or it has expired. It may say so of a
// topic that had none.
func AppendRetainCleared(dst []byte, topic string) []byte {
	return text(append(dst, byte(KindRetainCleared)), topic)
}

// AppendWillArmed records the will of a session, in place of the one before
// it; and, once its client is gone, again with the time when it is due.
func AppendWillArmed(dst []byte, client string, w Will) []byte {
	dst = head(dst, KindWillArmed, client)
	dst = number(dst, uint64(w.Delay))
	dst = number(dst, uint64(w.FireAt))
	return body(dst, w.Message)
}

// AppendWillGone records that the will of a session was published or deleted.
func AppendWillGone(dst []byte, client string) []byte {
	return head(dst, KindWillGone, client)
}

// AppendSettingPut records a setting, in place of the one before it.
func AppendSettingPut(dst []byte, s Setting) []byte {
	dst = place(append(dst, byte(KindSettingPut)), s.Place)
	dst = number(dst, uint64(s.At))
	return text(dst, s.Value)
}

// AppendSettingGone records that a setting is not there any more.
func AppendSettingGone(dst []byte, p Place) []byte {
	return place(append(dst, byte(KindSettingGone)), p)
}

func place(dst []byte, p Place) []byte { return text(text(dst, p.Space), p.Key) }

func head(dst []byte, k Kind, client string) []byte {
	return text(append(dst, byte(k)), client)
}

const (
	bodyQoS    = 3 << 0
	bodyRetain = 1 << 2
	bodyExpiry = 1 << 3
	bodyKnown  = 1<<4 - 1
)

// body appends a message.
func body(dst []byte, m *message.Message) []byte {
	dst = append(dst, m.QoS&3|bit(m.Retain, bodyRetain)|bit(m.HasExpiry, bodyExpiry))
	dst = number(dst, uint64(m.Arrived))
	if m.HasExpiry {
		dst = number(dst, uint64(m.Expiry))
	}
	dst = text(dst, m.Topic)
	dst = text(dst, m.Forward)
	return text(dst, m.Payload)
}

func number(dst []byte, x uint64) []byte { return binary.AppendUvarint(dst, x) }

func text[T string | []byte](dst []byte, x T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(x))), x...)
}

func bit(on bool, mask byte) byte {
	if on {
		return mask
	}
	return 0
}
