package session_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// row is a row of sessions and what they have sent. A step on one of them
// takes its Work from next.
type row struct {
	sessions []session.Session
	sent     [][]byte
	next     func() *session.Work
}

func newRow(terms []session.Terms, next func() *session.Work) *row {
	r := &row{sessions: make([]session.Session, len(terms)), sent: make([][]byte, len(terms)), next: next}
	for i, t := range terms {
		r.sessions[i].Begin(t)
	}
	return r
}

func (r *row) step(i int, w *session.Work, f func(s *session.Session, w *session.Work)) {
	w.Out = r.sent[i]
	f(&r.sessions[i], w)
	r.sent[i] = w.Out
	w.Out, w.Changes = nil, nil
}

// fanOut delivers d to all sessions by way of the frames.
func (r *row) fanOut(d message.Draft, routes []session.Route) {
	w := r.next()
	w.Message(&d, true)
	for i := range routes {
		r.step(i, w, func(s *session.Session, w *session.Work) { s.Deliver(w, &d, &routes[i]) })
	}
}

// oneByOne delivers d to each session as if that were the only one.
func (r *row) oneByOne(d message.Draft, routes []session.Route) {
	for i := range routes {
		w := r.next()
		w.Message(&d, false)
		r.step(i, w, func(s *session.Session, w *session.Work) { s.Deliver(w, &d, &routes[i]) })
	}
}

// acknowledge finishes the oldest message in flight to session i.
func (r *row) acknowledge(i int) {
	r.step(i, r.next(), func(s *session.Session, w *session.Work) {
		for it := range s.Unfinished {
			if it.ID == 0 {
				return
			}
			if it.QoS == 1 {
				_ = s.Puback(w, &packet.Ack{ID: it.ID})
				return
			}
			_ = s.Pubrec(w, &packet.Ack{ID: it.ID})
			_ = s.Pubcomp(w, &packet.Ack{ID: it.ID})
			return
		}
	})
}

func (r *row) reconnect(i int, t session.Terms) {
	r.step(i, r.next(), func(s *session.Session, w *session.Work) {
		s.End(w)
		s.Begin(t)
		s.Drain(w)
	})
}

func frameLimits() *session.Limits {
	return &session.Limits{
		ReceiveMaximum: 100, TopicAliasMaximum: 64, InFlight: 2, QueueMessages: 100, QueueBytes: 1 << 20, PendingBytes: 1 << 20,
	}
}

// TestFramesAreWhatSingleEncodingGives runs every history twice: once with one
// Work for all, by way of the frames; once with a new Work for each step, which
// can have nothing left from another message.
func TestFramesAreWhatSingleEncodingGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := frameLimits()
		terms := rapid.SliceOfN(rapid.Custom(drawTerms), 1, 6).Draw(t, "terms")
		shared := &session.Work{Limits: limits}
		now := int64(1_700_000_000_000)
		many := newRow(terms, func() *session.Work { shared.Now = now; return shared })
		single := newRow(terms, func() *session.Work { return &session.Work{Limits: limits, Now: now} })
		one := rapid.IntRange(0, len(terms)-1)
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				d := drawDraft(t, now)
				routes := make([]session.Route, len(terms))
				for i := range routes {
					routes[i] = drawRoute(t)
				}
				many.fanOut(d, routes)
				single.oneByOne(d, routes)
			},
			"acknowledge": func(t *rapid.T) {
				i := one.Draw(t, "session")
				many.acknowledge(i)
				single.acknowledge(i)
			},
			"reconnect": func(t *rapid.T) {
				i := one.Draw(t, "session")
				now += 1500
				many.reconnect(i, terms[i])
				single.reconnect(i, terms[i])
			},
			"": func(t *rapid.T) {
				for i := range terms {
					if !bytes.Equal(many.sent[i], single.sent[i]) {
						t.Fatalf("session %d %+v\n got %q\nwant %q", i, terms[i],
							wire(many.sent[i], terms[i].Version), wire(single.sent[i], terms[i].Version))
					}
					many.sent[i], single.sent[i] = nil, nil
				}
			},
		})
	})
}

// TestDrainBetweenFanOutsSendsItsOwnMessage is what once went wrong: a message
// that left the queue was sent out of the frames of the fan-out before it.
func TestDrainBetweenFanOutsSendsItsOwnMessage(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		t.Run(v.String(), func(t *testing.T) {
			terms := []session.Terms{{Version: v, ReceiveMaximum: 1}, {Version: v}}
			w := &session.Work{Limits: frameLimits()}
			r := newRow(terms, func() *session.Work { return w })
			routes := []session.Route{{QoS: 1}, {QoS: 1}}
			publish := func(payload string) {
				r.fanOut(message.Draft{Name: []byte("t/" + payload), Payload: []byte(payload), QoS: 1}, routes)
			}
			publish("first")
			publish("second")
			publish("third")  // the first session has queued two
			r.acknowledge(0)  // and sends the second here
			publish("fourth") // the frames are those of the fourth
			for range 3 {
				r.acknowledge(0)
				r.acknowledge(1)
			}
			for i := range terms {
				var got []string
				for _, p := range publishes(r.sent[i], v) {
					got = append(got, string(p.Topic)+"="+string(p.Payload))
				}
				want := []string{"t/first=first", "t/second=second", "t/third=third", "t/fourth=fourth"}
				if !slices.Equal(got, want) {
					t.Errorf("session %d got %q, want %q", i, got, want)
				}
			}
		})
	}
}

func drawTerms(t *rapid.T) session.Terms {
	terms := session.Terms{
		Version: rapid.SampledFrom([]packet.Version{packet.V31, packet.V311, packet.V5}).Draw(t, "version"),
		Expiry:  rapid.SampledFrom([]uint32{0, 60, session.Never}).Draw(t, "session expiry"),
	}
	if terms.Version < packet.V5 {
		return terms
	}
	terms.ReceiveMaximum = rapid.SampledFrom([]uint16{0, 0, 1, 2, 5}).Draw(t, "receive maximum")
	terms.MaximumPacket = rapid.SampledFrom([]uint32{0, 0, 0, 40, 25}).Draw(t, "maximum packet")
	terms.AliasMaximum = rapid.SampledFrom([]uint16{0, 0, 1, 3}).Draw(t, "alias maximum")
	return terms
}

func drawDraft(t *rapid.T, now int64) message.Draft {
	d := message.Draft{
		Name:    []byte(rapid.SampledFrom([]string{"t", "plant/1", "plant/2/temperature"}).Draw(t, "topic")),
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "payload"),
		QoS:     rapid.ByteMax(2).Draw(t, "qos"), Arrived: now,
		Expiry: rapid.Uint32Range(0, 5).Draw(t, "expiry"),
	}
	d.HasExpiry = d.Expiry > 0
	if rapid.IntRange(0, 3).Draw(t, "long") == 0 { // around where the remaining length takes a second byte
		d.Payload = make([]byte, rapid.IntRange(100, 130).Draw(t, "length"))
	}
	if rapid.Bool().Draw(t, "user properties") {
		d.Forward = packet.AppendForward(nil, &packet.ForwardProperties{User: []packet.UserProperty{{Key: "k", Value: "v"}}})
	}
	return d
}

func drawRoute(t *rapid.T) session.Route {
	return session.Route{
		QoS: rapid.ByteMax(2).Draw(t, "granted"), Retain: rapid.Bool().Draw(t, "retain"),
		IDs: rapid.SampledFrom([][]uint32{nil, nil, {1}, {2, 300}}).Draw(t, "ids"),
	}
}
